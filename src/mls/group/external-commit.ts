import { type Bytes, copyBytes, EMPTY } from "../../base/bytes.js";
import { decode } from "../../codec/reader.js";
import { encode } from "../../codec/writer.js";
import { generateDhKeyPair, isValidPublicKey } from "../../crypto/p256.js";
import { signFramedContent } from "../framing/authentication.js";
import { protectPublic } from "../framing/public-message.js";
import { ensure, reject } from "../rules.js";
import { sealExternalInit } from "../schedule/key-schedule.js";
import { interimTranscriptHash, confirmationTag as makeConfirmationTag } from "../schedule/transcript.js";
import type { Credential } from "../structs/credential.js";
import { type Extension, externalPubIn } from "../structs/extension.js";
import type { FramedContent } from "../structs/framed-content.js";
import { encodeGroupContext } from "../structs/group-context.js";
import type { LeafIndex } from "../structs/indices.js";
import type { Capabilities, LeafNodeContent } from "../structs/leaf-node.js";
import { decodeMlsMessage, encodeMlsMessage } from "../structs/message.js";
import type { Proposal, PskProposal } from "../structs/proposal.js";
import { CIPHER_SUITE, MLS10 } from "../structs/registry.js";
import type { GroupInfo } from "../structs/welcome.js";
import { leafToNode } from "../tree/math.js";
import type { RatchetTree } from "../tree/ratchet-tree.js";
import { createPath } from "../tree/update-path.js";
import { applyProposals } from "./apply-proposals.js";
import { makeCapabilities, supportsGroupExtensions, withoutGrease } from "./capabilities.js";
import { checkResult, pathStart } from "./commit-path.js";
import { deriveNextEpoch, provisionalContext, startEpoch } from "./epoch.js";
import { treeOf } from "./group-info.js";
import { checkLeafNode, signLeafNode } from "./leaf-node.js";
import { type ListedProposal, validateProposalList } from "./proposal-list.js";
import { findPsks } from "./psks.js";
import { describeCommit, type StagedCommit } from "./staged-commit.js";
import type { LeafPolicy, PskSource, Signer } from "./types.js";
import { verifyGroup } from "./verify-group.js";

export interface ExternalCommitOptions extends LeafPolicy {
  readonly credential: Credential;
  readonly signer: Signer;
  readonly capabilities?: Capabilities;
  readonly leafExtensions?: readonly Extension[];
  /** The public tree, when the GroupInfo does not hold it. */
  readonly ratchetTree?: Uint8Array;
  /** The joiner's own former leaf, which the commit removes ("resync"). */
  readonly replaces?: LeafIndex;
  readonly pskProposals?: readonly PskProposal[];
  readonly psks?: PskSource;
  readonly authenticatedData?: Bytes;
}

export interface CreatedExternalCommit {
  readonly staged: StagedCommit;
  /** An MLSMessage for the members. */
  readonly commit: Bytes;
}

function readGroupInfo(message: Uint8Array): GroupInfo {
  const decoded = decode(decodeMlsMessage, copyBytes(message));
  return decoded.wireFormat === "group_info" ? decoded.groupInfo : reject("RFC 9420 §6: kind of message");
}

/** RFC 9420 §12.4.3.2. Checks a GroupInfo and takes out what an external commit starts from. */
async function openGroup(
  info: GroupInfo,
  options: ExternalCommitOptions,
): Promise<{ tree: RatchetTree; externalPub: Bytes }> {
  const { groupContext, extensions } = info;
  ensure(
    groupContext.version === MLS10 && groupContext.cipherSuite === CIPHER_SUITE,
    "RFC 9420 §12.4.3.1: cipher suite",
  );
  const externalPub = externalPubIn(extensions);
  ensure(externalPub !== undefined, "RFC 9420 §12.4.3.2: no external_pub");
  ensure(isValidPublicKey(externalPub), "RFC 9420 §5.1.1: public key");
  const tree = treeOf(info, options.ratchetTree && copyBytes(options.ratchetTree));
  await verifyGroup(info, tree, undefined, { ...options, now: undefined });
  return { tree, externalPub };
}

/**
 * RFC 9420 §12.4.3.2. Joins a group by a commit of one's own, without an invitation. The group accepts it or not: the
 * staged commit is merged once it has.
 */
