import type { Bytes } from "../../base/bytes.js";
import { after } from "../embedded/keys.js";
import type { KvView } from "../embedded/kv.js";

/** Ends a command that needs a record which was not fetched yet; it is run again with it. */
export class Missing extends Error {
  readonly key: string;
  /** Whether all records whose keys begin with `key` are needed. */
  readonly range: boolean;

  constructor(key: string, range: boolean) {
    super("a record is needed");
    this.key = key;
    this.range = range;
  }
}

/** Records whose absence is taken for granted: the script that checks what was read finds the few that are there. */
const PRESUMED_ABSENT = new Set(["i", "w"]);

/** What is known of Redis' records, as the rules of the embedded storage read them. */
export class Snapshot implements KvView {
  readonly values = new Map<string, Bytes | undefined>();
  readonly ranges = new Map<string, readonly (readonly [string, Bytes])[]>();
  /** What was read since {@link beginReading}. */
  readonly readValues = new Set<string>();
  readonly readRanges = new Set<string>();
  readonly #recent: (key: string) => Bytes | undefined;

  /** `recent` gives what was seen lately of records that are checked before they count. */
  constructor(recent: (key: string) => Bytes | undefined) {
    this.#recent = recent;
  }

  beginReading(): void {
    this.readValues.clear();
    this.readRanges.clear();
  }

  knows(key: string): boolean {
    if (this.values.has(key)) return true;
    const recent = this.#recent(key);
    if (recent !== undefined) this.values.set(key, recent);
    return recent !== undefined;
  }

  get(key: string): Bytes | undefined {
    this.readValues.add(key);
    if (this.knows(key)) return this.values.get(key);
    if (PRESUMED_ABSENT.has(key.charAt(0))) return undefined;
    throw new Missing(key, false);
  }

  range(start: string, end: string): Iterable<readonly [string, Bytes]> {
    if (end !== after(start)) throw new Error("only whole ranges are kept in Redis");
    this.readRanges.add(start);
    const range = this.ranges.get(start);
    if (range === undefined) throw new Missing(start, true);
    return range;
  }
}

/** The newest versions this node has seen of the records that appends need. They may be old: scripts compare them. */
export class Recent {
  readonly #values = new Map<string, Bytes>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Groups, heads and accesses: small, and read by each append. */
  static keeps(key: string): boolean {
    const kind = key.charAt(0);
    return kind === "g" || kind === "h" || kind === "x";
  }

  get(key: string): Bytes | undefined {
    const value = this.#values.get(key);
    if (value !== undefined) {
      this.#values.delete(key);
      this.#values.set(key, value);
    }
    return value;
  }

  set(key: string, value: Bytes | undefined): void {
    if (!Recent.keeps(key)) return;
    this.#values.delete(key);
    if (value === undefined) return;
    this.#values.set(key, value);
    if (this.#values.size > this.#limit) this.#values.delete(this.#values.keys().next().value as string);
  }
}
