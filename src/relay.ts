/** The relay: `import { Relay } from "subrosa/relay"`. Node only. */
export { type ErrorCode, SubrosaError } from "./base/errors.js";
export type { GroupReference, ListPage, RelayGroup, RelayUser } from "./relay/administration.js";
export type {
  AccountKeyHook,
  AccountKeyRequest,
  AuthenticateHook,
  Login,
  LoginRequest,
} from "./relay/authentication.js";
export type { ChannelAccess, ChannelHook, DataHook, WrittenData } from "./relay/channels.js";
export { type ConformanceCase, type OpenedStorage, relayStorageConformance } from "./relay/conformance.js";
export type { FrameHook, FrameInfo } from "./relay/core.js";
export { backupLmdb, openLmdbStorage, openMemoryStorage } from "./relay/embedded/open.js";
export { DEFAULT_LIMITS, type RelayLimits } from "./relay/limits.js";
export type { LogRecord, LogSink } from "./relay/operation/log.js";
export type { RelayOptions } from "./relay/options.js";
export { openRedisStorage, type RedisOptions } from "./relay/redis/open.js";
export { Relay } from "./relay/server.js";
export type * from "./relay/storage.js";
