import { type Bytes, concat } from "../base/bytes.js";
import { assertArgument } from "../base/errors.js";
import { HASH_LENGTH } from "./hash.js";
import { hmac, hmacWith, importHmacKey } from "./hmac.js";

/** RFC 5869 §2.2. An empty salt stands for 32 zero bytes. */
export function hkdfExtract(salt: Uint8Array, ikm: Uint8Array): Promise<Bytes> {
  return hmac(salt, ikm);
}

/**
 * RFC 5869 §2.3, from HMAC: the engines' HKDF always extracts first, and Node's refuses an `info` above 1024 bytes.
 * `prk` may be an imported HMAC key, so that several expansions share one import.
 */
export async function hkdfExpand(
  prk: Uint8Array | CryptoKey,
  info: Uint8Array,
  length: number,
): Promise<Bytes> {
  assertArgument(length >= 0 && length <= 255 * HASH_LENGTH, "HKDF output too long");
  const key = prk instanceof Uint8Array ? await importHmacKey(prk) : prk;
  const first = await hmacWith(key, concat(info, Uint8Array.of(1)));
  if (length <= HASH_LENGTH) return first.slice(0, length);
  const blocks = [first];
  for (let n = 2; blocks.length * HASH_LENGTH < length; n++) {
    blocks.push(await hmacWith(key, concat(blocks[n - 2] as Bytes, info, Uint8Array.of(n))));
  }
  return concat(...blocks).slice(0, length);
}
