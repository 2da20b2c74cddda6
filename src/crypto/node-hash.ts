import { hash } from "node:crypto";
import type { Bytes } from "../base/bytes.js";

/**
 * SHA-256 at once, for the relay: Web Crypto takes a thread's round trip for each, which costs fifty times what a
 * short input does, and a log's chain cannot be computed in parallel.
 */
export function sha256Now(data: Uint8Array): Bytes {
  return new Uint8Array(hash("sha256", data, "buffer"));
}
