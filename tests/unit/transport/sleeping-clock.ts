import type { Clock } from "../../../src/base/clock.js";

/** A clock whose timers stand still while the machine sleeps: the time of day goes on without them. */
export class SleepingClock implements Clock {
  #wall = 1_700_000_000_000;
  #running = 0;
  #timers: { readonly at: number; readonly callback: () => void }[] = [];

  now(): number {
    return this.#wall;
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.#running + ms, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** The machine sleeps, or somebody sets the clock; back, if negative. */
  jump(ms: number): void {
    this.#wall += ms;
  }

  async run(ms: number): Promise<void> {
    const end = this.#running + ms;
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      const [next] = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#pass(next.at - this.#running);
      next.callback();
    }
    this.#pass(end - this.#running);
  }

  #pass(ms: number): void {
    this.#wall += ms;
    this.#running += ms;
  }
}
