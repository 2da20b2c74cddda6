import { DEFAULT_MAX_FRAME_BYTES, FRAME_OVERHEAD_BYTES } from "../wire/protocol.js";

/** What one relay bears. Every limit is an option of the relay; the defaults suit one machine on the internet. */
export interface RelayLimits {
  /** The largest frame in either direction, in bytes; larger ones close the connection with 1009. */
  readonly maxFrameBytes: number;
  /** The largest first frame, in bytes: what an unauthenticated connection can make the relay hold. */
  readonly maxAuthenticateBytes: number;
  /** Frames per second that are read from one connection, and how many may come at once before it counts. */
  readonly framesPerSecond: number;
  readonly frameBurst: number;
  /** Bytes per second that are read from one connection, and how many may come at once before it counts. */
  readonly bytesPerSecond: number;
  readonly byteBurst: number;
  /** Requests of one connection that are worked on at once; beyond it the relay stops reading from it. */
  readonly maxInFlight: number;
  /** Bytes that may wait for one reader; more close its connection with 4410. */
  readonly maxQueuedBytes: number;
  /** Entries and bytes that may wait in one device's inbox. */
  readonly maxInboxEntries: number;
  readonly maxInboxBytes: number;
  /** Join requests that may wait for one group, and the size of each in bytes. */
  readonly maxRequests: number;
  readonly maxRequestBytes: number;
  /** One-time key packages of one device, and the size of each in bytes. */
  readonly maxKeyPackages: number;
  readonly maxKeyPackageBytes: number;
  /** Groups that one device is in before it may create no more. */
  readonly maxGroups: number;
  /** Bytes of one group log; its oldest entries are dropped beyond it. */
  readonly maxLogBytes: number;
  /** Milliseconds a connection has to authenticate; then 4408. */
  readonly authenticationTimeout: number;
  /** Connections in all, and those of them that have not authenticated; more are closed with 4429. */
  readonly maxConnections: number;
  readonly maxUnauthenticated: number;
  /** Milliseconds an entry is kept at most. */
  readonly retention: number;
  /** Milliseconds between two looks for what can be dropped, and how many entries one step drops at most. */
  readonly maintenanceInterval: number;
  readonly maintenanceBatch: number;
  /** Milliseconds after which a connection that answers no WebSocket ping is given up. */
  readonly heartbeatInterval: number;
}

const DAY = 24 * 60 * 60 * 1000;

export const DEFAULT_LIMITS: RelayLimits = {
  maxFrameBytes: DEFAULT_MAX_FRAME_BYTES,
  maxAuthenticateBytes: 64 * 1024,
  framesPerSecond: 1000,
  frameBurst: 2000,
  bytesPerSecond: 8 * 1024 * 1024,
  byteBurst: 32 * 1024 * 1024,
  maxInFlight: 64,
  maxQueuedBytes: 8 * 1024 * 1024,
  maxInboxEntries: 10_000,
  maxInboxBytes: 16 * 1024 * 1024,
  maxRequests: 100,
  maxRequestBytes: 32 * 1024,
  maxKeyPackages: 100,
  maxKeyPackageBytes: 16 * 1024,
  maxGroups: 1000,
  maxLogBytes: 256 * 1024 * 1024,
  authenticationTimeout: 10_000,
  maxConnections: 10_000,
  maxUnauthenticated: 1000,
  retention: 30 * DAY,
  maintenanceInterval: 60_000,
  maintenanceBatch: 500,
  heartbeatInterval: 30_000,
};

/** The most that payload, access changes and welcome of one entry may take together, in bytes. */
export function maxEntryBytes(limits: RelayLimits): number {
  return limits.maxFrameBytes - FRAME_OVERHEAD_BYTES;
}
