import type { Bytes } from "../../base/bytes.js";
import { Writer } from "../../codec/writer.js";
import { sha256 } from "../../crypto/hash.js";
import type { LeafIndex, NodeIndex } from "../structs/indices.js";
import type { LeafNode } from "../structs/leaf-node.js";
import type { ParentNode } from "../structs/parent-node.js";
import { isInSubtree, isLeaf, leafToNode, left, level, nodeToLeaf, right } from "./math.js";
import { encodedLeaf, encodedParent } from "./node-bytes.js";
import type { RatchetTree, TreeArrays } from "./ratchet-tree.js";

/** RFC 9420 §7.8. Hash of a LeafNodeHashInput. */
function leafHash(index: LeafIndex, leafNode: LeafNode | undefined): Promise<Bytes> {
  const writer = new Writer().u8(1).u32(index);
  if (leafNode === undefined) writer.u8(0);
  else writer.u8(1).fixed(encodedLeaf(leafNode));
  return sha256(writer.finish());
}

/** RFC 9420 §7.8. Hash of a ParentNodeHashInput. */
function parentNodeHash(encoded: Bytes | undefined, leftHash: Bytes, rightHash: Bytes): Promise<Bytes> {
  const writer = new Writer().u8(2);
  if (encoded === undefined) writer.u8(0);
  else writer.u8(1).fixed(encoded);
  return sha256(writer.opaque(leftHash).opaque(rightHash).finish());
}

/**
 * RFC 9420 §7.8. The tree hash of `index`, computing only what is not known yet: everything of one level
 * in flight together, one level after the other.
 */
export async function fillTreeHashes(arrays: TreeArrays, index: NodeIndex): Promise<Bytes> {
  const { leaves, parents, hashes } = arrays;
  const missing: NodeIndex[][] = [];
  const collect = (at: NodeIndex): void => {
    if (hashes[at] !== undefined) return;
    const depth = level(at);
    let row = missing[depth];
    if (row === undefined) {
      row = [];
      missing[depth] = row;
    }
    row.push(at);
    if (depth === 0) return;
    collect(left(at));
    collect(right(at));
  };
  collect(index);
  for (const row of missing) {
    if (row === undefined) continue;
    const made = await Promise.all(
      row.map((at) => {
        if (isLeaf(at)) return leafHash(nodeToLeaf(at), leaves[at >>> 1]);
        const parentNode = parents[at >>> 1];
        const encoded = parentNode && encodedParent(parentNode);
        return parentNodeHash(encoded, hashes[left(at)] as Bytes, hashes[right(at)] as Bytes);
      }),
    );
    row.forEach((at, i) => {
      hashes[at] = made[i];
    });
  }
  return hashes[index] as Bytes;
}

/**
 * RFC 9420 §7.9. The tree hash that `index` would have without some leaves: they are blanked, and taken out of
 * every list of unmerged leaves. `without` is sorted.
 */
export async function originalTreeHash(
  tree: RatchetTree,
  index: NodeIndex,
  without: readonly LeafIndex[],
): Promise<Bytes> {
  const inside = without.filter((leafIndex) => isInSubtree(leafToNode(leafIndex), index));
  if (inside.length === 0) return tree.hash(index);
  if (isLeaf(index)) return leafHash(nodeToLeaf(index), undefined);
  const [leftHash, rightHash] = await Promise.all([
    originalTreeHash(tree, left(index), inside),
    originalTreeHash(tree, right(index), inside),
  ]);
  const parentNode = tree.parent(index);
  if (parentNode === undefined) return parentNodeHash(undefined, leftHash, rightHash);
  const gone = new Set<number>(inside);
  const original: ParentNode = {
    ...parentNode,
    unmergedLeaves: parentNode.unmergedLeaves.filter((leafIndex) => !gone.has(leafIndex)),
  };
  return parentNodeHash(encodedParent(original), leftHash, rightHash);
}
