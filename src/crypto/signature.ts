import { asBytes, type Bytes } from "../base/bytes.js";
import type { PlatformCryptoKey } from "../base/crypto-key.js";
import { toHex } from "../base/encoding.js";
import { decodeEcdsaSignature, encodeEcdsaSignature } from "./ecdsa-der.js";
import { assertPublicKey, importing, isValidScalar, pkcs8Of, SCALAR_LENGTH, scalarOfPkcs8 } from "./p256.js";
import { subtle } from "./subtle.js";

/** A key pair for ECDSA on P-256 with SHA-256. */
export interface SignatureKeyPair {
  readonly privateKey: PlatformCryptoKey;
  /** The uncompressed point, 65 bytes. */
  readonly publicKey: Bytes;
}

const ECDSA = { name: "ECDSA", namedCurve: "P-256" };
const ECDSA_SHA256 = { name: "ECDSA", hash: "SHA-256" };

/** A new key pair; the private key can be exported only if `extractable` (default false). */
export async function generateSignatureKeyPair(
  options: { extractable?: boolean } = {},
): Promise<SignatureKeyPair> {
  const pair = (await subtle().generateKey(ECDSA, options.extractable ?? false, [
    "sign",
    "verify",
  ])) as CryptoKeyPair;
  return {
    privateKey: pair.privateKey,
    publicKey: new Uint8Array(await subtle().exportKey("raw", pair.publicKey)),
  };
}

/** Imports a private key: a scalar of 32 bytes, or PKCS #8 as exported. Throws `invalid-key`. */
export async function importSignaturePrivateKey(
  key: Uint8Array,
  options: { extractable?: boolean } = {},
): Promise<PlatformCryptoKey> {
  const scalar = key.length === SCALAR_LENGTH ? key : scalarOfPkcs8(key);
  // The scalar alone where PKCS #8 carries a public key as well: no engine checks reliably that the two agree.
  return importing(
    subtle().importKey("pkcs8", pkcs8Of(scalar), ECDSA, options.extractable ?? false, ["sign"]),
  );
}

/** PKCS #8 of an extractable private key. */
export async function exportSignaturePrivateKey(key: PlatformCryptoKey): Promise<Bytes> {
  return new Uint8Array(await subtle().exportKey("pkcs8", key));
}

/** RFC 9420 §5.1.1: an ECDSA signature as a DER ECDSA-Sig-Value (RFC 8446 §4.2.3). */
export async function sign(privateKey: CryptoKey, data: Uint8Array): Promise<Bytes> {
  return encodeEcdsaSignature(new Uint8Array(await subtle().sign(ECDSA_SHA256, privateKey, asBytes(data))));
}

/** How many imported public keys are kept: the members of a large group, or those of many small ones. */
const CACHE_SIZE = 1024;
const cache = new Map<string, Promise<CryptoKey>>();

function importSignaturePublicKey(publicKey: Uint8Array): Promise<CryptoKey> {
  const name = toHex(publicKey);
  let key = cache.get(name);
  if (key === undefined) {
    assertPublicKey(publicKey);
    key = importing(subtle().importKey("raw", asBytes(publicKey), ECDSA, false, ["verify"]));
    key.catch(() => cache.delete(name));
    if (cache.size >= CACHE_SIZE) cache.delete(cache.keys().next().value as string);
  } else {
    cache.delete(name);
  }
  cache.set(name, key);
  return key;
}

/**
 * Whether `signature` is valid; one that is not in DER, or whose r or s is not between 1 and n - 1 (FIPS 186-5 §6.4.2),
 * is not. Throws `invalid-key` for an invalid public key.
 */
export async function verify(
  publicKey: Uint8Array,
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> {
  const key = await importSignaturePublicKey(publicKey);
  const raw = decodeEcdsaSignature(signature);
  if (raw === undefined || !isValidScalar(raw.subarray(0, 32)) || !isValidScalar(raw.subarray(32)))
    return false;
  const { verify: verifyRaw } = subtle();
  try {
    return await verifyRaw(ECDSA_SHA256, key, raw, asBytes(data));
  } catch {
    // Whether an engine answers or throws about a signature must make no difference between two members.
    return false;
  }
}
