import { asBytes, type Bytes } from "../base/bytes.js";
import { subtle } from "./subtle.js";

/** Bytes of a SHA-256 digest, of an HMAC, and of every secret of the cipher suite (Nh). */
export const HASH_LENGTH = 32;

/** SHA-256. */
export async function sha256(data: Uint8Array): Promise<Bytes> {
  return new Uint8Array(await subtle().digest("SHA-256", asBytes(data)));
}
