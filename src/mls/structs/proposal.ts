import type { Bytes } from "../../base/bytes.js";
import type { Reader } from "../../codec/reader.js";
import type { Writer } from "../../codec/writer.js";
import { decodeExtensions, type Extension, encodeExtensions } from "./extension.js";
import { type LeafIndex, toLeafIndex } from "./indices.js";
import { decodeKeyPackage, encodeKeyPackage, type KeyPackage } from "./key-package.js";
import { decodeLeafNode, encodeLeafNode, type LeafNode } from "./leaf-node.js";
import { decodePreSharedKeyId, encodePreSharedKeyId, type PreSharedKeyId } from "./psk.js";
import { ProposalType } from "./registry.js";

/** RFC 9420 §12.1.1. */
export interface AddProposal {
  readonly kind: "add";
  readonly keyPackage: KeyPackage;
}

/** RFC 9420 §12.1.2. */
export interface UpdateProposal {
  readonly kind: "update";
  readonly leafNode: LeafNode;
}

/** RFC 9420 §12.1.3. */
export interface RemoveProposal {
  readonly kind: "remove";
  readonly removed: LeafIndex;
}

/** RFC 9420 §12.1.4. */
export interface PskProposal {
  readonly kind: "psk";
  readonly psk: PreSharedKeyId;
}

/** RFC 9420 §12.1.5. */
export interface ReInitProposal {
  readonly kind: "reInit";
  readonly groupId: Bytes;
  readonly version: number;
  readonly cipherSuite: number;
  readonly extensions: readonly Extension[];
}

/** RFC 9420 §12.1.6. */
export interface ExternalInitProposal {
  readonly kind: "externalInit";
  readonly kemOutput: Bytes;
}

/** RFC 9420 §12.1.7. */
export interface GroupContextExtensionsProposal {
  readonly kind: "groupContextExtensions";
  readonly extensions: readonly Extension[];
}

/** A proposal of a type that this engine does not know, its content read as one byte string. */
export interface UnknownProposal {
  readonly kind: "unknown";
  readonly proposalType: number;
  readonly data: Bytes;
}

/** RFC 9420 §12.1. */
export type Proposal =
  | AddProposal
  | UpdateProposal
  | RemoveProposal
  | PskProposal
  | ReInitProposal
  | ExternalInitProposal
  | GroupContextExtensionsProposal
  | UnknownProposal;

/** The registered number of a proposal's type. */
export function proposalTypeOf(proposal: Proposal): number {
  return proposal.kind === "unknown" ? proposal.proposalType : ProposalType[proposal.kind];
}

export function encodeProposal(writer: Writer, proposal: Proposal): void {
  writer.u16(proposalTypeOf(proposal));
  switch (proposal.kind) {
    case "add":
      encodeKeyPackage(writer, proposal.keyPackage);
      break;
    case "update":
      encodeLeafNode(writer, proposal.leafNode);
      break;
    case "remove":
      writer.u32(proposal.removed);
      break;
    case "psk":
      encodePreSharedKeyId(writer, proposal.psk);
      break;
    case "reInit":
      writer.opaque(proposal.groupId).u16(proposal.version).u16(proposal.cipherSuite);
      encodeExtensions(writer, proposal.extensions);
      break;
    case "externalInit":
      writer.opaque(proposal.kemOutput);
      break;
    case "groupContextExtensions":
      encodeExtensions(writer, proposal.extensions);
      break;
    case "unknown":
      writer.opaque(proposal.data);
      break;
  }
}

export function decodeProposal(reader: Reader): Proposal {
  const proposalType = reader.u16();
  switch (proposalType) {
    case ProposalType.add:
      return { kind: "add", keyPackage: decodeKeyPackage(reader) };
    case ProposalType.update:
      return { kind: "update", leafNode: decodeLeafNode(reader) };
    case ProposalType.remove:
      return { kind: "remove", removed: toLeafIndex(reader.u32()) };
    case ProposalType.psk:
      return { kind: "psk", psk: decodePreSharedKeyId(reader) };
    case ProposalType.reInit:
      return {
        kind: "reInit",
        groupId: reader.opaque(),
        version: reader.u16(),
        cipherSuite: reader.u16(),
        extensions: decodeExtensions(reader),
      };
    case ProposalType.externalInit:
      return { kind: "externalInit", kemOutput: reader.opaque() };
    case ProposalType.groupContextExtensions:
      return { kind: "groupContextExtensions", extensions: decodeExtensions(reader) };
    default:
      return { kind: "unknown", proposalType, data: reader.opaque() };
  }
}
