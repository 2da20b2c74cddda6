import type { Clock } from "../base/clock.js";
import { type Cursor, type LogId, logKey } from "../wire/identifiers.js";

/** How long acks of a log gather after one was passed on, in milliseconds. */
const INTERVAL = 1000;

interface Ack {
  readonly log: LogId;
  readonly cursor: Cursor;
}

/**
 * One session's acks. In a busy group each of a thousand readers acks twenty times a second, and nothing that an ack
 * lets the relay drop is in a hurry: the first one of a log passes at once, then the newest of each interval.
 */
export class Acks {
  readonly #clock: Clock;
  readonly #write: (log: LogId, cursor: Cursor) => void;
  /** By log: the newest ack, undefined where it was passed on. */
  #gathering = new Map<string, Ack | undefined>();
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, write: (log: LogId, cursor: Cursor) => void) {
    this.#clock = clock;
    this.#write = write;
  }

  take(log: LogId, cursor: Cursor): void {
    const key = logKey(log);
    if (this.#gathering.has(key)) {
      this.#gathering.set(key, { log, cursor });
      return;
    }
    this.#gathering.set(key, undefined);
    this.#write(log, cursor);
    this.#cancel ??= this.#clock.after(INTERVAL, () => {
      this.#cancel = undefined;
      // What was gathered begins the next interval of its log.
      for (const ack of this.#end()) this.take(ack.log, ack.cursor);
    });
  }

  /** Passes on what has gathered. */
  flush(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    for (const { log, cursor } of this.#end()) this.#write(log, cursor);
  }

  #end(): Ack[] {
    const gathered = [...this.#gathering.values()].filter((ack) => ack !== undefined);
    this.#gathering = new Map();
    return gathered;
  }
}
