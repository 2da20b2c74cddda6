export { saveAttachment } from "./client/attachments/node-save.js";
export { type NodeStoreOptions, openStore } from "./stores/node-lmdb.js";
export type { Change, ListOptions, Store, StoreSession } from "./stores/store.js";
