import { describe, expect, it } from "vitest";
import { openMemoryStorage, type RelayStorage, relayStorageConformance } from "../../../src/relay.js";

/** The names of the cases that a storage fails whose methods were changed like this. */
async function failing(change: (storage: RelayStorage) => Partial<RelayStorage>): Promise<string[]> {
  const cases = await relayStorageConformance(async () => {
    const storage = openMemoryStorage();
    const changed = change(storage);
    const get = (target: RelayStorage, name: keyof RelayStorage) => {
      const method = changed[name] ?? target[name];
      return typeof method === "function" ? method.bind(target) : method;
    };
    return {
      storage: new Proxy(storage, { get: get as never }),
      dispose: () => storage.close(),
    };
  });
  const failed: string[] = [];
  for (const one of cases) await one.run().catch(() => failed.push(one.name));
  return failed;
}

describe("relayStorageConformance", () => {
  it("finds nothing wrong with a storage that does what it must", async () => {
    expect(await failing(() => ({}))).toEqual([]);
  });

  it("finds a storage that keeps key packages it has handed out, forgets acks, or takes an entry id again", async () => {
    const [packages, acks, ids] = await Promise.all([
      failing((storage) => ({
        takeKeyPackages: async (userId, now) => {
          const taken = await storage.takeKeyPackages(userId, now);
          for (const { deviceId, keyPackage } of taken.devices) {
            const oneTime = [{ notAfter: now / 1000 + 1, keyPackage }];
            await storage.publishKeyPackages({ deviceId, oneTime, maxKeyPackages: 100, now });
          }
          return taken;
        },
      })),
      failing(() => ({ ack: async () => {} })),
      failing((storage) => ({
        append: (command) => {
          const content = { ...command.entry.content, entryId: crypto.getRandomValues(new Uint8Array(16)) };
          return storage.append({ ...command, entry: { ...command.entry, content } });
        },
      })),
    ]);
    expect(packages).toContainEqual(expect.stringContaining("holds a key package once"));
    expect(acks).toContainEqual(expect.stringContaining("an inbox drops what was acked"));
    expect(ids).toContainEqual(expect.stringContaining("answer an entry id again"));
  });
});
