import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { concat, EMPTY } from "../../../src/base/bytes.js";
import { fromHex, toHex, toUtf8 } from "../../../src/base/encoding.js";
import { decode } from "../../../src/codec/reader.js";
import { encode } from "../../../src/codec/writer.js";
import {
  type LeafIndex,
  type NodeIndex,
  toLeafIndex,
  toNodeIndex,
} from "../../../src/mls/structs/indices.js";
import { encodeLeafNode, type LeafNode } from "../../../src/mls/structs/leaf-node.js";
import type { ParentNode } from "../../../src/mls/structs/parent-node.js";
import { directPath, leafToNode } from "../../../src/mls/tree/math.js";
import { decodeRatchetTree, encodeRatchetTree, RatchetTree } from "../../../src/mls/tree/ratchet-tree.js";
import { TreeEdit } from "../../../src/mls/tree/tree-edit.js";

let serial = 0;

function leafNode(name = `leaf ${serial++}`): LeafNode {
  return {
    encryptionKey: toUtf8(`key of ${name}`),
    signatureKey: toUtf8(`signature key of ${name}`),
    credential: { kind: "basic", identity: toUtf8(name) },
    capabilities: { versions: [1], cipherSuites: [2], extensions: [], proposals: [], credentials: [1] },
    leafNodeSource: "key_package",
    lifetime: { notBefore: 0n, notAfter: 1n },
    extensions: [],
    signature: EMPTY,
  };
}

function parentNode(unmergedLeaves: number[] = []): ParentNode {
  return {
    encryptionKey: toUtf8(`parent ${serial++}`),
    parentHash: EMPTY,
    unmergedLeaves: unmergedLeaves.map(toLeafIndex),
  };
}

/** A tree from names of leaves (`_` is blank) and parents by node index. */
function treeOf(leaves: string, parents: Record<number, number[]>): RatchetTree {
  const names = leaves.split("");
  const arrays = {
    leaves: names.map((name) => (name === "_" ? undefined : leafNode(name))),
    parents: new Array<ParentNode | undefined>(names.length - 1).fill(undefined),
    hashes: new Array(2 * names.length - 1).fill(undefined),
  };
  for (const [index, unmerged] of Object.entries(parents)) {
    arrays.parents[(Number(index) - 1) / 2] = parentNode(unmerged);
  }
  return new RatchetTree(arrays);
}

const nodes = (path: readonly { node: NodeIndex }[]) => path.map(({ node }) => node as number);

describe("resolutions and paths", () => {
  it("are those of RFC 9420 §4.1.1", () => {
    const tree = treeOf("AB_DEF_H", { 1: [1], 9: [] });
    expect(tree.resolution(toNodeIndex(1))).toEqual([1, 2]);
    expect(tree.resolution(toNodeIndex(4))).toEqual([]);
    expect(tree.resolution(toNodeIndex(7))).toEqual([1, 2, 6, 9, 14]);
    expect(tree.resolution(toNodeIndex(7), new Set([toLeafIndex(1), toLeafIndex(7)]))).toEqual([1, 6, 9]);
  });

  it("are those of RFC 9420 §4.1.2", () => {
    const tree = treeOf("AB__EFG_", { 1: [], 7: [], 9: [], 11: [] });
    const [T, W, X, Y] = [1, 7, 9, 11];
    expect(nodes(tree.filteredDirectPath(toLeafIndex(0)))).toEqual([T, W]);
    expect(nodes(tree.filteredDirectPath(toLeafIndex(1)))).toEqual([T, W]);
    expect(nodes(tree.filteredDirectPath(toLeafIndex(4)))).toEqual([X, Y, W]);
    expect(nodes(tree.filteredDirectPath(toLeafIndex(5)))).toEqual([X, Y, W]);
    expect(nodes(tree.filteredDirectPath(toLeafIndex(6)))).toEqual([Y, W]);
  });
});

