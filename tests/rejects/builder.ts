import { type Bytes, EMPTY } from "../../src/base/bytes.js";
import { decode } from "../../src/codec/reader.js";
import { encode } from "../../src/codec/writer.js";
import { aeadOpen, aeadSeal } from "../../src/crypto/aead.js";
import { generateDhKeyPair } from "../../src/crypto/p256.js";
import { membershipTag, signFramedContent } from "../../src/mls/framing/authentication.js";
import { applyProposals } from "../../src/mls/group/apply-proposals.js";
import { pathStart } from "../../src/mls/group/commit-path.js";
import { deriveNextEpoch, provisionalContext } from "../../src/mls/group/epoch.js";
import { signKeyPackage } from "../../src/mls/group/key-package.js";
import { signLeafNode } from "../../src/mls/group/leaf-node.js";
import type { ListedProposal } from "../../src/mls/group/proposal-list.js";
import {
  decryptWithLabel,
  encryptWithLabel,
  makeKeyPackageRef,
  signWithLabel,
} from "../../src/mls/labels.js";
import { deriveWelcomeKey, deriveWelcomeSecret } from "../../src/mls/schedule/key-schedule.js";
import { derivePskSecret, type Psk } from "../../src/mls/schedule/psk-secret.js";
import { confirmationTag as makeConfirmationTag } from "../../src/mls/schedule/transcript.js";
import type { ProposalOrRef, UpdatePath } from "../../src/mls/structs/commit.js";
import type { Content, FramedContent, Sender } from "../../src/mls/structs/framed-content.js";
import { encodeGroupContext } from "../../src/mls/structs/group-context.js";
import type { LeafIndex } from "../../src/mls/structs/indices.js";
import type { KeyPackage, KeyPackageContent } from "../../src/mls/structs/key-package.js";
import type { LeafNode, LeafNodeContent } from "../../src/mls/structs/leaf-node.js";
import { decodeMlsMessage, encodeMlsMessage } from "../../src/mls/structs/message.js";
import { ExtensionType } from "../../src/mls/structs/registry.js";
import {
  decodeGroupInfo,
  decodeGroupSecrets,
  encodeGroupInfo,
  encodeGroupSecrets,
  type GroupInfo,
  type GroupSecrets,
  groupInfoTbs,
} from "../../src/mls/structs/welcome.js";
import { decodeRatchetTree, encodeRatchetTree, type RatchetTree } from "../../src/mls/tree/ratchet-tree.js";
import { createPath } from "../../src/mls/tree/update-path.js";
import type * as mls from "../../src/mls.js";
import type { Actor } from "../unit/mls-group/actors.js";

/** Changes one value, or leaves it. */
export type Change<T> = (value: T) => T | Promise<T>;

/** `value` with some fields replaced. */
export function set<T>(fields: Partial<T>): Change<T> {
  return (value) => ({ ...value, ...fields });
}

/** A copy with one bit flipped. */
export function flipped(bytes: Bytes): Bytes {
  const copy = bytes.slice();
  copy[copy.length - 1] = (copy[copy.length - 1] as number) ^ 1;
  return copy;
}

/** A path whose secrets at these levels, counted from the leaves, nobody can read (RFC 9420 §7.5). */
export function unreadablePath(strands: (level: number) => boolean = () => true): Change<UpdatePath> {
  return (path) => ({
    ...path,
    nodes: path.nodes.map((node, level) => ({
      ...node,
      encryptedPathSecret: node.encryptedPathSecret.map((secret) =>
        strands(level) ? { ...secret, ciphertext: flipped(secret.ciphertext) } : secret,
      ),
    })),
  });
}

export async function newKey(): Promise<Bytes> {
  return (await generateDhKeyPair()).publicKey;
}

