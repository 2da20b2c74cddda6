import type { Bytes } from "../../../base/bytes.js";
import { sha256 } from "../../../crypto/hash.js";
import { groupNameInput } from "../../../wire/identifiers.js";

/** What the relay knows of a group's name (PROTOCOL.md, Direct conversations and names). */
export function nameHash(name: string): Promise<Bytes> {
  return sha256(groupNameInput(name));
}
