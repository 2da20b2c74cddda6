import { toHex } from "../../base/encoding.js";
import type { LogId } from "../../wire/identifiers.js";

/** Bytes of frames that may wait to be processed unless the `limits` option says otherwise. */
export const DEFAULT_MAX_UNPROCESSED_BYTES = 16 * 1024 * 1024;

export interface InflowOptions {
  readonly maxBytes: number;
  /** Tells the relay to send no more of a log. */
  unsubscribe(log: LogId): void;
  /** Follows the log again, from where this device stands. */
  resume(log: LogId): void;
}

interface Cut {
  readonly log: LogId;
  resuming: boolean;
}

/**
 * Bounds what the relay has pushed and this client has not processed: a socket cannot be told to wait, so a log of
 * which too much came is cut off, what still comes of it is dropped, and it is read on from its place in the store
 * once half of what waited is done.
 */
export class Inflow {
  readonly #options: InflowOptions;
  readonly #cuts = new Map<string, Cut>();
  #bytes = 0;

  constructor(options: InflowOptions) {
    this.#options = options;
  }

  /** Something of a log came, in a frame of this size; `process` settles when it is done with, and never rejects. */
  push(log: LogId, bytes: number, process: () => Promise<void> | undefined): void {
    const key = keyOf(log);
    if (this.#cuts.has(key)) return;
    if (this.#bytes > 0 && this.#bytes + bytes > this.#options.maxBytes) {
      this.#cuts.set(key, { log, resuming: false });
      this.#options.unsubscribe(log);
      return;
    }
    const processed = process();
    if (processed === undefined) return;
    this.#bytes += bytes;
    void processed.then(() => {
      this.#bytes -= bytes;
      this.#goOn();
    });
  }

  isCut(log: LogId): boolean {
    return this.#cuts.has(keyOf(log));
  }

  /** Call when a log is asked for; the result is to be called when the relay has answered, before what it then sends. */
  subscribing(log: LogId): () => void {
    const cut = this.#cuts.get(keyOf(log));
    return () => {
      // An answer to what was asked before the cut would lift it too early.
      if (cut !== undefined && this.#cuts.get(keyOf(log)) === cut) this.#cuts.delete(keyOf(log));
    };
  }

  /** The session ended, and every subscription with it. */
  reset(): void {
    this.#cuts.clear();
  }

  #goOn(): void {
    if (this.#bytes > this.#options.maxBytes / 2) return;
    for (const cut of [...this.#cuts.values()]) {
      if (cut.resuming) continue;
      cut.resuming = true;
      this.#options.resume(cut.log);
    }
  }
}

function keyOf({ kind, id }: LogId): string {
  return `${kind}/${toHex(id)}`;
}
