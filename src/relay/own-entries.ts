import type { Bytes } from "../base/bytes.js";
import { toHex } from "../base/encoding.js";
import { type LogId, logKey } from "../wire/identifiers.js";

/** How many are remembered; the oldest are forgotten first, and then come in full. */
const MAX_ENTRIES = 1024;

/** The entries that a session appended and has not read yet: it needs no second copy of them. */
export class OwnEntries {
  readonly #keys = new Set<string>();

  add(log: LogId, entryId: Bytes): void {
    if (this.#keys.size >= MAX_ENTRIES) this.#keys.delete(this.#keys.values().next().value as string);
    this.#keys.add(keyOf(log, entryId));
  }

  /** True, once, if it was added. */
  take(log: LogId, entryId: Bytes): boolean {
    return this.#keys.delete(keyOf(log, entryId));
  }
}

function keyOf(log: LogId, entryId: Bytes): string {
  return `${logKey(log)}:${toHex(entryId)}`;
}