export async function createExternalCommit(
  groupInfo: Uint8Array,
  options: ExternalCommitOptions,
): Promise<CreatedExternalCommit> {
  const info = readGroupInfo(groupInfo);
  const { groupContext, confirmationTag } = info;
  const { groupId, epoch, extensions } = groupContext;
  const { signer, authenticatedData = EMPTY } = options;
  const { tree, externalPub } = await openGroup(info, options);
  const { initSecret, kemOutput } = await sealExternalInit(externalPub);

  const sender = { senderType: "new_member_commit" } as const;
  const proposals: Proposal[] = [{ kind: "externalInit", kemOutput }, ...(options.pskProposals ?? [])];
  if (options.replaces !== undefined) proposals.push({ kind: "remove", removed: options.replaces });
  const list = proposals.map((proposal): ListedProposal => ({ proposal, sender }));
  const context = { groupId, tree, oldExtensions: extensions, extensions };
  await validateProposalList(list, "external", context, options);
  const applied = applyProposals(tree, extensions, list);
  const start = pathStart(applied, "external");

  const { privateKey, publicKey } = await generateDhKeyPair();
  const capabilities = options.capabilities ?? makeCapabilities();
  ensure(
    supportsGroupExtensions(withoutGrease(capabilities), extensions),
    "RFC 9420 §13.4: group extension not supported",
  );
  const position = { groupId, leafIndex: start.leafIndex };
  const leafContent = (parentHash: Bytes): LeafNodeContent => ({
    leafNodeSource: "commit",
    parentHash,
    encryptionKey: publicKey,
    signatureKey: signer.publicKey,
    credential: options.credential,
    capabilities,
    extensions: options.leafExtensions ?? [],
  });
  const path = await createPath(start.tree, start.leafIndex, {
    added: applied.addedLeaves,
    context: (treeHash) =>
      encode(encodeGroupContext, provisionalContext({ groupContext }, treeHash, extensions)),
    signLeaf: (parentHash) => signLeafNode(leafContent(parentHash), position, signer),
  });
  const { leafNode } = path.updatePath;
  const leafContext = {
    groupExtensions: extensions,
    source: "commit",
    position,
    replaces: start.replaces,
  } as const;
  checkLeafNode(leafNode, leafContext, options);
  checkResult({ groupContext }, path.tree, applied);

  const commit = {
    proposals: proposals.map((proposal) => ({ kind: "proposal" as const, proposal })),
    path: path.updatePath,
  };
  const content: FramedContent = { contentType: "commit", commit, groupId, epoch, sender, authenticatedData };
  const wireFormat = "public_message";
  const [signature, treeHash, interim, psks] = await Promise.all([
    signFramedContent(wireFormat, content, groupContext, signer.privateKey),
    path.tree.hash(),
    interimTranscriptHash(groupContext.confirmedTranscriptHash, confirmationTag),
    findPsks(applied.psks, [], options.psks, "RFC 9420 §12.4.2: PSK not available"),
  ]);
  const derived = await deriveNextEpoch(
    { wireFormat, content, auth: { signature } },
    { initSecret, interimTranscriptHash: interim },
    provisionalContext({ groupContext }, treeHash, extensions),
    path.commitSecret,
    psks,
  );
  const newTag = await makeConfirmationTag(
    derived.secrets.confirmationKey,
    derived.groupContext.confirmedTranscriptHash,
  );
  const auth = { signature, confirmationTag: newTag };
  const publicMessage = await protectPublic({ wireFormat, content, auth }, { groupContext });
  const state = await startEpoch({
    derived,
    confirmationTag: newTag,
    tree: path.tree,
    ownLeafIndex: start.leafIndex,
    privateKeys: new Map([...path.privateKeys, [leafToNode(start.leafIndex), privateKey]]),
    resumptionPsks: [],
  });
  const staged: StagedCommit = {
    ...describeCommit(applied, "external", start.leafIndex),
    state,
    proposals: list,
    committer: "external",
    selfRemoved: false,
    authenticatedData,
  };
  return { staged, commit: encode(encodeMlsMessage, { wireFormat, publicMessage }) };
}
