import type { Bytes } from "../../base/bytes.js";

/** Ordered keys and values as a storage keeps them. Keys are binary strings: one character, 0 to 255, per byte. */
export interface KvView {
  get(key: string): Bytes | undefined;
  /** Pairs with `start` ≤ key < `end`, in order of the keys. The view must not change while it is read. */
  range(start: string, end: string): Iterable<readonly [string, Bytes]>;
}

/** A set of changes; `undefined` deletes. */
export type KvChanges = ReadonlyMap<string, Bytes | undefined>;

/** What memory and LMDB differ in. Reads see what is durable. */
export interface Kv extends KvView {
  /** Writes all or nothing, and resolves once it is durable and visible. */
  write(changes: KvChanges): Promise<void>;
  /** Calls back, once, when what came together has gathered to be written together. */
  soon(write: () => void): void;
  /** Of the whole: `records` and, where that is known, `bytes`. */
  sizes(): Readonly<Record<string, number>>;
  close(): Promise<void>;
}

/** Changes on top of a view that were not written yet. */
export class Overlay implements KvView {
  readonly changes = new Map<string, Bytes | undefined>();
  readonly #base: () => KvView;

  /** `base` is asked at each use: what lies below may have become durable meanwhile. */
  constructor(base: () => KvView) {
    this.#base = base;
  }

  get(key: string): Bytes | undefined {
    return this.changes.has(key) ? this.changes.get(key) : this.#base().get(key);
  }

  put(key: string, value: Bytes): void {
    this.changes.set(key, value);
  }

  delete(key: string): void {
    this.changes.set(key, undefined);
  }

  *range(start: string, end: string): Iterable<readonly [string, Bytes]> {
    const mine = [...this.changes.keys()].filter((key) => key >= start && key < end).sort(byCodeUnits);
    let next = 0;
    for (const pair of this.#base().range(start, end)) {
      for (; next < mine.length && (mine[next] as string) < pair[0]; next++)
        yield* this.#own(mine[next] as string);
      if (mine[next] === pair[0]) yield* this.#own(mine[next++] as string);
      else yield pair;
    }
    for (; next < mine.length; next++) yield* this.#own(mine[next] as string);
  }

  *#own(key: string): Iterable<readonly [string, Bytes]> {
    const value = this.changes.get(key);
    if (value !== undefined) yield [key, value];
  }

  /** Takes over the changes of an overlay that lies on this one. */
  merge(upper: Overlay): void {
    for (const [key, value] of upper.changes) this.changes.set(key, value);
  }
}

/** The order of binary strings, which is that of their bytes. */
export function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
