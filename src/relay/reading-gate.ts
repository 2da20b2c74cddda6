import type { Clock } from "../base/clock.js";
import type { SharedRate } from "./abuse/allowances.js";
import type { RelayLimits } from "./limits.js";
import type { RelaySocket } from "./socket.js";
import { TokenBucket } from "./token-bucket.js";

/** No pause for a rate is longer, in milliseconds; after it the connection may send one more frame. */
const MAX_PAUSE = 60_000;

type Reason = "rate" | "work" | "end";

/**
 * Stops reading from one connection while it, its user or its address has used up its rate, while too much of it is
 * being worked on, and for good when the session is about to end.
 */
export class ReadingGate {
  readonly #socket: RelaySocket;
  readonly #clock: Clock;
  readonly #rates: SharedRate[];
  readonly #maxInFlight: number;
  readonly #closedFor = new Set<Reason>();
  #inFlight = 0;
  #cancel: () => void = () => {};

  constructor(socket: RelaySocket, clock: Clock, limits: RelayLimits, ofAddress: SharedRate) {
    this.#socket = socket;
    this.#clock = clock;
    const own = {
      frames: new TokenBucket(clock, limits.framesPerSecond, limits.frameBurst),
      bytes: new TokenBucket(clock, limits.bytesPerSecond, limits.byteBurst),
    };
    this.#rates = [own, ofAddress];
    this.#maxInFlight = limits.maxInFlight;
  }

  /** The connection counts for its user from now on. */
  share(rate: SharedRate): void {
    this.#rates.push(rate);
  }

  /** A frame of that many bytes was read. */
  read(bytes: number): void {
    this.charge(bytes, 1);
  }

  /** What the connection has used of its rate. */
  charge(bytes: number, frames = 0): void {
    let wait = 0;
    for (const rate of this.#rates) wait = Math.max(wait, rate.frames.take(frames), rate.bytes.take(bytes));
    if (wait === 0) return;
    this.#shut("rate");
    this.#cancel();
    this.#cancel = this.#clock.after(Math.min(wait, MAX_PAUSE), () => this.#open("rate"));
  }

  /** Work on a request begins. */
  begin(): void {
    if (++this.#inFlight >= this.#maxInFlight) this.#shut("work");
  }

  /** It has ended. */
  finish(): void {
    if (--this.#inFlight < this.#maxInFlight) this.#open("work");
  }

  /** Nothing more is to be read: the session ends when its work is done. */
  end(): void {
    this.#shut("end");
  }

  /** The connection is gone: nothing is to be resumed. */
  stop(): void {
    this.#cancel();
    this.#closedFor.clear();
  }

  #shut(reason: Reason): void {
    if (this.#closedFor.size === 0) this.#socket.pause();
    this.#closedFor.add(reason);
  }

  #open(reason: Reason): void {
    if (this.#closedFor.delete(reason) && this.#closedFor.size === 0) this.#socket.resume();
  }
}
