import { type Bytes, copyBytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { decodeEpochSecrets, encodeEpochSecrets } from "../schedule/key-schedule.js";
import { type RatchetChange, SecretTree } from "../schedule/secret-tree.js";
import { decodeCredential, encodeCredential } from "../structs/credential.js";
import { decodeSender, encodeSender } from "../structs/framed-content.js";
import { decodeGroupContext, encodeGroupContext } from "../structs/group-context.js";
import { type LeafIndex, type NodeIndex, toLeafIndex, toNodeIndex } from "../structs/indices.js";
import { decodeProposal, encodeProposal } from "../structs/proposal.js";
import { decodeRatchetTree, encodeRatchetTree } from "../tree/ratchet-tree.js";
import type { Committer, ListedProposal } from "./proposal-list.js";
import type { StagedCommit } from "./staged-commit.js";
import type { GroupState, PendingProposal, ResumptionPsk } from "./state.js";

/** The version of these forms; another one is refused with `store-outdated`. */
const VERSION = 1;

type Epoch = Omit<GroupState, "secretTree">;

function checkVersion(reader: Reader): void {
  if (reader.u8() !== VERSION) throw new SubrosaError("store-outdated", "an MLS state of another version");
}

function writeListed(writer: Writer, { proposal, sender, ref }: ListedProposal): void {
  writer.struct(proposal, encodeProposal).struct(sender, encodeSender);
  writer.optional(ref, (w, bytes) => w.opaque(bytes));
}

function readListed(reader: Reader): ListedProposal {
  const proposal = decodeProposal(reader);
  const sender = decodeSender(reader);
  const ref = reader.optional((r) => r.opaque());
  return { proposal, sender, ...(ref === undefined ? {} : { ref }) };
}

function writePending(writer: Writer, pending: PendingProposal): void {
  writeListed(writer, pending);
  writer.optional(pending.updatePrivateKey, (w, bytes) => w.opaque(bytes));
}

function readPending(reader: Reader): PendingProposal {
  const listed = readListed(reader);
  const { ref } = listed;
  if (ref === undefined) return reader.fail("a pending proposal without a reference");
  const updatePrivateKey = reader.optional((r) => r.opaque());
  return { ...listed, ref, ...(updatePrivateKey === undefined ? {} : { updatePrivateKey }) };
}

function writePrivateKey(writer: Writer, [node, key]: readonly [NodeIndex, Bytes]): void {
  writer.u32(node).opaque(key);
}

function readPrivateKey(reader: Reader): [NodeIndex, Bytes] {
  return [toNodeIndex(reader.u32()), reader.opaque()];
}

function writeResumption(writer: Writer, { epoch, psk }: ResumptionPsk): void {
  writer.u64(epoch).opaque(psk);
}

function readResumption(reader: Reader): ResumptionPsk {
  return { epoch: reader.u64(), psk: reader.opaque() };
}

function writeEpoch(writer: Writer, state: Epoch): void {
  writer.u8(VERSION).struct(state.groupContext, encodeGroupContext).struct(state.tree, encodeRatchetTree);
  writer.u32(state.ownLeafIndex).vector([...state.privateKeys], writePrivateKey);
  writer.struct(state.secrets, encodeEpochSecrets);
  writer.opaque(state.confirmationTag).opaque(state.interimTranscriptHash);
  writer.vector(state.pendingProposals, writePending).vector(state.resumptionPsks, writeResumption);
  writer.optional(state.reInit, encodeProposal);
}

function readEpoch(reader: Reader): Epoch {
  checkVersion(reader);
  return {
    groupContext: decodeGroupContext(reader),
    tree: decodeRatchetTree(reader),
    ownLeafIndex: toLeafIndex(reader.u32()),
    privateKeys: new Map(reader.vector(readPrivateKey)),
    secrets: decodeEpochSecrets(reader),
    confirmationTag: reader.opaque(),
    interimTranscriptHash: reader.opaque(),
    pendingProposals: reader.vector(readPending),
    resumptionPsks: reader.vector(readResumption),
    reInit: reader.optional(readReInit),
  };
}

function readReInit(reader: Reader) {
  const proposal = decodeProposal(reader);
  return proposal.kind === "reInit" ? proposal : reader.fail("not a ReInit");
}

/** Everything of a state but its ratchets, as bytes that hold private keys. Written when an epoch begins or a proposal comes. */
export function encodeEpoch(state: GroupState): Bytes {
  return encode(writeEpoch, state);
}

/** All records of the ratchets of a state, which is given by its `secretTree`. */
export function encodeRatchets(secretTree: SecretTree): RatchetChange[] {
  return secretTree.records();
}

/**
 * The state that {@link encodeEpoch} and {@link encodeRatchets} wrote, the latter with all changes since. Throws
 * `malformed`, and `store-outdated` for another version.
 */
export function decodeGroup(
  epoch: Uint8Array,
  ratchetRecords: Iterable<readonly [string, Uint8Array<ArrayBuffer>]>,
): GroupState {
  const state = decode(readEpoch, copyBytes(epoch));
  return { ...state, secretTree: SecretTree.fromRecords(ratchetRecords, state.tree.leafCount) };
}

function writeState(writer: Writer, state: GroupState): void {
  writer.opaque(encodeEpoch(state));
  writer.vector(encodeRatchets(state.secretTree), (w, { key, value }) => {
    w.opaque(new TextEncoder().encode(key)).opaque(value ?? new Uint8Array(0));
  });
}

function readState(reader: Reader): GroupState {
  const epoch = reader.opaque();
  const records = reader.vector((r): [string, Bytes] => [new TextDecoder().decode(r.opaque()), r.opaque()]);
  return decodeGroup(epoch, records);
}

const EXTERNAL = 0xffffffff;

function writeStaged(writer: Writer, staged: StagedCommit): void {
  writer.u8(VERSION).struct(staged.state, writeState).vector(staged.proposals, writeListed);
  writer.u32(staged.committer === "external" ? EXTERNAL : staged.committer);
  writeLeaves(writer, staged.added);
  writer.vector(staged.removed, (w, { leafIndex, credential }) => {
    w.u32(leafIndex).struct(credential, encodeCredential);
  });
  writeLeaves(writer, staged.updated);
  writer.u8(staged.selfRemoved ? 1 : 0).opaque(staged.authenticatedData);
}

function writeLeaves(writer: Writer, leaves: readonly LeafIndex[]): void {
  writer.vector(leaves, (w, leafIndex) => w.u32(leafIndex));
}

function readLeaves(reader: Reader): LeafIndex[] {
  return reader.vector((r) => toLeafIndex(r.u32()));
}

function readCommitter(reader: Reader): Committer {
  const committer = reader.u32();
  return committer === EXTERNAL ? "external" : toLeafIndex(committer);
}

function readStaged(reader: Reader): StagedCommit {
  checkVersion(reader);
  return {
    state: readState(reader),
    proposals: reader.vector(readListed),
    committer: readCommitter(reader),
    added: readLeaves(reader),
    removed: reader.vector((r) => ({ leafIndex: toLeafIndex(r.u32()), credential: decodeCredential(r) })),
    updated: readLeaves(reader),
    selfRemoved: reader.u8() === 1,
    authenticatedData: reader.opaque(),
  };
}

/** A staged commit as bytes that hold private keys, so that it survives a restart. */
export function encodeStagedCommit(staged: StagedCommit): Bytes {
  return encode(writeStaged, staged);
}

/** Inverse of {@link encodeStagedCommit}. Throws `malformed`, and `store-outdated` for another version. */
export function decodeStagedCommit(bytes: Uint8Array): StagedCommit {
  return decode(readStaged, copyBytes(bytes));
}
