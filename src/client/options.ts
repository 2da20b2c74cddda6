import { assertOptions, type Names } from "../base/arguments.js";
import type { Clock } from "../base/clock.js";
import { assertArgument } from "../base/errors.js";
import type { Store } from "../stores/store.js";
import type { Connector } from "../transport/transport.js";
import type { WebSocketConstructor } from "../transport/websocket.js";
import { assertName } from "../wire/identifiers.js";
import type { TabPlatform } from "./tabs/platform.js";

/** What a client is made from. Only `url` and `userId` are required. */
export interface ClientOptions {
  /** The relay's address, `ws:` or `wss:`. */
  readonly url: string;
  /** This user's name at the relay: NFC, 1 to 128 bytes of UTF-8, no control characters. */
  readonly userId: string;
  /** What the relay's `authenticate` hook checks; a function is asked for each session. */
  readonly token?: string | (() => string | Promise<string>);
  /** Where state is kept. Default: IndexedDB in browsers, memory in Node (`openStore` of `subrosa/node` is durable). */
  readonly store?: Store;
  /** Whose messages get a receipt when they are stored here. Default: direct ones. */
  readonly ack?: { readonly direct?: boolean; readonly group?: boolean };
  /**
   * Whether sent and received messages are kept for {@link Client.history}; with `retention`, for so many milliseconds
   * from when they were sent or came, and up to six hours more. Default: false.
   */
  readonly history?: boolean | { readonly retention: number };
  /** Whether invitations by users marked as verified are accepted by themselves. Default: false. */
  readonly acceptFromVerified?: boolean;
  /**
   * Whether people with whom one shares a conversation are told that this user is there, and whether this client hears
   * it of others (`presence` events). Default: false. Who is blocked is not told, nor who shares only groups with one
   * who is.
   */
  readonly presence?: boolean;
  readonly limits?: ClientLimits;
  /** The WebSocket class; default: the platform's, in Node that of `ws`. */
  readonly WebSocket?: WebSocketConstructor;
}

export interface ClientLimits {
  /** The largest message in bytes; default 786,432. The relay's frame limit must leave room for an eighth more. */
  readonly maxMessageBytes?: number;
  /** How many messages may wait to be sent; default 10,000. */
  readonly maxOutbox?: number;
  /**
   * Milliseconds of silence after which the clients of a group's admins remove a member; default 28 days, before relays
   * drop what that member has not read. A device that is online is never silent for so long. `Infinity`: never.
   */
  readonly evictIdleAfter?: number;
  /**
   * How many bytes of what the relay sends may wait to be processed; default 16 MiB. Of a log that brings more the rest
   * is read later, from the place reached.
   */
  readonly maxUnprocessedBytes?: number;
  /**
   * How many own messages are kept to be sent again should the relay lose them, until all are known to have them or for
   * 30 days; default 10,000. Beyond that the oldest go of whom or which group there are most, a quarter at a time.
   */
  readonly maxKeptMessages?: number;
  /**
   * How many bytes these may take in the store, and how many what changed in groups, which is kept for the same; default
   * 64 MiB each. The newest change of each group stays.
   */
  readonly maxKeptBytes?: number;
  /** How many users of a relay with an open directory are followed; default 100,000. */
  readonly maxUsers?: number;
}

/** What a simulation takes the place of. Not part of the public interface. */
export interface Seams {
  readonly clock?: Clock;
  /** Random bytes for ids and tags; keys are never made of it. */
  readonly randomId?: (length: number) => Uint8Array<ArrayBuffer>;
  /** From 0 up to, not including, 1; for jitter. */
  readonly random?: () => number;
  readonly connector?: Connector;
  /** What tabs find each other by; the store must let one of them take it over from another. */
  readonly tabs?: TabPlatform;
}

export const DEFAULT_EVICT_IDLE_AFTER = 28 * 24 * 3600 * 1000;
export const DEFAULT_MAX_MESSAGE_BYTES = 768 * 1024;
/** How long calls that need the relay wait by default, in milliseconds. */
export const DEFAULT_TIMEOUT = 10_000;
/** How long `close()` goes on sending, in milliseconds. */
export const FLUSH_TIMEOUT = 5_000;

const OPTIONS: Names<ClientOptions> = {
  url: true,
  userId: true,
  token: true,
  store: true,
  ack: true,
  history: true,
  acceptFromVerified: true,
  presence: true,
  limits: true,
  WebSocket: true,
};

const LIMITS: Names<ClientLimits> = {
  maxMessageBytes: true,
  maxOutbox: true,
  evictIdleAfter: true,
  maxUnprocessedBytes: true,
  maxUsers: true,
  maxKeptMessages: true,
  maxKeptBytes: true,
};

/** Throws `invalid-argument` for what can never work. Looks at no global but `URL`. */
export function checkOptions(options: ClientOptions): void {
  assertOptions(options ?? null, OPTIONS);
  assertName(options.userId, "userId");
  let protocol: string | undefined;
  try {
    protocol = new URL(options.url).protocol;
  } catch {}
  assertArgument(protocol === "ws:" || protocol === "wss:", "url: an absolute ws: or wss: address");
  const { token, store, ack, limits, WebSocket, history = false } = options;
  const { acceptFromVerified, presence } = options;
  assertBooleans({ acceptFromVerified, presence });
  assertArgument(
    token === undefined || typeof token === "string" || typeof token === "function",
    "token: a string or a function",
  );
  assertArgument(store === undefined || typeof store?.open === "function", "store: with a method open");
  assertArgument(
    typeof history === "boolean" || (typeof history?.retention === "number" && history.retention > 0),
    "history: true, false, or with a retention in milliseconds",
  );
  if (typeof history === "object") assertOptions(history, { retention: true }, "history");
  assertArgument(WebSocket === undefined || typeof WebSocket === "function", "WebSocket: a class");
  assertOptions(ack, { direct: true, group: true }, "ack");
  assertBooleans(ack);
  assertOptions(limits, LIMITS, "limits");
  for (const [name, value] of Object.entries(limits ?? {})) {
    assertArgument(
      value === undefined || (typeof value === "number" && value >= 0),
      `limits.${name}: a number, 0 or more`,
    );
  }
}

function assertBooleans(options: object = {}): void {
  for (const [name, value] of Object.entries(options)) {
    assertArgument(value === undefined || typeof value === "boolean", `${name}: true or false`);
  }
}
