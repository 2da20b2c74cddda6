import type { Bytes } from "../../base/bytes.js";
import type { Reader } from "../../codec/reader.js";
import type { Writer } from "../../codec/writer.js";
import { type LeafIndex, toLeafIndex } from "./indices.js";

/** RFC 9420 §7.1. */
export interface ParentNode {
  readonly encryptionKey: Bytes;
  readonly parentHash: Bytes;
  /** In increasing order. */
  readonly unmergedLeaves: readonly LeafIndex[];
}

export function encodeParentNode(writer: Writer, node: ParentNode): void {
  writer.opaque(node.encryptionKey).opaque(node.parentHash);
  writer.vector(node.unmergedLeaves, (w, leaf) => w.u32(leaf));
}

export function decodeParentNode(reader: Reader): ParentNode {
  return {
    encryptionKey: reader.opaque(),
    parentHash: reader.opaque(),
    unmergedLeaves: reader.vector((r) => toLeafIndex(r.u32())),
  };
}
