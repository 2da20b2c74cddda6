import { isBuiltin } from "node:module";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { moduleEntries, type Reach, reachFrom, readText } from "./built-package.js";

/** What it has grown to, so that it does not grow unnoticed; the goal of the design is 30 KiB. */
const MAX_SCRIPT_BYTES = 116 * 1024;
const reach = (subpath: string): Reach => {
  const entry = moduleEntries.find((candidate) => candidate.subpath === subpath);
  if (entry === undefined) throw new Error(`no entry ${subpath}`);
  return reachFrom(entry.target.import.default);
};

describe.each([".", "./mls"])("%s for bundlers", (subpath) => {
  it("reaches nothing of Node and nothing of the relay", () => {
    const { externals, sources } = reach(subpath);
    expect(externals.filter((name) => isBuiltin(name) || !["isomorphic-ws", "idb"].includes(name))).toEqual(
      [],
    );
    expect(sources.filter((path) => /^src\/(relay|node|stores\/(node|lmdb))/.test(path))).toEqual([]);
    expect(sources.some((path) => path.startsWith("src/"))).toBe(true);
  });

  it("does not count on Node's globals", () => {
    for (const chunk of reach(subpath).chunks)
      expect(readText(chunk)).not.toMatch(/\bBuffer\.|\bprocess\.env\b/);
  });
});

describe("./relay", () => {
  it("carries neither the engine nor HPKE", () => {
    const { chunks, sources } = reach("./relay");
    expect(sources.filter((path) => /^src\/(mls|hpke|client)/.test(path))).toEqual([]);
    for (const chunk of chunks) expect(readText(chunk)).not.toMatch(/MLS 1\.0 |HPKE-v1/);
  });

  it("would be found out: the labels are in what the engine's entry reaches", () => {
    const text = reach("./mls").chunks.map(readText).join("\n");
    expect(text).toContain("MLS 1.0 ");
    expect(text).toContain("HPKE-v1");
  });
});

describe("subrosa.global.js", () => {
  it("is small, and has no part of Node in it", () => {
    const script = readText("dist/subrosa.global.js");
    const size = gzipSync(script, { level: 9 }).length;
    console.log(`subrosa.global.js: ${script.length} bytes, ${size} gzipped`);
    expect(size).toBeLessThanOrEqual(MAX_SCRIPT_BYTES);
    const { sources } = JSON.parse(readText("dist/subrosa.global.js.map")) as { sources: string[] };
    expect(sources.filter((path) => /node_modules\/(ws|lmdb)\/|src\/relay/.test(path))).toEqual([]);
  });
});
