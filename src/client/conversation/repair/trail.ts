import type { Bytes } from "../../../base/bytes.js";
import { toHex } from "../../../base/encoding.js";
import type { Change, StoreSession } from "../../../stores/store.js";
import { layout } from "../../layout.js";

/** How many records there are for a group, one for each step, which reads an entry at least. */
const SLOTS = 256;
/** As much of an entry's digest as nobody can find twice. */
const LENGTH = 16;

/** The change that notes what a step has read; `number`: how many have noted something before. */
export function noteRead(groupId: Bytes, number: number, digests: readonly Uint8Array[]): Change {
  const value = new Uint8Array(LENGTH * digests.length);
  for (const [at, digest] of digests.entries()) value.set(digest.subarray(0, LENGTH), at * LENGTH);
  return { put: layout.trail(groupId, number % SLOTS), value };
}

/**
 * Which entries of a group's log were read last. By it a device whose keys have gone on knows, where a relay has lost the
 * end of the log, what it has read of it before and what is new.
 */
export class Trail {
  readonly #read = new Set<string>();

  static async load(store: StoreSession, groupId: Bytes): Promise<Trail> {
    const trail = new Trail();
    for (const [, value] of await store.list(layout.trailOf(groupId))) {
      for (let at = 0; at < value.length; at += LENGTH)
        trail.#read.add(toHex(value.subarray(at, at + LENGTH)));
    }
    return trail;
  }

  has(digest: Uint8Array): boolean {
    return this.#read.has(toHex(digest.subarray(0, LENGTH)));
  }

  /** Of what was read up to an entry, everything behind this one is noted. */
  static since(last: number): number {
    return Math.max(0, last - SLOTS);
  }
}
