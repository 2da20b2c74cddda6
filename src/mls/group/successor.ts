import type { Bytes } from "../../base/bytes.js";
import { ensure } from "../rules.js";
import type { Extension } from "../structs/extension.js";
import type { KeyPackage } from "../structs/key-package.js";
import type { Proposal, PskProposal } from "../structs/proposal.js";
import { type CommitOptions, createCommitWith } from "./create-commit.js";
import { type CreateGroupOptions, createGroup } from "./create-group.js";
import { resumptionPskProposal } from "./propose.js";
import type { StagedCommit } from "./staged-commit.js";
import { type GroupState, ownLeaf } from "./state.js";
import { checkSuccession } from "./succession.js";

/** How a new group is made out of an old one. */
export interface SuccessorOptions
  extends Omit<CommitOptions, "proposals" | "includePending" | "leaf" | "wireFormat">,
    Pick<CreateGroupOptions, "lifetime" | "capabilities" | "leafExtensions"> {
  /** Fresh ones of the other members. */
  readonly keyPackages: readonly KeyPackage[];
}

/** A new group with its first commit, which only the joiners need to hear of. */
export interface Successor {
  readonly staged: StagedCommit;
  /** An MLSMessage; `undefined` when there are no other members. */
  readonly welcome: Bytes | undefined;
}

async function succeed(
  previous: GroupState,
  usage: "reinit" | "branch",
  groupId: Uint8Array,
  extensions: readonly Extension[],
  options: SuccessorOptions,
): Promise<Successor> {
  const { lifetime, capabilities, leafExtensions, keyPackages, ...rest } = options;
  const leaf = ownLeaf(previous);
  const created = await createGroup({
    groupId,
    extensions,
    credential: leaf.credential,
    signer: options.signer,
    capabilities: capabilities ?? leaf.capabilities,
    leafExtensions: leafExtensions ?? leaf.extensions,
    ...(lifetime === undefined ? {} : { lifetime }),
  });
  const { groupContext } = previous;
  const link: PskProposal = resumptionPskProposal(groupContext.groupId, groupContext.epoch, usage);
  const additions = keyPackages.map((keyPackage): Proposal => ({ kind: "add", keyPackage }));
  const commit = await createCommitWith(
    created,
    { ...rest, proposals: [...additions, link] },
    { pskUsage: usage, previous },
  );
  const { staged, welcome } = commit;
  if (link.psk.pskType === "resumption") {
    checkSuccession(link.psk, staged.state.groupContext, staged.state.tree, previous);
  }
  return { staged, welcome };
}

/** RFC 9420 §11.2. The group that a committed ReInit announced, with all members of the old one. */
export async function reinitializeGroup(previous: GroupState, options: SuccessorOptions): Promise<Successor> {
  const { reInit } = previous;
  ensure(reInit !== undefined, "RFC 9420 §11.2: new group does not match the ReInit");
  return succeed(previous, "reinit", reInit.groupId, reInit.extensions, options);
}

/** RFC 9420 §11.3. A new group of some members of another one, which goes on. */
export async function branchGroup(
  previous: GroupState,
  groupId: Uint8Array,
  options: SuccessorOptions & { readonly extensions?: readonly Extension[] },
): Promise<Successor> {
  const { extensions, ...rest } = options;
  return succeed(previous, "branch", groupId, extensions ?? previous.groupContext.extensions, rest);
}
