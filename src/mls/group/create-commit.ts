import type { Bytes } from "../../base/bytes.js";
import { EMPTY } from "../../base/bytes.js";
import { encode } from "../../codec/writer.js";
import { generateDhKeyPair } from "../../crypto/p256.js";
import { signFramedContent } from "../framing/authentication.js";
import type { Padding } from "../framing/private-message.js";
import type { RatchetChange } from "../schedule/secret-tree.js";
import { confirmationTag as makeConfirmationTag } from "../schedule/transcript.js";
import type { UpdatePath } from "../structs/commit.js";
import type { Credential } from "../structs/credential.js";
import type { Extension } from "../structs/extension.js";
import type { AuthenticatedContent } from "../structs/framed-content.js";
import { encodeGroupContext } from "../structs/group-context.js";
import type { NodeIndex } from "../structs/indices.js";
import type { Capabilities } from "../structs/leaf-node.js";
import type { Proposal } from "../structs/proposal.js";
import { leafToNode } from "../tree/math.js";
import type { RatchetTree } from "../tree/ratchet-tree.js";
import { createPath, type PrivateKeys } from "../tree/update-path.js";
import { type AppliedProposals, applyProposals, extensionsAfter } from "./apply-proposals.js";
import { checkResult } from "./commit-path.js";
import { deriveNextEpoch, keptKeys, NO_COMMIT_SECRET, provisionalContext, startEpoch } from "./epoch.js";
import { framedByMember, framingFormat, seal, type WireFormat } from "./framing-out.js";
import { type GroupInfoOptions, makeGroupInfo } from "./group-info.js";
import { checkLeafNode, signLeafNode } from "./leaf-node.js";
import { makeWelcome } from "./make-welcome.js";
import { isPathRequired, type ListedProposal, validateProposalList } from "./proposal-list.js";
import { findPsks } from "./psks.js";
import { selectPending } from "./select-pending.js";
import { describeCommit, type StagedCommit } from "./staged-commit.js";
import {
  ensureActive,
  ensureSigner,
  type GroupState,
  type Member,
  membersOf,
  ownLeaf,
  resumptionPsksAfter,
} from "./state.js";
import type { LeafPolicy, PskSource, Signer } from "./types.js";

/** Changes that a committer makes to its own leaf together with the path. */
export interface LeafChange {
  readonly credential?: Credential;
  readonly capabilities?: Capabilities;
  readonly extensions?: readonly Extension[];
  /** A new signature key; the commit itself is still signed with the old one. */
  readonly signer?: Signer;
}

/** What a commit is going to do, before its authenticated data is fixed. */
export interface CommitPreview {
  readonly proposals: readonly ListedProposal[];
  readonly added: AppliedProposals["added"];
  /** The members once the commit is merged. */
  readonly members: readonly Member[];
}

export interface CommitOptions extends LeafPolicy {
  readonly signer: Signer;
  /** Seconds since 1970; what is sent must be valid now (RFC 9420 §7.3). */
  readonly now: bigint;
  /** By value. */
  readonly proposals?: readonly Proposal[];
  /** Whether to cover the proposals received in this epoch, as far as they fit (default true). */
  readonly includePending?: boolean;
  /** A path even where none is required (default false). */
  readonly forcePath?: boolean;
  /** In the clear, signed; a function when it depends on what the commit does. */
  readonly authenticatedData?: Bytes | ((preview: CommitPreview) => Bytes | Promise<Bytes>);
  readonly padding?: Padding;
  readonly wireFormat?: WireFormat;
  readonly psks?: PskSource;
  readonly leaf?: LeafChange;
  /** What the GroupInfo in the Welcome holds. */
  readonly welcome?: GroupInfoOptions;
}

export interface CreatedCommit {
  readonly staged: StagedCommit;
  /** An MLSMessage for the members. */
  readonly commit: Bytes;
  /** An MLSMessage for those who were added, if any. */
  readonly welcome: Bytes | undefined;
  /** The state before, its handshake ratchet moved on: to be kept if the commit is dropped. */
  readonly state: GroupState;
  /** Of that ratchet, to be stored before the commit leaves. */
  readonly changes: RatchetChange[];
}

interface Path {
  readonly tree: RatchetTree;
  readonly updatePath: UpdatePath | undefined;
  readonly commitSecret: Bytes;
  readonly pathSecrets: ReadonlyMap<NodeIndex, Bytes> | undefined;
  readonly privateKeys: PrivateKeys;
}

/** RFC 9420 §7.5, §12.4.1. A new leaf and path for this member. */
async function makePath(state: GroupState, applied: AppliedProposals, options: CommitOptions): Promise<Path> {
  const { ownLeafIndex, groupContext } = state;
  const { leaf: change = {} } = options;
  const signer = change.signer ?? options.signer;
  const old = ownLeaf(state);
  const { privateKey, publicKey } = await generateDhKeyPair();
  const position = { groupId: groupContext.groupId, leafIndex: ownLeafIndex };
  const created = await createPath(applied.tree, ownLeafIndex, {
    added: applied.addedLeaves,
    context: (treeHash) =>
      encode(encodeGroupContext, provisionalContext(state, treeHash, applied.extensions)),
    signLeaf: (parentHash) =>
      signLeafNode(
        {
          leafNodeSource: "commit",
          parentHash,
          encryptionKey: publicKey,
          signatureKey: signer.publicKey,
          credential: change.credential ?? old.credential,
          capabilities: change.capabilities ?? old.capabilities,
          extensions: change.extensions ?? old.extensions,
        },
        position,
        signer,
      ),
  });
  const { leafNode } = created.updatePath;
  checkLeafNode(leafNode, { groupExtensions: applied.extensions, source: "commit", position }, options);
  const kept = keptKeys(state.privateKeys, state.tree, created.tree);
  return {
    ...created,
    privateKeys: new Map([...kept, ...created.privateKeys, [leafToNode(ownLeafIndex), privateKey]]),
  };
}

