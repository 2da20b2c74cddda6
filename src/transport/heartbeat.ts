import type { Clock } from "../base/clock.js";

export interface HeartbeatOptions {
  readonly clock: Clock;
  /** Milliseconds of silence after which the other side is asked. */
  readonly pingAfter: number;
  /** Milliseconds it then has to send anything. */
  readonly answerWithin: number;
  /** Asks. */
  ping(): void;
  /** Called once when there was no answer. */
  dead(): void;
}

/** Notices that nothing comes any more: asks after a silence, and gives up when nothing follows. */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #heardAt: number;
  #asked = false;
  /** When the answer is due, if we asked. */
  #dueAt = 0;
  #cancel: () => void = () => {};

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#heardAt = options.clock.now();
    this.#listen(options.pingAfter);
  }

  /** Something arrived. Cheap: no timer is touched unless we were waiting for an answer. */
  heard(): void {
    this.#heardAt = this.#options.clock.now();
    if (!this.#asked) return;
    this.#asked = false;
    this.#listen(this.#options.pingAfter);
  }

  /** Asks now; the answer is due within `within` milliseconds, or sooner if one was due sooner. */
  check(within: number): void {
    const dueAt = this.#options.clock.now() + within;
    if (this.#asked && this.#dueAt <= dueAt) return;
    this.#asked = true;
    this.#dueAt = dueAt;
    this.#after(within, () => this.#options.dead());
    this.#options.ping();
  }

  stop(): void {
    this.#asked = false;
    this.#cancel();
  }

  #listen(ms: number): void {
    this.#after(ms, () => {
      const { clock, pingAfter, answerWithin } = this.#options;
      const silence = clock.now() - this.#heardAt;
      // Less than nothing: the clock was set back, and nothing is known.
      if (silence >= 0 && silence < pingAfter) this.#listen(pingAfter - silence);
      else this.check(answerWithin);
    });
  }

  #after(ms: number, callback: () => void): void {
    this.#cancel();
    this.#cancel = this.#options.clock.after(ms, callback);
  }
}
