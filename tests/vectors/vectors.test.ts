import { afterAll, describe, expect, inject, it } from "vitest";
import { isOurs, isVectorKind, loadCheck } from "./registry.js";

/** `MLS_VECTORS` names the folder of the official files; files of our own in the same formats lie in frozen/mls. */
for (const { title, files } of inject("vectorFolders")) {
  describe(title, () => {
    if (files === undefined) {
      console.warn("MLS_VECTORS is not set: the official MLS vectors are SKIPPED");
      it.skip("MLS_VECTORS is not set");
      return;
    }
    it("holds no file that is not known", () => {
      if (title === "official") expect(files).not.toEqual([]);
      expect(files.map(({ name }) => name).filter((name) => !isVectorKind(name))).toEqual([]);
    });
    for (const { name, text } of files) if (isVectorKind(name)) runFile(title, name, text);
  });
}

function runFile(title: string, kind: Parameters<typeof loadCheck>[0], text: string): void {
  const entries = (JSON.parse(text) as unknown[]).map((entry, index) => ({ entry, position: `#${index}` }));
  const ours = entries.filter(({ entry }) => isOurs(kind, entry));
  const label = `${title === "official" ? "" : `${title} `}${kind}.json`;
  let executed = 0;
  describe(`${kind}.json`, () => {
    it.each(ours)("entry $position", { timeout: 120_000 }, async ({ entry }) => {
      const check = await loadCheck(kind);
      await check(entry);
      executed++;
    });
    const report = () => console.log(`${label}: ${executed} executed`);
    afterAll(report);
    if (ours.length > 0) return;
    // Nothing runs after tests that are all skipped.
    report();
    it.skip("has no entry of this cipher suite");
  });
}
