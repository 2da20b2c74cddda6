import { readdirSync, writeFileSync } from "node:fs";
import { appendFile, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import * as lmdb from "lmdb";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { checkLmdbFile, createLmdbFile } from "../../../src/base/node-lmdb-file.js";
import { openStore } from "../../../src/node.js";
import { openLmdbStorage } from "../../../src/relay/embedded/open.js";
import { buildWriter, removeWriter, startWriter } from "../stores/processes.js";

const damaged = (file: string) =>
  expect.objectContaining({ code: "store-damaged", message: expect.stringContaining(file) });

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "subrosa-lmdb-"));
  file = join(folder, "file.lmdb");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const openFile = () =>
  lmdb.open<Uint8Array, string>({
    path: file,
    noSubdir: true,
    overlappingSync: false,
    eventTurnBatching: false,
    maxDbs: 4,
    encoding: "binary",
  });

/** `count` values of growing size in a tree of their own, each in a commit of its own. */
async function fill(count: number): Promise<void> {
  const env = openFile();
  const values = env.openDB<Uint8Array, string>({ name: "values", encoding: "binary" });
  for (let i = 0; i < count; i++) {
    await values.put(`key ${i}`, new Uint8Array((i % 40) * 350).fill(i));
    // Right after each growth, while it is open.
    await checkLmdbFile(file);
  }
  await env.close();
}

describe("a file of LMDB", () => {
  it.each([1, 2, 30, 400])("is let pass with %i values", async (count) => {
    await fill(count);
    await checkLmdbFile(file);
  });

  it("is a new one when it is not there, and refused when it is empty", async () => {
    await checkLmdbFile(file);
    await fill(1);
    await truncate(file, 0);
    await expect(checkLmdbFile(file)).rejects.toEqual(damaged(file));
  });

  it("is made whole or not at all", async () => {
    const before: string[] = [];
    const dying = {
      open({ path }: { path: string }): never {
        before.push(...readdirSync(folder));
        writeFileSync(path, "");
        throw new Error("the process ends");
      },
    };
    await expect(createLmdbFile(dying as unknown as typeof lmdb, file, "1")).rejects.toThrow("ends");
    expect(before).toEqual([]);
    expect(await readdir(folder)).toEqual([]);

    await createLmdbFile(lmdb, file, "2");
    expect(await readdir(folder)).toEqual(["file.lmdb"]);
    expect((await stat(file)).size).toBeGreaterThan(0);
    await fill(2);
    const whole = await readFile(file);
    await createLmdbFile(lmdb, file, "3");
    expect(await readFile(file)).toEqual(whole);
  });

  it("is made once when several make it at the same moment", async () => {
    await Promise.all(["1", "2", "3"].map((unique) => createLmdbFile(lmdb, file, unique)));
    expect(await readdir(folder)).toEqual(["file.lmdb"]);
    await fill(2);
  });

  it.each([10, 50, 90])("is refused when only %i in a hundred bytes are left", async (percent) => {
    await fill(300);
    const { length } = await readFile(file);
    await truncate(file, Math.floor((length * percent) / 100));
    await expect(checkLmdbFile(file)).rejects.toEqual(damaged(file));
  });

  it.each([
    ["both meta pages", 0, 8192],
    ["the first", 0, 4096],
    ["the second", 4096, 8192],
    ["the page numbers of the second", 4096 + 24 + 24, 4096 + 24 + 144],
    ["the mark of the first", 24, 28],
  ])("is refused when %s were overwritten", async (_, start, end) => {
    await fill(30);
    const bytes = await readFile(file);
    await writeFile(file, bytes.fill(0xa5, start, end));
    await expect(checkLmdbFile(file)).rejects.toEqual(damaged(file));
  });

  it("may lack pages at its end that are free", async () => {
    await fill(30);
    const env = openFile();
    const values = env.openDB<Uint8Array, string>({ name: "values", encoding: "binary" });
    for (let i = 0; i < 3; i++) await values.put("large", new Uint8Array(200_000).fill(i));
    const entries = () => [...values.getRange()].map(({ key, value }) => [key, value.length]);
    await values.remove("large");
    const before = entries();
    await env.close();
    const { length } = await readFile(file);
    let free = 0;
    for (;;) {
      await truncate(file, length - 4096 * (free + 1));
      const whole = await checkLmdbFile(file).then(
        () => true,
        () => false,
      );
      if (!whole) break;
      free++;
    }
    expect(free).toBeGreaterThan(0);
    await appendFile(file, new Uint8Array(4096));
    const again = openFile();
    const read = again.openDB<Uint8Array, string>({ name: "values", encoding: "binary" });
    expect([...read.getRange()].map(({ key, value }) => [key, value.length])).toEqual(before);
    await again.close();
  });

  it("is looked at without a crash, whatever is in it", async () => {
    await fill(60);
    const whole = new Uint8Array(await readFile(file));
    const at = fc.nat(whole.length - 1);
    const junk = fc.uint8Array({ minLength: 1, maxLength: 64 });
    const arbitrary = fc.oneof(
      fc.uint8Array({ maxLength: 9_000 }),
      // What the walk through the pages of a file that was cut comes to.
      fc.tuple(at, fc.array(fc.tuple(at, junk), { maxLength: 8 })).map(([length, patches]) => {
        const bytes = whole.slice();
        for (const [offset, patch] of patches) bytes.set(patch.subarray(0, bytes.length - offset), offset);
        return bytes.subarray(0, length);
      }),
    );
    await fc.assert(
      fc.asyncProperty(arbitrary, async (bytes) => {
        await writeFile(file, bytes);
        const outcome = await checkLmdbFile(file, 0).catch((error: { code: string }) => error.code);
        expect([undefined, "store-damaged"]).toContain(outcome);
      }),
      { seed: 41, numRuns: 300 },
    );
  });
});

