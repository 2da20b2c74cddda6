import { asBytes, type Bytes, concat, wipe } from "../base/bytes.js";
import { toUtf8 } from "../base/encoding.js";
import { assertArgument, SubrosaError } from "../base/errors.js";
import { AEAD_NONCE_LENGTH, aeadOpen, aeadSeal } from "./aead.js";
import { randomBytes } from "./random.js";
import { exportSignaturePrivateKey, importSignaturePrivateKey } from "./signature.js";
import { subtle } from "./subtle.js";

/** The most rounds that {@link deriveStoreKey} runs, so that a file cannot make it run for hours. */
export const MAX_ITERATIONS = 10_000_000;

/** Seals bytes under a random nonce: nonce ‖ ciphertext. `context` must be given again to open them. */
export async function sealAtRest(
  storeKey: CryptoKey,
  context: Uint8Array,
  plaintext: Uint8Array,
): Promise<Bytes> {
  const nonce = randomBytes(AEAD_NONCE_LENGTH);
  return concat(nonce, await aeadSeal(storeKey, nonce, context, plaintext));
}

/** Inverse of {@link sealAtRest}. Throws `decryption-failed`. */
export function openAtRest(storeKey: CryptoKey, context: Uint8Array, sealed: Uint8Array): Promise<Bytes> {
  const nonce = sealed.subarray(0, AEAD_NONCE_LENGTH);
  if (nonce.length < AEAD_NONCE_LENGTH) {
    return Promise.reject(new SubrosaError("decryption-failed", "cannot decrypt"));
  }
  return aeadOpen(storeKey, nonce, context, sealed.subarray(AEAD_NONCE_LENGTH));
}

/** An extractable signature key as PKCS #8 sealed under `storeKey`; `context` must be given again to unwrap it. */
export async function wrapKey(key: CryptoKey, storeKey: CryptoKey, context: Uint8Array): Promise<Bytes> {
  const pkcs8 = await exportSignaturePrivateKey(key);
  try {
    return await sealAtRest(storeKey, context, pkcs8);
  } finally {
    wipe(pkcs8);
  }
}

/** Inverse of {@link wrapKey}; not extractable unless asked. Throws `decryption-failed` or `invalid-key`. */
export async function unwrapKey(
  wrapped: Uint8Array,
  storeKey: CryptoKey,
  context: Uint8Array,
  options: { extractable?: boolean } = {},
): Promise<CryptoKey> {
  const pkcs8 = await openAtRest(storeKey, context, wrapped);
  try {
    return await importSignaturePrivateKey(pkcs8, options);
  } finally {
    wipe(pkcs8);
  }
}

/** RFC 8018 §5.2: a non-extractable AES-256-GCM key from a passphrase by PBKDF2 with HMAC-SHA-256. */
export async function deriveStoreKey(
  passphrase: string,
  salt: Uint8Array,
  iterations: number,
): Promise<CryptoKey> {
  assertArgument(passphrase.length > 0, "the passphrase is empty");
  assertArgument(
    Number.isInteger(iterations) && iterations > 0 && iterations <= MAX_ITERATIONS,
    "iterations out of range",
  );
  const secret = toUtf8(passphrase.normalize("NFC"));
  const key = await subtle().importKey("raw", secret, "PBKDF2", false, ["deriveKey"]);
  wipe(secret);
  return subtle().deriveKey(
    { name: "PBKDF2", hash: "SHA-256", salt: asBytes(salt), iterations },
    key,
    { name: "AES-GCM", length: 256 },
    false,
    ["encrypt", "decrypt"],
  );
}
