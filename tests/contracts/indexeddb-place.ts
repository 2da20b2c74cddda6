import { type IDBPObjectStore, openDB } from "idb";
import { indexedDbStore } from "../../src/stores/indexeddb.js";
import type { Store } from "../../src/stores/store.js";
import type { DatabaseUnderTest } from "./store-suite.js";

let count = 0;

/** Fresh databases: names that no test used before, so that nothing needs to be deleted. */
export async function createIndexedDbPlace(): Promise<DatabaseUnderTest> {
  const prefix = `test ${Date.now()} ${count++} `;
  const within = (store: Store): Store => ({
    open: (name, options) =>
      store.open(typeof name === "string" && name !== "" ? prefix + name : name, options),
  });
  const store = indexedDbStore({ patience: 1 });
  async function reach<T>(
    name: string,
    work: (values: IDBPObjectStore<unknown, ["values"], "values", "readwrite">) => Promise<T>,
  ): Promise<T> {
    const database = await openDB(`subrosa:${prefix}${name}`, 1);
    const transaction = database.transaction("values", "readwrite");
    const result = await work(transaction.store);
    await transaction.done;
    database.close();
    return result;
  }
  return {
    store: within(store),
    rival: within({ open: (name, options) => withoutLocks(() => store.open(name, options)) }),
    read: (name, key) => reach(name, (values) => values.get(key)),
    async write(name, key, record) {
      await reach(name, (values) => values.put(record, key));
    },
    failPut(n, error) {
      const { prototype } = IDBObjectStore;
      const { put } = prototype;
      let left = n;
      prototype.put = function (this: IDBObjectStore, ...args: Parameters<typeof put>) {
        if (this.name !== "meta" && --left === 0) throw error;
        return put.apply(this, args);
      };
      return () => {
        prototype.put = put;
      };
    },
  };
}

/** As in a browser without Web Locks. */
async function withoutLocks<T>(work: () => Promise<T>): Promise<T> {
  if (typeof navigator === "undefined" || !navigator.locks) return work();
  const own = Object.getOwnPropertyDescriptor(navigator, "locks");
  Object.defineProperty(navigator, "locks", { value: undefined, configurable: true });
  try {
    return await work();
  } finally {
    delete (navigator as { locks?: unknown }).locks;
    if (own !== undefined) Object.defineProperty(navigator, "locks", own);
  }
}
