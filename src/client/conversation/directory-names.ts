import type { Bytes } from "../../base/bytes.js";
import { toUtf8 } from "../../base/encoding.js";
import { encode } from "../../codec/writer.js";
import { sha256 } from "../../crypto/hash.js";
import { encodeName } from "../../wire/identifiers.js";

/** What the relay knows of a group's name (PROTOCOL.md, Direct conversations and names). */
export function nameHash(name: string): Promise<Bytes> {
  return sha256(
    encode((writer) => encodeName(writer.opaque(toUtf8("Subrosa 1 group name")), name), undefined),
  );
}
