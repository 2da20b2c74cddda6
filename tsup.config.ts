import { existsSync } from "node:fs";
import { defineConfig } from "tsup";

/** Entries of the package, by the name their files get in dist/. All share one set of chunks. */
const entries = ["index", "node", "mls", "relay", "relay-cli"].filter((name) => existsSync(`src/${name}.ts`));

export default defineConfig([
  {
    entry: entries.map((name) => `src/${name}.ts`),
    format: ["esm", "cjs"],
    dts: { entry: entries.filter((name) => name !== "relay-cli").map((name) => `src/${name}.ts`) },
    target: "es2022",
    splitting: true,
    // The two builds run side by side: this one cleans, but not what the other writes.
    clean: ["!subrosa.global.js", "!subrosa.global.js.map"],
    sourcemap: true,
  },
  {
    // The script-tag build: everything inside, and the browser side of every dependency.
    entry: { subrosa: "src/index.ts" },
    format: ["iife"],
    globalName: "Subrosa",
    platform: "browser",
    target: "es2022",
    noExternal: [/.*/],
    outExtension: () => ({ js: ".global.js" }),
    minify: true,
    sourcemap: true,
  },
]);
