import { type Bytes, concat, EMPTY } from "../base/bytes.js";
import { toUtf8 } from "../base/encoding.js";
import { hkdfExpand } from "../crypto/hkdf.js";
import { hmac, hmacWith, importHmacKey } from "../crypto/hmac.js";

const VERSION_LABEL = "HPKE-v1";

function uint16(value: number): Bytes {
  return Uint8Array.of(value >> 8, value & 255);
}

/** RFC 9180 §4.1: the suite_id of DHKEM(P-256, HKDF-SHA256). */
export const KEM_SUITE_ID: Bytes = Uint8Array.of(0x4b, 0x45, 0x4d, 0x00, 0x10);
/** RFC 9180 §5.1: the suite_id of the KEM above with HKDF-SHA256 and AES-128-GCM. */
export const HPKE_SUITE_ID: Bytes = Uint8Array.of(0x48, 0x50, 0x4b, 0x45, 0x00, 0x10, 0x00, 0x01, 0x00, 0x01);

let emptySalt: Promise<CryptoKey> | undefined;

/** RFC 9180 §4 `LabeledExtract`. */
export async function labeledExtract(
  suiteId: Bytes,
  salt: Uint8Array,
  label: string,
  ikm: Uint8Array,
): Promise<Bytes> {
  const input = concat(toUtf8(VERSION_LABEL), suiteId, toUtf8(label), ikm);
  if (salt.length > 0) return hmac(salt, input);
  emptySalt ??= importHmacKey(EMPTY);
  return hmacWith(await emptySalt, input);
}

/** RFC 9180 §4 `LabeledExpand`. */
export function labeledExpand(
  suiteId: Bytes,
  prk: Uint8Array | CryptoKey,
  label: string,
  info: Uint8Array,
  length: number,
): Promise<Bytes> {
  return hkdfExpand(prk, concat(uint16(length), toUtf8(VERSION_LABEL), suiteId, toUtf8(label), info), length);
}
