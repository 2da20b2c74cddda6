import { toHex } from "../../base/encoding.js";
import { isValidPublicKey } from "../../crypto/p256.js";
import { ensure, reject } from "../rules.js";
import type { LeafIndex, NodeIndex } from "../structs/indices.js";
import { isInSubtree, leafToNode, parent } from "./math.js";
import { verifyParentHashes } from "./parent-hash.js";
import type { RatchetTree } from "./ratchet-tree.js";

const texts = new WeakMap<Uint8Array, string>();

/** A key as a string, to look it up in sets; made once per array. */
export function keyText(key: Uint8Array): string {
  let text = texts.get(key);
  if (text === undefined) {
    text = toHex(key);
    texts.set(key, text);
  }
  return text;
}

/** RFC 9420 §7.1. The unmerged leaves of every parent, in increasing order. */
function unmergedSets(tree: RatchetTree): Map<NodeIndex, ReadonlySet<LeafIndex>> {
  const sets = new Map<NodeIndex, ReadonlySet<LeafIndex>>();
  for (const [index, { unmergedLeaves }] of tree.parents()) {
    const isSorted = unmergedLeaves.every(
      (leafIndex, i) => i === 0 || leafIndex > (unmergedLeaves[i - 1] as number),
    );
    ensure(isSorted, "RFC 9420 §7.1: unmerged leaves not in increasing order");
    sets.set(index, new Set(unmergedLeaves));
  }
  return sets;
}

/** RFC 9420 §7.1, §12.4.3.1. Every unmerged leaf is a member below, and unmerged in between as well. */
function checkUnmergedLeaves(tree: RatchetTree): void {
  const sets = unmergedSets(tree);
  for (const [index, unmerged] of sets) {
    for (const leafIndex of unmerged) {
      const inside = leafIndex < tree.leafCount && tree.leaf(leafIndex) !== undefined;
      if (!inside || !isInSubtree(leafToNode(leafIndex), index)) {
        reject("RFC 9420 §12.4.3.1: unmerged leaf is not a descendant");
      }
      for (let at = parent(leafToNode(leafIndex)); at !== index; at = parent(at)) {
        if (sets.get(at)?.has(leafIndex) === false) {
          reject("RFC 9420 §12.4.3.1: unmerged leaf missing in between");
        }
      }
    }
  }
}

/** RFC 9420 §12.4.3.1. The key of a parent stands in no other node, and is a point on the curve. */
function checkParentKeys(tree: RatchetTree): void {
  const keys = new Set<string>();
  for (const [, leafNode] of tree.members()) keys.add(keyText(leafNode.encryptionKey));
  for (const [, { encryptionKey }] of tree.parents()) {
    const text = keyText(encryptionKey);
    ensure(!keys.has(text), "RFC 9420 §12.4.3.1: encryption key of a parent not unique");
    keys.add(text);
    ensure(isValidPublicKey(encryptionKey), "RFC 9420 §5.1.1: public key");
  }
}

/** RFC 9420 §12.4.3.1. What a joiner checks about the parents of a tree. */
export async function verifyTree(tree: RatchetTree): Promise<void> {
  checkUnmergedLeaves(tree);
  checkParentKeys(tree);
  await verifyParentHashes(tree);
}

/** The public keys of all nodes. */
export function keysOf(tree: RatchetTree): Set<string> {
  const keys = new Set<string>();
  for (const [, { encryptionKey }] of tree.members()) keys.add(keyText(encryptionKey));
  for (const [, { encryptionKey }] of tree.parents()) keys.add(keyText(encryptionKey));
  return keys;
}
