import { asBytes, type Bytes, constantTimeEqual } from "../base/bytes.js";
import { HASH_LENGTH } from "./hash.js";
import { subtle } from "./subtle.js";

const HMAC = { name: "HMAC", hash: "SHA-256" };

/** Imports a key for HMAC-SHA-256. No engine imports an empty one; 32 zero bytes are the same key (RFC 2104 §2). */
export function importHmacKey(key: Uint8Array): Promise<CryptoKey> {
  const raw = key.length === 0 ? new Uint8Array(HASH_LENGTH) : asBytes(key);
  return subtle().importKey("raw", raw, HMAC, false, ["sign"]);
}

const imported = new WeakMap<Uint8Array, Promise<CryptoKey>>();

/** {@link importHmacKey}, once per array: for secrets that are used again and never overwritten. */
export function cachedHmacKey(key: Uint8Array): Promise<CryptoKey> {
  let result = imported.get(key);
  if (result === undefined) {
    result = importHmacKey(key);
    imported.set(key, result);
  }
  return result;
}

/** HMAC-SHA-256 under an imported key. */
export async function hmacWith(key: CryptoKey, data: Uint8Array): Promise<Bytes> {
  return new Uint8Array(await subtle().sign("HMAC", key, asBytes(data)));
}

/** HMAC-SHA-256. */
export async function hmac(key: Uint8Array, data: Uint8Array): Promise<Bytes> {
  return hmacWith(await importHmacKey(key), data);
}

/** Whether `mac` is the whole HMAC-SHA-256 of `data`; compares in constant time. */
export async function verifyMac(
  key: CryptoKey | Uint8Array,
  data: Uint8Array,
  mac: Uint8Array,
): Promise<boolean> {
  const expected = key instanceof Uint8Array ? await hmac(key, data) : await hmacWith(key, data);
  return constantTimeEqual(expected, mac);
}
