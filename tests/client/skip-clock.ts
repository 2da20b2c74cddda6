import type { Clock } from "../../src/base/clock.js";
import { whenCryptoIdle } from "../../src/crypto/subtle.js";
import type { Actor } from "./harness.js";

interface Timer {
  readonly at: number;
  readonly fire: () => void;
}

/** Timers up to this many milliseconds go by the machine's time, so that clients get on by themselves. */
const SHORT = 2_000;

/** A clock that stands still until a test moves it ahead, however long the test takes. */
export class SkipClock implements Clock {
  #now = Date.now();
  readonly #timers = new Set<Timer>();

  now(): number {
    return this.#now;
  }

  after(ms: number, callback: () => void): () => void {
    const cancel = () => {
      clearTimeout(real);
      this.#timers.delete(timer);
    };
    const timer: Timer = {
      at: this.#now + ms,
      fire: () => {
        cancel();
        callback();
      },
    };
    const real = ms > SHORT ? undefined : setTimeout(timer.fire, ms);
    this.#timers.add(timer);
    return cancel;
  }

  #advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#now = Math.max(this.#now, due.at);
      due.fire();
    }
    this.#now = end;
  }

  /** Moves ahead in steps, with `between` after each, so that heartbeats are answered. */
  async skip(ms: number, between: () => Promise<unknown>): Promise<void> {
    for (let left = ms; left > 0; left -= 4_000) {
      this.#advance(Math.min(4_000, left));
      await between();
    }
  }
}

/** Resolves when what these clients had to do by now is done, and what they sent each other meanwhile has been taken. */
export async function settle(...actors: readonly Actor[]): Promise<void> {
  // What was being sealed is on its way before the first answer, and with the others before the second.
  for (let rounds = 2; rounds > 0; rounds--) {
    await whenCryptoIdle();
    await Promise.all(actors.map(({ client }) => client.blocked()));
  }
  await whenCryptoIdle();
}
