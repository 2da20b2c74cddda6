import { type Bytes, EMPTY } from "../../base/bytes.js";
import { encode } from "../../codec/writer.js";
import { ensure, reject } from "../rules.js";
import { type EpochSecrets, openExternalInit } from "../schedule/key-schedule.js";
import { SecretTree } from "../schedule/secret-tree.js";
import { verifyConfirmationTag } from "../schedule/transcript.js";
import type { Commit, UpdatePath } from "../structs/commit.js";
import type { AuthenticatedContent } from "../structs/framed-content.js";
import { encodeGroupContext, type GroupContext } from "../structs/group-context.js";
import type { NodeIndex } from "../structs/indices.js";
import { leafToNode } from "../tree/math.js";
import type { RatchetTree } from "../tree/ratchet-tree.js";
import { openPath } from "../tree/update-path.js";
import { type AppliedProposals, applyProposals, extensionsAfter } from "./apply-proposals.js";
import { acceptPath, checkResult, type PathStart, pathStart } from "./commit-path.js";
import { deriveNextEpoch, keptKeys, NO_COMMIT_SECRET, provisionalContext, startEpoch } from "./epoch.js";
import {
  type Committer,
  isPathRequired,
  type ListedProposal,
  validateProposalList,
} from "./proposal-list.js";
import { findPsks } from "./psks.js";
import { describeCommit, type StagedCommit } from "./staged-commit.js";
import { findPending, type GroupState, type PendingProposal, resumptionPsksAfter } from "./state.js";
import type { LeafPolicy, PskSource } from "./types.js";

export interface ProcessCommitOptions extends LeafPolicy {
  readonly psks?: PskSource | undefined;
}

/** RFC 9420 §12.4. The proposals that a commit covers, by value or by reference to one that was received. */
function resolveProposals(
  state: GroupState,
  { proposals }: Commit,
  { sender }: AuthenticatedContent["content"],
): ListedProposal[] {
  return proposals.map((item) => {
    if (item.kind === "proposal") return { proposal: item.proposal, sender };
    if (sender.senderType !== "member") reject("RFC 9420 §12.4.3.2: proposal by reference");
    return findPending(state, item.reference) ?? reject("RFC 9420 §12.4: unknown proposal reference");
  });
}

/** The private keys that are left once the proposals are applied; an own Update brings its key into use. */
function keysAfterProposals(
  state: GroupState,
  list: readonly ListedProposal[],
  tree: RatchetTree,
): Map<NodeIndex, Bytes> {
  const keys = keptKeys(state.privateKeys, state.tree, tree);
  for (const item of list) {
    const { updatePrivateKey } = item as Partial<PendingProposal>;
    if (updatePrivateKey !== undefined) keys.set(leafToNode(state.ownLeafIndex), updatePrivateKey);
  }
  return keys;
}

/** RFC 9420 §12.4.2. Checks a commit whose signature is valid, and prepares the epoch that it starts. */
export async function processCommit(
  state: GroupState,
  authenticated: AuthenticatedContent,
  options: ProcessCommitOptions,
): Promise<StagedCommit> {
  const { content } = authenticated;
  if (content.contentType !== "commit") reject("RFC 9420 §6: kind of message");
  const { commit, sender, authenticatedData } = content;
  const committer: Committer = sender.senderType === "member" ? sender.leafIndex : "external";
  const list = resolveProposals(state, commit, content);
  const { groupContext, tree } = state;
  const context = {
    groupId: groupContext.groupId,
    tree,
    oldExtensions: groupContext.extensions,
    extensions: extensionsAfter(list, groupContext.extensions),
  };
  await validateProposalList(list, committer, context, options);
  ensure(commit.path !== undefined || !isPathRequired(list), "RFC 9420 §12.4: path required");
  const applied = applyProposals(tree, groupContext.extensions, list);
  const start = pathStart(applied, committer);
  const merged =
    commit.path === undefined ? applied.tree : await acceptPath(state, commit.path, start, applied, options);
  checkResult(state, merged, applied);
  const staged = {
    ...describeCommit(applied, committer, commit.path && start.leafIndex),
    proposals: list,
    committer,
    authenticatedData,
  };
  if (applied.removed.some(({ leafIndex }) => leafIndex === state.ownLeafIndex)) {
    const provisional = provisionalContext(state, await merged.hash(), applied.extensions);
    return { ...staged, state: seenFromOutside(state, provisional, merged), selfRemoved: true };
  }
  const next = { ...applied, tree: merged };
  const after = await enterEpoch(state, authenticated, commit.path, start, list, next, options);
  return { ...staged, state: after, selfRemoved: false };
}

/** What a removed member still sees of the group: its public part, no secret. */
function seenFromOutside(state: GroupState, groupContext: GroupContext, tree: RatchetTree): GroupState {
  const names = Object.keys(state.secrets) as (keyof EpochSecrets)[];
  return {
    ...state,
    groupContext,
    tree,
    privateKeys: new Map(),
    secrets: Object.fromEntries(names.map((name) => [name, EMPTY])) as unknown as EpochSecrets,
    pendingProposals: [],
    resumptionPsks: [],
    secretTree: SecretTree.fromRecords([], tree.leafCount),
  };
}

/** RFC 9420 §12.4.2. The part of processing a commit that needs this member's secrets. */
async function enterEpoch(
  state: GroupState,
  authenticated: AuthenticatedContent,
  path: UpdatePath | undefined,
  start: PathStart,
  list: readonly ListedProposal[],
  applied: AppliedProposals,
  options: ProcessCommitOptions,
): Promise<GroupState> {
  const { tree } = applied;
  const [treeHash, psks, initSecret] = await Promise.all([
    tree.hash(),
    findPsks(applied.psks, [state], options.psks, "RFC 9420 §12.4.2: PSK not available"),
    applied.kemOutput === undefined
      ? state.secrets.initSecret
      : openExternalInit(state.secrets.externalSecret, applied.kemOutput),
  ]);
  const provisional = provisionalContext(state, treeHash, applied.extensions);
  let privateKeys = keysAfterProposals(state, list, start.tree);
  let commitSecret = NO_COMMIT_SECRET;
  if (path !== undefined) {
    const groupContext = encode(encodeGroupContext, provisional);
    const { ownLeafIndex } = state;
    const { addedLeaves } = applied;
    const { leafIndex } = start;
    const opened = await openPath(
      start.tree,
      leafIndex,
      ownLeafIndex,
      path,
      privateKeys,
      addedLeaves,
      groupContext,
    );
    commitSecret = opened.commitSecret;
    privateKeys = new Map([...keptKeys(privateKeys, start.tree, tree), ...opened.privateKeys]);
  }
  const previous = { initSecret, interimTranscriptHash: state.interimTranscriptHash };
  const derived = await deriveNextEpoch(authenticated, previous, provisional, commitSecret, psks);
  const confirmationTag = authenticated.auth.confirmationTag as Bytes;
  const isConfirmed = await verifyConfirmationTag(
    derived.secrets.confirmationKey,
    derived.groupContext.confirmedTranscriptHash,
    confirmationTag,
  );
  ensure(isConfirmed, "RFC 9420 §6.1: confirmation tag");
  return startEpoch({
    derived,
    confirmationTag,
    tree,
    ownLeafIndex: state.ownLeafIndex,
    privateKeys,
    resumptionPsks: resumptionPsksAfter(state),
    reInit: applied.reInit,
  });
}
