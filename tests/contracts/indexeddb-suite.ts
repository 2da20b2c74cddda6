import { deleteDB, openDB } from "idb";
import { afterEach, describe, expect, it } from "vitest";
import { toUtf8 } from "../../src/base/encoding.js";
import type { SubrosaError } from "../../src/base/errors.js";
import { defaultStore } from "../../src/stores/default.js";
import { indexedDbStore } from "../../src/stores/indexeddb.js";
import type { StoreSession } from "../../src/stores/store.js";

const value = toUtf8("value");
const code = (expected: SubrosaError["code"]) => expect.objectContaining({ code: expected });
let count = 0;
const freshName = () => `test ${Date.now()} own ${count++}`;

/** What the IndexedDB store does beyond the contract of all stores. `terminate` closes a database as a browser may. */
export function indexedDbSuite(terminate: (database: IDBDatabase) => void): void {
  describe("the IndexedDB store", () => {
    const store = indexedDbStore({ patience: 1 });
    const open: StoreSession[] = [];
    afterEach(async () => {
      for (const session of open.splice(0)) await session.close();
    });

    async function openIt(name: string): Promise<[StoreSession, Promise<SubrosaError>]> {
      const session = await store.open(name);
      open.push(session);
      return [session, new Promise((resolve) => session.onLost(resolve))];
    }

    it("makes way for a newer version in another tab, and says so", async () => {
      const name = freshName();
      const [session, lost] = await openIt(name);
      await session.write([{ put: "a", value }]);
      const newer = await openDB(`subrosa:${name}`, 2);
      expect(await lost).toEqual(code("store-outdated"));
      await expect(session.write([{ put: "a", value }])).rejects.toEqual(code("store-outdated"));
      newer.close();
      await session.close();
      await expect(store.open(name)).rejects.toEqual(code("store-outdated"));
    });

    it("makes way for a deletion, and says so", async () => {
      const name = freshName();
      const [session, lost] = await openIt(name);
      await session.write([{ put: "a", value }]);
      await deleteDB(`subrosa:${name}`);
      expect(await lost).toEqual(code("store-failed"));
      await expect(session.get("a")).rejects.toEqual(code("store-failed"));
      expect((await openIt(name))[0].firstUse).toBe(true);
    });

    it("reports a database that was closed under it", async () => {
      const name = freshName();
      const { transaction } = IDBDatabase.prototype;
      let raw: IDBDatabase | undefined;
      IDBDatabase.prototype.transaction = function (
        this: IDBDatabase,
        ...args: Parameters<typeof transaction>
      ) {
        raw = this;
        return transaction.apply(this, args);
      };
      const [session, lost] = await openIt(name).finally(() => {
        IDBDatabase.prototype.transaction = transaction;
      });
      terminate(raw as IDBDatabase);
      expect(await lost).toEqual(code("store-failed"));
      await expect(session.write([{ put: "a", value }])).rejects.toEqual(code("store-failed"));
      expect((await openIt(name))[0].owner).toBeGreaterThan(session.owner);
    });

    it("waits a moment for a tab that is about to go", async () => {
      const name = freshName();
      const [first] = await openIt(name);
      const second = indexedDbStore({ patience: 60_000 }).open(name);
      await first.write([{ put: "a", value }]);
      await first.close();
      const session = await second;
      open.push(session);
      expect(await session.get("a")).toEqual(value);
    });

    it("stops waiting when aborted", async () => {
      const name = freshName();
      await openIt(name);
      const controller = new AbortController();
      const second = indexedDbStore({ patience: 60_000 }).open(name, { signal: controller.signal });
      controller.abort();
      await expect(second).rejects.toEqual(code("aborted"));
    });

    it("keeps no value readable in the database, and no key that can be exported", async () => {
      const name = freshName();
      const [session] = await openIt(name);
      await session.write([{ put: "a", value: toUtf8("canary in the coal mine") }]);
      await session.close();
      const database = await openDB(`subrosa:${name}`, 1);
      const stored = (await database.get("values", "a")) as Uint8Array;
      expect(stored.length).toBe(12 + 23 + 16);
      expect(new TextDecoder().decode(stored)).not.toContain("canary");
      const key = (await database.get("meta", "key")) as CryptoKey;
      expect([key.extractable, key.algorithm]).toEqual([false, { name: "AES-GCM", length: 256 }]);
      database.close();
    });

    it("is the default where there is IndexedDB", async () => {
      const name = freshName();
      const session = await defaultStore().open(name);
      await session.write([{ put: "a", value }]);
      await session.close();
      expect(await (await openIt(name))[0].get("a")).toEqual(value);
    });
  });
}
