import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Bytes } from "../../../src/base/bytes.js";
import { toHex } from "../../../src/base/encoding.js";
import { SubrosaError } from "../../../src/base/errors.js";
import { HashRatchet } from "../../../src/mls/schedule/hash-ratchet.js";
import {
  decodeRatchets,
  encodeRatchets,
  type RatchetChange,
  type RatchetKind,
  SecretTree,
} from "../../../src/mls/schedule/secret-tree.js";
import { toLeafIndex } from "../../../src/mls/structs/indices.js";

const secret = new Uint8Array(32).fill(9);
const failed = { code: "decryption-failed" };
const at = (leaf: number) => toLeafIndex(leaf);

/** A store of records. */
class Records extends Map<string, Bytes> {
  apply(changes: readonly RatchetChange[]): void {
    for (const { key, value } of changes) {
      if (value === undefined) this.delete(key);
      else this.set(key, value);
    }
  }
}

function sorted(changes: readonly RatchetChange[]): string[] {
  return changes.map(({ key, value }) => `${key}=${toHex(value as Bytes)}`).sort();
}

describe("order of messages", () => {
  it("gives the sender's keys to the receiver, in and out of order, once each", async () => {
    let sending = SecretTree.create(secret, 4);
    let receiving = SecretTree.create(secret, 4);
    const sent: string[] = [];
    for (let generation = 0; generation < 6; generation++) {
      const { messageKey, tree } = await sending.next(at(2), "application");
      expect(messageKey.generation).toBe(generation);
      sent.push(toHex(messageKey.key) + toHex(messageKey.nonce));
      sending = tree;
    }
    expect(new Set(sent).size).toBe(6);
    for (const generation of [0, 3, 1, 5, 2, 4]) {
      const { messageKey, tree } = await receiving.at(at(2), "application", generation);
      expect(toHex(messageKey.key) + toHex(messageKey.nonce)).toBe(sent[generation]);
      receiving = tree;
      await expect(receiving.at(at(2), "application", generation)).rejects.toMatchObject(failed);
    }
  });

  it("keeps a tree as it was until its successor is used", async () => {
    const tree = SecretTree.create(secret, 4);
    const before = sorted(encodeRatchets(tree));
    const first = await tree.at(at(1), "application", 0);
    const again = await tree.at(at(1), "application", 0);
    expect(toHex(again.messageKey.key)).toBe(toHex(first.messageKey.key));
    expect(sorted(encodeRatchets(tree))).toEqual(before);
  });

  it("separates leaves and kinds", async () => {
    const tree = SecretTree.create(secret, 4);
    const keys = new Set<string>();
    for (const leaf of [0, 1, 2, 3]) {
      for (const kind of ["handshake", "application"] as const) {
        keys.add(toHex((await tree.next(at(leaf), kind)).messageKey.key));
      }
    }
    expect(keys.size).toBe(8);
  });

  it("works for one leaf and refuses leaves outside", async () => {
    const tree = SecretTree.create(secret, 1);
    expect((await tree.next(at(0), "handshake")).messageKey.generation).toBe(0);
    await expect(tree.at(at(1), "application", 0)).rejects.toMatchObject(failed);
    await expect(SecretTree.create(secret, 4).at(at(4), "application", 0)).rejects.toMatchObject(failed);
  });
});

describe("limits", () => {
  it("refuses a message too far ahead", async () => {
    const tree = SecretTree.create(secret, 2, { maxForward: 10 });
    await expect(tree.at(at(0), "application", 11)).rejects.toMatchObject(failed);
    const { tree: next } = await tree.at(at(0), "application", 10);
    await expect(next.at(at(0), "application", 22)).rejects.toMatchObject(failed);
    expect((await next.at(at(0), "application", 21)).messageKey.generation).toBe(21);
    await expect(SecretTree.create(secret, 2).at(at(0), "application", 0xffffffff)).rejects.toMatchObject(
      failed,
    );
  });

  it("keeps the newest skipped keys only, and the same key however a generation was reached", async () => {
    const tree = SecretTree.create(secret, 2, { maxSkipped: 3 });
    const { tree: skipped } = await tree.at(at(0), "application", 10);
    for (const generation of [0, 6]) {
      await expect(skipped.at(at(0), "application", generation)).rejects.toMatchObject(failed);
    }
    for (const generation of [7, 8, 9]) {
      const direct = await tree.at(at(0), "application", generation);
      const kept = await skipped.at(at(0), "application", generation);
      expect(toHex(kept.messageKey.key)).toBe(toHex(direct.messageKey.key));
    }
    const { tree: further } = await skipped.at(at(0), "application", 12);
    await expect(further.at(at(0), "application", 7)).rejects.toMatchObject(failed);
    expect((await further.at(at(0), "application", 9)).messageKey.generation).toBe(9);
    expect((await further.at(at(0), "application", 11)).messageKey.generation).toBe(11);
  });

  it("ends a ratchet before its generation overflows", async () => {
    const last = await new HashRatchet(0xfffffffe, secret).next();
    expect(last.messageKey.generation).toBe(0xfffffffe);
    await expect(last.ratchet.next()).rejects.toMatchObject({ code: "too-large" });
    expect(HashRatchet.decode(last.ratchet.encode()).generation).toBe(0xffffffff);
  });
});

