import type { Bytes } from "../../base/bytes.js";
import type { Reader } from "../../codec/reader.js";
import type { Writer } from "../../codec/writer.js";
import { decodeExtensions, type Extension, encodeExtensions } from "./extension.js";

/** RFC 9420 §8.1. */
export interface GroupContext {
  readonly version: number;
  readonly cipherSuite: number;
  readonly groupId: Bytes;
  readonly epoch: bigint;
  readonly treeHash: Bytes;
  readonly confirmedTranscriptHash: Bytes;
  readonly extensions: readonly Extension[];
}

export function encodeGroupContext(writer: Writer, context: GroupContext): void {
  writer.u16(context.version).u16(context.cipherSuite).opaque(context.groupId).u64(context.epoch);
  writer.opaque(context.treeHash).opaque(context.confirmedTranscriptHash);
  encodeExtensions(writer, context.extensions);
}

export function decodeGroupContext(reader: Reader): GroupContext {
  return {
    version: reader.u16(),
    cipherSuite: reader.u16(),
    groupId: reader.opaque(),
    epoch: reader.u64(),
    treeHash: reader.opaque(),
    confirmedTranscriptHash: reader.opaque(),
    extensions: decodeExtensions(reader),
  };
}
