import type { Clock } from "../base/clock.js";

/** Allows `rate` units per second on average and `burst` at once. */
export class TokenBucket {
  readonly #clock: Clock;
  readonly #rate: number;
  readonly #burst: number;
  #tokens: number;
  #at: number;

  constructor(clock: Clock, rate: number, burst: number) {
    this.#clock = clock;
    this.#rate = rate;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = clock.now();
  }

  /** Takes `count` units, there or not; the milliseconds after which they are, 0 if they are there now. */
  take(count: number): number {
    this.#earn();
    if (this.#burst !== Number.POSITIVE_INFINITY) this.#tokens -= count;
    return this.#tokens >= 0 ? 0 : Math.ceil((-this.#tokens / this.#rate) * 1000);
  }

  /** Takes `count` units if they are there; false if not, and then takes nothing. */
  tryTake(count: number): boolean {
    if (!this.has(count)) return false;
    this.take(count);
    return true;
  }

  /** Whether so many units are there. */
  has(count: number): boolean {
    this.#earn();
    return this.#tokens >= count;
  }

  #earn(): void {
    const now = this.#clock.now();
    // An infinite rate times no time at all is no number.
    const earned = now > this.#at ? ((now - this.#at) / 1000) * this.#rate : 0;
    this.#tokens = Math.min(this.#burst, this.#tokens + earned);
    this.#at = now;
  }
}
