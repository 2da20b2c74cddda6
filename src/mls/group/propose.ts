import { type Bytes, copyBytes, EMPTY } from "../../base/bytes.js";
import { HASH_LENGTH } from "../../crypto/hash.js";
import { generateDhKeyPair } from "../../crypto/p256.js";
import { randomBytes } from "../../crypto/random.js";
import { makeProposalRef } from "../labels.js";
import type { RatchetChange } from "../schedule/secret-tree.js";
import type { Extension } from "../structs/extension.js";
import type { LeafIndex } from "../structs/indices.js";
import type { KeyPackage } from "../structs/key-package.js";
import type { Proposal, PskProposal, ReInitProposal } from "../structs/proposal.js";
import { CIPHER_SUITE, MLS10 } from "../structs/registry.js";
import type { LeafChange } from "./create-commit.js";
import { authenticate, type FramingOptions, framedByMember, framingFormat, seal } from "./framing-out.js";
import { signLeafNode } from "./leaf-node.js";
import { checkProposal } from "./proposal-checks.js";
import { ensureActive, ensureSigner, type GroupState, ownLeaf, type PendingProposal } from "./state.js";
import type { Signer } from "./types.js";

export interface ProposeOptions extends FramingOptions {
  readonly signer: Signer;
  /** Seconds since 1970; a key package that is sent must be valid now (RFC 9420 §7.3). */
  readonly now?: bigint;
}

/** A proposal that is ready to be sent; it is pending in the new state. */
export interface SentProposal {
  readonly state: GroupState;
  /** An MLSMessage for the members. */
  readonly message: Bytes;
  readonly ref: Bytes;
  /** To be stored before the message leaves. */
  readonly changes: RatchetChange[];
}

/** RFC 9420 §12.1. Sends any proposal that this member may make. */
export async function propose(
  state: GroupState,
  proposal: Proposal,
  options: ProposeOptions,
  updatePrivateKey?: Bytes,
): Promise<SentProposal> {
  ensureActive(state);
  ensureSigner(state, options.signer);
  const { groupId, extensions } = state.groupContext;
  const context = { groupId, tree: state.tree, oldExtensions: extensions, extensions };
  const sender = { senderType: "member", leafIndex: state.ownLeafIndex } as const;
  checkProposal(proposal, sender, context, { now: options.now });
  const content = framedByMember(
    state,
    { contentType: "proposal", proposal },
    options.authenticatedData ?? EMPTY,
  );
  const { privateKey } = options.signer;
  const authenticated = await authenticate(state, content, framingFormat(options.wireFormat), privateKey);
  const [ref, { message, secretTree, changes }] = await Promise.all([
    makeProposalRef(authenticated),
    seal(state, authenticated, options.padding),
  ]);
  const pending: PendingProposal = {
    proposal,
    sender,
    ref,
    ...(updatePrivateKey === undefined ? {} : { updatePrivateKey }),
  };
  const pendingProposals = [...state.pendingProposals, pending];
  return { state: { ...state, secretTree, pendingProposals }, message, ref, changes };
}

/** RFC 9420 §12.1.1. The key package must have been validated. */
export function proposeAdd(
  state: GroupState,
  keyPackage: KeyPackage,
  options: ProposeOptions & { readonly now: bigint },
): Promise<SentProposal> {
  return propose(state, { kind: "add", keyPackage }, options);
}

/** RFC 9420 §12.1.2. A new leaf for this member, in force once somebody else commits it. */
export async function proposeUpdate(
  state: GroupState,
  options: ProposeOptions & { readonly leaf?: LeafChange },
): Promise<SentProposal> {
  const { leaf: change = {} } = options;
  const signer = change.signer ?? options.signer;
  const old = ownLeaf(state);
  const { privateKey, publicKey } = await generateDhKeyPair();
  const leafNode = await signLeafNode(
    {
      leafNodeSource: "update",
      encryptionKey: publicKey,
      signatureKey: signer.publicKey,
      credential: change.credential ?? old.credential,
      capabilities: change.capabilities ?? old.capabilities,
      extensions: change.extensions ?? old.extensions,
    },
    { groupId: state.groupContext.groupId, leafIndex: state.ownLeafIndex },
    signer,
  );
  return propose(state, { kind: "update", leafNode }, options, privateKey);
}

/** RFC 9420 §12.1.3. Also for leaving: a member can propose its own removal, and others commit it. */
export function proposeRemove(
  state: GroupState,
  removed: LeafIndex,
  options: ProposeOptions,
): Promise<SentProposal> {
  return propose(state, { kind: "remove", removed }, options);
}

/** RFC 9420 §8.4. A proposal for a key that the application knows by an id, with a fresh nonce. */
export function externalPskProposal(pskId: Uint8Array): PskProposal {
  const pskNonce = randomBytes(HASH_LENGTH);
  return { kind: "psk", psk: { pskType: "external", pskId: copyBytes(pskId), pskNonce } };
}

/** RFC 9420 §8.6. A proposal for the resumption PSK of a group's epoch, with a fresh nonce. */
export function resumptionPskProposal(
  groupId: Uint8Array,
  pskEpoch: bigint,
  usage: "application" | "reinit" | "branch" = "application",
): PskProposal {
  const pskGroupId = copyBytes(groupId);
  const pskNonce = randomBytes(HASH_LENGTH);
  return { kind: "psk", psk: { pskType: "resumption", usage, pskGroupId, pskEpoch, pskNonce } };
}

/** RFC 9420 §12.1.4. */
export function proposePsk(
  state: GroupState,
  proposal: PskProposal,
  options: ProposeOptions,
): Promise<SentProposal> {
  return propose(state, proposal, options);
}

/** RFC 9420 §12.1.5. Closes this group in favour of a new one. */
export function proposeReInit(
  state: GroupState,
  groupId: Uint8Array,
  extensions: readonly Extension[],
  options: ProposeOptions,
): Promise<SentProposal> {
  return propose(state, reInitProposal(groupId, extensions), options);
}

/** RFC 9420 §12.1.5. The proposal itself, to be committed by value. */
export function reInitProposal(groupId: Uint8Array, extensions: readonly Extension[] = []): ReInitProposal {
  return {
    kind: "reInit",
    groupId: copyBytes(groupId),
    version: MLS10,
    cipherSuite: CIPHER_SUITE,
    extensions,
  };
}

/** RFC 9420 §12.1.7. Replaces all extensions of the group context. */
export function proposeGroupContextExtensions(
  state: GroupState,
  extensions: readonly Extension[],
  options: ProposeOptions,
): Promise<SentProposal> {
  return propose(state, { kind: "groupContextExtensions", extensions }, options);
}
