import type { Bytes } from "../base/bytes.js";
import { SubrosaError } from "../base/errors.js";

/** The most that `getRandomValues` gives at once. */
const CHUNK = 65536;

/** `length` bytes from the engine's cryptographic generator. Throws `insecure-context` where there is none. */
export function randomBytes(length: number): Bytes {
  const source = globalThis.crypto as Crypto | undefined;
  if (source === undefined) throw new SubrosaError("insecure-context", "crypto is missing");
  const out = new Uint8Array(length);
  for (let at = 0; at < length; at += CHUNK) source.getRandomValues(out.subarray(at, at + CHUNK));
  return out;
}
