import type { Bytes } from "../../base/bytes.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, Writer } from "../../codec/writer.js";
import { AEAD_KEY_LENGTH, AEAD_NONCE_LENGTH, aeadOpen, aeadSeal, importAeadKey } from "../../crypto/aead.js";
import { HASH_LENGTH } from "../../crypto/hash.js";
import { cachedHmacKey } from "../../crypto/hmac.js";
import { expandWithLabel } from "../labels.js";
import { encodeContentType } from "../structs/framed-content.js";
import { type LeafIndex, toLeafIndex } from "../structs/indices.js";
import type { PrivateMessage } from "../structs/message.js";

/** Bytes of a reuse guard. */
export const REUSE_GUARD_LENGTH = 4;

/** RFC 9420 §6.3.2. */
export interface SenderData {
  readonly leafIndex: LeafIndex;
  readonly generation: number;
  readonly reuseGuard: Bytes;
}

/** The clear fields of a PrivateMessage that its encrypted parts are bound to. */
export type PrivateHeader = Pick<PrivateMessage, "groupId" | "epoch" | "contentType">;

function encodeSenderData(writer: Writer, data: SenderData): void {
  writer.u32(data.leafIndex).u32(data.generation).fixed(data.reuseGuard);
}

function decodeSenderData(reader: Reader): SenderData {
  return {
    leafIndex: toLeafIndex(reader.u32()),
    generation: reader.u32(),
    reuseGuard: reader.fixed(REUSE_GUARD_LENGTH),
  };
}

function senderDataAad(header: PrivateHeader): Bytes {
  return new Writer()
    .opaque(header.groupId)
    .u64(header.epoch)
    .struct(header.contentType, encodeContentType)
    .finish();
}

async function derive(
  senderDataSecret: Bytes,
  ciphertext: Bytes,
  label: string,
  length: number,
): Promise<Bytes> {
  const secret = await cachedHmacKey(senderDataSecret);
  return expandWithLabel(secret, label, ciphertext.subarray(0, HASH_LENGTH), length);
}

/** RFC 9420 §6.3.2: the key and nonce for sender data, from a sample of the encrypted content. */
export async function deriveSenderDataKey(
  senderDataSecret: Bytes,
  ciphertext: Bytes,
): Promise<{ key: Bytes; nonce: Bytes }> {
  const [key, nonce] = await Promise.all([
    derive(senderDataSecret, ciphertext, "key", AEAD_KEY_LENGTH),
    derive(senderDataSecret, ciphertext, "nonce", AEAD_NONCE_LENGTH),
  ]);
  return { key, nonce };
}

/** RFC 9420 §6.3.2: encrypts sender data. */
export async function sealSenderData(
  senderDataSecret: Bytes,
  header: PrivateHeader,
  ciphertext: Bytes,
  data: SenderData,
): Promise<Bytes> {
  const { key, nonce } = await deriveSenderDataKey(senderDataSecret, ciphertext);
  return aeadSeal(await importAeadKey(key), nonce, senderDataAad(header), encode(encodeSenderData, data));
}

/** RFC 9420 §6.3.2: decrypts sender data. Throws `decryption-failed` or `malformed`. */
export async function openSenderData(
  senderDataSecret: Bytes,
  message: PrivateHeader & Pick<PrivateMessage, "ciphertext" | "encryptedSenderData">,
): Promise<SenderData> {
  const { key, nonce } = await deriveSenderDataKey(senderDataSecret, message.ciphertext);
  const aad = senderDataAad(message);
  return decode(
    decodeSenderData,
    await aeadOpen(await importAeadKey(key), nonce, aad, message.encryptedSenderData),
  );
}