describe("records", () => {
  it("of one message do not grow with the group, and those of a first message with its depth only", async () => {
    const counts: number[][] = [];
    for (const leafCount of [2, 512, 4096]) {
      let tree = SecretTree.create(secret, leafCount);
      const first = await tree.next(at(1), "application");
      tree = first.tree;
      const second = await tree.next(at(1), "application");
      counts.push([first.changes.length, second.changes.length]);
      const bytes = second.changes.reduce((sum, { value }) => sum + (value?.length ?? 0), 0);
      expect(bytes).toBeLessThan(64);
    }
    // One deleted and one written secret per level, two ratchets, and the deletion of the root.
    expect(counts).toEqual([
      [4, 1],
      [12, 1],
      [15, 1],
    ]);
  });

  it("a message leaves no record from which its own key, or an older one, could be derived", async () => {
    const records = new Records();
    let tree = SecretTree.create(secret, 4);
    records.apply(encodeRatchets(tree));
    const first = await tree.at(at(1), "application", 0);
    records.apply(first.changes);
    tree = first.tree;
    // Node 3 is the root and node 1 above leaf 1: what both derived from is gone, their other children are there.
    expect([...records.keys()].sort()).toEqual(["a/1", "h/1", "n/0", "n/5"]);
    const restored = decodeRatchets(records, 4);
    await expect(restored.at(at(1), "application", 0)).rejects.toMatchObject(failed);
    const stored = [...records.values()].map(toHex).join();
    expect(stored).not.toContain(toHex(first.messageKey.key));
    expect(stored).not.toContain(toHex(secret));
  });

  it("applied one by one are the tree's own, for random histories", async () => {
    const step = fc.record({
      leaf: fc.nat(7),
      kind: fc.constantFrom<RatchetKind>("handshake", "application"),
      generation: fc.nat(6),
      send: fc.boolean(),
    });
    const history = fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const limits = { maxForward: 5, maxSkipped: 2 };
      let tree = SecretTree.create(secret, 8, limits);
      const records = new Records();
      records.apply(encodeRatchets(tree));
      for (const { leaf, kind, generation, send } of steps) {
        try {
          const taken = send ? await tree.next(at(leaf), kind) : await tree.at(at(leaf), kind, generation);
          records.apply(taken.changes);
          tree = taken.tree;
        } catch (error) {
          if (!SubrosaError.is(error) || error.code !== "decryption-failed") throw error;
        }
        const whole = sorted(encodeRatchets(tree));
        expect(sorted(Array.from(records, ([key, value]) => ({ key, value })))).toEqual(whole);
        expect(sorted(encodeRatchets(decodeRatchets(records, 8, limits)))).toEqual(whole);
      }
    });
    await fc.assert(history, { seed: 9420, numRuns: 25 });
  });

  it("that are not ratchets are malformed", () => {
    const property = fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        HashRatchet.decode(bytes);
      } catch (error) {
        if (!SubrosaError.is(error) || error.code !== "malformed") throw error;
      }
    });
    fc.assert(property, { seed: 9420 });
  });

  it("that are missing make a leaf unreadable, no other", async () => {
    const { tree, changes } = await SecretTree.create(secret, 4).next(at(0), "application");
    const records = new Records();
    records.apply(encodeRatchets(tree));
    expect(changes.length).toBeGreaterThan(0);
    records.delete("n/2");
    const restored = decodeRatchets(records, 4);
    await expect(restored.at(at(1), "application", 0)).rejects.toMatchObject(failed);
    expect((await restored.next(at(0), "application")).messageKey.generation).toBe(1);
    await expect(decodeRatchets([], 4).next(at(0), "application")).rejects.toMatchObject(failed);
  });
});
