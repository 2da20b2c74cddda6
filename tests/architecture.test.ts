import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { ALLOWED_IMPORTS, ALLOWED_IN_ENTRIES, findViolations } from "./harness/architecture.js";

const src = fileURLToPath(new URL("../src/", import.meta.url));

function readSources(): Map<string, string> {
  const paths = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((path) =>
    path.endsWith(".ts"),
  );
  return new Map(paths.sort().map((path) => [path, readFileSync(src + path, "utf8")]));
}

describe("src", () => {
  it("holds to the design's import table, has no cycles and keeps to its file rules", () => {
    const files = readSources();
    const sizes = [...files].map(([path, text]) => ({ path, lines: text.split("\n").length }));
    sizes.sort((a, b) => b.lines - a.lines);
    const total = sizes.reduce((sum, { lines }) => sum + lines, 0);
    const largest = sizes.filter(({ lines }) => lines > 300).map(({ path, lines }) => `${path} ${lines}`);
    console.log(`${sizes.length} files, ${total} lines; over 300 lines: ${largest.join(", ") || "none"}`);
    expect(findViolations(files)).toEqual([]);
  });

  it("has no folder and no entry that the table does not know", () => {
    const known = [...Object.keys(ALLOWED_IMPORTS), ...Object.keys(ALLOWED_IN_ENTRIES)];
    const present = new Set([...readSources().keys()].map((path) => path.split("/")[0] as string));
    expect([...present].filter((name) => !known.includes(name))).toEqual([]);
  });
});

describe("the checker", () => {
  const check = (files: Record<string, string>) => findViolations(new Map(Object.entries(files)));
  const leaf = { "base/a.ts": "export const a = 1;" };

  it("accepts what the design allows", () => {
    const files = {
      ...leaf,
      "codec/b.ts": 'import { a } from "../base/a.js"; export const b = a; // crypto.subtle, Buffer',
      "client/c.ts":
        'import type { d } from "./d.js"; import { b } from "../codec/b.js"; export const c = b;',
      "client/d.ts": 'import { c } from "./c.js"; export const d = c;',
      "crypto/e.ts": "export const s = globalThis.crypto.subtle;",
      "stores/node.ts":
        'import { open } from "node:fs"; const l = await import("lmdb"); export { open, l, Buffer };',
      "transport/websocket.ts": 'import WebSocket from "isomorphic-ws"; export { WebSocket };',
      "index.ts": 'export { c } from "./client/c.js";',
    };
    expect(check(files)).toEqual([]);
  });

  it.each([
    [
      "an import against the table",
      "codec may not import client",
      { ...leaf, "codec/b.ts": 'import "../client/c.js";', "client/c.ts": "" },
    ],
    [
      "a type import against the table",
      "base may not import wire",
      { "base/a.ts": 'import type { X } from "../wire/x.js";', "wire/x.ts": "" },
    ],
    [
      "an inline type import",
      "base may not import wire",
      { "base/a.ts": 'type X = import("../wire/x.js").X;', "wire/x.ts": "" },
    ],
    [
      "a re-export against the table",
      "relay may not import mls",
      { "relay/a.ts": 'export * from "../mls/x.js";', "mls/x.ts": "" },
    ],
    [
      "the client importing the relay",
      "client may not import relay",
      { "client/a.ts": 'import "../relay/x.js";', "relay/x.ts": "" },
    ],
    [
      "the relay importing the client",
      "relay may not import client",
      { "relay/a.ts": 'import "../client/x.js";', "client/x.ts": "" },
    ],
    [
      "the relay importing HPKE",
      "relay may not import hpke",
      { "relay/a.ts": 'await import("../hpke/x.js");', "hpke/x.ts": "" },
    ],
    [
      "a cycle",
      "import cycle: base/a.ts → base/b.ts → base/a.ts",
      { "base/a.ts": 'import "./b.js";', "base/b.ts": 'import "./a.js";' },
    ],
    [
      "a cycle by an import of types alone that is kept",
      "import cycle: base/a.ts → base/a.ts",
      { "base/a.ts": 'import { type B } from "./a.js";' },
    ],
    ["a folder without a row", "other has no row", { "other/a.ts": 'import "../base/a.js";', ...leaf }],
    [
      "isomorphic-ws elsewhere",
      "client/a.ts imports isomorphic-ws: only",
      { "client/a.ts": 'import WebSocket from "isomorphic-ws";' },
    ],
    ["an unknown package", "left-pad: not a dependency", { "base/a.ts": 'import "left-pad";' }],
    ["lmdb in the client", "client/a.ts imports lmdb: only", { "client/a.ts": 'await import("lmdb");' }],
    ["a computed import", "computed name", { "client/a.ts": "await import(name);" }],
    [
      "a Node module in shared code",
      "node:path: not a Node-only file",
      { "base/a.ts": 'import { join } from "node:path";' },
    ],
    [
      "node:crypto",
      "cryptography stands in src/crypto",
      { "relay/a.ts": 'import { createHash } from "node:crypto";' },
    ],
    [
      "crypto.subtle outside crypto",
      "mls/a.ts uses subtle",
      { "mls/a.ts": "globalThis.crypto.subtle.digest" },
    ],
    [
      "crypto taken apart",
      "mls/a.ts uses getRandomValues",
      { "mls/a.ts": "const { getRandomValues } = crypto;" },
    ],
    ["Buffer in shared code", "uses Buffer", { "wire/a.ts": "Buffer.from([])" }],
    [
      "a browser entry reaching Node",
      "index.ts reaches the Node-only stores/node.ts",
      { "index.ts": 'import "./stores/node.js";', "stores/node.ts": "" },
    ],
    ["a missing file", "no such file", { "base/a.ts": 'import "./gone.js";' }],
    ["a file that is too long", "401 lines", { "base/a.ts": "\n".repeat(400) }],
    ["a utils file", "named for its job", { "base/byte-utils.ts": "" }],
    ["a name that is not kebab-case", "kebab-case", { "base/ByteReader.ts": "" }],
  ] as [string, string, Record<string, string>][])("refuses %s", (_name, message, files) => {
    expect(check(files).join("\n")).toContain(message);
  });
});
