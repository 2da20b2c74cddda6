import type { Clock } from "../../src/base/clock.js";

/** Something whose code runs, or does not any more, or not now. */
export interface Process {
  alive: boolean;
  frozen: boolean;
}

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
  readonly of: Process;
}

/** The time of a whole world, which stands still until the scheduler moves it. */
export class SimulatedClock {
  now: number;
  #order = 0;
  readonly #timers = new Set<Timer>();

  constructor(now: number) {
    this.now = now;
  }

  /** The clock as a process sees it. */
  of(process: Process): Clock {
    return {
      now: () => this.now,
      after: (ms, callback) => {
        const timer = {
          at: this.now + Math.max(0, Math.ceil(ms)),
          order: this.#order++,
          callback,
          of: process,
        };
        this.#timers.add(timer);
        return () => void this.#timers.delete(timer);
      },
    };
  }

  /** The time of the next timer of a process that runs. */
  get next(): number | undefined {
    return this.#earliest()?.at;
  }

  #earliest(): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) {
      if (!timer.of.alive) this.#timers.delete(timer);
      else if (timer.of.frozen) continue;
      else if (
        first === undefined ||
        timer.at < first.at ||
        (timer.at === first.at && timer.order < first.order)
      )
        first = timer;
    }
    return first;
  }

  /** Moves to the next timer and runs it; false if there is none up to `end`. */
  advance(end = Number.POSITIVE_INFINITY): boolean {
    const timer = this.#earliest();
    if (timer === undefined || timer.at > end) return false;
    this.#timers.delete(timer);
    this.now = Math.max(this.now, timer.at);
    timer.callback();
    return true;
  }
}
