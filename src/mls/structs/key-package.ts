import type { Bytes } from "../../base/bytes.js";
import type { Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { decodeExtensions, type Extension, encodeExtensions } from "./extension.js";
import { decodeLeafNode, encodeLeafNode, type LeafNode } from "./leaf-node.js";

/** RFC 9420 §10 `KeyPackageTBS`. */
export interface KeyPackageContent {
  readonly version: number;
  readonly cipherSuite: number;
  readonly initKey: Bytes;
  readonly leafNode: LeafNode;
  readonly extensions: readonly Extension[];
}

/** RFC 9420 §10. */
export interface KeyPackage extends KeyPackageContent {
  readonly signature: Bytes;
}

function encodeContent(writer: Writer, content: KeyPackageContent): void {
  writer.u16(content.version).u16(content.cipherSuite).opaque(content.initKey);
  encodeLeafNode(writer, content.leafNode);
  encodeExtensions(writer, content.extensions);
}

/** RFC 9420 §10 `KeyPackageTBS`, encoded. */
export function keyPackageTbs(content: KeyPackageContent): Bytes {
  return encode(encodeContent, content);
}

export function encodeKeyPackage(writer: Writer, keyPackage: KeyPackage): void {
  encodeContent(writer, keyPackage);
  writer.opaque(keyPackage.signature);
}

export function decodeKeyPackage(reader: Reader): KeyPackage {
  return {
    version: reader.u16(),
    cipherSuite: reader.u16(),
    initKey: reader.opaque(),
    leafNode: decodeLeafNode(reader),
    extensions: decodeExtensions(reader),
    signature: reader.opaque(),
  };
}
