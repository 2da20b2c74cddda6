import type { Bytes } from "../base/bytes.js";
import type { Clock } from "../base/clock.js";
import { toHex } from "../base/encoding.js";
import { SubrosaError } from "../base/errors.js";
import { randomBytes } from "../crypto/random.js";
import { encodeRelayFrame } from "../wire/frames.js";
import type { Account } from "../wire/identity.js";
import { CloseCode } from "../wire/protocol.js";
import type { RefusalCode } from "../wire/refusals.js";
import { Allowances } from "./abuse/allowances.js";
import { Counts } from "./abuse/buckets.js";
import { Administration } from "./administration.js";
import type { AccountKeyHook, AuthenticateHook } from "./authentication.js";
import { type ChannelHook, Channels, type DataHook } from "./channels.js";
import { Hub } from "./hub.js";
import type { RelayLimits } from "./limits.js";
import { Maintenance } from "./maintenance.js";
import { Log } from "./operation/log.js";
import { gauge, Metrics } from "./operation/metrics.js";
import { Session } from "./session.js";
import { Signals } from "./signals.js";
import type { RelaySocket } from "./socket.js";
import type { RelayStorage, Sender } from "./storage.js";
import { decodeWord, encodeWord, RELAYS, type Word } from "./words.js";

/** One frame as the operator's hook sees it. */
export interface FrameInfo {
  readonly direction: "in" | "out";
  /** Tells the connections of this relay apart. */
  readonly connection: number;
  /** Where it comes from: an IP address, as limits count it. */
  readonly address: string;
  /** Both absent before the connection has authenticated. `deviceId`: 32 hexadecimal digits. */
  readonly userId?: string;
  readonly deviceId?: string;
  /** The frame's bytes: what wire/PROTOCOL.md describes, never a plaintext. Not to be changed. */
  readonly bytes: Uint8Array;
}

/** Traces every frame; returning `false` closes the connection with 4403. */
// biome-ignore lint/suspicious/noConfusingVoidType: a hook that only traces returns nothing
export type FrameHook = (frame: FrameInfo) => boolean | void;

export interface CoreOptions {
  readonly storage: RelayStorage;
  readonly limits: RelayLimits;
  readonly clock: Clock;
  readonly log?: Log | undefined;
  readonly authenticate?: AuthenticateHook | undefined;
  readonly onFrame?: FrameHook | undefined;
  readonly onData?: DataHook | undefined;
  readonly onSubscribe?: ChannelHook | undefined;
  readonly accountKeys?: AccountKeyHook | undefined;
  /** Whether every user may know of every other. */
  readonly isOpen?: boolean | undefined;
  /** Where the nonces of challenges come from; a simulation owns them. */
  readonly randomId?: ((length: number) => Bytes) | undefined;
  /** Is told of failures of the relay's own; clients learn only that there was one. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

/** What all sessions share. */
export interface RelayServices {
  readonly storage: RelayStorage;
  readonly limits: RelayLimits;
  readonly clock: Clock;
  readonly hub: Hub;
  readonly signals: Signals;
  readonly channels: Channels;
  readonly onData: DataHook | undefined;
  readonly onSubscribe: ChannelHook | undefined;
  readonly allowances: Allowances;
  readonly metrics: Metrics;
  readonly randomId: (length: number) => Bytes;
  readonly authenticate: AuthenticateHook | undefined;
  readonly accountKeys: AccountKeyHook | undefined;
  readonly isOpen: boolean;
  /** False if the operator's hook vetoes the frame. */
  permits(direction: "in" | "out", bytes: Bytes, session: Session): boolean;
  report(error: unknown): void;
  /** The relay refuses something to a session from there. */
  refused(code: RefusalCode, address: string): void;
  /** The relay closes a connection from there. */
  closing(code: number, address: string): void;
  /** Throws `rate-limited` if the sender's user has too many sessions for another one. */
  entering(sender: Sender): void;
  /** A session has authenticated; an older one of its device ends. */
  entered(session: Session, sender: Sender): void;
  /** A user is new. */
  registered(userId: string): void;
  /** Another account key is about to take the place of this account's: resolves to what tells of it once it has. */
  replacing(account: Account): Promise<() => void>;
  left(session: Session, sender: Sender | undefined): void;
}

/** The relay without its sockets. */
export class RelayCore {
  readonly metrics = new Metrics();
  readonly #services: RelayServices;
  readonly #log: Log;
  readonly #sessions = new Set<Session>();
  readonly #devices = new Map<string, Session>();
  /** Ends what a storage that several relays share does for a session. */
  readonly #leave = new Map<Session, () => void>();
  readonly #maintenance: Maintenance;
  readonly #unwatch: () => void;
  readonly #unhear: () => void;
  readonly administration: Administration;
  #connections = 0;
  /** Connections by address, those of them that have not authenticated, and sessions by user. */
  readonly #addresses = new Counts();
  readonly #waitingAddresses = new Counts();
  readonly #users = new Counts();
  #waiting = 0;

