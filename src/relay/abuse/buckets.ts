import type { Clock } from "../../base/clock.js";
import { TokenBucket } from "../token-bucket.js";

/** Token buckets by name, in bounded memory: beyond `max` the one used least lately is forgotten, and so starts full. */
export class Buckets {
  readonly #clock: Clock;
  readonly #max: number;
  /** In the order of their last use. */
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(clock: Clock, max: number) {
    this.#clock = clock;
    this.#max = max;
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** The bucket of that name; one name always with the same rate and burst. */
  get(name: string, rate: number, burst: number): TokenBucket {
    const bucket = this.#buckets.get(name) ?? new TokenBucket(this.#clock, rate, burst);
    this.#buckets.delete(name);
    this.#buckets.set(name, bucket);
    for (const oldest of this.#buckets.keys()) {
      if (this.#buckets.size <= this.#max) break;
      this.#buckets.delete(oldest);
    }
    return bucket;
  }
}

/** Counts by name; memory for those above 0 only. */
export class Counts {
  readonly #counts = new Map<string, number>();

  of(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  add(name: string): void {
    this.#counts.set(name, this.of(name) + 1);
  }

  remove(name: string): void {
    const left = this.of(name) - 1;
    if (left > 0) this.#counts.set(name, left);
    else this.#counts.delete(name);
  }
}
