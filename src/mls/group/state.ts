import { type Bytes, equalBytes } from "../../base/bytes.js";
import { assertArgument, SubrosaError } from "../../base/errors.js";
import { ensure } from "../rules.js";
import type { EpochSecrets } from "../schedule/key-schedule.js";
import type { SecretTree } from "../schedule/secret-tree.js";
import type { Credential } from "../structs/credential.js";
import type { GroupContext } from "../structs/group-context.js";
import type { LeafIndex } from "../structs/indices.js";
import type { LeafNode } from "../structs/leaf-node.js";
import type { ReInitProposal } from "../structs/proposal.js";
import type { RatchetTree } from "../tree/ratchet-tree.js";
import type { PrivateKeys } from "../tree/update-path.js";
import type { ListedProposal } from "./proposal-list.js";
import type { Signer } from "./types.js";

/** A proposal that was sent in this epoch and waits for a commit. */
export interface PendingProposal extends ListedProposal {
  /** RFC 9420 §5.2 ProposalRef. */
  readonly ref: Bytes;
  /** Of an Update of our own: the private key of its leaf. */
  readonly updatePrivateKey?: Bytes;
}

/** RFC 9420 §8.6. */
export interface ResumptionPsk {
  readonly epoch: bigint;
  readonly psk: Bytes;
}

/** One member's view of a group in one epoch. Immutable: every operation returns the next one. */
export interface GroupState {
  readonly groupContext: GroupContext;
  readonly tree: RatchetTree;
  readonly ownLeafIndex: LeafIndex;
  /** Scalars of the nodes above (and of) the own leaf, as far as known. */
  readonly privateKeys: PrivateKeys;
  readonly secrets: EpochSecrets;
  readonly confirmationTag: Bytes;
  readonly interimTranscriptHash: Bytes;
  /** In the order in which they came. */
  readonly pendingProposals: readonly PendingProposal[];
  /** Of past epochs, oldest first; at most {@link MAX_RESUMPTION_PSKS}. */
  readonly resumptionPsks: readonly ResumptionPsk[];
  /** Set once a ReInit was committed: the group is closed (RFC 9420 §12.4.2). */
  readonly reInit: ReInitProposal | undefined;
  /** The ratchets; stored apart from everything else. */
  readonly secretTree: SecretTree;
}

/** How many past epochs can be referred to by resumption PSKs. */
export const MAX_RESUMPTION_PSKS = 16;

/** A member as others see it. */
export interface Member {
  readonly leafIndex: LeafIndex;
  readonly credential: Credential;
  /** The uncompressed point, 65 bytes. */
  readonly signatureKey: Bytes;
}

/** The members of a tree, by leaf index. */
export function membersOf(tree: RatchetTree): Member[] {
  return Array.from(tree.members(), ([leafIndex, { credential, signatureKey }]) => ({
    leafIndex,
    credential,
    signatureKey,
  }));
}

/** The members of the group, by leaf index. */
export function members(state: GroupState): Member[] {
  return membersOf(state.tree);
}

/** The own leaf node. */
export function ownLeaf(state: GroupState): LeafNode {
  const leaf = state.tree.leaf(state.ownLeafIndex);
  if (leaf === undefined) throw new SubrosaError("internal", "the own leaf is blank");
  return leaf;
}

/** Throws `invalid-argument` unless the signer is the one of the own leaf. */
export function ensureSigner(state: GroupState, { publicKey }: Signer): void {
  assertArgument(
    equalBytes(publicKey, ownLeaf(state).signatureKey),
    "the signer is not that of the own leaf",
  );
}

/** RFC 9420 §12.4.2. Throws when the group was closed by a ReInit. */
export function ensureActive(state: GroupState): void {
  ensure(state.reInit === undefined, "RFC 9420 §11.2: the group was reinitialized");
}

/** RFC 9420 §8.7. The same for all members of an epoch, and only for them. */
export function epochAuthenticator(state: GroupState): Bytes {
  return state.secrets.epochAuthenticator;
}

/** The pending proposal that a reference names. */
export function findPending(state: GroupState, ref: Bytes): PendingProposal | undefined {
  return state.pendingProposals.find((pending) => equalBytes(pending.ref, ref));
}

/** The state without some pending proposals, which the application does not want to see committed by this member. */
export function dropProposals(state: GroupState, refs: readonly Uint8Array[]): GroupState {
  const kept = state.pendingProposals.filter(({ ref }) => !refs.some((other) => equalBytes(ref, other)));
  return { ...state, pendingProposals: kept };
}

/** RFC 9420 §8.6. The resumption PSKs that the next epoch keeps. */
export function resumptionPsksAfter(state: GroupState): ResumptionPsk[] {
  const own = { epoch: state.groupContext.epoch, psk: state.secrets.resumptionPsk };
  return [...state.resumptionPsks, own].slice(-MAX_RESUMPTION_PSKS);
}
