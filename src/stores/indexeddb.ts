import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import type { Clock } from "../base/clock.js";
import { SubrosaError } from "../base/errors.js";
import { generateStoreKey } from "../crypto/aead.js";
import { checkName, endOfPrefix, type Records, Space } from "./records.js";
import { structuredCloneSealing } from "./sealing.js";
import { RecordSession, storeError } from "./session.js";
import type { Store, StoreSession } from "./store.js";
import { stealTabLock, takeTabLock } from "./tab-lock.js";

export interface IndexedDbStoreOptions {
  /** Milliseconds to wait for another tab that may be about to go, such as this page before a reload; default 2,000. */
  readonly patience?: number;
  readonly clock?: Clock;
  /** Whether the store is taken from a tab that has it open: for whoever has seen to it that this one may. Default: false. */
  readonly takeOver?: boolean;
}

/** Version of the layout below; a database with a greater one is `store-outdated` to us. */
const VERSION = 1;

interface Schema extends DBSchema {
  /** `owner`: number of the last open; `key`: the AES key of the values, non-extractable. */
  meta: { key: "owner" | "key"; value: number | CryptoKey };
  /** Sealed values. */
  values: { key: string; value: Uint8Array };
  /** Private keys, non-extractable. */
  keys: { key: string; value: CryptoKey };
}

type Database = IDBPDatabase<Schema>;
const ALL_STORES = ["meta", "values", "keys"] as const;

/**
 * A store in this browser: one IndexedDB database per name. Values are encrypted under a non-extractable key that
 * stands in the same database, private keys are non-extractable `CryptoKey`s. A client without the `store` option has
 * this store and shares it with the user's other tabs. One that is passed it has it for itself: a second tab gets
 * `store-in-use` by a Web Lock; where there are none it takes over, and what the first tab writes then is refused.
 */
export function indexedDbStore(options: IndexedDbStoreOptions = {}): Store {
  return {
    async open(name, { signal } = {}) {
      checkName(name);
      assertNotAborted(signal);
      const { patience = 2_000, clock, takeOver = false } = options;
      const lock = `subrosa:${name}`;
      const release = takeOver
        ? await stealTabLock(lock)
        : await takeTabLock(lock, { patience, clock, signal });
      try {
        assertNotAborted(signal);
        if (release === undefined) throw inUse();
        return await openSession(name, release, { signal, takeOver });
      } catch (error) {
        release?.();
        throw storeError(error, "cannot open the database of this browser");
      }
    },
  };
}

/** What browsers answer where the page may store nothing: private windows, blocked cookies, sandboxed frames. */
const REFUSALS = ["SecurityError", "InvalidStateError", "NotAllowedError"];

/** The page may not use IndexedDB. */
export function storageRefused(cause?: unknown): SubrosaError {
  return new SubrosaError(
    "storage-refused",
    "this browser does not let the page store anything (a private window, blocked cookies, a sandboxed frame): pass `store: memoryStore()` to keep nothing beyond this page",
    { cause },
  );
}

async function openSession(
  name: string,
  release: () => void,
  { signal, takeOver }: { signal: AbortSignal | undefined; takeOver: boolean },
): Promise<StoreSession> {
  let session: RecordSession | undefined;
  let gone: SubrosaError | undefined;
  const lose = (error: SubrosaError) => {
    gone ??= error;
    session?.lose(error);
  };
  const database = await openDatabase(`subrosa:${name}`, lose).catch((error: unknown): never => {
    throw REFUSALS.includes(nameOf(error)) ? storageRefused(error) : error;
  });
  try {
    const storeKey = ((await database.get("meta", "key")) ?? (await generateStoreKey())) as CryptoKey;
    assertNotAborted(signal);
    const opened = await claim(database, storeKey);
    const { records, abort } = databaseRecords(database, opened.owner, () => {
      stopListening();
      release();
    });
    // A frozen page would keep its transaction open, and with it the next owner out, for about a minute.
    const freeze = () => {
      abort();
      lose(inUse());
    };
    const stopListening = takeOver ? onFreeze(freeze) : () => {};
    const sealing = structuredCloneSealing(name, opened.storeKey);
    if (gone !== undefined) throw gone;
    session = new RecordSession({ ...opened, records, sealing });
    return session;
  } catch (error) {
    database.close();
    throw error;
  }
}

function openDatabase(name: string, lose: (error: SubrosaError) => void): Promise<Database> {
  return new Promise((resolve, reject) => {
    let refused = false;
    const refuse = (error: unknown) => {
      refused = true;
      reject(error);
    };
    const opening = openDB<Schema>(name, VERSION, {
      upgrade(database) {
        for (const store of ALL_STORES) database.createObjectStore(store);
      },
      // Others were asked to let go and did not: a tab with another version of this package, or a deletion.
      blocked: () => refuse(inUse()),
      blocking(_current, wanted, event) {
        (event.target as IDBDatabase).close();
        lose(
          wanted === null
            ? new SubrosaError("store-failed", "the database was deleted")
            : new SubrosaError("store-outdated", "another tab brings a newer version of this package"),
        );
      },
      terminated: () => lose(new SubrosaError("store-failed", "the browser closed the database")),
    });
    opening.then(
      (database) => (refused ? database.close() : resolve(database)),
      (error) => {
        refuse(
          nameOf(error) === "VersionError"
            ? new SubrosaError("store-outdated", "a newer version of this package wrote this store", {
                cause: error,
              })
            : error,
        );
      },
    );
  });
}