/** A PublicMessage with any content, from any sender, signed with any key; by default the actor's own. */
export async function publicMessage(
  actor: Actor,
  content: Content,
  options: {
    sender?: Sender;
    signer?: mls.Signer;
    confirmationTag?: Bytes;
    frame?: Partial<FramedContent>;
    signature?: Change<Bytes>;
    tag?: Change<Bytes>;
  } = {},
): Promise<Bytes> {
  const { groupContext, secrets, ownLeafIndex } = actor.state;
  const { groupId, epoch } = groupContext;
  const sender = options.sender ?? { senderType: "member", leafIndex: ownLeafIndex };
  const framed = {
    ...content,
    groupId,
    epoch,
    sender,
    authenticatedData: EMPTY,
    ...options.frame,
  } as FramedContent;
  const { privateKey } = options.signer ?? actor.signer;
  const signed = await signFramedContent("public_message", framed, groupContext, privateKey);
  const signature = (await options.signature?.(signed)) ?? signed;
  const auth = {
    signature,
    confirmationTag: content.contentType === "commit" ? (options.confirmationTag ?? EMPTY) : undefined,
  };
  let tag: Bytes | undefined;
  if (sender.senderType === "member") {
    tag = await membershipTag(secrets.membershipKey, framed, auth, groupContext);
    tag = (await options.tag?.(tag)) ?? tag;
  }
  const publicMessage = { content: framed, auth, membershipTag: tag };
  return encode(encodeMlsMessage, { wireFormat: "public_message", publicMessage });
}

/** A proposal in a PublicMessage, unchecked. */
export function sendProposal(actor: Actor, proposal: mls.Proposal): Promise<Bytes> {
  return publicMessage(actor, { contentType: "proposal", proposal });
}

export interface CommitChanges {
  /** By default one is made when a path is required; false: none; "force": always. */
  path?: false | "force";
  references?: Bytes[];
  leaf?: Change<LeafNodeContent>;
  leafSigner?: mls.Signer;
  leafNode?: Change<LeafNode>;
  updatePath?: Change<UpdatePath>;
  tag?: Change<Bytes>;
  psks?: Psk[];
}

/** A commit of any proposals, with a path and a confirmation tag that are right unless a change breaks them. */
export async function sendCommit(
  actor: Actor,
  proposals: readonly mls.Proposal[],
  changes: CommitChanges = {},
): Promise<Bytes> {
  const { state, signer } = actor;
  const { groupContext, ownLeafIndex } = state;
  const sender = { senderType: "member", leafIndex: ownLeafIndex } as const;
  const list = proposals.map((proposal): ListedProposal => ({ proposal, sender }));
  const applied = applyProposals(state.tree, groupContext.extensions, list);
  const { path: wanted = "force" } = changes;
  let path: UpdatePath | undefined;
  let { tree } = applied;
  let commitSecret: Bytes = new Uint8Array(32);
  if (wanted === "force") {
    const start = pathStart(applied, ownLeafIndex);
    const old = state.tree.leaf(ownLeafIndex) as LeafNode;
    const encryptionKey = await newKey();
    const created = await createPath(start.tree, ownLeafIndex, {
      added: applied.addedLeaves,
      context: (treeHash) =>
        encode(encodeGroupContext, provisionalContext(state, treeHash, applied.extensions)),
      signLeaf: async (parentHash) => {
        const { signatureKey, credential, capabilities, extensions } = old;
        const content: LeafNodeContent = {
          leafNodeSource: "commit",
          parentHash,
          encryptionKey,
          signatureKey,
          credential,
          capabilities,
          extensions,
        };
        const position = { groupId: groupContext.groupId, leafIndex: ownLeafIndex };
        const changed = (await changes.leaf?.(content)) ?? content;
        const leaf = await signLeafNode(changed, position, changes.leafSigner ?? signer);
        return (await changes.leafNode?.(leaf)) ?? leaf;
      },
    });
    path = (await changes.updatePath?.(created.updatePath)) ?? created.updatePath;
    tree = created.tree;
    commitSecret = created.commitSecret;
  }
  const items: ProposalOrRef[] = proposals.map((proposal) => ({ kind: "proposal", proposal }));
  for (const reference of changes.references ?? []) items.push({ kind: "reference", reference });
  const commit = { proposals: items, path };
  const content: FramedContent = {
    contentType: "commit",
    commit,
    groupId: groupContext.groupId,
    epoch: groupContext.epoch,
    sender,
    authenticatedData: EMPTY,
  };
  const signature = await signFramedContent("public_message", content, groupContext, signer.privateKey);
  const { initSecret } = state.secrets;
  const derived = await deriveNextEpoch(
    { wireFormat: "public_message", content, auth: { signature } },
    { initSecret, interimTranscriptHash: state.interimTranscriptHash },
    provisionalContext(state, await tree.hash(), applied.extensions),
    commitSecret,
    changes.psks ?? [],
  );
  const { confirmationKey } = derived.secrets;
  const tag = await makeConfirmationTag(confirmationKey, derived.groupContext.confirmedTranscriptHash);
  const confirmationTag = (await changes.tag?.(tag)) ?? tag;
  // ECDSA signatures differ from one to the next, and the tag covers this one.
  return publicMessage(
    actor,
    { contentType: "commit", commit },
    { confirmationTag, signature: () => signature },
  );
}

