import type { Capabilities } from "ts-mls/capabilities.js";
import type { Decoder } from "ts-mls/codec/tlsDecoder.js";
import { type BufferEncoder, encode } from "ts-mls/codec/tlsEncoder.js";
import { signWithLabel } from "ts-mls/crypto/signature.js";
import { defaultGreaseConfig, greaseCapabilities } from "ts-mls/grease.js";
import { type LeafNode, type LeafNodeUpdate, leafNodeTBSEncoder } from "ts-mls/leafNode.js";
import {
  decodeMlsMessage,
  type MLSMessage,
  type MlsMessageContent,
  mlsMessageEncoder,
} from "ts-mls/message.js";
import { SUITE, suite } from "./webcrypto-provider.js";

/** With GREASE (RFC 9420 §13.5); of all the suites of ts-mls, only this one. */
export const CAPABILITIES: Capabilities = greaseCapabilities(defaultGreaseConfig, {
  versions: ["mls10"],
  ciphersuites: [SUITE],
  extensions: [],
  proposals: [],
  credentials: ["basic"],
});

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function write<T>(encoder: BufferEncoder<T>, value: T): Uint8Array {
  return encode(encoder)(value);
}

export function read<T>(decoder: Decoder<T>, bytes: Uint8Array): T {
  const result = decoder(bytes, 0);
  if (result === undefined || result[1] !== bytes.length) throw new Error("ts-mls cannot decode this");
  return result[0];
}

export function readMessage<W extends MLSMessage["wireformat"]>(bytes: Uint8Array, wireformat: W) {
  const message = read(decodeMlsMessage, bytes);
  if (message.wireformat !== wireformat) throw new Error(`a ${message.wireformat}, not a ${wireformat}`);
  return message as Extract<MLSMessage, { wireformat: W }>;
}

export function writeMessage(content: MlsMessageContent): Uint8Array {
  return write(mlsMessageEncoder, { version: "mls10", ...content });
}

/**
 * ts-mls wants every node on the way to the root to list the same unmerged leaves, where RFC 9420 §12.4.3.1 asks only
 * for those below the node. It therefore refuses to join some valid groups.
 */
const TOO_STRICT = "non-blank intermediate node must list leaf node in its unmerged_leaves";

/** Whether ts-mls refused to join for that. */
export function isTooStrict(error: unknown): boolean {
  return error instanceof Error && error.message === TOO_STRICT;
}

/** RFC 9420 §12.1.2. A new leaf for a member, with its private key; ts-mls has no function for it. */
export async function signUpdate(
  { signaturePublicKey, credential, capabilities, extensions }: LeafNode,
  position: { readonly groupId: Uint8Array; readonly leafIndex: number },
  signKey: Uint8Array,
): Promise<{ leafNode: LeafNodeUpdate; privateKey: Uint8Array }> {
  const { publicKey, privateKey } = await suite.hpke.generateKeyPair();
  const content = {
    hpkePublicKey: await suite.hpke.exportPublicKey(publicKey),
    signaturePublicKey,
    credential,
    capabilities,
    leafNodeSource: "update" as const,
    extensions,
  };
  const tbs = write(leafNodeTBSEncoder, { ...content, ...position });
  const signature = await signWithLabel(signKey, "LeafNodeTBS", tbs, suite.signature);
  return {
    leafNode: { ...content, signature },
    privateKey: await suite.hpke.exportPrivateKey(privateKey),
  };
}
