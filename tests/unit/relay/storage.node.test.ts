import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { LmdbKv } from "../../../src/relay/embedded/lmdb-kv.js";
import { backupLmdb, openLmdbStorage, openMemoryStorage } from "../../../src/relay/embedded/open.js";
import type { RelayStorage } from "../../../src/relay/storage.js";
import type { Account } from "../../../src/wire/identity.js";
import { relayStorageSuite } from "../../contracts/relay-storage-suite.js";

describe("LMDB", () => {
  it("lets the last who opened a folder write, and nobody else", async () => {
    const folder = await mkdtemp(join(tmpdir(), "subrosa-relay-"));
    const account: Account = {
      userId: "alice",
      accountKey: new Uint8Array(65),
      deviceList: {
        list: { userId: "alice", version: 1, previous: new Uint8Array(32), devices: [] },
        signature: new Uint8Array(1),
      },
    };
    const deviceId = new Uint8Array(16);
    const devices = [{ deviceId, deviceKey: new Uint8Array(65) }];
    const listed = {
      ...account,
      deviceList: { ...account.deviceList, list: { ...account.deviceList.list, devices } },
    };
    const admit = (storage: RelayStorage, incarnation: number) =>
      storage.admit({ account: listed, deviceId, incarnation, incarnationTag: new Uint8Array(16), now: 0 });
    const one = await openLmdbStorage(folder);
    await admit(one, 1);
    await expect(openLmdbStorage(folder, { As: "guest" } as object)).rejects.toMatchObject({
      code: "invalid-argument",
    });
    const two = await openLmdbStorage(folder, { as: "successor" });
    await admit(two, 2);
    await expect(admit(one, 3)).rejects.toMatchObject({
      code: "store-failed",
      cause: { code: "store-in-use" },
    });
    await expect(admit(two, 1)).rejects.toMatchObject({ code: "store-outdated" });
    const operator = await openLmdbStorage(folder, { as: "guest" });
    expect(await operator.removeUser("alice")).toBe(true);
    expect(await two.account("alice")).toBeUndefined();
    await Promise.all([operator.close(), one.close(), two.close()]);
    await rm(folder, { recursive: true });
  });

  it("refuses a second owner while the first lives, and not one of a copy", async () => {
    const folder = await mkdtemp(join(tmpdir(), "subrosa-relay-"));
    const data = join(folder, "data");
    const first = await openLmdbStorage(data);
    const second = openLmdbStorage(data);
    await expect(second).rejects.toMatchObject({
      code: "store-in-use",
      message: expect.stringContaining(data),
    });
    await backupLmdb(data, join(folder, "copy"));
    const copy = await openLmdbStorage(join(folder, "copy"));
    await first.close();
    // Two that try at once: one of them has it.
    const tries = await Promise.allSettled([openLmdbStorage(data), openLmdbStorage(data)]);
    expect(tries.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    for (const one of tries) if (one.status === "fulfilled") await one.value.close();
    await copy.close();
    await rm(folder, { recursive: true });
  });

  it("answers nobody while it closes, and ends no process by what it is still asked", async () => {
    const folder = await mkdtemp(join(tmpdir(), "subrosa-relay-"));
    const kv = await LmdbKv.open(folder, "owner");
    await kv.write(new Map([["a", new Uint8Array(1)]]));
    const thrown: unknown[] = [];
    const note = (error: unknown) => void thrown.push(error);
    process.on("uncaughtException", note);
    const closed = kv.close();
    const late = [() => kv.get("a"), () => [...kv.range("a", "z")], () => kv.sizes()];
    for (const ask of late) expect(ask).toThrow(expect.objectContaining({ code: "closed" }));
    await closed;
    // LMDB gives up what it read with in the next turn.
    await new Promise((resolve) => setTimeout(resolve, 1));
    process.off("uncaughtException", note);
    expect(thrown).toEqual([]);
    await rm(folder, { recursive: true });
  });
});

relayStorageSuite("memory", async () => {
  const storage = openMemoryStorage();
  return { storage, dispose: () => storage.close() };
});

relayStorageSuite("LMDB", async () => {
  const folder = await mkdtemp(join(tmpdir(), "subrosa-relay-"));
  let storage = await openLmdbStorage(folder);
  return {
    storage,
    async reopen() {
      await storage.close();
      storage = await openLmdbStorage(folder);
      return storage;
    },
    async dispose() {
      await storage.close();
      await rm(folder, { recursive: true });
    },
  };
});
