import { toHex } from "../../base/encoding.js";
import { encode } from "../../codec/writer.js";
import { assertFinding } from "../rules.js";
import type { LeafIndex } from "../structs/indices.js";
import { encodePreSharedKeyId } from "../structs/psk.js";
import { keyText } from "../tree/validate-tree.js";
import { supportsProposal } from "./capabilities.js";
import { checkGroupExtensions, checkProposal } from "./proposal-checks.js";
import { type ListedProposal, leafOf, ofKind } from "./proposal-list.js";
import type { GroupState, PendingProposal } from "./state.js";
import type { LeafPolicy } from "./types.js";

/** Whether a pending proposal still holds by itself. */
function isSound(state: GroupState, item: ListedProposal, policy: Omit<LeafPolicy, "authenticate">): boolean {
  const { groupId, extensions } = state.groupContext;
  const { tree } = state;
  const { proposal, sender } = item;
  const leaves = Array.from(tree.members(), ([, leaf]) => leaf);
  try {
    checkProposal(proposal, sender, { groupId, tree, oldExtensions: extensions, extensions }, policy);
    if (proposal.kind === "groupContextExtensions") checkGroupExtensions(proposal.extensions, leaves);
  } catch (error) {
    assertFinding(error);
    return false;
  }
  if (proposal.kind !== "unknown") return true;
  return leaves.every(({ capabilities }) => supportsProposal(capabilities, proposal.proposalType));
}

/** What excludes another proposal of the same list (RFC 9420 §12.2): the same key, or leaf, or kind. */
function exclusiveKey(item: ListedProposal): string | undefined {
  const { proposal } = item;
  switch (proposal.kind) {
    case "add":
      return `add ${keyText(proposal.keyPackage.leafNode.signatureKey)}`;
    case "update":
    case "remove":
      return `leaf ${leafOf(item)}`;
    case "psk":
      return `psk ${toHex(encode(encodePreSharedKeyId, proposal.psk))}`;
    case "groupContextExtensions":
    case "reInit":
      return proposal.kind;
    default:
      return undefined;
  }
}

/** What wins where two exclude each other: removals, then what came last. */
function preferred(items: readonly PendingProposal[]): PendingProposal[] {
  const removals = items.filter(({ proposal }) => proposal.kind === "remove");
  const others = items.filter(({ proposal }) => proposal.kind !== "remove");
  return [...removals.reverse(), ...others.reverse()];
}

/**
 * RFC 9420 §12.2, §12.4. The pending proposals that go together with those a commit has by value: as many as form a
 * valid list, none by which this member would update or remove itself, a ReInit only alone.
 */
export function selectPending(
  state: GroupState,
  byValue: readonly ListedProposal[],
  policy: Omit<LeafPolicy, "authenticate">,
): PendingProposal[] {
  const own: LeafIndex = state.ownLeafIndex;
  const taken = new Set(byValue.map(exclusiveKey));
  const candidates = state.pendingProposals.filter(
    (item) => leafOf(item) !== own && isSound(state, item, policy),
  );
  const chosen = new Set<PendingProposal>();
  for (const item of preferred(candidates)) {
    const key = exclusiveKey(item);
    if (key !== undefined && taken.has(key)) continue;
    taken.add(key);
    chosen.add(item);
  }
  const removed = new Set(ofKind([...chosen, ...byValue], "remove").map((proposal) => proposal.removed));
  const present = new Set<string>();
  for (const [leafIndex, leaf] of state.tree.members()) {
    if (!removed.has(leafIndex)) present.add(keyText(leaf.signatureKey));
  }
  const list = candidates.filter((item) => {
    const { proposal } = item;
    const isMember =
      proposal.kind === "add" && present.has(keyText(proposal.keyPackage.leafNode.signatureKey));
    return chosen.has(item) && !isMember;
  });
  const isAlone = list.length + byValue.length === 1;
  return list.filter(({ proposal }) => isAlone || proposal.kind !== "reInit");
}
