import type { Clock } from "../../base/clock.js";

/** How often who is waited for is asked for a sign of life, in milliseconds. */
export const ASK_EVERY = 1_500;
/** How often it may leave that unanswered before it counts as frozen: after 4.5 to 6 seconds of silence. */
export const MAX_UNANSWERED = 3;

/**
 * Counts unanswered questions, not time: of a tab whose own timers were stopped or slowed down (a hidden tab's may
 * run once a minute) nothing is concluded before the answers that have come meanwhile were read.
 */
export class Pulse {
  readonly #clock: Clock;
  readonly #ask: () => void;
  readonly #lost: () => void;
  #unanswered = 0;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, ask: () => void, lost: () => void) {
    this.#clock = clock;
    this.#ask = ask;
    this.#lost = lost;
  }

  /** Begins to ask, unless it does already. */
  start(): void {
    if (this.#cancel !== undefined) return;
    this.#unanswered = 0;
    this.#turn();
  }

  /** There was a sign of life. */
  beat(): void {
    this.#unanswered = 0;
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #turn(): void {
    this.#unanswered++;
    this.#ask();
    this.#cancel = this.#clock.after(ASK_EVERY, () => {
      if (this.#unanswered < MAX_UNANSWERED) return this.#turn();
      this.#cancel = undefined;
      this.#lost();
    });
  }
}

/** Calls at once and then as often as is asked for signs of life; the result stops it. */
export function repeat(clock: Clock, call: () => void): () => void {
  let cancel = () => {};
  const turn = () => {
    call();
    cancel = clock.after(ASK_EVERY, turn);
  };
  turn();
  return () => cancel();
}
