import { chmod, mkdtemp, readdir, readFile, realpath, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as lmdb from "lmdb";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { toHex, toUtf8 } from "../../../src/base/encoding.js";
import type { SubrosaError } from "../../../src/base/errors.js";
import { sha256 } from "../../../src/crypto/hash.js";
import { exportSignaturePrivateKey, generateSignatureKeyPair } from "../../../src/crypto/signature.js";
import { openStore } from "../../../src/node.js";
import { openLmdbStore } from "../../../src/stores/node-lmdb.js";
import { type DatabaseUnderTest, databaseContract, storeContract } from "../../contracts/store-suite.js";
import { buildWriter, removeWriter, startWriter, type Writer } from "./processes.js";

const code = (expected: SubrosaError["code"]) => expect.objectContaining({ code: expected });
const newFolder = () => mkdtemp(join(tmpdir(), "subrosa-test-"));

async function fileOf(folder: string, name: string): Promise<string> {
  return join(folder, `${toHex((await sha256(toUtf8(name))).subarray(0, 16))}.lmdb`);
}

/** The database of values, past the store. */
async function reach<T>(
  folder: string,
  name: string,
  work: (values: lmdb.Database<Uint8Array, string>) => T | Promise<T>,
): Promise<T> {
  const path = await fileOf(folder, name);
  const env = lmdb.open({ path, noSubdir: true, overlappingSync: false, maxDbs: 4, encoding: "binary" });
  try {
    return await work(env.openDB<Uint8Array, string>({ name: "values", encoding: "binary" }));
  } finally {
    await env.close();
  }
}

async function createPlace(): Promise<DatabaseUnderTest> {
  const folder = await newFolder();
  return {
    store: await openStore(folder),
    rival: await openLmdbStore(folder, {}, { liveness: false }),
    read: (name, key) =>
      reach(folder, name, (values) => Uint8Array.from(values.getBinary(key) as Uint8Array)),
    async write(name, key, record) {
      await reach(folder, name, (values) => values.put(key, record));
    },
    failPut(n, error) {
      let left = n;
      const patched = openDatabases().map((database) => {
        const { putSync } = database;
        database.putSync = (...args: unknown[]) => {
          if (--left === 0) throw error;
          return putSync.apply(database, args);
        };
        return database;
      });
      return () => {
        for (const database of patched) delete database.putSync;
      };
    },
    cleanUp: () => rm(folder, { recursive: true, force: true }),
  };
}

/** The databases that this process has open for values and keys. */
function openDatabases(): any[] {
  const { allDbs } = lmdb as unknown as { allDbs: Map<string, unknown> };
  return [...allDbs].filter(([name]) => /-(values|keys)$/.test(name)).map(([, database]) => database);
}

const contract = { create: createPlace, takesNonExtractable: false };
storeContract({ name: "openStore (LMDB)", ...contract });
databaseContract("openStore (LMDB)", createPlace);

describe("openStore", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await newFolder();
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  async function writeOne(path: string, options: Parameters<typeof openStore>[1] = {}): Promise<void> {
    const session = await (await openStore(path, options)).open("alice");
    await session.write([{ put: "a", value: toUtf8("1") }]);
    await session.close();
  }

  async function readOne(path: string, options: Parameters<typeof openStore>[1] = {}): Promise<unknown> {
    const session = await (await openStore(path, options)).open("alice");
    const value = await session.get("a");
    await session.close();
    return value && new TextDecoder().decode(value);
  }

  it("creates its folder for its user alone, with a key file of mode 0600", async () => {
    const path = join(folder, "deep", "state");
    await writeOne(path);
    expect((await stat(path)).mode & 0o777).toBe(0o700);
    expect((await stat(join(path, "store.key"))).mode & 0o777).toBe(0o600);
    expect((await readdir(path)).sort()).toEqual(
      [await fileOf("", "alice"), `${await fileOf("", "alice")}-lock`, "store.json", "store.key"].sort(),
    );
    expect(await readOne(path)).toBe("1");
  });

  it("is created once when two open it at the same moment", async () => {
    const stores = await Promise.all(Array.from({ length: 8 }, () => openStore(folder)));
    for (const [i, store] of stores.entries()) {
      const session = await store.open("alice");
      await session.write([{ put: `k${i}`, value: toUtf8("1") }]);
      expect((await session.list("")).length).toBe(i + 1);
      await session.close();
    }
    expect((await readdir(folder)).filter((file) => file.startsWith("store."))).toEqual([
      "store.json",
      "store.key",
    ]);
  });

  it("goes on with a key file that was there before the rest", async () => {
    const key = Uint8Array.from({ length: 32 }, (_, i) => i);
    await writeFile(join(folder, "store.key"), key, { mode: 0o600 });
    await writeOne(folder);
    expect([...(await readFile(join(folder, "store.key")))]).toEqual([...key]);
    expect(await readOne(folder)).toBe("1");
  });

  it("opens with its passphrase only", async () => {
    await writeOne(folder, { passphrase: "correct horse" });
    expect(await readdir(folder)).not.toContain("store.key");
    expect(await readOne(folder, { passphrase: "correct horse" })).toBe("1");
    await expect(openStore(folder, { passphrase: "Correct horse" })).rejects.toEqual(code("store-locked"));
    await expect(openStore(folder)).rejects.toEqual(code("store-locked"));
    await expect(openStore(folder, { keyFile: join(folder, "k") })).rejects.toEqual(code("store-locked"));
    expect(JSON.parse(await readFile(join(folder, "store.json"), "utf8"))).toMatchObject({
      iterations: 600_000,
    });
  });

  it("keeps its key file elsewhere if asked, and is locked without it", async () => {
    const keyFile = join(folder, "elsewhere");
    const path = join(folder, "state");
    await writeOne(path, { keyFile });
    expect(await readdir(path)).not.toContain("store.key");
    expect(await readOne(path, { keyFile })).toBe("1");
    await expect(openStore(path)).rejects.toEqual(code("store-locked"));
    await expect(openStore(path, { passphrase: "p" })).rejects.toEqual(code("store-locked"));
    await chmod(keyFile, 0o640);
    await expect(openStore(path, { keyFile })).rejects.toEqual(code("store-locked"));
    await chmod(keyFile, 0o600);
    await writeFile(keyFile, new Uint8Array(32));
    await expect(openStore(path, { keyFile })).rejects.toEqual(code("store-locked"));
    await writeFile(keyFile, new Uint8Array(31));
    await expect(openStore(path, { keyFile })).rejects.toEqual(code("store-locked"));
    await rm(keyFile);
    await expect(openStore(path, { keyFile })).rejects.toEqual(code("store-locked"));
    expect(await readdir(folder)).toEqual(["state"]);
  });

  it.each([
    ["", "store-damaged"],
    ["{", "store-damaged"],
    ["null", "store-damaged"],
    ['{"format":1,"protection":"key-file"}', "store-damaged"],
    ['{"format":1,"protection":"other","check":""}', "store-damaged"],
    ['{"format":1,"protection":"key-file","check":"!"}', "store-locked"],
    ['{"format":2}', "store-outdated"],
  ] as const)("says what is wrong with the header %j", async (header, expected) => {
    await writeOne(folder);
    await writeFile(join(folder, "store.json"), header);
    await expect(openStore(folder)).rejects.toEqual(code(expected));
  });

  it("does not run a header's absurd number of rounds", async () => {
    await writeOne(folder, { passphrase: "p" });
    const path = join(folder, "store.json");
    const header = JSON.parse(await readFile(path, "utf8"));
    for (const iterations of [0, 1e12]) {
      await writeFile(path, JSON.stringify({ ...header, iterations }));
      await expect(openStore(folder, { passphrase: "p" })).rejects.toEqual(code("store-damaged"));
    }
  });

  it("does not touch what a newer version wrote", async () => {
    await writeOne(folder);
    const path = await fileOf(folder, "alice");
    const env = lmdb.open({ path, noSubdir: true, overlappingSync: false, maxDbs: 4 });
    await env.openDB<string, string>({ name: "meta", encoding: "string" }).put("format", "2");
    await env.close();
    const store = await openStore(folder);
    await expect(store.open("alice")).rejects.toEqual(code("store-outdated"));
    await expect(store.open("alice")).rejects.toEqual(code("store-outdated"));
    await (await store.open("bob")).close();
  });

  it("says which file is damaged inside, and what to do about it", async () => {
    const session = await (await openStore(folder)).open("alice");
    for (let i = 0; i < 200; i++) await session.write([{ put: `a/${i}`, value: new Uint8Array(200) }]);
    await session.close();
    const path = await fileOf(folder, "alice");
    const bytes = await readFile(path);
    // Whole but for its pages of data.
    await writeFile(path, bytes.fill(0, 2 * 4096));
    const opening = await (await openStore(folder)).open("alice").catch((error) => error);
    expect(opening).toEqual(code("store-damaged"));
    expect(opening.message).toContain(`${path} is damaged inside`);
    await expect((await openStore(folder)).open("alice")).rejects.toEqual(code("store-damaged"));
  });

  it("refuses what is no folder, and arguments that make no sense", async () => {
    const file = join(folder, "file");
    await writeFile(file, "");
    const unusable = await openStore(file).catch((error) => error);
    expect(unusable).toEqual(code("store-failed"));
    expect(unusable.message).toContain(file);
    await expect(openStore("")).rejects.toEqual(code("invalid-argument"));
    await expect(openStore(folder, { passphrase: "" })).rejects.toEqual(code("invalid-argument"));
    // It would be protected by a key file, and nobody would notice.
    const misspelt = { passPhrase: "p" } as object;
    await expect(openStore(folder, misspelt)).rejects.toEqual(code("invalid-argument"));
    await expect(openStore(folder, null as never)).rejects.toEqual(code("invalid-argument"));
    // As from an environment variable that is not set.
    const unset = { passphrase: undefined } as unknown as { passphrase: string };
    await expect(openStore(folder, unset)).rejects.toEqual(code("invalid-argument"));
    const both = { passphrase: "p", keyFile: "k" };
    await expect(openStore(folder, both)).rejects.toEqual(code("invalid-argument"));
  });

  it("knows a folder by any of its paths", async () => {
    const path = join(folder, "state");
    const session = await (await openStore(path)).open("alice");
    await symlink(path, join(folder, "link"));
    const other = await openStore(join(folder, "link"));
    const named = expect.stringContaining(await realpath(path));
    await expect(other.open("alice")).rejects.toMatchObject({ code: "store-in-use", message: named });
    await session.close();
    await (await other.open("alice")).close();
  });

  it("refuses what another copy of the package has open in this thread, without a look into its database", async () => {
    const session = await (await openStore(folder)).open("alice");
    // Who looked would find nobody there; and while the other writes, would never come back.
    const path = await fileOf(folder, "alice");
    const env = lmdb.open({ path, noSubdir: true, overlappingSync: false, maxDbs: 4, encoding: "binary" });
    await env.openDB<string, string>({ name: "meta", encoding: "string" }).remove("holder");
    await env.close();
    vi.resetModules();
    const copy: typeof import("../../../src/node.js") = await import("../../../src/node.js");
    expect(copy.openStore).not.toBe(openStore);
    await expect((await copy.openStore(folder)).open("alice")).rejects.toEqual(code("store-in-use"));
    await session.write([{ put: "message/1", value: toUtf8("still the owner") }]);
    await session.close();
    await (await (await copy.openStore(folder)).open("alice")).close();
  });

  it("holds neither values nor keys in its files, and a search that would find them finds a canary", async () => {
    const { privateKey } = await generateSignatureKeyPair({ extractable: true });
    const pkcs8 = await exportSignaturePrivateKey(privateKey);
    const scalar = pkcs8.subarray(36, 68);
    const value = toUtf8("the plaintext nobody may find");
    const storeKey = async () => readFile(join(folder, "store.key"));
    const session = await (await openStore(folder)).open("alice@wss://relay.example");
    await session.write([
      { put: "message/1", value },
      { putKey: "device", privateKey },
    ]);
    await session.write([{ delete: "message/1" }]);
    await session.close();
    expect(await search(folder, value)).toEqual([]);
    expect(await search(folder, scalar)).toEqual([]);
    expect(await search(folder, toUtf8("alice"))).toEqual([]);
    expect(await search(folder, await storeKey())).toEqual(["store.key"]);
    const file = await fileOf("", "alice@wss://relay.example");
    for (const written of [scalar, toUtf8(toHex(scalar)), toUtf8(Buffer.from(scalar).toString("base64"))]) {
      await reach(folder, "alice@wss://relay.example", (values) => values.put("canary", written));
      expect(await search(folder, scalar)).toEqual([file]);
    }
  });
});