  constructor(options: CoreOptions) {
    const { storage, limits, clock, authenticate, accountKeys, onFrame, onError } = options;
    const { randomId = randomBytes, isOpen = false } = options;
    const log = options.log ?? new Log(undefined, clock, false);
    this.#log = log;
    const report = (error: unknown) => {
      this.metrics.failures.add();
      log.failure(error);
      try {
        onError?.(error);
      } catch {
        // A hook that fails while it is told of a failure has nobody left to tell.
      }
    };
    const { metrics } = this;
    const hub = new Hub(
      limits.maxFrameBytes,
      report,
      storage.follow?.bind(storage),
      storage.hear?.bind(storage),
    );
    this.#services = {
      storage,
      limits,
      clock,
      hub,
      signals: new Signals({ storage, hub, limits, clock, metrics }),
      channels: new Channels(storage),
      onData: options.onData,
      onSubscribe: options.onSubscribe,
      randomId,
      authenticate,
      accountKeys,
      isOpen,
      report,
      allowances: new Allowances(clock, limits),
      metrics,
      permits: (direction, bytes, session) =>
        onFrame === undefined || onFrame({ direction, bytes, ...session.info }) !== false,
      refused: (code, address) => {
        this.metrics.refusals.add(code);
        if (code === "rate-limited") log.limited(code, address);
      },
      closing: (code, address) => this.#closing(code, address),
      entering: (sender) => this.#entering(sender),
      entered: (session, sender) => this.#entered(session, sender),
      registered: (userId) => {
        const news = { type: "directory", created: [userId], removed: [] } as const;
        if (isOpen) void this.#spread(news).catch(report);
      },
      replacing: async (account) => {
        const tell = await this.administration.replacing(account);
        return () => void tell().catch(report);
      },
      left: (session, sender) => this.#left(session, sender),
    };
    this.#unwatch = storage.watch((appended) => {
      try {
        hub.announce(appended);
      } catch (error) {
        report(error);
      }
    });
    this.#unhear = storage.hear?.(RELAYS, (word) => this.#hear(word)) ?? (() => {});
    this.#maintenance = new Maintenance(storage, limits, clock, report);
    this.administration = new Administration({
      storage,
      limits,
      now: () => clock.now(),
      connected: (userId) => this.#users.of(userId),
      spread: (word) => this.#spread(word),
    });
  }

  /** Does something here and at all relays that share the storage. */
  async #spread(word: Word): Promise<void> {
    this.#carryOut(word);
    await this.#services.storage.broadcast?.(RELAYS, encodeWord(word));
  }

  #hear(bytes: Bytes): void {
    try {
      this.#carryOut(decodeWord(bytes));
    } catch (error) {
      this.#services.report(error);
    }
  }

  #carryOut(word: Word): void {
    if (word.type === "directory" && !this.#services.isOpen) return;
    const frame = word.type === "userRemoved" ? undefined : encodeRelayFrame(word);
    for (const session of [...this.#devices.values()]) {
      if (frame !== undefined) session.send(frame);
      else if (word.type === "userRemoved" && session.sender.userId === word.userId)
        session.close(CloseCode.userRemoved, "the operator removed the user");
    }
  }

  /** Connections at this moment. */
  get connections(): number {
    return this.#sessions.size;
  }

  /** Takes a new connection: the caller passes its messages to `receive` and calls `disconnected` at its end. `address`: see `addressOf`. */
  accept(socket: RelaySocket, relayName: string, address = ""): Session | undefined {
    const reason = this.#tooMuchFrom(address);
    if (reason !== undefined) {
      this.#closing(CloseCode.rateLimited, address);
      socket.close(CloseCode.rateLimited, reason);
      return undefined;
    }
    const session = new Session(this.#services, socket, relayName, {
      address,
      connection: ++this.#connections,
    });
    this.metrics.connections.add();
    this.#sessions.add(session);
    this.#addresses.add(address);
    this.#waiting++;
    this.#waitingAddresses.add(address);
    session.start();
    return session;
  }

  #tooMuchFrom(address: string): string | undefined {
    const { limits, allowances } = this.#services;
    const full =
      this.#sessions.size >= limits.maxConnections ||
      this.#waiting >= limits.maxUnauthenticated ||
      this.#addresses.of(address) >= limits.maxConnectionsPerAddress ||
      this.#waitingAddresses.of(address) >= limits.maxUnauthenticatedPerAddress;
    if (full) return "too many connections";
    return allowances.mayAuthenticate(address) ? undefined : "too many failed attempts";
  }

  /** Ends all sessions, each when what it has asked is answered, spread over so many milliseconds. */
  async drain(over: number, code: number, reason: string): Promise<void> {
    const sessions = [...this.#sessions];
    const { clock } = this.#services;
    await Promise.all(
      sessions.map(async (session, i) => {
        const delay = Math.floor((over * i) / sessions.length);
        if (delay > 0) await new Promise<void>((resolve) => clock.after(delay, resolve, true));
        await session.finish(code, reason);
      }),
    );
  }

  /** Ends all sessions. */
  async close(code: number, reason: string): Promise<void> {
    for (const session of [...this.#sessions]) session.close(code, reason);
    this.#unwatch();
    this.#unhear();
    await this.#maintenance.stop();
    this.#log.flush();
  }

  /** What `/metrics` answers. */
  async renderMetrics(): Promise<string> {
    let queued = 0;
    for (const session of this.#sessions) queued += session.bufferedAmount;
    const states = { authenticated: this.#sessions.size - this.#waiting, waiting: this.#waiting };
    const sizes = (await this.#services.storage.sizes?.()) ?? {};
    return [
      this.metrics.render(),
      gauge("connections", "Connections at this moment, by state.", states, "state"),
      gauge("queued_bytes", "Bytes that wait for readers to take them.", queued),
      gauge("storage_size", "What the storage holds.", sizes, "what"),
      gauge("resident_memory_bytes", "Memory of the process.", process.memoryUsage.rss()),
    ].join("");
  }

  #closing(code: number, address: string): void {
    this.metrics.closes.add(code);
    const { rateLimited, slowReader, authenticationTimeout, tooLarge, malformed } = CloseCode;
    const limits: number[] = [rateLimited, slowReader, authenticationTimeout, tooLarge, malformed];
    if (limits.includes(code)) this.#log.limited(`close ${code}`, address);
  }

  #entering({ userId, deviceId }: Sender): void {
    // The older session of the same device makes room for this one.
    const replaced = this.#devices.has(toHex(deviceId)) ? 1 : 0;
    if (this.#users.of(userId) - replaced >= this.#services.limits.maxConnectionsPerUser)
      throw new SubrosaError("rate-limited", "the user has too many sessions");
  }

  #entered(session: Session, { userId, deviceId }: Sender): void {
    this.#waiting--;
    this.#waitingAddresses.remove(session.address);
    this.#users.add(userId);
    this.metrics.sessions.add();
    const name = toHex(deviceId);
    this.#devices.get(name)?.close(CloseCode.replaced, "a newer session of this device");
    this.#devices.set(name, session);
    const leave = this.#services.storage.enter?.(deviceId, (why) => {
      if (why === "revoked") session.close(CloseCode.revoked, "the device list holds this device no more");
      else session.close(CloseCode.replaced, "a newer session of this device");
    });
    if (leave !== undefined) this.#leave.set(session, leave);
    void this.#endRevoked(userId).catch(this.#services.report);
  }

  /** Ends the user's sessions of devices that its newest list holds no more. */
  async #endRevoked(userId: string): Promise<void> {
    const devices = (await this.#services.storage.account(userId))?.deviceList.list.devices ?? [];
    const listed = new Set(devices.map(({ deviceId }) => toHex(deviceId)));
    for (const session of this.#devices.values()) {
      if (session.sender.userId === userId && !listed.has(toHex(session.deviceId))) {
        session.close(CloseCode.revoked, "the device list holds this device no more");
      }
    }
  }

  #left(session: Session, sender: Sender | undefined): void {
    if (!this.#sessions.delete(session)) return;
    this.#addresses.remove(session.address);
    if (sender === undefined) {
      this.#waiting--;
      this.#waitingAddresses.remove(session.address);
      return;
    }
    this.#users.remove(sender.userId);
    this.#leave.get(session)?.();
    this.#leave.delete(session);
    if (this.#devices.get(toHex(sender.deviceId)) === session) this.#devices.delete(toHex(sender.deviceId));
  }
}
