export interface BackoffOptions {
  /** The bound of the first delay, in milliseconds; it doubles with every failure. Default 250. */
  readonly baseDelay?: number | undefined;
  /** The bound that the doubling stops at. Default 30,000. */
  readonly maxDelay?: number | undefined;
  /** A number from 0 up to, not including, 1. */
  readonly random?: (() => number) | undefined;
}

/** Exponential backoff with full jitter: each delay is uniform between zero and the bound. */
export class Backoff {
  readonly #baseDelay: number;
  readonly #maxDelay: number;
  readonly #random: () => number;
  #failures = 0;

  constructor({ baseDelay = 250, maxDelay = 30_000, random = Math.random }: BackoffOptions = {}) {
    this.#baseDelay = baseDelay;
    this.#maxDelay = maxDelay;
    this.#random = random;
  }

  /** Milliseconds to wait after one more failure. */
  next(): number {
    const bound = Math.min(this.#maxDelay, this.#baseDelay * 2 ** this.#failures);
    this.#failures++;
    return this.#random() * bound;
  }

  reset(): void {
    this.#failures = 0;
  }
}
