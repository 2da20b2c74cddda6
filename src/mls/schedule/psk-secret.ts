import type { Bytes } from "../../base/bytes.js";
import { encode } from "../../codec/writer.js";
import { HASH_LENGTH } from "../../crypto/hash.js";
import { hkdfExtract } from "../../crypto/hkdf.js";
import { expandWithLabel } from "../labels.js";
import { encodePreSharedKeyId, type PreSharedKeyId } from "../structs/psk.js";

/** A pre-shared key with its identifier as it stands in proposals. */
export interface Psk {
  readonly id: PreSharedKeyId;
  readonly psk: Bytes;
}

/** RFC 9420 §8.4: the PSK secret, from the keys in the order of their proposals; zero bytes when there are none. */
export async function derivePskSecret(psks: readonly Psk[]): Promise<Bytes> {
  const zero = new Uint8Array(HASH_LENGTH);
  const inputs = psks.map(async ({ id, psk }, index) => {
    const label = encode((writer) => {
      writer.struct(id, encodePreSharedKeyId).u16(index).u16(psks.length);
    }, undefined);
    return expandWithLabel(await hkdfExtract(zero, psk), "derived psk", label, HASH_LENGTH);
  });
  let secret: Bytes = zero;
  for (const input of await Promise.all(inputs)) secret = await hkdfExtract(input, secret);
  return secret;
}
