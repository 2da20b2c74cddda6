import { type Bytes, EMPTY } from "../base/bytes.js";
import { toUtf8 } from "../base/encoding.js";
import { encode, Writer } from "../codec/writer.js";
import { HASH_LENGTH, sha256 } from "../crypto/hash.js";
import { hkdfExpand } from "../crypto/hkdf.js";
import { sign, verify } from "../crypto/signature.js";
import type { KemKeyPair } from "../hpke/kem.js";
import { open, seal } from "../hpke/single-shot.js";
import { type AuthenticatedContent, encodeAuthenticatedContent } from "./structs/framed-content.js";
import { encodeKeyPackage, type KeyPackage } from "./structs/key-package.js";

/** A secret, or the HMAC key imported from it so that several derivations share one import. */
export type Secret = Uint8Array | CryptoKey;

function labeled(label: string, content: Uint8Array): Bytes {
  return new Writer()
    .opaque(toUtf8(`MLS 1.0 ${label}`))
    .opaque(content)
    .finish();
}

/** RFC 9420 §5.1.2 `SignWithLabel`. */
export function signWithLabel(privateKey: CryptoKey, label: string, content: Uint8Array): Promise<Bytes> {
  return sign(privateKey, labeled(label, content));
}

/** RFC 9420 §5.1.2 `VerifyWithLabel`. Throws `invalid-key` when the public key is not on the curve. */
export function verifyWithLabel(
  publicKey: Bytes,
  label: string,
  content: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  return verify(publicKey, signature, labeled(label, content));
}

/** RFC 9420 §5.1.3 `EncryptWithLabel`. Throws `invalid-key` when the public key is not on the curve. */
export async function encryptWithLabel(
  publicKey: Bytes,
  label: string,
  context: Uint8Array,
  plaintext: Uint8Array,
): Promise<{ kemOutput: Bytes; ciphertext: Bytes }> {
  const { enc, ciphertext } = await seal(publicKey, labeled(label, context), EMPTY, plaintext);
  return { kemOutput: enc, ciphertext };
}

/** RFC 9420 §5.1.3 `DecryptWithLabel`. Throws `decryption-failed`. */
export function decryptWithLabel(
  keyPair: KemKeyPair,
  label: string,
  context: Uint8Array,
  sealed: { readonly kemOutput: Bytes; readonly ciphertext: Bytes },
): Promise<Bytes> {
  return open(sealed.kemOutput, keyPair, labeled(label, context), EMPTY, sealed.ciphertext);
}

/** RFC 9420 §8 `ExpandWithLabel`. Up to 32 bytes cost one HMAC. */
export function expandWithLabel(
  secret: Secret,
  label: string,
  context: Uint8Array,
  length: number,
): Promise<Bytes> {
  const info = new Writer()
    .u16(length)
    .opaque(toUtf8(`MLS 1.0 ${label}`))
    .opaque(context)
    .finish();
  return hkdfExpand(secret, info, length);
}

/** RFC 9420 §8 `DeriveSecret`. */
export function deriveSecret(secret: Secret, label: string): Promise<Bytes> {
  return expandWithLabel(secret, label, EMPTY, HASH_LENGTH);
}

/** RFC 9420 §9.1 `DeriveTreeSecret`. */
export function deriveTreeSecret(
  secret: Secret,
  label: string,
  generation: number,
  length: number,
): Promise<Bytes> {
  return expandWithLabel(secret, label, new Writer().u32(generation).finish(), length);
}

/** RFC 9420 §5.2 `RefHash`; the label is used as it is. */
export function refHash(label: string, value: Uint8Array): Promise<Bytes> {
  return sha256(new Writer().opaque(toUtf8(label)).opaque(value).finish());
}

/** RFC 9420 §5.2 `MakeKeyPackageRef`. */
export function makeKeyPackageRef(keyPackage: KeyPackage): Promise<Bytes> {
  return refHash("MLS 1.0 KeyPackage Reference", encode(encodeKeyPackage, keyPackage));
}

/** RFC 9420 §5.2 `MakeProposalRef`: over the whole AuthenticatedContent that carried the proposal. */
export function makeProposalRef(authenticated: AuthenticatedContent): Promise<Bytes> {
  return refHash("MLS 1.0 Proposal Reference", encode(encodeAuthenticatedContent, authenticated));
}
