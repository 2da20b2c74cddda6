import { isValidPublicKey } from "../../crypto/p256.js";
import { ensure } from "../rules.js";
import type { UpdatePath } from "../structs/commit.js";
import type { LeafIndex } from "../structs/indices.js";
import type { LeafNode } from "../structs/leaf-node.js";
import type { RatchetTree } from "../tree/ratchet-tree.js";
import { mergePath } from "../tree/update-path.js";
import { keysOf, keyText } from "../tree/validate-tree.js";
import { type AppliedProposals, placeJoiner } from "./apply-proposals.js";
import { checkLeafNode, checkMembers, verifyLeafNode } from "./leaf-node.js";
import { checkGroupExtensions } from "./proposal-checks.js";
import type { Committer } from "./proposal-list.js";
import type { GroupState } from "./state.js";
import type { LeafPolicy } from "./types.js";

/** RFC 9420 §12.4.2. None of the keys of the path stands in the tree already, or twice in the path. */
function checkNewKeys(tree: RatchetTree, { leafNode, nodes }: UpdatePath): void {
  const keys = keysOf(tree);
  for (const { encryptionKey } of [leafNode, ...nodes]) {
    const text = keyText(encryptionKey);
    ensure(!keys.has(text), "RFC 9420 §12.4.2: key of the update path not new");
    keys.add(text);
    ensure(isValidPublicKey(encryptionKey), "RFC 9420 §5.1.1: public key");
  }
}

/** Where the committer's path starts. */
export interface PathStart {
  /** The tree with the proposals applied, extended for a joiner if need be. */
  readonly tree: RatchetTree;
  readonly leafIndex: LeafIndex;
  /** What the committer's new leaf stands in for. */
  readonly replaces: LeafNode | undefined;
}

/** RFC 9420 §12.4.2. The committer's leaf in the tree with the proposals applied. */
export function pathStart(applied: AppliedProposals, committer: Committer): PathStart {
  if (committer !== "external") {
    return { tree: applied.tree, leafIndex: committer, replaces: applied.tree.leaf(committer) };
  }
  // A joiner that removes its former self must meet the criteria of an Update for that leaf (§12.2).
  return { ...placeJoiner(applied.tree), replaces: applied.removed[0]?.leafNode };
}

/** RFC 9420 §12.4.2. Validates a received path and puts it into the tree, as far as all members can. */
export async function acceptPath(
  state: Pick<GroupState, "groupContext">,
  path: UpdatePath,
  { tree, leafIndex, replaces }: PathStart,
  applied: AppliedProposals,
  policy: LeafPolicy,
): Promise<RatchetTree> {
  const { groupId } = state.groupContext;
  const context = {
    groupExtensions: applied.extensions,
    source: "commit" as const,
    position: { groupId, leafIndex },
    replaces,
  };
  checkLeafNode(path.leafNode, context, policy);
  checkNewKeys(tree, path);
  const [merged] = await Promise.all([
    mergePath(tree, leafIndex, path, applied.addedLeaves),
    verifyLeafNode(path.leafNode, context, policy),
  ]);
  return merged;
}

/** RFC 9420 §12.2, §12.1.7. What must hold of the tree that a commit results in. */
export function checkResult(
  state: Pick<GroupState, "groupContext">,
  tree: RatchetTree,
  { extensions }: AppliedProposals,
): void {
  checkMembers(tree);
  if (extensions === state.groupContext.extensions) return;
  checkGroupExtensions(
    extensions,
    Array.from(tree.members(), ([, leafNode]) => leafNode),
  );
}
