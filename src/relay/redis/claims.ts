import { type Bytes, copyBytes } from "../../base/bytes.js";
import type { Clock } from "../../base/clock.js";
import { placeOf } from "./places.js";
import type { RecordsLink } from "./records-link.js";
import { CLAIM, END_CLAIM } from "./scripts.js";

/** Milliseconds after which a claim whose group has not come is looked into. */
const GRACE = 10_000;

/** What the claims need of groups, which lie in other slots. */
export interface ClaimedGroups {
  /** Whether the group that a claim's value names has what the claim is for; undefined while there is no group. */
  owns(value: Bytes, key: string): Promise<boolean | undefined>;
  /** Makes sure that the group never has what was claimed, but by another claim; false if it has it already. */
  prevent(value: Bytes, key: string): Promise<boolean>;
}

/**
 * Names and direct slots lie in slots of their own. They are claimed before their group is created and confirmed
 * after it, so that no two groups have one of them. Whoever finds a claim left behind first makes the group's
 * creation impossible, in the group's own slot, and then undoes the claim: a creator that was merely slow is told
 * of a conflict, and never has a group without the name. A claim for a group that has another name, or none, is undone
 * after that time: whoever was merely slow in giving it that name has to claim it again.
 */
export class Claims {
  readonly #records: RecordsLink;
  readonly #groups: ClaimedGroups;
  readonly #clock: Clock;

  constructor(records: RecordsLink, groups: ClaimedGroups, clock: Clock) {
    this.#records = records;
    this.#groups = groups;
    this.#clock = clock;
  }

  /** The value that counts for whoever wants to claim. */
  async current(key: string): Promise<Bytes | undefined> {
    return (await this.#look(key)).value;
  }

  /** The value that counts for whoever looks for the group: none, or the one before, while there is no group. */
  async resolved(key: string): Promise<Bytes | undefined> {
    const { value, pending, before } = await this.#look(key);
    return pending ? before : value;
  }

  async #look(key: string): Promise<{ value?: Bytes; pending?: boolean; before?: Bytes }> {
    const { tag, kind } = placeOf(key);
    const name = this.#records.names.key(kind, tag);
    const reply = await this.#records.link.command(tag, ["HMGET", name, "", "since", "before"]);
    const [held, since, previous] = reply as (Buffer | null)[];
    if (held === null || held === undefined) return {};
    const value = copyBytes(held);
    if (since === null || since === undefined) return { value };
    const owns = await this.#groups.owns(value, key);
    if (owns) {
      await this.end(key, value, "keep");
      return { value };
    }
    // A group that is there may just be taking another name, but never another direct slot.
    if (owns === false && !key.startsWith("n")) {
      await this.end(key, value, "undo");
      return this.#look(key);
    }
    const before = previous && previous.length > 0 ? { before: copyBytes(previous) } : {};
    if (this.#clock.now() - Number(since.toString()) < GRACE) return { value, pending: true, ...before };
    if (await this.#groups.prevent(value, key)) await this.end(key, value, "undo");
    return this.#look(key);
  }

  /** False if it has not the value `expected` any more. */
  async take(key: string, expected: Bytes | undefined, value: Bytes): Promise<boolean> {
    const { tag, kind } = placeOf(key);
    const reply = await this.#records.link.write({
      tag,
      script: CLAIM,
      keys: [this.#records.names.key(kind, tag)],
      args: [Buffer.from(expected ?? []), Buffer.from(value), String(this.#clock.now())],
    });
    return Number(reply) === 1;
  }

  /** The group has what was claimed. A claim that was taken back while that was written is made again. */
  async keep(key: string, value: Bytes): Promise<void> {
    if ((await this.end(key, value, "keep")) || !(await this.take(key, undefined, value))) return;
    await this.end(key, value, "keep");
  }

  /** False if it has another value. */
  async end(key: string, value: Bytes, how: "keep" | "undo" | "free"): Promise<boolean> {
    const { tag, kind } = placeOf(key);
    const reply = await this.#records.link.write({
      tag,
      script: END_CLAIM,
      keys: [this.#records.names.key(kind, tag)],
      args: [Buffer.from(value), how],
    });
    return Number(reply) === 1;
  }
}
