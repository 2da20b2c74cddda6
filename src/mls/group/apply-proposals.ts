import type { Bytes } from "../../base/bytes.js";
import type { Extension } from "../structs/extension.js";
import type { LeafIndex } from "../structs/indices.js";
import type { KeyPackage } from "../structs/key-package.js";
import type { LeafNode } from "../structs/leaf-node.js";
import type { ReInitProposal } from "../structs/proposal.js";
import type { PreSharedKeyId } from "../structs/psk.js";
import type { RatchetTree } from "../tree/ratchet-tree.js";
import { TreeEdit } from "../tree/tree-edit.js";
import { type ListedProposal, leafOf, ofKind } from "./proposal-list.js";

/** What a list of proposals makes of a group. */
export interface AppliedProposals {
  readonly tree: RatchetTree;
  readonly extensions: readonly Extension[];
  readonly added: readonly { readonly leafIndex: LeafIndex; readonly keyPackage: KeyPackage }[];
  /** The new leaves, to which no path secret of the same commit is encrypted. */
  readonly addedLeaves: ReadonlySet<LeafIndex>;
  readonly removed: readonly { readonly leafIndex: LeafIndex; readonly leafNode: LeafNode }[];
  readonly updated: readonly LeafIndex[];
  readonly psks: readonly PreSharedKeyId[];
  readonly kemOutput: Bytes | undefined;
  readonly reInit: ReInitProposal | undefined;
}

/** RFC 9420 §12.3. The extensions in force after a list of proposals. */
export function extensionsAfter(
  list: readonly ListedProposal[],
  extensions: readonly Extension[],
): readonly Extension[] {
  return ofKind(list, "groupContextExtensions")[0]?.extensions ?? extensions;
}

/** RFC 9420 §12.3. Applies a valid list: updates, removals, then additions in their order. */
export function applyProposals(
  tree: RatchetTree,
  extensions: readonly Extension[],
  list: readonly ListedProposal[],
): AppliedProposals {
  const edit = new TreeEdit(tree);
  const updated: LeafIndex[] = [];
  for (const item of list) {
    const leafIndex = leafOf(item);
    if (item.proposal.kind !== "update" || leafIndex === undefined) continue;
    edit.updateLeaf(leafIndex, item.proposal.leafNode);
    updated.push(leafIndex);
  }
  const removed = ofKind(list, "remove").map(({ removed: leafIndex }) => {
    edit.removeLeaf(leafIndex);
    return { leafIndex, leafNode: tree.leaf(leafIndex) as LeafNode };
  });
  if (removed.length > 0) edit.truncate();
  const added = ofKind(list, "add").map(({ keyPackage }) => ({
    leafIndex: edit.addLeaf(keyPackage.leafNode),
    keyPackage,
  }));
  return {
    tree: edit.finish(),
    extensions: extensionsAfter(list, extensions),
    added,
    addedLeaves: new Set(added.map(({ leafIndex }) => leafIndex)),
    removed,
    updated,
    psks: ofKind(list, "psk").map(({ psk }) => psk),
    kemOutput: ofKind(list, "externalInit")[0]?.kemOutput,
    reInit: ofKind(list, "reInit")[0],
  };
}

/** RFC 9420 §12.4.2. The leaf that an external commit takes: the leftmost blank one, in a tree extended if need be. */
export function placeJoiner(tree: RatchetTree): { tree: RatchetTree; leafIndex: LeafIndex } {
  const edit = new TreeEdit(tree);
  const leafIndex = edit.leftmostBlank();
  return { tree: edit.finish(), leafIndex };
}
