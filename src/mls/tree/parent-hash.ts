import { type Bytes, EMPTY, equalBytes } from "../../base/bytes.js";
import { Writer } from "../../codec/writer.js";
import { sha256 } from "../../crypto/hash.js";
import { reject } from "../rules.js";
import type { NodeIndex } from "../structs/indices.js";
import type { ParentNode } from "../structs/parent-node.js";
import { isInSubtree, isLeaf, leafToNode, left, nodeToLeaf, right } from "./math.js";
import type { PathStep, RatchetTree } from "./ratchet-tree.js";
import { originalTreeHash } from "./tree-hash.js";

/** RFC 9420 §7.9. The parent hash of P, whose copath child had `originalSiblingTreeHash`. */
export function parentHashOf(
  parentNode: Pick<ParentNode, "encryptionKey" | "parentHash">,
  originalSiblingTreeHash: Bytes,
): Promise<Bytes> {
  const input = new Writer()
    .opaque(parentNode.encryptionKey)
    .opaque(parentNode.parentHash)
    .opaque(originalSiblingTreeHash);
  return sha256(input.finish());
}

/** The nodes that an update path puts into a tree, and the parent hash that its leaf must carry. */
export interface PathNodes {
  readonly parents: ReadonlyMap<NodeIndex, ParentNode>;
  readonly leafParentHash: Bytes;
}

/**
 * RFC 9420 §7.5, §7.9. Parent nodes for a filtered direct path with new keys: parent hashes from the root down,
 * no unmerged leaves. `tree` has the proposals of the commit applied; nothing on the copath changes any more.
 */
export async function pathNodes(
  tree: RatchetTree,
  steps: readonly PathStep[],
  publicKeys: readonly Bytes[],
): Promise<PathNodes> {
  const siblingHashes = await Promise.all(steps.map(({ copath }) => tree.hash(copath)));
  const parents = new Map<NodeIndex, ParentNode>();
  let parentHash: Bytes = EMPTY;
  for (let i = steps.length - 1; i >= 0; i--) {
    const parentNode: ParentNode = { encryptionKey: publicKeys[i] as Bytes, parentHash, unmergedLeaves: [] };
    parents.set((steps[i] as PathStep).node, parentNode);
    parentHash = await parentHashOf(parentNode, siblingHashes[i] as Bytes);
  }
  return { parents, leafParentHash: parentHash };
}

/** The node under `child` whose parent hash may link it to the parent, by the shape of the tree alone. */
function linkCandidate(tree: RatchetTree, parentNode: ParentNode, child: NodeIndex): NodeIndex | undefined {
  const unmerged = new Set<NodeIndex>();
  for (const leafIndex of parentNode.unmergedLeaves) {
    const node = leafToNode(leafIndex);
    if (isInSubtree(node, child)) unmerged.add(node);
  }
  const resolution = tree.resolution(child);
  const others = resolution.filter((node) => !unmerged.has(node));
  // Everything that is unmerged must itself stand in the resolution.
  return others.length === 1 && resolution.length === unmerged.size + 1 ? others[0] : undefined;
}

/** The `parent_hash` field of a node, when it has one. */
function parentHashField(tree: RatchetTree, node: NodeIndex): Bytes | undefined {
  if (!isLeaf(node)) return tree.parent(node)?.parentHash;
  const leafNode = tree.leaf(nodeToLeaf(node));
  return leafNode?.leafNodeSource === "commit" ? leafNode.parentHash : undefined;
}

/** RFC 9420 §7.9.2. True when the parent hash of the node found under `child` is valid with respect to P. */
async function isLinked(
  tree: RatchetTree,
  parentNode: ParentNode,
  child: NodeIndex,
  otherChild: NodeIndex,
): Promise<boolean> {
  const candidate = linkCandidate(tree, parentNode, child);
  const field = candidate === undefined ? undefined : parentHashField(tree, candidate);
  if (field === undefined) return false;
  const original = await originalTreeHash(tree, otherChild, parentNode.unmergedLeaves);
  return equalBytes(field, await parentHashOf(parentNode, original));
}

/**
 * RFC 9420 §7.9.2. Every parent must be linked by exactly one descendant: parents are checked all at once, and
 * as each link leads one step down, all of them together lead to leaves.
 */
export async function verifyParentHashes(tree: RatchetTree): Promise<void> {
  await tree.hash();
  const checks = [...tree.parents()].map(async ([index, parentNode]) => {
    const [fromLeft, fromRight] = await Promise.all([
      isLinked(tree, parentNode, left(index), right(index)),
      isLinked(tree, parentNode, right(index), left(index)),
    ]);
    if (fromLeft === fromRight) reject("RFC 9420 §7.9.2: parent hash");
  });
  await Promise.all(checks);
}
