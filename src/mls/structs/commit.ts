import type { Bytes } from "../../base/bytes.js";
import type { Reader } from "../../codec/reader.js";
import type { Writer } from "../../codec/writer.js";
import { decodeLeafNode, encodeLeafNode, type LeafNode } from "./leaf-node.js";
import { decodeProposal, encodeProposal, type Proposal } from "./proposal.js";
import { decodeName } from "./registry.js";

const PROPOSAL_OR_REF = { proposal: 1, reference: 2 } as const;

/** RFC 9420 §12.4. */
export type ProposalOrRef =
  | { readonly kind: "proposal"; readonly proposal: Proposal }
  | { readonly kind: "reference"; readonly reference: Bytes };

/** RFC 9420 §7.6. */
export interface HpkeCiphertext {
  readonly kemOutput: Bytes;
  readonly ciphertext: Bytes;
}

/** RFC 9420 §7.6. */
export interface UpdatePathNode {
  readonly encryptionKey: Bytes;
  readonly encryptedPathSecret: readonly HpkeCiphertext[];
}

/** RFC 9420 §7.6. */
export interface UpdatePath {
  readonly leafNode: LeafNode;
  readonly nodes: readonly UpdatePathNode[];
}

/** RFC 9420 §12.4. */
export interface Commit {
  readonly proposals: readonly ProposalOrRef[];
  readonly path: UpdatePath | undefined;
}

export function encodeHpkeCiphertext(writer: Writer, sealed: HpkeCiphertext): void {
  writer.opaque(sealed.kemOutput).opaque(sealed.ciphertext);
}

export function decodeHpkeCiphertext(reader: Reader): HpkeCiphertext {
  return { kemOutput: reader.opaque(), ciphertext: reader.opaque() };
}

function encodeUpdatePathNode(writer: Writer, node: UpdatePathNode): void {
  writer.opaque(node.encryptionKey).vector(node.encryptedPathSecret, encodeHpkeCiphertext);
}

function decodeUpdatePathNode(reader: Reader): UpdatePathNode {
  return { encryptionKey: reader.opaque(), encryptedPathSecret: reader.vector(decodeHpkeCiphertext) };
}

export function encodeUpdatePath(writer: Writer, path: UpdatePath): void {
  writer.struct(path.leafNode, encodeLeafNode).vector(path.nodes, encodeUpdatePathNode);
}

export function decodeUpdatePath(reader: Reader): UpdatePath {
  return { leafNode: decodeLeafNode(reader), nodes: reader.vector(decodeUpdatePathNode) };
}

function encodeProposalOrRef(writer: Writer, item: ProposalOrRef): void {
  writer.u8(PROPOSAL_OR_REF[item.kind]);
  if (item.kind === "proposal") encodeProposal(writer, item.proposal);
  else writer.opaque(item.reference);
}

function decodeProposalOrRef(reader: Reader): ProposalOrRef {
  const kind = decodeName(PROPOSAL_OR_REF, reader.u8(), reader, "kind of proposal");
  return kind === "proposal"
    ? { kind, proposal: decodeProposal(reader) }
    : { kind, reference: reader.opaque() };
}

export function encodeCommit(writer: Writer, commit: Commit): void {
  writer.vector(commit.proposals, encodeProposalOrRef).optional(commit.path, encodeUpdatePath);
}

export function decodeCommit(reader: Reader): Commit {
  return { proposals: reader.vector(decodeProposalOrRef), path: reader.optional(decodeUpdatePath) };
}
