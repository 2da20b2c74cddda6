import { fileURLToPath } from "node:url";
import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";
import type { BrowserInstanceOption } from "vitest/node";
import { findProgram } from "../harness/system-packages.mjs";
import { webkitgtk } from "./webkitgtk.js";

const chromium = playwright({
  launchOptions: {
    executablePath: findProgram("chromium") ?? "chromium",
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  },
});

// Debian's Firefox has no Juggler; this channel speaks WebDriver BiDi to it.
const firefox = playwright({
  launchOptions: { channel: "moz-firefox", executablePath: findProgram("firefox-esr") ?? "firefox-esr" },
});

// Vitest takes the name from the provider's list at run time; its types know only Playwright's.
const safari = "safari" as BrowserInstanceOption["browser"];

export default defineConfig({
  root: fileURLToPath(new URL("../..", import.meta.url)),
  // Found only while tests run, it would make Vite load their page again.
  optimizeDeps: { include: ["fast-check"] },
  test: {
    // What every engine runs; `*.browser.test.ts` is for engines only, `*.node.test.ts` never.
    include: [
      "tests/unit/{crypto,hpke,wire,mls-structs,mls-schedule,mls-framing}/**/*.test.ts",
      "tests/vectors/**/*.test.ts",
      "tests/browsers/**/*.test.ts",
      "tests/**/*.browser.test.ts",
    ],
    exclude: ["tests/**/*.node.test.ts", "tests/e2e/**"],
    globalSetup: "tests/vectors/setup.ts",
    testTimeout: 60_000,
    browser: {
      enabled: true,
      headless: true,
      screenshotFailures: false,
      instances: [
        { name: "chromium", browser: "chromium", provider: chromium },
        { name: "firefox", browser: "firefox", provider: firefox },
        { name: "webkitgtk", browser: safari, provider: webkitgtk(), headless: false },
      ],
    },
  },
});