/** An external commit whose path is a mere leaf: enough to see its list of proposals refused. */
export async function sendExternalCommit(
  member: Actor,
  joiner: Actor,
  proposals: readonly ProposalOrRef[],
  hasPath = true,
): Promise<Bytes> {
  const { leafNode } = joiner.bundle.keyPackage;
  const path = hasPath ? { leafNode, nodes: [] } : undefined;
  const sender = { senderType: "new_member_commit" } as const;
  const content: Content = { contentType: "commit", commit: { proposals, path } };
  return publicMessage(member, content, { sender, signer: joiner.signer });
}

/** A key package of the actor's with changes to its leaf and itself, signed again. */
export async function keyPackageOf(
  actor: Actor,
  changes: {
    leaf?: Change<LeafNodeContent>;
    leafNode?: Change<LeafNode>;
    content?: Change<KeyPackageContent>;
    signed?: Change<KeyPackage>;
  } = {},
): Promise<KeyPackage> {
  const { keyPackage } = actor.bundle;
  const { signature: _, ...content } = keyPackage.leafNode;
  const leaf = (await changes.leaf?.(content)) ?? content;
  const signedLeaf = await signLeafNode(leaf, { groupId: EMPTY, leafIndex: 0 as LeafIndex }, actor.signer);
  const leafNode = (await changes.leafNode?.(signedLeaf)) ?? signedLeaf;
  const { signature: __, ...whole } = keyPackage;
  const changed = (await changes.content?.({ ...whole, leafNode })) ?? { ...whole, leafNode };
  const signed = await signKeyPackage(changed, actor.signer);
  return (await changes.signed?.(signed)) ?? signed;
}

export async function addOf(
  actor: Actor,
  changes: Parameters<typeof keyPackageOf>[1] = {},
): Promise<mls.Proposal> {
  return { kind: "add", keyPackage: await keyPackageOf(actor, changes) };
}

/** An Update of the actor's leaf, with changes. */
export async function updateOf(
  actor: Actor,
  leaf: Change<LeafNodeContent> = (content) => content,
  signer: mls.Signer = actor.signer,
): Promise<mls.Proposal> {
  const { state } = actor;
  const old = state.tree.leaf(state.ownLeafIndex) as LeafNode;
  const { signatureKey, credential, capabilities, extensions } = old;
  const encryptionKey = await newKey();
  const content = await leaf({
    leafNodeSource: "update",
    encryptionKey,
    signatureKey,
    credential,
    capabilities,
    extensions,
  });
  const position = { groupId: state.groupContext.groupId, leafIndex: state.ownLeafIndex };
  return { kind: "update", leafNode: await signLeafNode(content, position, signer) };
}