/** The files of a folder that hold these bytes: raw, in hex, or in base64 at any offset. */
async function search(folder: string, needle: Uint8Array): Promise<string[]> {
  const raw = Buffer.from(needle);
  const shifted = [0, 1, 2].map((offset) => {
    const encoded = Buffer.concat([Buffer.alloc(offset), raw]).toString("base64");
    // Without the digits that bytes before or after it have a part in.
    return encoded.slice(Math.ceil((offset * 4) / 3), Math.floor(((offset + raw.length) * 4) / 3));
  });
  const forms = [raw, raw.toString("hex"), raw.toString("hex").toUpperCase(), ...shifted];
  const urls = shifted.map((text) => text.replaceAll("+", "-").replaceAll("/", "_"));
  const found: string[] = [];
  for (const file of (await readdir(folder)).sort()) {
    const content = await readFile(join(folder, file));
    if ([...forms, ...urls].some((form) => content.includes(form))) found.push(file);
  }
  return found;
}

describe("another process", () => {
  let script: string;
  let folder: string;
  const writers: Writer[] = [];
  beforeAll(async () => {
    script = await buildWriter();
  });
  afterAll(removeWriter);
  beforeEach(async () => {
    folder = await newFolder();
  });
  afterEach(async () => {
    for (const writer of writers.splice(0)) await writer.kill();
    await rm(folder, { recursive: true, force: true });
  });

  function start(mode: "hold" | "write", name = "alice"): Writer {
    const writer = startWriter(script, mode, folder, name);
    writers.push(writer);
    return writer;
  }

  it("has the store to itself while it runs, even frozen, and lets go when killed", async () => {
    const holder = start("hold");
    await holder.line((line) => line === "open");
    const store = await openStore(folder);
    await expect(store.open("alice")).rejects.toEqual(code("store-in-use"));
    const second = start("hold");
    expect(await second.line((line) => line !== "")).toBe("failed store-in-use");
    await (await store.open("bob")).close();
    holder.freeze();
    await expect(store.open("alice")).rejects.toEqual(code("store-in-use"));
    await holder.kill();
    const session = await store.open("alice");
    const third = start("hold");
    expect(await third.line((line) => line !== "")).toBe("failed store-in-use");
    await session.close();
  });

  it("that was killed while it wrote has left every acknowledged write, whole", async () => {
    for (let round = 0; round < 3; round++) {
      const writer = start("write");
      await writer.line((line) => line.startsWith("done") && Number(line.slice(5)) >= 40 * (round + 1));
      await writer.kill();
      const done = writer.lines
        .filter((line) => line.startsWith("done"))
        .map((line) => Number(line.slice(5)));
      expect(done.length).toBeGreaterThan(40);
      const session = await (await openStore(folder)).open("alice");
      const one = await session.list("one/");
      const two = await session.list("two/");
      // Halves of one write stand or fall together.
      expect(two.map(([key, value]) => [key.replace("two", "one"), value])).toEqual(one);
      const stored = new Set(one.map(([key]) => Number(key.slice(4))));
      expect(done.filter((i) => !stored.has(i))).toEqual([]);
      // In order and without a gap.
      expect(stored.size).toBe(Math.max(...stored) + 1);
      expect(Number(new TextDecoder().decode(await session.get("last")))).toBe(Math.max(...stored));
      await session.write([{ deletePrefix: "" }]);
      await session.close();
    }
  });
});
