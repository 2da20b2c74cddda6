import type { Bytes } from "../base/bytes.js";
import { type Clock, systemClock } from "../base/clock.js";
import { SubrosaError } from "../base/errors.js";
import { CloseCode, isPermanentClose } from "../wire/protocol.js";
import { Backoff } from "./backoff.js";
import { Heartbeat } from "./heartbeat.js";
import { SendQueue } from "./send-queue.js";
import type { CloseInfo, Connection, Connector } from "./transport.js";

/**
 * `connecting`: a connection is being opened; `open`: there is one (ready or not); `waiting`: for the next attempt;
 * `closed`: before `open()`, after `close()` and after a permanent end.
 */
export type LinkState = "connecting" | "open" | "waiting" | "closed";

/** How a connection, or an attempt at one, ended. */
export interface LinkEnd extends CloseInfo {
  /** What failed: the attempt (`connection-failed`, `timeout`, …), or the handler that threw. */
  readonly error?: unknown;
  /** False if this was the last: closed by us or for a permanent reason. */
  readonly willReconnect: boolean;
  /** True if the session had been announced ready. */
  readonly wasReady: boolean;
}

/** What the owner of a link does. A handler that throws ends the connection with 1002 and the error in `LinkEnd`. */
export interface LinkHandler {
  /** A connection is open: start the session with `sendNow`, then announce it with `ready()`. */
  opened(): void;
  frame(frame: Bytes): void;
  /** A connection ended, or an attempt failed. */
  ended(end: LinkEnd): void;
  /** The frame that makes the other side send anything. */
  ping(): Uint8Array;
}

export interface LinkOptions {
  readonly url: string;
  readonly connector: Connector;
  readonly handler: LinkHandler;
  readonly clock?: Clock | undefined;
  /** For the jitter; a number from 0 up to, not including, 1. */
  readonly random?: (() => number) | undefined;
  /** Milliseconds, here and below. Bound of the first delay; default 250. */
  readonly baseDelay?: number | undefined;
  /** Bound of all delays; default 30,000. */
  readonly maxDelay?: number | undefined;
  /** How long a session must have been ready for the delays to start anew; default 5,000. */
  readonly minUptime?: number | undefined;
  /** How long an open connection may take to become ready; default 20,000. */
  readonly readyTimeout?: number | undefined;
  /** Silence before a ping; default 15,000. */
  readonly pingAfter?: number | undefined;
  /** Silence after a ping before the socket counts as dead; default 10,000. */
  readonly answerWithin?: number | undefined;
  /** The same after `wake()` and after the machine slept; default 5,000. */
  readonly wakeWithin?: number | undefined;
  /** Bytes that may wait to be sent; default 4 MiB. */
  readonly maxBufferedBytes?: number | undefined;
  /** Whether connecting again is pointless. Default: by close code as the wire protocol says. */
  readonly isPermanent?: ((end: { code: number; error?: unknown }) => boolean) | undefined;
}

/** How long `wake()` leaves between two attempts. */
const MIN_ATTEMPT_GAP = 1_000;
/** RFC 6455 §7.4.1. */
const PROTOCOL_ERROR = 1002;
const BROKEN = 1006;

const PERMANENT_ERRORS = ["invalid-argument", "missing-dependency", "protocol-error", "insecure-context"];

/** The default of `isPermanent`. */
export function isPermanentEnd({ code, error }: { code: number; error?: unknown }): boolean {
  if (SubrosaError.is(error) && code === BROKEN) return PERMANENT_ERRORS.includes(error.code);
  return isPermanentClose(code);
}

/**
 * Keeps a connection up. Frames given to `send` wait until the owner has announced the session ready, survive
 * reconnecting, and are refused, never dropped, when too many wait; one that was handed to a connection
 * which then breaks is the owner's to send again.
 */
