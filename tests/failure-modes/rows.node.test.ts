import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";

/** The ways in which real deployments of MLS fail, that the project set out to test, by number. */
const ROWS = 26;

it("each of the 26 failure modes has a test that bears its number", async () => {
  const files = (await readdir(import.meta.dirname)).filter((name) => name.startsWith("rows-"));
  const texts = await Promise.all(files.map((name) => readFile(join(import.meta.dirname, name), "utf8")));
  const named = [...texts.join("\n").matchAll(/\b(?:describe|it)(?:\.each\([^)]*\))?\(\s*"C(\d+) /g)].map(
    ([, row]) => Number(row),
  );
  const missing = Array.from({ length: ROWS }, (_, i) => i + 1).filter((row) => !named.includes(row));
  expect(missing).toEqual([]);
});
