import type { Bytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import type { Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { type Credential, decodeCredential, encodeCredential } from "./credential.js";
import { decodeExtensions, decodeTypes, type Extension, encodeExtensions, encodeTypes } from "./extension.js";
import type { LeafIndex } from "./indices.js";
import { decodeName } from "./registry.js";

const SOURCES = { key_package: 1, update: 2, commit: 3 } as const;

/** RFC 9420 §7.2. */
export interface Capabilities {
  readonly versions: readonly number[];
  readonly cipherSuites: readonly number[];
  readonly extensions: readonly number[];
  readonly proposals: readonly number[];
  readonly credentials: readonly number[];
}

/** RFC 9420 §7.2. Seconds since 1970. */
export interface Lifetime {
  readonly notBefore: bigint;
  readonly notAfter: bigint;
}

/** RFC 9420 §7.2: where a leaf node stands for the first time, and what it carries because of that. */
export type LeafNodeSource =
  | { readonly leafNodeSource: "key_package"; readonly lifetime: Lifetime }
  | { readonly leafNodeSource: "update" }
  | { readonly leafNodeSource: "commit"; readonly parentHash: Bytes };

/** RFC 9420 §7.2: a LeafNode without its signature. */
export type LeafNodeContent = LeafNodeSource & {
  readonly encryptionKey: Bytes;
  readonly signatureKey: Bytes;
  readonly credential: Credential;
  readonly capabilities: Capabilities;
  readonly extensions: readonly Extension[];
};

/** RFC 9420 §7.2. */
export type LeafNode = LeafNodeContent & { readonly signature: Bytes };

export function encodeCapabilities(writer: Writer, capabilities: Capabilities): void {
  encodeTypes(writer, capabilities.versions);
  encodeTypes(writer, capabilities.cipherSuites);
  encodeTypes(writer, capabilities.extensions);
  encodeTypes(writer, capabilities.proposals);
  encodeTypes(writer, capabilities.credentials);
}

export function decodeCapabilities(reader: Reader): Capabilities {
  return {
    versions: decodeTypes(reader),
    cipherSuites: decodeTypes(reader),
    extensions: decodeTypes(reader),
    proposals: decodeTypes(reader),
    credentials: decodeTypes(reader),
  };
}

function encodeContent(writer: Writer, leaf: LeafNodeContent): void {
  writer.opaque(leaf.encryptionKey).opaque(leaf.signatureKey);
  encodeCredential(writer, leaf.credential);
  encodeCapabilities(writer, leaf.capabilities);
  writer.u8(SOURCES[leaf.leafNodeSource]);
  if (leaf.leafNodeSource === "key_package") writer.u64(leaf.lifetime.notBefore).u64(leaf.lifetime.notAfter);
  if (leaf.leafNodeSource === "commit") writer.opaque(leaf.parentHash);
  encodeExtensions(writer, leaf.extensions);
}

function decodeSource(reader: Reader): LeafNodeSource {
  const leafNodeSource = decodeName(SOURCES, reader.u8(), reader, "leaf node source");
  if (leafNodeSource === "key_package") {
    return { leafNodeSource, lifetime: { notBefore: reader.u64(), notAfter: reader.u64() } };
  }
  return leafNodeSource === "commit" ? { leafNodeSource, parentHash: reader.opaque() } : { leafNodeSource };
}

export function encodeLeafNode(writer: Writer, leaf: LeafNode): void {
  encodeContent(writer, leaf);
  writer.opaque(leaf.signature);
}

export function decodeLeafNode(reader: Reader): LeafNode {
  return {
    encryptionKey: reader.opaque(),
    signatureKey: reader.opaque(),
    credential: decodeCredential(reader),
    capabilities: decodeCapabilities(reader),
    ...decodeSource(reader),
    extensions: decodeExtensions(reader),
    signature: reader.opaque(),
  };
}

/** Where a leaf node of an update or a commit stands. */
export interface LeafPosition {
  readonly groupId: Bytes;
  readonly leafIndex: LeafIndex;
}

/** RFC 9420 §7.2 `LeafNodeTBS`. `position` is needed for, and covers, leaves from updates and commits only. */
export function leafNodeTbs(leaf: LeafNodeContent, position: LeafPosition | undefined): Bytes {
  return encode((writer) => {
    encodeContent(writer, leaf);
    if (leaf.leafNodeSource === "key_package") return;
    if (position === undefined) throw new SubrosaError("internal", "this leaf is signed with its position");
    writer.opaque(position.groupId).u32(position.leafIndex);
  }, undefined);
}