export class Link {
  readonly #options: LinkOptions;
  readonly #handler: LinkHandler;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #queue: SendQueue;
  #state: LinkState = "closed";
  #over = false;
  #connection: Connection | undefined;
  #heartbeat: Heartbeat | undefined;
  #attempt: AbortController | undefined;
  #attemptedAt = 0;
  /** When the next attempt is due, while waiting. */
  #dueAt = 0;
  #readyAt: number | undefined;
  #cancelTimer: () => void = () => {};

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#handler = options.handler;
    this.#clock = options.clock ?? systemClock;
    this.#backoff = new Backoff(options);
    this.#queue = new SendQueue(options.maxBufferedBytes ?? 4 * 1024 * 1024, this.#clock);
  }

  get state(): LinkState {
    return this.#state;
  }

  /** Whether the session on the present connection has been announced ready. */
  get isReady(): boolean {
    return this.#readyAt !== undefined;
  }

  /** Bytes that wait here or, once ready, in the socket. */
  get bufferedBytes(): number {
    return this.#queue.bytes;
  }

  /** Starts connecting. Does nothing if it has been started; throws `closed` after the last end. */
  open(): void {
    this.#assertNotOver();
    if (this.#state === "closed") this.#connect();
  }

  /** Sends now or once a session is ready. Throws `queue-full`, `too-large` (it could never wait), `closed`. */
  send(frame: Uint8Array): void {
    this.#assertNotOver();
    this.#queue.send(frame);
  }

  /** Sends on the present connection, ready or not, past the queue. Throws `closed` if there is none. */
  sendNow(frame: Uint8Array): void {
    if (this.#connection === undefined) throw new SubrosaError("closed", "there is no connection");
    this.#connection.send(frame);
  }

  /** Announces that the session on the present connection is up: what waits is sent, the heartbeat begins. */
  ready(): void {
    const connection = this.#connection;
    if (connection === undefined || this.isReady) return;
    const { pingAfter = 15_000, answerWithin = 10_000 } = this.#options;
    const wakeWithin = this.#wakeWithin;
    this.#readyAt = this.#clock.now();
    this.#cancelTimer();
    this.#heartbeat = new Heartbeat({
      clock: this.#clock,
      pingAfter,
      answerWithin,
      wakeWithin,
      ping: () => this.#ping(connection),
      dead: () => this.drop(BROKEN, "no answer"),
    });
    this.#queue.attach(connection);
  }

  /** Resolves when at most half of what may wait does. Throws `closed`. */
  async drained(): Promise<void> {
    this.#assertNotOver();
    await this.#queue.drained();
  }

  get #wakeWithin(): number {
    return this.#options.wakeWithin ?? 5_000;
  }

  /**
   * Checks now: connects if it was waiting to, asks the other side for a sign of life if there is a session, and
   * gives up an attempt that has taken long already: the network may be another since it began.
   */
  wake(): void {
    const now = this.#clock.now();
    const isOld = now - this.#attemptedAt >= this.#wakeWithin || this.#attemptedAt > now;
    if (this.#state === "connecting" && isOld) {
      this.#attempt?.abort();
      this.#connect();
    } else if (this.#state === "open" && !this.isReady && isOld) {
      this.drop(BROKEN, "the session was not ready in time");
      this.wake();
    } else if (this.#state === "waiting") {
      const at = Math.min(this.#dueAt, this.#attemptedAt + MIN_ATTEMPT_GAP);
      // An attempt in the future: the clock was set back.
      if (at <= now || this.#attemptedAt > now) this.#connect();
      else this.#connectAt(at);
    } else {
      this.#heartbeat?.check(this.#wakeWithin);
    }
  }

  /** Ends the present connection and goes on with the next, unless the code is permanent. */
  drop(code: number, reason: string, error?: unknown): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    connection.onframe = undefined;
    connection.onclose = undefined;
    connection.close(code === BROKEN ? CloseCode.goingAway : code, reason);
    this.#ended({ code, reason }, error);
  }

  /** Ends for good; what waits is not sent. Idempotent. */
  close(code: number = CloseCode.normal, reason = ""): void {
    if (this.#over) return;
    this.#over = true;
    this.#attempt?.abort();
    if (this.#connection === undefined) this.#finish();
    else this.drop(code, reason);
  }

  #connect(): void {
    this.#cancelTimer();
    this.#state = "connecting";
    this.#attemptedAt = this.#clock.now();
    const attempt = new AbortController();
    this.#attempt = attempt;
    this.#options.connector.connect(this.#options.url, { signal: attempt.signal }).then(
      (connection) => {
        if (attempt.signal.aborted) connection.close(CloseCode.goingAway);
        else this.#opened(connection);
      },
      (error: unknown) => {
        if (!attempt.signal.aborted) this.#ended({ code: BROKEN, reason: "" }, error);
      },
    );
  }

  #opened(connection: Connection): void {
    const { readyTimeout = 20_000 } = this.#options;
    this.#state = "open";
    this.#connection = connection;
    this.#after(readyTimeout, () => this.drop(BROKEN, "the session was not ready in time"));
    connection.onframe = (frame) => {
      this.#heartbeat?.heard();
      this.#guard(connection, () => this.#handler.frame(frame));
    };
    connection.onclose = (info) => this.#ended(info);
    this.#guard(connection, () => this.#handler.opened());
  }

  #ping(connection: Connection): void {
    try {
      connection.send(this.#handler.ping());
    } catch (error) {
      this.drop(BROKEN, "cannot ping", error);
    }
  }

  #guard(connection: Connection, call: () => void): void {
    try {
      call();
    } catch (error) {
      if (this.#connection === connection) this.drop(PROTOCOL_ERROR, "protocol error", error);
    }
  }

  #ended({ code, reason }: CloseInfo, error?: unknown): void {
    const { minUptime = 5_000, isPermanent = isPermanentEnd } = this.#options;
    const wasReady = this.#readyAt !== undefined;
    if (wasReady && this.#clock.now() - (this.#readyAt as number) >= minUptime) this.#backoff.reset();
    this.#cancelTimer();
    this.#heartbeat?.stop();
    this.#heartbeat = undefined;
    this.#connection = undefined;
    this.#queue.attach(undefined);
    this.#readyAt = undefined;
    this.#over ||= isPermanent(error === undefined ? { code } : { code, error });
    if (this.#over) this.#finish();
    else {
      this.#state = "waiting";
      this.#connectAt(this.#clock.now() + this.#backoff.next());
    }
    const end = { code, reason, willReconnect: !this.#over, wasReady };
    this.#handler.ended(error === undefined ? end : { ...end, error });
  }

  #finish(): void {
    this.#state = "closed";
    this.#cancelTimer();
    this.#queue.end();
  }

  #connectAt(time: number): void {
    this.#dueAt = time;
    // Nothing else keeps a Node process alive between two connections.
    this.#after(time - this.#clock.now(), () => this.#connect(), true);
  }

  #after(ms: number, callback: () => void, keepAlive = false): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#clock.after(ms, callback, keepAlive);
  }

  #assertNotOver(): void {
    if (this.#over) throw new SubrosaError("closed", "the link is closed");
  }
}