export interface WelcomeChanges {
  cipherSuite?: number;
  secrets?: Change<GroupSecrets>;
  info?: Change<GroupInfo>;
  /** Changes the tree; the tree hash follows unless `keepTreeHash`. */
  tree?: (tree: RatchetTree) => RatchetTree | Promise<RatchetTree>;
  keepTreeHash?: boolean;
  withoutTree?: boolean;
  /** Signs the GroupInfo again (default), or leaves its signature as it was. */
  sign?: boolean;
  psks?: Psk[];
}

/** Opens a welcome with the joiner's keys, changes what is inside, and seals it again for the same joiner. */
export async function reforge(
  welcomeMessage: Bytes,
  joiner: Actor,
  signer: mls.Signer,
  changes: WelcomeChanges,
): Promise<Bytes> {
  const message = decode(decodeMlsMessage, welcomeMessage);
  if (message.wireFormat !== "welcome") throw new Error("not a welcome");
  const { bundle } = joiner;
  const ref = await makeKeyPackageRef(bundle.keyPackage);
  const entry = message.welcome.secrets.find(({ newMember }) =>
    newMember.every((byte, i) => byte === ref[i]),
  );
  if (entry === undefined) throw new Error("no secrets for the joiner");
  const keyPair = { privateKey: bundle.initPrivateKey, publicKey: bundle.keyPackage.initKey };
  const old = message.welcome.encryptedGroupInfo;
  const plain = await decryptWithLabel(keyPair, "Welcome", old, entry.encryptedGroupSecrets);
  const oldSecrets = decode(decodeGroupSecrets, plain);
  const noPsk = await derivePskSecret([]);
  const opening = await deriveWelcomeKey(await deriveWelcomeSecret(oldSecrets.joinerSecret, noPsk));
  let info = decode(decodeGroupInfo, await aeadOpen(opening.key, opening.nonce, EMPTY, old));
  if (changes.tree !== undefined || changes.withoutTree) {
    const others = info.extensions.filter(({ extensionType }) => extensionType !== ExtensionType.ratchetTree);
    const data = info.extensions.find(({ extensionType }) => extensionType === ExtensionType.ratchetTree)
      ?.data as Bytes;
    info = { ...info, extensions: others };
    if (changes.tree !== undefined) {
      const tree = await changes.tree(decode(decodeRatchetTree, data));
      const extension = { extensionType: ExtensionType.ratchetTree, data: encode(encodeRatchetTree, tree) };
      const treeHash = changes.keepTreeHash ? info.groupContext.treeHash : await tree.hash();
      info = {
        ...info,
        extensions: [...others, extension],
        groupContext: { ...info.groupContext, treeHash },
      };
    }
  }
  info = (await changes.info?.(info)) ?? info;
  if (changes.sign ?? true) {
    info = { ...info, signature: await signWithLabel(signer.privateKey, "GroupInfoTBS", groupInfoTbs(info)) };
  }
  const secrets = (await changes.secrets?.(oldSecrets)) ?? oldSecrets;
  const pskSecret = await derivePskSecret(changes.psks ?? []);
  const { key, nonce } = await deriveWelcomeKey(await deriveWelcomeSecret(secrets.joinerSecret, pskSecret));
  const encryptedGroupInfo = await aeadSeal(key, nonce, EMPTY, encode(encodeGroupInfo, info));
  const sealed = encode(encodeGroupSecrets, secrets);
  const encryptedGroupSecrets = await encryptWithLabel(
    bundle.keyPackage.initKey,
    "Welcome",
    encryptedGroupInfo,
    sealed,
  );
  const welcome = {
    cipherSuite: changes.cipherSuite ?? message.welcome.cipherSuite,
    secrets: [{ newMember: ref, encryptedGroupSecrets }],
    encryptedGroupInfo,
  };
  return encode(encodeMlsMessage, { wireFormat: "welcome", welcome });
}