describe("a damaged file", () => {
  it("is refused by the store, which names it, and leaves the others usable", async () => {
    const store = await openStore(folder);
    const session = await store.open("alice");
    for (let i = 0; i < 40; i++) await session.write([{ put: `key ${i}`, value: new Uint8Array(2_000) }]);
    await session.close();
    const name = (await readdir(folder)).find((entry) => entry.endsWith(".lmdb")) as string;
    const path = join(folder, name);
    const whole = await readFile(path);
    await truncate(path, whole.length / 2);
    await expect(store.open("alice")).rejects.toEqual(damaged(name));
    await (await store.open("bob")).close();
    // A copy put back is as good as the file was.
    await writeFile(path, whole);
    const again = await store.open("alice");
    expect(await again.list("")).toHaveLength(40);
    await again.close();
  });

  it("of the store that is empty or gone is no new identity, and what a first opening leaves that crashed is", async () => {
    const store = await openStore(folder);
    const session = await store.open("alice");
    await session.write([{ put: "key", value: new Uint8Array(1) }]);
    await session.close();
    const name = (await readdir(folder)).find((entry) => entry.endsWith(".lmdb")) as string;
    const path = join(folder, name);
    await truncate(path, 0);
    await expect(store.open("alice")).rejects.toEqual(damaged(path));
    await rm(path);
    await expect(store.open("alice")).rejects.toEqual(damaged(path));
    await expect(store.open("alice")).rejects.toEqual(damaged(`${path}-lock`));
    await (await store.open("bob")).close();

    await rm(`${path}-lock`);
    // Before the file had its name, and after.
    await writeFile(`${path}.0011223344556677`, "");
    await writeFile(`${path}.0011223344556677-lock`, "");
    await (await store.open("alice")).close();
    await rm(`${path}-lock`);
    await (await store.open("alice")).close();
  });

  it("is refused by the relay's storage", async () => {
    const storage = await openLmdbStorage(folder);
    await storage.close();
    const path = join(folder, "data.mdb");
    const whole = await readFile(path);
    for (const bytes of [
      Buffer.of(),
      whole.subarray(0, whole.length / 2),
      Buffer.from(whole).fill(7, 0, 9_000),
    ]) {
      await writeFile(path, bytes);
      for (const as of ["owner", "successor", "guest"] as const)
        await expect(openLmdbStorage(folder, { as })).rejects.toEqual(damaged("data.mdb"));
    }
    await writeFile(path, whole);
    await (await openLmdbStorage(folder)).close();
    // A relay that is to begin anew.
    await rm(path);
    await (await openLmdbStorage(folder)).close();
  });
});

describe("a file that another process writes", () => {
  let script: string;
  beforeAll(async () => {
    script = await buildWriter();
  }, 60_000);
  afterAll(removeWriter);

  it("is let pass meanwhile, and after that process was killed", async () => {
    const writer = startWriter(script, "write", folder, "alice");
    try {
      await writer.line((line) => line === "open");
      const name = (await readdir(folder)).find((entry) => entry.endsWith(".lmdb")) as string;
      for (const wanted of ["done 20", "done 60", "done 150"]) {
        let ended = false;
        const reached = writer
          .line((line) => line === wanted)
          .finally(() => {
            ended = true;
          });
        while (!ended) {
          await checkLmdbFile(join(folder, name));
          await new Promise((resolve) => setImmediate(resolve));
        }
        await reached;
      }
      await writer.kill();
      await checkLmdbFile(join(folder, name));
      const session = await (await openStore(folder)).open("alice");
      expect((await session.list("one/")).length).toBeGreaterThan(100);
      await session.close();
    } finally {
      await writer.kill();
    }
  }, 60_000);
});
