import { asBytes, type Bytes } from "../base/bytes.js";
import { assertArgument, SubrosaError } from "../base/errors.js";
import { subtle } from "./subtle.js";

/** Bytes of an AES-128 key of the cipher suite (Nk). */
export const AEAD_KEY_LENGTH = 16;
/** Bytes of a nonce (Nn). */
export const AEAD_NONCE_LENGTH = 12;
/** Bytes by which a ciphertext is longer than its plaintext. */
export const AEAD_TAG_LENGTH = 16;

/** Imports an AES-GCM key of 16 or 32 bytes, non-extractable. */
export async function importAeadKey(
  raw: Uint8Array,
  usages: readonly ("encrypt" | "decrypt")[] = ["encrypt", "decrypt"],
): Promise<CryptoKey> {
  assertArgument(raw.length === 16 || raw.length === 32, "AES keys have 16 or 32 bytes");
  return subtle().importKey("raw", asBytes(raw), "AES-GCM", false, [...usages]);
}

/** A new AES-256-GCM key that cannot be exported, for values at rest. */
export function generateStoreKey(): Promise<CryptoKey> {
  return subtle().generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
}

function parameters(nonce: Uint8Array, aad: Uint8Array): AesGcmParams {
  return {
    name: "AES-GCM",
    iv: asBytes(nonce),
    additionalData: asBytes(aad),
    tagLength: 8 * AEAD_TAG_LENGTH,
  };
}

/** AES-GCM: ciphertext ‖ 16-byte tag. A nonce must never be used twice with one key. */
export async function aeadSeal(
  key: CryptoKey,
  nonce: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
): Promise<Bytes> {
  return new Uint8Array(await subtle().encrypt(parameters(nonce, aad), key, asBytes(plaintext)));
}

/** Inverse of {@link aeadSeal}. Throws `decryption-failed` whatever the cause. */
export async function aeadOpen(
  key: CryptoKey,
  nonce: Uint8Array,
  aad: Uint8Array,
  ciphertext: Uint8Array,
): Promise<Bytes> {
  try {
    return new Uint8Array(await subtle().decrypt(parameters(nonce, aad), key, asBytes(ciphertext)));
  } catch {
    throw new SubrosaError("decryption-failed", "cannot decrypt");
  }
}