function withoutPath(state: GroupState, { tree }: AppliedProposals): Path {
  return {
    tree,
    updatePath: undefined,
    commitSecret: NO_COMMIT_SECRET,
    pathSecrets: undefined,
    privateKeys: keptKeys(state.privateKeys, state.tree, tree),
  };
}

/** {@link createCommit}, with the usage of resumption PSKs that a new group may begin with. */
export async function createCommitWith(
  state: GroupState,
  options: CommitOptions,
  special: { readonly pskUsage?: "reinit" | "branch"; readonly previous?: GroupState } = {},
): Promise<CreatedCommit> {
  ensureActive(state);
  ensureSigner(state, options.signer);
  const { ownLeafIndex, groupContext } = state;
  const byValue = (options.proposals ?? []).map((proposal): ListedProposal => {
    return { proposal, sender: { senderType: "member", leafIndex: ownLeafIndex } };
  });
  const pending = options.includePending === false ? [] : selectPending(state, byValue, options);
  const list: ListedProposal[] = [...pending, ...byValue];
  const context = {
    groupId: groupContext.groupId,
    tree: state.tree,
    oldExtensions: groupContext.extensions,
    extensions: extensionsAfter(list, groupContext.extensions),
    pskUsage: special.pskUsage,
  };
  await validateProposalList(list, ownLeafIndex, context, options);
  const applied = applyProposals(state.tree, groupContext.extensions, list);
  const hasPath = isPathRequired(list) || options.forcePath === true || options.leaf !== undefined;
  const [psks, authenticatedData] = await Promise.all([
    findPsks(applied.psks, [state, special.previous], options.psks, "RFC 9420 §12.4.2: PSK not available"),
    fixAuthenticatedData(options.authenticatedData, list, applied),
  ]);
  const path = hasPath ? await makePath(state, applied, options) : withoutPath(state, applied);
  checkResult(state, path.tree, applied);

  const wireFormat = framingFormat(options.wireFormat);
  const proposals = list.map(({ proposal, ref }) =>
    ref === undefined
      ? { kind: "proposal" as const, proposal }
      : { kind: "reference" as const, reference: ref },
  );
  const commit = { proposals, path: path.updatePath };
  const content = framedByMember(state, { contentType: "commit", commit }, authenticatedData);
  const [signature, treeHash] = await Promise.all([
    signFramedContent(wireFormat, content, groupContext, options.signer.privateKey),
    path.tree.hash(),
  ]);
  const derived = await deriveNextEpoch(
    { wireFormat, content, auth: { signature } },
    { initSecret: state.secrets.initSecret, interimTranscriptHash: state.interimTranscriptHash },
    provisionalContext(state, treeHash, applied.extensions),
    path.commitSecret,
    psks,
  );
  const confirmationTag = await makeConfirmationTag(
    derived.secrets.confirmationKey,
    derived.groupContext.confirmedTranscriptHash,
  );
  const authenticated: AuthenticatedContent = { wireFormat, content, auth: { signature, confirmationTag } };
  const { tree, privateKeys } = path;
  const [sealed, next] = await Promise.all([
    seal(state, authenticated, options.padding),
    startEpoch({
      derived,
      confirmationTag,
      tree,
      ownLeafIndex,
      privateKeys,
      resumptionPsks: resumptionPsksAfter(state),
      reInit: applied.reInit,
    }),
  ]);
  const welcome =
    applied.added.length === 0
      ? undefined
      : await makeWelcome({
          groupInfo: await makeGroupInfo(next, options.leaf?.signer ?? options.signer, options.welcome ?? {}),
          joinerSecret: derived.joinerSecret,
          welcomeSecret: derived.welcomeSecret,
          committer: ownLeafIndex,
          added: applied.added,
          pathSecrets: path.pathSecrets,
          psks: applied.psks,
        });
  const staged: StagedCommit = {
    ...describeCommit(applied, ownLeafIndex, hasPath ? ownLeafIndex : undefined),
    state: next,
    proposals: list,
    committer: ownLeafIndex,
    selfRemoved: false,
    authenticatedData,
  };
  const { message, secretTree, changes } = sealed;
  return { staged, commit: message, welcome, state: { ...state, secretTree }, changes };
}

async function fixAuthenticatedData(
  data: CommitOptions["authenticatedData"],
  proposals: readonly ListedProposal[],
  { added, tree }: AppliedProposals,
): Promise<Bytes> {
  if (typeof data === "function") return data({ proposals, added, members: membersOf(tree) });
  return data ?? EMPTY;
}

/**
 * RFC 9420 §12.4.1. Prepares a commit of proposals, with a Welcome for those it adds. Nothing is in force until the
 * staged commit is merged.
 */
export function createCommit(state: GroupState, options: CommitOptions): Promise<CreatedCommit> {
  return createCommitWith(state, options);
}
