import type { Clock } from "../base/clock.js";

export interface HeartbeatOptions {
  readonly clock: Clock;
  /** Milliseconds of silence after which the other side is asked. */
  readonly pingAfter: number;
  /** Milliseconds it then has to send anything. */
  readonly answerWithin: number;
  /** The same after the machine slept. */
  readonly wakeWithin: number;
  /** Asks. */
  ping(): void;
  /** Called once when there was no answer. */
  dead(): void;
}

/** How often the clock is looked at, and how far it may be from where a timer should find it, in milliseconds. */
const TICK = 5_000;
const LATE = 5_000;

/**
 * Notices that nothing comes any more: asks after a silence, and gives up when nothing follows. A clock that jumped
 * means that the machine slept, when connections die unseen: then it asks at once.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #heardAt: number;
  #asked = false;
  /** When the answer is due, if we asked. */
  #dueAt = 0;
  /** Whether an answer was not waited for because time jumped; not twice, or late timers would put it off for ever. */
  #pardoned = false;
  #cancel: () => void = () => {};

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#heardAt = options.clock.now();
    this.#listen();
  }

  /** Something arrived. Cheap: no timer is touched unless we were waiting for an answer. */
  heard(): void {
    this.#heardAt = this.#options.clock.now();
    if (!this.#asked) return;
    this.#asked = false;
    this.#pardoned = false;
    this.#listen();
  }

  /** Asks now; the answer is due within `within` milliseconds, or sooner if one was due sooner. */
  check(within: number): void {
    const dueAt = this.#options.clock.now() + within;
    if (this.#asked && this.#dueAt <= dueAt) return;
    this.#ask(within);
  }

  stop(): void {
    this.#asked = false;
    this.#cancel();
  }

  #ask(within: number): void {
    this.#asked = true;
    this.#dueAt = this.#options.clock.now() + within;
    this.#after(within, (jumped) => {
      // The answer may have come while nothing ran.
      if (!jumped || this.#pardoned) return this.#options.dead();
      this.#pardoned = true;
      this.#ask(this.#options.wakeWithin);
    });
    this.#options.ping();
  }

  #listen(): void {
    const { clock, pingAfter, answerWithin, wakeWithin } = this.#options;
    const left = this.#heardAt + pingAfter - clock.now();
    this.#after(Math.min(Math.max(left, 0), pingAfter, TICK), (jumped) => {
      const silence = clock.now() - this.#heardAt;
      if (jumped) this.#ask(wakeWithin);
      // Less than nothing: the clock was set back, and nothing is known.
      else if (silence >= pingAfter || silence < 0) this.#ask(answerWithin);
      else this.#listen();
    });
  }

  #after(ms: number, callback: (jumped: boolean) => void): void {
    const { clock } = this.#options;
    const expected = clock.now() + ms;
    this.#cancel();
    this.#cancel = clock.after(ms, () => callback(Math.abs(clock.now() - expected) > LATE));
  }
}