/** Makes us the owner. Another tab may have stored its key since ours was made; then theirs counts. */
async function claim(
  database: Database,
  newKey: CryptoKey,
): Promise<{ owner: number; firstUse: boolean; storeKey: CryptoKey }> {
  const transaction = database.transaction(ALL_STORES, "readwrite", { durability: "strict" });
  transaction.done.catch(() => {}); // Awaited below, but not before the requests have been made.
  const meta = transaction.objectStore("meta");
  const [lastOwner, storedKey, values, keys] = await Promise.all([
    meta.get("owner"),
    meta.get("key"),
    transaction.objectStore("values").count(),
    transaction.objectStore("keys").count(),
  ]);
  const owner = ((lastOwner as number | undefined) ?? 0) + 1;
  const storeKey = (storedKey as CryptoKey | undefined) ?? newKey;
  const writes = [meta.put(owner, "owner"), meta.put(storeKey, "key")];
  await Promise.all([...writes, transaction.done]);
  return { owner, firstUse: values === 0 && keys === 0, storeKey };
}

function onFreeze(listener: () => void): () => void {
  const { document } = globalThis as { document?: Partial<EventTarget> };
  document?.addEventListener?.("freeze", listener);
  return () => document?.removeEventListener?.("freeze", listener);
}

function databaseRecords(
  database: Database,
  owner: number,
  release: () => void,
): { records: Records; abort: () => void } {
  let active: { abort(): void } | undefined;
  let aborted = false;
  const abort = () => {
    aborted = true;
    try {
      active?.abort();
    } catch {} // It has ended, or is about to: well or not, that says itself.
  };
  const records: Records = {
    read: (space, key) => database.get(space === Space.values ? "values" : "keys", key),
    async range({ lower, lowerOpen, upper, limit, reverse }) {
      const range = IDBKeyRange.bound(lower, upper, lowerOpen, true);
      const store = database.transaction("values").store;
      if (!reverse) {
        const count = Number.isFinite(limit) ? Math.min(limit, 2 ** 32 - 1) : undefined;
        const [keys, values] = await Promise.all([
          store.getAllKeys(range, count),
          store.getAll(range, count),
        ]);
        return keys.map((key, i): [string, unknown] => [key, values[i]]);
      }
      const found: [string, unknown][] = [];
      let cursor = await store.openCursor(range, "prev");
      while (cursor !== null && found.length < limit) {
        found.push([cursor.key, cursor.value]);
        cursor = found.length < limit ? await cursor.continue() : null;
      }
      return found;
    },
    async commit(changes) {
      if (aborted) throw inUse();
      const transaction = database.transaction(ALL_STORES, "readwrite", { durability: "strict" });
      const [values, keys] = [transaction.objectStore("values"), transaction.objectStore("keys")];
      active = transaction;
      transaction.done.catch(() => {}); // Awaited below, but not before the requests have been made.
      if ((await transaction.objectStore("meta").get("owner")) !== owner) {
        transaction.abort();
        throw inUse();
      }
      const requests: Promise<unknown>[] = [];
      try {
        for (const change of changes) {
          if (change.kind === "put" && change.space === Space.values) {
            requests.push(values.put(change.record as Uint8Array, change.key));
          } else if (change.kind === "put") {
            requests.push(keys.put(change.record as CryptoKey, change.key));
          } else {
            const range =
              change.kind === "delete"
                ? change.key
                : IDBKeyRange.bound(change.prefix, endOfPrefix(change.prefix), false, true);
            requests.push(values.delete(range), keys.delete(range));
          }
        }
      } catch (error) {
        // A request that cannot even be made does not abort the ones before it by itself.
        for (const request of requests) request.catch(() => {});
        transaction.abort();
        throw error;
      }
      try {
        await Promise.all([...requests, transaction.done]);
      } catch (error) {
        // A request says only that it was aborted; why, the transaction knows.
        const reason: unknown = await transaction.done.catch((ended: unknown) => ended);
        throw nameOf(reason) === "QuotaExceededError" ? reason : error;
      }
    },
    async close() {
      database.close();
      release();
    },
  };
  return { records, abort };
}

function nameOf(error: unknown): string {
  return String((error as { name?: unknown } | null)?.name);
}

function inUse(): SubrosaError {
  return new SubrosaError("store-in-use", "another tab has this store open");
}

function assertNotAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new SubrosaError("aborted", "opening the store was aborted");
}