describe("edits", () => {
  it("fill the leftmost blank, extend when there is none, and note unmerged leaves", () => {
    const before = treeOf("A_CD", { 3: [3], 5: [] });
    const edit = new TreeEdit(before);
    expect(edit.addLeaf(leafNode())).toBe(1);
    expect(edit.addLeaf(leafNode())).toBe(4);
    const after = edit.finish();
    expect([before.leafCount, after.leafCount]).toEqual([4, 8]);
    expect(after.parent(toNodeIndex(3))?.unmergedLeaves).toEqual([1, 3]);
    expect(after.parent(toNodeIndex(7))).toBeUndefined();
    expect(before.parent(toNodeIndex(3))?.unmergedLeaves).toEqual([3]);
    expect(before.leaf(toLeafIndex(1))).toBeUndefined();
  });

  it("truncate to the smallest tree that holds the last leaf", () => {
    for (const [leaves, gone, width] of [
      ["ABCDE___", [4], 4],
      ["ABCDE___", [3, 4], 4],
      ["ABCDE___", [2, 3, 4], 2],
      ["ABCDE___", [1], 8],
      ["AB", [1], 1],
    ] as const) {
      const edit = new TreeEdit(treeOf(leaves, {}));
      for (const index of gone) edit.removeLeaf(toLeafIndex(index));
      edit.truncate();
      expect(edit.finish().leafCount, `${leaves} without ${gone}`).toBe(width);
    }
  });

  it("agree with a model, and never leave a stale hash", async () => {
    const operation = fc.oneof(
      fc.record({ kind: fc.constant("add" as const), at: fc.nat() }),
      fc.record({ kind: fc.constant("remove" as const), at: fc.nat() }),
      fc.record({ kind: fc.constant("update" as const), at: fc.nat() }),
      fc.record({ kind: fc.constant("path" as const), at: fc.nat() }),
    );
    const property = fc.asyncProperty(fc.array(operation, { maxLength: 30 }), async (operations) => {
      let tree = RatchetTree.ofOneLeaf(leafNode());
      const model = new Map<number, LeafNode>([[0, tree.leaf(toLeafIndex(0)) as LeafNode]]);
      for (const { kind, at } of operations) {
        await tree.hash();
        const edit = new TreeEdit(tree);
        const present = [...model.keys()].sort((a, b) => a - b);
        const chosen = toLeafIndex(present[at % present.length] as number);
        const fresh = leafNode();
        if (kind === "add") {
          let blank = 0;
          while (model.has(blank)) blank++;
          expect(edit.addLeaf(fresh)).toBe(blank);
          model.set(blank, fresh);
        } else if (kind === "remove" && present.length > 1) {
          edit.removeLeaf(chosen);
          edit.truncate();
          model.delete(chosen);
        } else if (kind === "update") {
          edit.updateLeaf(chosen, fresh);
          model.set(chosen, fresh);
        } else if (kind === "path") {
          edit.updateLeaf(chosen, fresh);
          for (const { node } of tree.filteredDirectPath(chosen)) edit.setParent(node, parentNode());
          model.set(chosen, fresh);
        }
        tree = edit.finish();
        expect(new Map<number, LeafNode>(tree.members())).toEqual(
          new Map([...model].sort(([a], [b]) => a - b)),
        );
        expect(tree.memberCount).toBe(model.size);
        const last = Math.max(...model.keys());
        expect(tree.leafCount === 1 || last >= tree.leafCount / 2).toBe(true);
        const bytes = encode(encodeRatchetTree, tree);
        const again = decode(decodeRatchetTree, bytes);
        expect(toHex(await again.hash())).toBe(toHex(await tree.hash()));
        expect(encode(encodeRatchetTree, again)).toEqual(bytes);
        checkCover(tree, model);
      }
    });
    await fc.assert(property, { numRuns: 40, seed: 9420 });
  });
});

/** The resolution of the root reaches every member: by a node above it in which it is merged, or by its leaf. */
function checkCover(tree: RatchetTree, model: ReadonlyMap<number, LeafNode>): void {
  const resolution = new Set<number>(tree.resolution(tree.root));
  for (const index of model.keys()) {
    const leafIndex = index as LeafIndex;
    const above = directPath(leafToNode(leafIndex), tree.leafCount);
    const covering = above.filter(
      (node) => resolution.has(node) && !tree.parent(node)?.unmergedLeaves.includes(leafIndex),
    );
    expect(covering.length + (resolution.has(leafToNode(leafIndex)) ? 1 : 0)).toBe(1);
  }
}

describe("the encoding", () => {
  it("refuses trees that are empty, end in a blank, or have a node of the wrong kind", () => {
    const leaf = concat(fromHex("0101"), encode(encodeLeafNode, leafNode()));
    const vector = (items: Uint8Array[]) =>
      encode((writer, list: Uint8Array[]) => writer.vector(list, (w, item) => w.fixed(item)), items);
    const blank = fromHex("00");
    expect(decode(decodeRatchetTree, vector([leaf])).leafCount).toBe(1);
    expect(decode(decodeRatchetTree, vector([leaf, blank, leaf])).leafCount).toBe(2);
    for (const items of [[], [blank], [leaf, blank], [leaf, leaf], [leaf, blank, leaf, blank]]) {
      expect(() => decode(decodeRatchetTree, vector(items))).toThrow(
        expect.objectContaining({ code: "malformed" }),
      );
    }
  });

  it("never fails otherwise than as malformed", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          decode(decodeRatchetTree, bytes);
        } catch (error) {
          expect(error).toMatchObject({ code: "malformed" });
        }
      }),
      { numRuns: 500, seed: 9420 },
    );
  });
});
