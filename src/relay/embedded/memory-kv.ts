import type { Bytes } from "../../base/bytes.js";
import type { Kv, KvChanges } from "./kv.js";

/** Keys and values in memory: for tests, and for relays that may forget. */
export class MemoryKv implements Kv {
  readonly #values = new Map<string, Bytes>();
  /** The keys of `#values`, sorted. */
  readonly #keys: string[] = [];

  get(key: string): Bytes | undefined {
    return this.#values.get(key);
  }

  *range(start: string, end: string): Iterable<readonly [string, Bytes]> {
    for (let at = this.#find(start); at < this.#keys.length; at++) {
      const key = this.#keys[at] as string;
      if (key >= end) return;
      yield [key, this.#values.get(key) as Bytes];
    }
  }

  /** The index of the first key that is not below `key`. */
  #find(key: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#keys[middle] as string) < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  soon(write: () => void): void {
    queueMicrotask(write);
  }

  async write(changes: KvChanges): Promise<void> {
    for (const [key, value] of changes) {
      const had = this.#values.has(key);
      if (value !== undefined) {
        this.#values.set(key, value);
        if (!had) this.#keys.splice(this.#find(key), 0, key);
      } else if (had) {
        this.#values.delete(key);
        this.#keys.splice(this.#find(key), 1);
      }
    }
  }

  sizes(): Readonly<Record<string, number>> {
    return { records: this.#values.size };
  }

  async close(): Promise<void> {}
}
