export { type NodeStoreOptions, openStore } from "./stores/node-lmdb.js";
export type { Change, ListOptions, Store, StoreSession } from "./stores/store.js";
