import type { Clock } from "../base/clock.js";
import type { RelayLimits } from "./limits.js";
import type { RelaySocket } from "./socket.js";

/** Logs that are read for one reader at once, at most. */
const MAX_TURNS = 4;

/**
 * Shares one reader's queue among the logs it reads: few are read from the storage at once, in the order in which they
 * asked, and none before most of what waits was taken. However many logs there are, what waits stays far below
 * the limit, and each gets on.
 */
export class ReadingTurns {
  /** What one read brings, in bytes; a single entry may be larger. */
  readonly batchBytes: number;
  readonly #socket: RelaySocket;
  readonly #clock: Clock;
  readonly #limits: RelayLimits;
  readonly #tooSlow: () => void;
  readonly #waiting: (() => void)[] = [];
  #free: number;

  /** `tooSlow` is called when the reader takes nothing for too long. */
  constructor(socket: RelaySocket, clock: Clock, limits: RelayLimits, tooSlow: () => void) {
    const { maxFrameBytes, maxQueuedBytes } = limits;
    this.#socket = socket;
    this.#clock = clock;
    this.#limits = limits;
    this.#tooSlow = tooSlow;
    this.batchBytes = Math.min(maxFrameBytes, maxQueuedBytes) / 4;
    // What they bring together, at most a frame each, fits into a quarter of the queue.
    this.#free = Math.min(MAX_TURNS, Math.floor(maxQueuedBytes / 4 / maxFrameBytes)) || 1;
  }

  /** So much waits that new entries had better be read once there is room. */
  get crowded(): boolean {
    return this.#socket.bufferedAmount > this.#limits.maxQueuedBytes / 2;
  }

  /** Calls `read` when it is its turn and there is room for what it brings. */
  async take<T>(read: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      if (this.#socket.bufferedAmount > this.batchBytes) await this.#room();
      return await read();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }

  async #room(): Promise<void> {
    const cancel = this.#clock.after(this.#limits.slowReaderTimeout, this.#tooSlow);
    await this.#socket.drained();
    cancel();
  }
}
