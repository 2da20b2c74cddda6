import type { Clock } from "../base/clock.js";

/** How long it is until the first time and between two at most, in milliseconds. */
const FIRST_DELAY = 1_000;
const MAX_DELAY = 960_000;

/** Something that is tried again after a while, which grows as long as it comes to nothing. */
export class Retry {
  readonly #clock: Clock;
  readonly #work: () => void;
  readonly #max: number;
  #delay = FIRST_DELAY;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, work: () => void, max = MAX_DELAY) {
    this.#clock = clock;
    this.#work = work;
    this.#max = max;
  }

  /** Tries again, once, however often this is called meanwhile. */
  later(): void {
    if (this.#cancel !== undefined) return;
    this.#cancel = this.#clock.after(this.#delay, () => {
      this.#cancel = undefined;
      this.#work();
    });
    this.#delay = Math.min(2 * this.#delay, this.#max);
  }

  /** It came to something, or begins anew. */
  reset(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#delay = FIRST_DELAY;
  }
}
