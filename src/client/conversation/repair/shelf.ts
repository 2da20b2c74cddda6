import type { Bytes } from "../../../base/bytes.js";
import type { Context, Effect } from "../../context.js";

/** How many records are looked at in one go. */
const BATCH = 100;
/** How much of what may be kept stays when there is more: so that there is not more again at once. */
const LEFT = 3 / 4;

export interface ShelfOptions {
  /** Milliseconds. */
  readonly keepFor: number;
  readonly maxBytes: number;
  readonly maxCount?: number;
  /** Whether the last record of each group stays, whatever its age. */
  readonly sparesLast?: boolean;
  /** Of a record: when it was written, in milliseconds since 1970, and what stands behind what in its group. */
  readonly ageOf: (value: Bytes) => { readonly time: number; readonly order: number };
}

interface Found {
  readonly key: string;
  readonly bytes: number;
  readonly time: number;
  readonly order: number;
  readonly isSpared: boolean;
}

/** What a group has, the newest first. */
interface Holding {
  readonly records: Found[];
  bytes: number;
}

const groupOf = (key: string | undefined) => key?.slice(0, key.lastIndexOf("/"));

/** The groups of records. */
function holdingsOf(found: readonly Found[]): Holding[] {
  const holdings = new Map<string | undefined, Holding>();
  for (const one of found) {
    const holding = holdings.get(groupOf(one.key)) ?? { records: [], bytes: 0 };
    holdings.set(groupOf(one.key), holding);
    holding.records.push(one);
    holding.bytes += one.bytes;
  }
  for (const { records } of holdings.values()) records.sort((a, b) => b.order - a.order);
  return [...holdings.values()];
}

/**
 * Records of the store of which only so many are kept, for so long. They are counted as they are written, and looked at
 * only where that makes too many: then the oldest of the group that has most of them go, a quarter more than must. So
 * nobody can fill one group to have those of others forgotten.
 */
export class Shelf {
  readonly #context: () => Context;
  readonly #prefix: string;
  readonly #options: ShelfOptions;
  /** No more than this is there: what was deleted since the last look counts still. */
  #count = 0;
  #bytes = 0;
  #counted = false;
  #pruning = false;

  constructor(context: () => Context, prefix: string, options: ShelfOptions) {
    this.#context = context;
    this.#prefix = prefix;
    this.#options = options;
  }

  get #isFull(): boolean {
    const { maxBytes, maxCount = Number.POSITIVE_INFINITY } = this.#options;
    return this.#bytes > maxBytes || this.#count > maxCount;
  }

  /** The change that writes a record, with which it counts. */
  put(key: string, value: Bytes): Effect {
    const applied = () => {
      this.#count++;
      this.#bytes += value.length;
      // What earlier processes have left is counted once, however short this one is to last.
      if (!this.#pruning && (this.#isFull || !this.#counted)) this.#context().background(this.prune());
    };
    return { put: key, value, applied };
  }

  /** Deletes what is too old, and what is too much. */
  async prune(): Promise<void> {
    if (this.#pruning) return;
    this.#pruning = true;
    try {
      // What is written meanwhile counts on, and again if it is found.
      const [count, bytes] = [this.#count, this.#bytes];
      const left = await this.#look();
      this.#count += left.count - count;
      this.#bytes += left.bytes - bytes;
      this.#counted = true;
    } finally {
      this.#pruning = false;
    }
  }

  async #look(): Promise<{ readonly count: number; readonly bytes: number }> {
    const { maxBytes, maxCount = Number.POSITIVE_INFINITY, keepFor } = this.#options;
    const { clock, write } = this.#context();
    const oldest = clock.now() - keepFor;
    const all = await this.#find();
    const found = all.filter(({ time, isSpared }) => isSpared || time >= oldest);
    let count = found.length;
    let bytes = found.reduce((sum, one) => sum + one.bytes, 0);
    const left = count > maxCount || bytes > maxBytes ? LEFT : 1;
    const holdings = holdingsOf(found);
    const shareOf = (one: Holding) => Math.max(one.bytes / maxBytes, one.records.length / maxCount);
    while (count > maxCount * left || bytes > maxBytes * left) {
      let most: Holding | undefined;
      for (const one of holdings) {
        if (one.records.at(-1)?.isSpared !== false) continue;
        if (most === undefined || shareOf(one) > shareOf(most)) most = one;
      }
      const oldest = most?.records.pop();
      if (most === undefined || oldest === undefined) break;
      most.bytes -= oldest.bytes;
      bytes -= oldest.bytes;
      count--;
    }
    const kept = new Set(holdings.flatMap(({ records }) => records.map(({ key }) => key)));
    const old = all.flatMap(({ key }) => (kept.has(key) ? [] : [{ delete: key }]));
    if (old.length > 0) await write(old);
    return { count, bytes };
  }

  async #find(): Promise<Found[]> {
    const found: Found[] = [];
    for (let after = this.#prefix; ; ) {
      const entries = await this.#context().store.list(this.#prefix, { limit: BATCH, after });
      for (const [key, value] of entries) {
        const { time, order } = this.#options.ageOf(value);
        found.push({ key, bytes: value.length, time, order, isSpared: false });
      }
      const last = entries.at(-1)?.[0];
      if (last === undefined) break;
      after = last;
    }
    if (!this.#options.sparesLast) return found;
    return found.map((one, at) => ({ ...one, isSpared: groupOf(one.key) !== groupOf(found[at + 1]?.key) }));
  }
}
