import type { Bytes } from "../../base/bytes.js";
import { assertArgument } from "../../base/errors.js";
import { HASH_LENGTH, sha256 } from "../../crypto/hash.js";
import { cachedHmacKey } from "../../crypto/hmac.js";
import { deriveSecret, expandWithLabel } from "../labels.js";

/** RFC 9420 §8.5 `MLS-Exporter`. Throws `invalid-argument` for more than 8160 bytes. */
export async function exportFrom(
  exporterSecret: Bytes,
  label: string,
  context: Uint8Array,
  length: number,
): Promise<Bytes> {
  assertArgument(
    Number.isInteger(length) && length >= 0 && length <= 255 * HASH_LENGTH,
    "an exported secret has at most 8160 bytes",
  );
  const [secret, hash] = await Promise.all([
    cachedHmacKey(exporterSecret).then((key) => deriveSecret(key, label)),
    sha256(context),
  ]);
  return expandWithLabel(secret, "exported", hash, length);
}
