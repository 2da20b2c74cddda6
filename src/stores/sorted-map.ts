import type { KeyRange } from "./records.js";

/** A map whose keys can be walked in order. */
export class SortedMap<V> {
  readonly #values = new Map<string, V>();
  /** All keys, in order. */
  #keys: string[] = [];

  get size(): number {
    return this.#keys.length;
  }

  get(key: string): V | undefined {
    return this.#values.get(key);
  }

  set(key: string, value: V): void {
    if (!this.#values.has(key)) this.#keys.splice(this.#position(key), 0, key);
    this.#values.set(key, value);
  }

  delete(key: string): void {
    if (this.#values.delete(key)) this.#keys.splice(this.#position(key), 1);
  }

  /** Deletes the keys from `lower` up to, not including, `upper`. */
  deleteRange(lower: string, upper: string): void {
    const start = this.#position(lower);
    for (const key of this.#keys.splice(start, this.#position(upper) - start)) this.#values.delete(key);
  }

  range({ lower, lowerOpen, upper, limit, reverse }: KeyRange): [string, V][] {
    let start = this.#position(lower);
    if (lowerOpen && this.#keys[start] === lower) start++;
    const end = this.#position(upper);
    const keys = reverse
      ? this.#keys.slice(Math.max(start, end - limit), end).reverse()
      : this.#keys.slice(start, Math.min(end, start + limit));
    return keys.map((key) => [key, this.#values.get(key) as V]);
  }

  /** Where `key` stands or would stand. */
  #position(key: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#keys[middle] as string) < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
