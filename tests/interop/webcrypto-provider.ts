import type { Ciphersuite, CiphersuiteImpl } from "ts-mls/crypto/ciphersuite.js";
import { getCiphersuiteFromName } from "ts-mls/crypto/ciphersuite.js";
import { defaultCryptoProvider } from "ts-mls/crypto/implementation/default/provider.js";
import type { CryptoProvider } from "ts-mls/crypto/provider.js";
import type { Signature } from "ts-mls/crypto/signature.js";

/**
 * ts-mls with the signatures of RFC 9420 §5.1.1: public keys are uncompressed points of 65 bytes, signatures are
 * ASN.1 DER. As shipped it writes compressed points, and needs one more package. Nothing here comes from our engine.
 * For Node: where a private key cannot be exported as JWK, @hpke/core guesses that the public key's y is even.
 */

const CURVE = { name: "ECDSA", namedCurve: "P-256" };
const ALGORITHM = { name: "ECDSA", hash: "SHA-256" };
const SCALAR_OFFSET = 36;

function bytes(data: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(data);
}

/** An unsigned number of 32 bytes as a DER INTEGER. */
function integerToDer(value: Uint8Array): number[] {
  let start = 0;
  while (start < value.length - 1 && value[start] === 0) start++;
  const digits = [...value.subarray(start)];
  if ((digits[0] as number) >= 0x80) digits.unshift(0);
  return [0x02, digits.length, ...digits];
}

function toDer(raw: Uint8Array): Uint8Array {
  const content = [...integerToDer(raw.subarray(0, 32)), ...integerToDer(raw.subarray(32))];
  return Uint8Array.of(0x30, content.length, ...content);
}

/** Undefined when the bytes are not the DER of two numbers of at most 32 bytes. */
function fromDer(der: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
  if (der[0] !== 0x30 || der[1] !== der.length - 2) return undefined;
  const raw = new Uint8Array(64);
  let at = 2;
  for (const end of [32, 64]) {
    const length = der[at + 1] ?? 0;
    if (der[at] !== 0x02 || length === 0 || at + 2 + length > der.length) return undefined;
    let digits = der.subarray(at + 2, at + 2 + length);
    while (digits.length > 32 && digits[0] === 0) digits = digits.subarray(1);
    if (digits.length > 32) return undefined;
    raw.set(digits, end - digits.length);
    at += 2 + length;
  }
  return at === der.length ? raw : undefined;
}

const signature: Signature = {
  async sign(signKey, message) {
    const key = await crypto.subtle.importKey("pkcs8", bytes(signKey), CURVE, false, ["sign"]);
    return toDer(new Uint8Array(await crypto.subtle.sign(ALGORITHM, key, bytes(message))));
  },
  async verify(publicKey, message, der) {
    if (publicKey.length !== 65) throw new Error(`a signature key of ${publicKey.length} bytes`);
    const raw = fromDer(der);
    if (raw === undefined) return false;
    const key = await crypto.subtle.importKey("raw", bytes(publicKey), CURVE, false, ["verify"]);
    return crypto.subtle.verify(ALGORITHM, key, raw, bytes(message));
  },
  async keygen() {
    const pair = await crypto.subtle.generateKey(CURVE, true, ["sign", "verify"]);
    const [publicKey, signKey] = await Promise.all([
      crypto.subtle.exportKey("raw", pair.publicKey),
      crypto.subtle.exportKey("pkcs8", pair.privateKey),
    ]);
    return { publicKey: new Uint8Array(publicKey), signKey: new Uint8Array(signKey) };
  },
};

/** The 32-byte scalar in a signature key of this provider (PKCS#8). */
export function scalarOf(signKey: Uint8Array): Uint8Array {
  return signKey.slice(SCALAR_OFFSET, SCALAR_OFFSET + 32);
}

/** RFC 9420 §12.4.3.2: external_pub holds `opaque<V>`; ts-mls takes all of its data for the key. */
function withoutLength(key: Uint8Array): Uint8Array {
  return key.length === 67 && key[0] === 0x40 && key[1] === 65 ? key.subarray(2) : key;
}

export const webCryptoProvider: CryptoProvider = {
  async getCiphersuiteImpl(suite: Ciphersuite): Promise<CiphersuiteImpl> {
    const shipped = await defaultCryptoProvider.getCiphersuiteImpl({ ...suite, signature: "Ed25519" });
    const { hpke } = shipped;
    const importPublicKey = (key: Uint8Array) => hpke.importPublicKey(withoutLength(key));
    return { ...shipped, signature, hpke: { ...hpke, importPublicKey } };
  },
};

export const SUITE = "MLS_128_DHKEMP256_AES128GCM_SHA256_P256";

/** The suite 0x0002 for every call of ts-mls. */
export const suite: CiphersuiteImpl = await webCryptoProvider.getCiphersuiteImpl(
  getCiphersuiteFromName(SUITE),
);
