import { type Bytes, compareBytes } from "../base/bytes.js";
import { toUtf8 } from "../base/encoding.js";
import { encode } from "../codec/writer.js";
import { sha256 } from "../crypto/hash.js";
import { encodeName } from "../wire/identifiers.js";

/** SHA-256 over `"Subrosa 1 direct"<V> ‖ Name a ‖ Name b`, the names in byte order. */
export async function directSlot(userA: string, userB: string): Promise<Bytes> {
  const names = [userA, userB].sort((a, b) => compareBytes(toUtf8(a), toUtf8(b)));
  const input = encode((writer) => {
    writer.opaque(toUtf8("Subrosa 1 direct"));
    for (const name of names) encodeName(writer, name);
  }, undefined);
  return sha256(input);
}
