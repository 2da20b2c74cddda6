import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

/**
 * Which runtime runs which file is told by name and folder:
 * `*.node.test.ts` only Node, `*.browser.test.ts` only browsers, everything else wherever its folder is listed.
 * The browser engines have their own file: tests/browsers/vitest.config.ts.
 */
const root = fileURLToPath(new URL("..", import.meta.url));
const onlyBrowser = "tests/**/*.browser.test.ts";
const onlyNode = "tests/**/*.node.test.ts";
/** Folders with a project of their own. */
const separate = [
  ...["tests/vectors/**", "tests/package/**", "tests/e2e/**", "tests/browsers/**"],
  "tests/redis/**",
  "tests/simulation/**",
];

export default defineConfig({
  root,
  test: {
    testTimeout: 30_000,
    projects: [
      {
        extends: true,
        test: {
          name: "node",
          include: ["tests/**/*.test.ts"],
          exclude: [...separate, onlyBrowser],
        },
      },
      {
        extends: true,
        test: {
          name: "happy-dom",
          environment: "happy-dom",
          include: ["tests/unit/**/*.test.ts", "tests/failure-modes/**/*.test.ts"],
          exclude: [onlyBrowser, onlyNode, "tests/unit/{relay,node}*/**"],
        },
      },
      {
        extends: true,
        test: {
          name: "vectors",
          include: ["tests/vectors/**/*.test.ts"],
          exclude: [onlyBrowser],
          globalSetup: "tests/vectors/setup.ts",
        },
      },
      {
        extends: true,
        test: {
          name: "redis",
          include: ["tests/redis/**/*.test.ts"],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: { name: "simulation", include: ["tests/simulation/**/*.test.ts"] },
      },
      {
        extends: true,
        test: {
          name: "package",
          include: ["tests/package/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: "e2e",
          include: ["tests/e2e/**/*.test.ts"],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
