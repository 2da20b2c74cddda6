import { indexedDbStore } from "./indexeddb.js";
import { memoryStore } from "./memory.js";
import type { Store } from "./store.js";

/** The store of a client that was given none: this browser's IndexedDB, else memory. Asked for when it is opened. */
export function defaultStore(): Store {
  let store: Store | undefined;
  return {
    open(name, options) {
      store ??= typeof indexedDB === "undefined" ? memoryStore() : indexedDbStore();
      return store.open(name, options);
    },
  };
}
