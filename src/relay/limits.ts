import { SubrosaError } from "../base/errors.js";
import { DEFAULT_MAX_FRAME_BYTES, FRAME_OVERHEAD_BYTES } from "../wire/protocol.js";

/**
 * What one relay bears. Every limit is an option of the relay; the defaults suit one machine on the internet.
 * `Infinity` takes a limit away. What is counted by user or address is counted by each node for itself, in memory.
 * An address is an IPv4 address or the /64 of an IPv6 address; behind a proxy see `trustProxy`.
 */
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
  /** The same for all connections of one user together; beyond it the relay reads from them more slowly. */
  readonly userFramesPerSecond: number;
  readonly userFrameBurst: number;
  readonly userBytesPerSecond: number;
  readonly userByteBurst: number;
  /** The same for all connections from one address together. */
  readonly addressFramesPerSecond: number;
  readonly addressFrameBurst: number;
  readonly addressBytesPerSecond: number;
  readonly addressByteBurst: number;
  /** Requests of one connection that are worked on at once; beyond it the relay stops reading from it. */
  readonly maxInFlight: number;
  /**
   * Bytes that may wait for one reader; more close its connection with 4410. Entries are held back at half of it
   * until the reader has taken what waits; one that takes nothing for so many milliseconds is closed with 4410 too.
   */
  readonly maxQueuedBytes: number;
  readonly slowReaderTimeout: number;
  /** Entries and bytes that may wait in one device's inbox. */
  readonly maxInboxEntries: number;
  readonly maxInboxBytes: number;
  /** Join requests that may wait for one group, beside those of its own devices, and the size of each in bytes. */
  readonly maxRequests: number;
  readonly maxRequestBytes: number;
  /** One-time key packages of one device, and the size of each in bytes. */
  readonly maxKeyPackages: number;
  readonly maxKeyPackageBytes: number;
  /** Groups that one device made and is in before it may create no more; those that others put it in do not count. */
  readonly maxGroups: number;
  /** Bytes of one group log; its oldest entries are dropped beyond it. */
  readonly maxLogBytes: number;
  /** Bytes of one blob (an attachment, encrypted); blobs of one user, and bytes of them together. 0 forbids them. */
  readonly maxBlobBytes: number;
  readonly maxBlobs: number;
  readonly maxUserBlobBytes: number;
  /** Milliseconds after which an upload is dropped to which nothing came. Finished blobs are kept for `retention`. */
  readonly uploadTimeout: number;
  /**
   * Signals (typing, presence): the size of each in bytes, and how many one device, and all members of one group, may
   * send in a second and at once; more are dropped without a word.
   */
  readonly maxSignalBytes: number;
  readonly signalsPerSecond: number;
  readonly signalBurst: number;
  readonly groupSignalsPerSecond: number;
  readonly groupSignalBurst: number;
  /** Unencrypted channels that one session may subscribe to; 0 forbids channels. */
  readonly maxChannels: number;
  /**
   * Unencrypted data: bytes that may be written or published at once (more: `too-large`), and how often in a second
   * and at once one session may write, publish or subscribe (more: `rate-limited`).
   */
  readonly maxDataBytes: number;
  readonly dataPerSecond: number;
  readonly dataBurst: number;
  /**
   * Bytes that one user may append to logs at once, with a few hundred more for each entry; more is refused as
   * `quota-exceeded`. They come back in the course of {@link retention}, after which what was appended is gone, so
   * that no user fills more than twice as much. All users of one address together: {@link addressFactor} times as much.
   */
  readonly maxUserBytes: number;
  /** Users that one user may block. */
  readonly maxBlocked: number;
  /**
   * What one user may do in an hour, all at once if need be; more is refused as `rate-limited`: asking for users'
   * key packages, asking to join groups, adding devices of people it shares nothing with, beginning direct
   * conversations, making groups, claiming names for them, and asking for a page of an open directory. All users of one address together may do
   * {@link addressFactor} times as much.
   */
  readonly keyPackageFetchesPerHour: number;
  readonly joinRequestsPerHour: number;
  readonly invitationsPerHour: number;
  readonly firstContactsPerHour: number;
  readonly groupCreationsPerHour: number;
  readonly nameClaimsPerHour: number;
  readonly directoryPagesPerHour: number;
  readonly addressFactor: number;
  /**
   * How often in an hour one user's one-time key packages are handed out, to all and to one same user; whoever asks
   * beyond that gets its last resort, so that nobody can use up another's.
   */
  readonly oneTimePackagesPerHour: number;
  readonly oneTimePackagesPerPair: number;
  /**
   * User ids that register in an hour from one address (more: `rate-limited`), and connections that failed to
   * authenticate, malformed first frames among them (more: 4429, before they are heard).
   */
  readonly registrationsPerHour: number;
  readonly failedAuthenticationsPerHour: number;
  /** Users and addresses that are remembered for all this; beyond it those seen least lately are forgotten. */
  readonly maxTracked: number;
  /** Milliseconds a connection to the relay's own server has to finish the WebSocket's handshake. */
  readonly upgradeTimeout: number;
  /** Milliseconds a connection has to authenticate; then 4408. */
  readonly authenticationTimeout: number;
  /** Connections in all, and those of them that have not authenticated; more are closed with 4429. */
  readonly maxConnections: number;
  readonly maxUnauthenticated: number;
  /** The same for one address. */
  readonly maxConnectionsPerAddress: number;
  readonly maxUnauthenticatedPerAddress: number;
  /** Sessions of one user; more are closed with 4429. */
  readonly maxConnectionsPerUser: number;
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
  userFramesPerSecond: 2000,
  userFrameBurst: 4000,
  userBytesPerSecond: 16 * 1024 * 1024,
  userByteBurst: 64 * 1024 * 1024,
  addressFramesPerSecond: 20_000,
  addressFrameBurst: 40_000,
  addressBytesPerSecond: 64 * 1024 * 1024,
  addressByteBurst: 256 * 1024 * 1024,
  maxInFlight: 64,
  maxQueuedBytes: 8 * 1024 * 1024,
  slowReaderTimeout: 60_000,
  maxInboxEntries: 10_000,
  maxInboxBytes: 16 * 1024 * 1024,
  maxRequests: 100,
  maxRequestBytes: 32 * 1024,
  maxKeyPackages: 100,
  maxKeyPackageBytes: 16 * 1024,
  maxGroups: 1000,
  maxLogBytes: 256 * 1024 * 1024,
  maxBlobBytes: 1024 * 1024 * 1024,
  maxBlobs: 1000,
  maxUserBlobBytes: 4 * 1024 * 1024 * 1024,
  uploadTimeout: 60 * 60 * 1000,
  maxSignalBytes: 1024,
  signalsPerSecond: 20,
  signalBurst: 100,
  groupSignalsPerSecond: 100,
  groupSignalBurst: 200,
  maxChannels: 50,
  maxDataBytes: 16 * 1024,
  dataPerSecond: 50,
  dataBurst: 100,
  maxUserBytes: 4 * 1024 * 1024 * 1024,
  maxBlocked: 1000,
  keyPackageFetchesPerHour: 2000,
  joinRequestsPerHour: 300,
  invitationsPerHour: 2000,
  firstContactsPerHour: 300,
  groupCreationsPerHour: 300,
  nameClaimsPerHour: 100,
  directoryPagesPerHour: 5000,
  addressFactor: 10,
  oneTimePackagesPerHour: 200,
  oneTimePackagesPerPair: 20,
  registrationsPerHour: 1000,
  failedAuthenticationsPerHour: 300,
  maxTracked: 100_000,
  upgradeTimeout: 5000,
  authenticationTimeout: 10_000,
  maxConnections: 10_000,
  maxUnauthenticated: 1000,
  maxConnectionsPerAddress: 1000,
  maxUnauthenticatedPerAddress: 100,
  maxConnectionsPerUser: 50,
  retention: 30 * DAY,
  maintenanceInterval: 60_000,
  maintenanceBatch: 500,
  heartbeatInterval: 30_000,
};

