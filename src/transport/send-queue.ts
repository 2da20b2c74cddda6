import { type Bytes, copyBytes } from "../base/bytes.js";
import type { Clock } from "../base/clock.js";
import { SubrosaError } from "../base/errors.js";
import type { Connection } from "./transport.js";

/** How often the send buffer of the socket is looked at while somebody waits for it to drain: it has no event. */
const POLL_INTERVAL = 50;

/** Frames on their way out, bounded in bytes: refuses rather than drops. */
export class SendQueue {
  readonly #maxBytes: number;
  readonly #clock: Clock;
  /** Where frames go; none while there is no ready session. */
  #sink: Connection | undefined;
  #frames: Bytes[] = [];
  #frameBytes = 0;
  #waiters: { resolve(): void; reject(error: SubrosaError): void }[] = [];
  #cancelPoll: () => void = () => {};

  constructor(maxBytes: number, clock: Clock) {
    this.#maxBytes = maxBytes;
    this.#clock = clock;
  }

  /** Bytes that wait here or in the socket. */
  get bytes(): number {
    return this.#frameBytes + (this.#sink?.bufferedAmount ?? 0);
  }

  /** Throws `queue-full`, or `too-large` for a frame that could never wait here. */
  send(frame: Uint8Array): void {
    if (frame.length > this.#maxBytes) throw new SubrosaError("too-large", "frame larger than the queue");
    if (this.bytes + frame.length > this.#maxBytes) {
      throw new SubrosaError("queue-full", "too much waits to be sent");
    }
    if (this.#frames.length === 0 && this.#pass(frame)) return;
    this.#frames.push(copyBytes(frame));
    this.#frameBytes += frame.length;
  }

  /** Sends what waits and what comes on this connection; with none, everything waits for the next one. */
  attach(sink: Connection | undefined): void {
    this.#sink = sink;
    for (let frame = this.#frames[0]; frame !== undefined && this.#pass(frame); frame = this.#frames[0]) {
      this.#frames.shift();
      this.#frameBytes -= frame.length;
    }
    this.#poll();
  }

  /** Resolves when at most half of what may wait does. */
  drained(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#poll();
    });
  }

  /** Drops everything; who waits gets `closed`. */
  end(): void {
    this.#sink = undefined;
    this.#frames = [];
    this.#frameBytes = 0;
    this.#cancelPoll();
    for (const { reject } of this.#waiters.splice(0)) {
      reject(new SubrosaError("closed", "the link is closed"));
    }
  }

  #pass(frame: Uint8Array): boolean {
    if (this.#sink === undefined) return false;
    try {
      this.#sink.send(frame);
      return true;
    } catch {
      return false; // It is closing and its end not reported yet: the frame waits for the next one.
    }
  }

  #poll(): void {
    this.#cancelPoll();
    if (this.bytes <= this.#maxBytes / 2) for (const { resolve } of this.#waiters.splice(0)) resolve();
    else if (this.#sink !== undefined && this.#waiters.length > 0) {
      this.#cancelPoll = this.#clock.after(POLL_INTERVAL, () => this.#poll());
    }
  }
}
