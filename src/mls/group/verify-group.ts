import { equalBytes } from "../../base/bytes.js";
import { ensure } from "../rules.js";
import { externalSendersIn } from "../structs/extension.js";
import type { LeafIndex } from "../structs/indices.js";
import type { LeafNode } from "../structs/leaf-node.js";
import type { GroupInfo } from "../structs/welcome.js";
import type { RatchetTree } from "../tree/ratchet-tree.js";
import { verifyTree } from "../tree/validate-tree.js";
import { checkExtensionList, supportsGroupExtensions, withoutGrease } from "./capabilities.js";
import { verifyGroupInfo } from "./group-info.js";
import { authenticateIdentity, checkLeafNode, checkMembers, verifyLeafNode } from "./leaf-node.js";
import { checkGroupExtensions } from "./proposal-checks.js";
import type { LeafPolicy } from "./types.js";

/**
 * RFC 9420 §12.4.3.1. What somebody who joins checks about a group: the GroupInfo's signature, the tree's integrity,
 * every leaf and every external sender, all in flight together. `own` is the joiner's leaf, when the tree holds it.
 */
export async function verifyGroup(
  info: GroupInfo,
  tree: RatchetTree,
  own: LeafIndex | undefined,
  policy: LeafPolicy,
): Promise<void> {
  const { groupId, extensions, treeHash } = info.groupContext;
  checkExtensionList(extensions);
  checkExtensionList(info.extensions);
  const leaves: LeafNode[] = [];
  for (const [leafIndex, leaf] of tree.members()) {
    checkLeafNode(leaf, { groupExtensions: [], position: { groupId, leafIndex } }, policy);
    leaves.push(leaf);
  }
  checkGroupExtensions(extensions, leaves);
  checkMembers(tree);
  const ownLeaf = own === undefined ? undefined : tree.leaf(own);
  ensure(
    ownLeaf === undefined || supportsGroupExtensions(withoutGrease(ownLeaf.capabilities), extensions),
    "RFC 9420 §13.4: group extension not supported",
  );
  const checks = Array.from(tree.members(), ([leafIndex, leaf]) =>
    verifyLeafNode(leaf, { groupExtensions: [], position: { groupId, leafIndex } }, policy),
  );
  for (const sender of externalSendersIn(extensions)) {
    checks.push(authenticateIdentity(policy.authenticate, sender));
  }
  await Promise.all([verifyGroupInfo(info, tree), verifyTreeHash(tree, treeHash), ...checks]);
}

async function verifyTreeHash(tree: RatchetTree, treeHash: Uint8Array): Promise<void> {
  ensure(equalBytes(await tree.hash(), treeHash), "RFC 9420 §12.4.3.1: tree hash");
  await verifyTree(tree);
}
