import { existsSync, readFileSync, rmSync } from "node:fs";
import { defineConfig, type Options } from "tsup";

// The builds below run side by side, so none of them can clean for all.
rmSync("dist", { recursive: true, force: true });

const source = (name: string): string => `src/${name}.ts`;
const modules = ["index", "node", "mls", "relay"].map(source).filter((path) => existsSync(path));
const programs = ["relay-cli"].map(source).filter((path) => existsSync(path));

const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
const define = { __SUBROSA_VERSION__: JSON.stringify(version) };
// Left out of the bundles like the dependencies, which tsup does by itself for those that are not optional.
const external = ["lmdb"];
// `Symbol.asyncDispose` is newer than the library that apps are compiled with.
const dts = { entry: modules, banner: '/// <reference lib="esnext.disposable" />' };
const common: Options = { target: "es2022", sourcemap: true, define };

export default defineConfig([
  // All entries in one run each, so that they share one set of chunks.
  {
    ...common,
    external,
    entry: [...modules, ...programs],
    format: ["esm"],
    splitting: true,
    dts,
  },
  { ...common, external, entry: modules, format: ["cjs"], splitting: true, dts },
  {
    // For a script tag: everything inside, and the browser side of every dependency.
    ...common,
    entry: { subrosa: source("index") },
    format: ["iife"],
    globalName: "Subrosa",
    platform: "browser",
    noExternal: [/.*/],
    outExtension: () => ({ js: ".global.js" }),
    minify: true,
  },
]);