/** What the relay waits for with a timer; none waits longer than 24 days. */
const TIMED = [
  "slowReaderTimeout",
  "upgradeTimeout",
  "authenticationTimeout",
  "maintenanceInterval",
  "heartbeatInterval",
];
const MAX_TIMER = 2 ** 31 - 1;

/** The defaults with what is given; throws `invalid-argument` for a name that is no limit or a value that is none. */
export function completeLimits(given: Partial<RelayLimits> = {}): RelayLimits {
  for (const [name, value] of Object.entries(given)) {
    const known = Object.hasOwn(DEFAULT_LIMITS, name);
    if (!known) throw new SubrosaError("invalid-argument", `limits: there is no limit ${name}`);
    if (value === undefined) continue;
    // Zero forbids: for rates, and for what is counted.
    if (typeof value !== "number" || Number.isNaN(value) || value < 0)
      throw new SubrosaError("invalid-argument", `limits.${name}: a number, 0 or more`);
  }
  const defined = Object.entries(given)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [name, TIMED.includes(name) ? Math.min(value, MAX_TIMER) : value]);
  return { ...DEFAULT_LIMITS, ...(Object.fromEntries(defined) as Partial<RelayLimits>) };
}

/** The most that payload, access changes and welcome of one entry may take together, in bytes. */
export function maxEntryBytes(limits: RelayLimits): number {
  return limits.maxFrameBytes - FRAME_OVERHEAD_BYTES;
}
