import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runInNewContext } from "node:vm";
import { publint } from "publint";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { manifest, moduleEntries, readText, root, runNode, runProgram, runTool } from "./built-package.js";

const NAMES =
  'console.log(JSON.stringify(Object.keys(m).filter((k) => k !== "default" && k !== "module.exports").sort()))';
const GLOBALS = [
  "crypto",
  "WebSocket",
  "indexedDB",
  "navigator",
  "localStorage",
  "window",
  "document",
  "self",
];
/** Makes every browser global a trap, whatever the module does with the error it gets. */
const TRAPS = `
  const touched = [];
  for (const name of ${JSON.stringify(GLOBALS)}) {
    Object.defineProperty(globalThis, name, {
      configurable: true,
      get() { touched.push(name); throw new Error("touched " + name); },
    });
  }
`;

describe.each(moduleEntries)("$specifier", ({ specifier, target }) => {
  it("has the same exports as ES module and as CommonJS", async () => {
    const esm = JSON.parse(await runNode(`const m = await import("${specifier}"); ${NAMES}`, "module"));
    const cjs = JSON.parse(await runNode(`const m = require("${specifier}"); ${NAMES}`, "commonjs"));
    expect(esm.length).toBeGreaterThan(0);
    expect(cjs).toEqual(esm);
  });

  it("has type declarations for both", () => {
    expect(existsSync(root + target.import.types)).toBe(true);
    expect(existsSync(root + target.require.types)).toBe(true);
  });

  it("touches no global when it is imported", async () => {
    const end = "console.log(JSON.stringify(touched))";
    expect(await runNode(`${TRAPS} await import("${specifier}"); ${end}`, "module")).toBe("[]");
    expect(await runNode(`${TRAPS} require("${specifier}"); ${end}`, "commonjs")).toBe("[]");
  });
});

describe("Client", () => {
  it("touches no global when it is made", async () => {
    const script = `${TRAPS}
      const { Client } = await import("subrosa");
      const client = new Client({ url: "wss://relay.example", userId: "alice" });
      console.log(JSON.stringify([client.userId, client.state, ...touched]));
    `;
    expect(await runNode(script, "module")).toBe('["alice","idle"]');
  });
});

describe("the traps", () => {
  it("notice a module that touches a global, even one that catches the error", async () => {
    const script = `${TRAPS} try { globalThis.crypto.subtle } catch {} console.log(JSON.stringify(touched))`;
    expect(await runNode(script, "module")).toBe('["crypto"]');
  });
});

describe("the script for browsers", () => {
  it("makes one global with the exports of the package", async () => {
    const context: { Subrosa?: object } = {};
    const before = Object.keys(context);
    runInNewContext(`${readText("dist/subrosa.global.js")}; globalThis.Subrosa = Subrosa;`, context);
    expect(Object.keys(context)).toEqual([...before, "Subrosa"]);
    const esm = JSON.parse(await runNode(`const m = await import("${manifest.name}"); ${NAMES}`, "module"));
    expect(Object.keys(context.Subrosa ?? {}).sort()).toEqual(esm);
  });
});

describe("SubrosaError", () => {
  it("is recognised across the two builds", async () => {
    const script = `
      import { createRequire } from "node:module";
      const esm = await import("subrosa");
      const cjs = createRequire(process.cwd() + "/")("subrosa");
      const error = (m) => new m.SubrosaError("closed", "x");
      console.log([
        esm.SubrosaError !== cjs.SubrosaError, esm.SubrosaError.is(error(cjs)), cjs.SubrosaError.is(error(esm)),
      ].join());
    `;
    expect(await runNode(script, "module")).toBe("true,true,true");
  });
});

describe("package.json", () => {
  it("has the dependencies of the design and no others", () => {
    expect(Object.keys(manifest.dependencies).sort()).toEqual(["idb", "isomorphic-ws", "ws"]);
    expect(Object.keys(manifest.optionalDependencies)).toEqual(["lmdb"]);
    expect(Object.keys(manifest.peerDependencies ?? {})).toEqual(["redis"]);
    expect(manifest.peerDependenciesMeta).toEqual({ redis: { optional: true } });
  });

  it("names programs that say what runs them", () => {
    for (const path of Object.values(manifest.bin)) {
      expect(readText(path).startsWith("#!/usr/bin/env node\n")).toBe(true);
    }
  });

  it("satisfies publint", async () => {
    const { messages } = await publint({ pkgDir: root, strict: true });
    expect(messages).toEqual([]);
  });
});

describe("the published archive", () => {
  let folder: string;
  let archive: { filename: string; files: { path: string }[] };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "subrosa-pack-"));
    const output = await runProgram(
      "npm",
      "pack",
      "--ignore-scripts",
      "--json",
      "--pack-destination",
      folder,
    );
    [archive] = JSON.parse(output) as [typeof archive];
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it("holds the build, the protocol, the README, the licence and nothing else", () => {
    const paths = archive.files.map(({ path }) => path);
    expect(paths.filter((path) => !path.startsWith("dist/")).sort()).toEqual([
      "LICENSE",
      "README.md",
      "package.json",
      "src/wire/PROTOCOL.md",
    ]);
    expect(paths).toContain("dist/index.js");
    expect(paths).toContain("dist/subrosa.global.js");
  });

  it("has types that resolve for every kind of importer", async () => {
    const file = join(folder, archive.filename);
    const report = await runTool("attw", file, "--profile", "node16", "--exclude-entrypoints", "./global");
    console.log(report);
    for (const { specifier } of moduleEntries) expect(report).toContain(`"${specifier}"`);
  });
});

describe("package-lock.json", () => {
  it("records no download addresses", () => {
    expect(readText("package-lock.json")).not.toMatch(/"resolved"|https?:\/\/registry/);
  });
});
