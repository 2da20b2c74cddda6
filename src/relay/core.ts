import type { Bytes } from "../base/bytes.js";
import type { Clock } from "../base/clock.js";
import { toHex } from "../base/encoding.js";
import { randomBytes } from "../crypto/random.js";
import { CloseCode } from "../wire/protocol.js";
import type { AuthenticateHook } from "./authentication.js";
import { Hub } from "./hub.js";
import type { RelayLimits } from "./limits.js";
import { Maintenance } from "./maintenance.js";
import { Session } from "./session.js";
import type { RelaySocket } from "./socket.js";
import type { RelayStorage, Sender } from "./storage.js";

/** One frame as the operator's hook sees it. */
export interface FrameInfo {
  readonly direction: "in" | "out";
  /** Absent before the connection has authenticated. */
  readonly userId?: string;
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
  readonly authenticate?: AuthenticateHook | undefined;
  readonly onFrame?: FrameHook | undefined;
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
  readonly randomId: (length: number) => Bytes;
  readonly authenticate: AuthenticateHook | undefined;
  /** False if the operator's hook vetoes the frame. */
  permits(direction: "in" | "out", userId: string | undefined, bytes: Bytes): boolean;
  report(error: unknown): void;
  /** A session has authenticated; an older one of its device ends. */
  entered(session: Session, sender: Sender): void;
  left(session: Session, sender: Sender | undefined): void;
}

/** The relay without its sockets. */
export class RelayCore {
  readonly #services: RelayServices;
  readonly #sessions = new Set<Session>();
  readonly #devices = new Map<string, Session>();
  readonly #maintenance: Maintenance;
  readonly #unwatch: () => void;
  #waiting = 0;

  constructor(options: CoreOptions) {
    const { storage, limits, clock, authenticate, onFrame, onError, randomId = randomBytes } = options;
    const hub = new Hub();
    const report = (error: unknown) => {
      try {
        onError?.(error);
      } catch {
        // A hook that fails while it is told of a failure has nobody left to tell.
      }
    };
    this.#services = {
      storage,
      limits,
      clock,
      hub,
      randomId,
      authenticate,
      report,
      permits: (direction, userId, bytes) =>
        onFrame === undefined ||
        onFrame({ direction, bytes, ...(userId !== undefined && { userId }) }) !== false,
      entered: (session, sender) => this.#entered(session, sender),
      left: (session, sender) => this.#left(session, sender),
    };
    this.#unwatch = storage.watch((appended) => {
      try {
        hub.announce(appended);
      } catch (error) {
        report(error);
      }
    });
    this.#maintenance = new Maintenance(storage, limits, clock, report);
  }

  /** Connections at this moment. */
  get connections(): number {
    return this.#sessions.size;
  }

  /** Takes a new connection: the caller passes its messages to `receive` and calls `disconnected` at its end. */
  accept(socket: RelaySocket, relayName: string): Session | undefined {
    const { limits } = this.#services;
    if (this.#sessions.size >= limits.maxConnections || this.#waiting >= limits.maxUnauthenticated) {
      socket.close(CloseCode.rateLimited, "too many connections");
      return undefined;
    }
    const session = new Session(this.#services, socket, relayName);
    this.#sessions.add(session);
    this.#waiting++;
    session.start();
    return session;
  }

  /** Ends all sessions. */
  async close(code: number, reason: string): Promise<void> {
    for (const session of [...this.#sessions]) session.close(code, reason);
    this.#unwatch();
    await this.#maintenance.stop();
  }

  #entered(session: Session, { deviceId }: Sender): void {
    this.#waiting--;
    const name = toHex(deviceId);
    this.#devices.get(name)?.close(CloseCode.replaced, "a newer session of this device");
    this.#devices.set(name, session);
  }

  #left(session: Session, sender: Sender | undefined): void {
    if (!this.#sessions.delete(session)) return;
    if (sender === undefined) this.#waiting--;
    else if (this.#devices.get(toHex(sender.deviceId)) === session)
      this.#devices.delete(toHex(sender.deviceId));
  }
}
