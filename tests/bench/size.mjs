/** What a browser downloads: `node tests/bench/size.mjs` bundles the sources as they are, minified, and gzips them. */
import { readFileSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "tsup";

const root = fileURLToPath(new URL("../../", import.meta.url));
const outDir = `${root}node_modules/.cache/subrosa-size-${process.pid}`;
const KIB = 1024;
const BUNDLES = [
  { entry: "index", name: "script tag: everything a browser client needs", goal: 30 },
  { entry: "mls", name: "subrosa/mls: the engine alone", goal: 18 },
];

try {
  await build({
    config: false,
    silent: true,
    entry: Object.fromEntries(BUNDLES.map(({ entry }) => [entry, `${root}src/${entry}.ts`])),
    outDir,
    format: "iife",
    globalName: "Subrosa",
    platform: "browser",
    target: "es2022",
    noExternal: [/.*/],
    minify: true,
    define: { __SUBROSA_VERSION__: '"0.0.0"' },
    outExtension: () => ({ js: ".js" }),
  });
  const kib = (bytes) => `${(bytes / KIB).toFixed(1)} KiB`.padStart(10);
  console.log(`\n  ${"".padEnd(48)}${"minified".padStart(10)}${"gzip -9".padStart(10)}  goal\n`);
  for (const { entry, name, goal } of BUNDLES) {
    const bytes = readFileSync(`${outDir}/${entry}.js`);
    const zipped = gzipSync(bytes, { level: 9 }).length;
    const verdict = zipped <= goal * KIB ? "met" : "NOT MET";
    console.log(`  ${name.padEnd(48)}${kib(bytes.length)}${kib(zipped)}  ≤ ${goal} KiB: ${verdict}`);
  }
  console.log();
} finally {
  rmSync(outDir, { recursive: true, force: true });
}
