import type { Clock } from "../base/clock.js";
import type { RelayLimits } from "./limits.js";
import type { RelaySocket } from "./socket.js";
import { TokenBucket } from "./token-bucket.js";

/** Stops reading from one connection while it has used up its rate, or while too much of it is being worked on. */
export class ReadingGate {
  readonly #socket: RelaySocket;
  readonly #clock: Clock;
  readonly #frames: TokenBucket;
  readonly #bytes: TokenBucket;
  readonly #maxInFlight: number;
  readonly #closedFor = new Set<"rate" | "work">();
  #inFlight = 0;
  #cancel: () => void = () => {};

  constructor(socket: RelaySocket, clock: Clock, limits: RelayLimits) {
    this.#socket = socket;
    this.#clock = clock;
    this.#frames = new TokenBucket(clock, limits.framesPerSecond, limits.frameBurst);
    this.#bytes = new TokenBucket(clock, limits.bytesPerSecond, limits.byteBurst);
    this.#maxInFlight = limits.maxInFlight;
  }

  /** A frame of that many bytes was read. */
  read(bytes: number): void {
    const wait = Math.max(this.#frames.take(1), this.#bytes.take(bytes));
    if (wait === 0) return;
    this.#shut("rate");
    this.#cancel();
    this.#cancel = this.#clock.after(wait, () => this.#open("rate"));
  }

  /** Work on a request begins. */
  begin(): void {
    if (++this.#inFlight >= this.#maxInFlight) this.#shut("work");
  }

  /** It has ended. */
  finish(): void {
    if (--this.#inFlight < this.#maxInFlight) this.#open("work");
  }

  /** The connection is gone: nothing is to be resumed. */
  stop(): void {
    this.#cancel();
    this.#closedFor.clear();
  }

  #shut(reason: "rate" | "work"): void {
    if (this.#closedFor.size === 0) this.#socket.pause();
    this.#closedFor.add(reason);
  }

  #open(reason: "rate" | "work"): void {
    if (this.#closedFor.delete(reason) && this.#closedFor.size === 0) this.#socket.resume();
  }
}
