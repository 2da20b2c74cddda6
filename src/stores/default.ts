import { indexedDbStore, storageRefused } from "./indexeddb.js";
import { memoryStore } from "./memory.js";
import type { Store } from "./store.js";

/** The store of a client that was given none: this browser's IndexedDB, else memory. Asked for when it is opened. */
export function defaultStore(): Store {
  let store: Store | undefined;
  return {
    async open(name, options) {
      store ??= hasIndexedDb() ? indexedDbStore() : memoryStore();
      return store.open(name, options);
    },
  };
}

/** Throws `storage-refused` where there is IndexedDB, but not for this page: a user's data never goes to memory unasked. */
export function hasIndexedDb(): boolean {
  try {
    if (typeof indexedDB === "undefined") return false;
    if (indexedDB !== null) return true;
  } catch (error) {
    throw storageRefused(error);
  }
  throw storageRefused();
}
