import { type Bytes, concat } from "../../base/bytes.js";
import { encode, Writer } from "../../codec/writer.js";
import { sha256 } from "../../crypto/hash.js";
import { cachedHmacKey, hmacWith, verifyMac } from "../../crypto/hmac.js";
import {
  type AuthenticatedContent,
  encodeFramedContent,
  encodeFramingFormat,
} from "../structs/framed-content.js";

/** RFC 9420 §8.2: the confirmed transcript hash after a commit, whose confirmation tag it does not cover. */
export function confirmedTranscriptHash(
  interimTranscriptHash: Bytes,
  commit: Pick<AuthenticatedContent, "wireFormat" | "content"> & {
    readonly auth: { readonly signature: Bytes };
  },
): Promise<Bytes> {
  const input = encode((writer) => {
    writer.struct(commit.wireFormat, encodeFramingFormat).struct(commit.content, encodeFramedContent);
    writer.opaque(commit.auth.signature);
  }, undefined);
  return sha256(concat(interimTranscriptHash, input));
}

/** RFC 9420 §8.2: the interim transcript hash of an epoch. */
export function interimTranscriptHash(confirmed: Bytes, confirmationTag: Bytes): Promise<Bytes> {
  return sha256(concat(confirmed, new Writer().opaque(confirmationTag).finish()));
}

/** RFC 9420 §8.1: the confirmation tag of the epoch that a commit starts. */
export async function confirmationTag(confirmationKey: Bytes, confirmed: Bytes): Promise<Bytes> {
  return hmacWith(await cachedHmacKey(confirmationKey), confirmed);
}

/** RFC 9420 §8.1: whether the confirmation tag is the right one. */
export async function verifyConfirmationTag(
  confirmationKey: Bytes,
  confirmed: Bytes,
  tag: Bytes,
): Promise<boolean> {
  return verifyMac(await cachedHmacKey(confirmationKey), confirmed, tag);
}
