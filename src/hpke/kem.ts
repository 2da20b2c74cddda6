import { type Bytes, concat, EMPTY } from "../base/bytes.js";
import { SubrosaError } from "../base/errors.js";
import { importHmacKey } from "../crypto/hmac.js";
import {
  type DhKeyPair,
  dh,
  generateEphemeralKeyPair,
  importDhPrivateKey,
  isValidScalar,
  publicKeyOf,
  SCALAR_LENGTH,
} from "../crypto/p256.js";
import { KEM_SUITE_ID, labeledExpand, labeledExtract } from "./labeled.js";

/** A key pair whose private half may be a scalar or an imported ECDH key. */
export interface KemKeyPair {
  readonly privateKey: Bytes | CryptoKey;
  readonly publicKey: Bytes;
}

/** RFC 9180 §7.1.3 `DeriveKeyPair`. */
export async function deriveKeyPair(ikm: Uint8Array): Promise<DhKeyPair> {
  const prk = await labeledExtract(KEM_SUITE_ID, EMPTY, "dkp_prk", ikm);
  const key = await importHmacKey(prk);
  for (let counter = 0; counter < 256; counter++) {
    const privateKey = await labeledExpand(
      KEM_SUITE_ID,
      key,
      "candidate",
      Uint8Array.of(counter),
      SCALAR_LENGTH,
    );
    if (isValidScalar(privateKey)) return { privateKey, publicKey: await publicKeyOf(privateKey) };
  }
  throw new SubrosaError("internal", "no candidate is a private key");
}

/** RFC 9180 §4.1 `ExtractAndExpand`. */
async function extractAndExpand(sharedPoint: Bytes, kemContext: Bytes): Promise<Bytes> {
  const prk = await labeledExtract(KEM_SUITE_ID, EMPTY, "eae_prk", sharedPoint);
  return labeledExpand(KEM_SUITE_ID, prk, "shared_secret", kemContext, 32);
}

/** RFC 9180 §4.1 `Encap`. Throws `invalid-key` when the recipient's key is not a point of the curve. */
export async function encap(
  recipient: Bytes,
  ephemeral?: KemKeyPair,
): Promise<{ sharedSecret: Bytes; enc: Bytes }> {
  const { privateKey, publicKey: enc } = ephemeral ?? (await generateEphemeralKeyPair());
  const sharedPoint = await dh(privateKey, recipient);
  return { sharedSecret: await extractAndExpand(sharedPoint, concat(enc, recipient)), enc };
}

/** RFC 9180 §4.1 `Decap`. Throws `invalid-key` when `enc` is not a point of the curve. */
export async function decap(enc: Bytes, recipient: KemKeyPair): Promise<Bytes> {
  const { privateKey, publicKey } = recipient;
  const own = privateKey instanceof Uint8Array ? await importDhPrivateKey(privateKey, publicKey) : privateKey;
  return extractAndExpand(await dh(own, enc), concat(enc, publicKey));
}
