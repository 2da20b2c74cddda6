import type { Bytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import type { Credential } from "../structs/credential.js";
import type { LeafIndex } from "../structs/indices.js";
import type { AppliedProposals } from "./apply-proposals.js";
import type { Committer, ListedProposal } from "./proposal-list.js";
import type { GroupState } from "./state.js";

/** A commit that was made or checked, and is not in force yet: it is merged or dropped. */
export interface StagedCommit {
  /**
   * The state after the merge, to be used only then. When the commit removes this member: what it can still see, the
   * tree and the extensions, without any secret.
   */
  readonly state: GroupState;
  readonly proposals: readonly ListedProposal[];
  readonly committer: Committer;
  /** Leaves of the new members, the one who joins by an external commit included. */
  readonly added: readonly LeafIndex[];
  readonly removed: readonly { readonly leafIndex: LeafIndex; readonly credential: Credential }[];
  /** Leaves replaced by Update proposals or by the commit's path. */
  readonly updated: readonly LeafIndex[];
  /** True when the commit removes this member. */
  readonly selfRemoved: boolean;
  readonly authenticatedData: Bytes;
}

/** What a commit does to the members. */
export function describeCommit(
  applied: AppliedProposals,
  committer: Committer,
  pathLeaf: LeafIndex | undefined,
): Pick<StagedCommit, "added" | "removed" | "updated"> {
  const added = applied.added.map(({ leafIndex }) => leafIndex);
  const updated = [...applied.updated];
  if (pathLeaf !== undefined) (committer === "external" ? added : updated).push(pathLeaf);
  const removed = applied.removed.map(({ leafIndex, leafNode }) => ({
    leafIndex,
    credential: leafNode.credential,
  }));
  return { added, removed, updated };
}

/** Puts a staged commit into force. Throws `removed` when it removes this member. */
export function merge(staged: StagedCommit): GroupState {
  if (staged.selfRemoved) throw new SubrosaError("removed", "the commit removes this member");
  return staged.state;
}
