import { type Bytes, copyBytes } from "../../base/bytes.js";
import { decode } from "../../codec/reader.js";
import { makeProposalRef } from "../labels.js";
import type { RatchetChange } from "../schedule/secret-tree.js";
import type { AuthenticatedContent, Sender } from "../structs/framed-content.js";
import type { LeafIndex } from "../structs/indices.js";
import { decodeMlsMessage } from "../structs/message.js";
import type { Proposal } from "../structs/proposal.js";
import { openMessage } from "./framing-in.js";
import { processCommit } from "./process-commit.js";
import { checkProposal, verifyProposal } from "./proposal-checks.js";
import type { Committer } from "./proposal-list.js";
import type { StagedCommit } from "./staged-commit.js";
import { ensureActive, findPending, type GroupState } from "./state.js";
import type { LeafPolicy, PskSource } from "./types.js";

export interface ProcessOptions extends LeafPolicy {
  /** Pre-shared keys that the group itself does not know. */
  readonly psks?: PskSource;
  /** Throws to refuse a proposal, which is then not pending. */
  readonly onProposal?: (proposal: Proposal, sender: Sender) => Promise<void> | void;
}

interface Processed {
  /** The state without the message's key; of a commit: still the epoch before. */
  readonly state: GroupState;
  /** Of the ratchets. */
  readonly changes: RatchetChange[];
  readonly authenticatedData: Bytes;
}

export interface ProcessedApplication extends Processed {
  readonly kind: "application";
  readonly sender: LeafIndex;
  readonly content: Bytes;
}

export interface ProcessedProposal extends Processed {
  readonly kind: "proposal";
  /** `external`: an external sender, or somebody who proposes to be added. */
  readonly sender: Committer;
  readonly proposal: Proposal;
  readonly ref: Bytes;
}

export interface ProcessedCommit extends Processed {
  readonly kind: "commit";
  readonly sender: Committer;
  readonly staged: StagedCommit;
}

export type ProcessedMessage = ProcessedApplication | ProcessedProposal | ProcessedCommit;

function senderOf(sender: Sender): Committer {
  return sender.senderType === "member" ? sender.leafIndex : "external";
}

async function receiveProposal(
  state: GroupState,
  authenticated: AuthenticatedContent,
  proposal: Proposal,
  options: ProcessOptions,
): Promise<{ state: GroupState; ref: Bytes }> {
  const { sender } = authenticated.content;
  const { groupId, extensions } = state.groupContext;
  const context = { groupId, tree: state.tree, oldExtensions: extensions, extensions };
  checkProposal(proposal, sender, context, options);
  const [ref] = await Promise.all([
    makeProposalRef(authenticated),
    verifyProposal(proposal, sender, context, options),
  ]);
  await options.onProposal?.(proposal, sender);
  if (findPending(state, ref) !== undefined) return { state, ref };
  return {
    state: { ...state, pendingProposals: [...state.pendingProposals, { proposal, sender, ref }] },
    ref,
  };
}

/**
 * RFC 9420 §6, §12. Reads an MLSMessage of the group's current epoch. Application data and proposals are in force in
 * the returned state; a commit is staged, to be merged or dropped.
 *
 * Throws `malformed`; `wrong-epoch`; `invalid-signature`; `invalid-message` with the rule, all of which every member
 * finds alike; `decryption-failed` for what only this member may be unable to read.
 */
export async function processMessage(
  state: GroupState,
  message: Uint8Array,
  options: ProcessOptions,
): Promise<ProcessedMessage> {
  ensureActive(state);
  // The nodes of a tree are views on the message they came in, so it must be ours.
  const opened = await openMessage(state, decode(decodeMlsMessage, copyBytes(message)));
  const { authenticated, changes } = opened;
  const { content } = authenticated;
  const { authenticatedData, sender } = content;
  const base = { state: opened.state, changes, authenticatedData };
  if (content.contentType === "application") {
    // Only members send application data: everything else was refused with the frame.
    const { leafIndex } = sender as Extract<Sender, { senderType: "member" }>;
    return { ...base, kind: "application", sender: leafIndex, content: content.applicationData };
  }
  if (content.contentType === "proposal") {
    const { proposal } = content;
    const received = await receiveProposal(opened.state, authenticated, proposal, options);
    return { ...base, ...received, kind: "proposal", sender: senderOf(sender), proposal };
  }
  const staged = await processCommit(opened.state, authenticated, options);
  return { ...base, kind: "commit", sender: staged.committer, staged };
}
