import { equalBytes } from "../../base/bytes.js";
import { encode } from "../../codec/writer.js";
import { ensure } from "../rules.js";
import { type Credential, encodeCredential } from "../structs/credential.js";
import { encodeExtensions } from "../structs/extension.js";
import type { GroupContext } from "../structs/group-context.js";
import type { PreSharedKeyId } from "../structs/psk.js";
import type { RatchetTree } from "../tree/ratchet-tree.js";
import { type GroupState, membersOf } from "./state.js";

/** Whether two credentials are of the same client, according to this engine: equal bytes. */
function isSameClient(a: Credential, b: Credential): boolean {
  return equalBytes(encode(encodeCredential, a), encode(encodeCredential, b));
}

/** RFC 9420 §11.2, §11.3, §12.4.3.1. Whether a new group is what its link to an older one says. */
export function checkSuccession(
  link: Extract<PreSharedKeyId, { usage: string }>,
  context: GroupContext,
  tree: RatchetTree,
  previous: GroupState,
): void {
  const now = membersOf(tree);
  const before = membersOf(previous.tree);
  if (link.usage === "reinit") {
    const { reInit, groupContext } = previous;
    const matches =
      reInit !== undefined &&
      link.pskEpoch === groupContext.epoch &&
      equalBytes(link.pskGroupId, groupContext.groupId) &&
      equalBytes(reInit.groupId, context.groupId) &&
      reInit.version === context.version &&
      reInit.cipherSuite === context.cipherSuite &&
      equalBytes(encode(encodeExtensions, reInit.extensions), encode(encodeExtensions, context.extensions));
    ensure(matches, "RFC 9420 §11.2: new group does not match the ReInit");
    ensure(
      before.every((old) => now.some((member) => isSameClient(old.credential, member.credential))),
      "RFC 9420 §11.2: members of the old group missing",
    );
    return;
  }
  const { version, cipherSuite, groupId } = previous.groupContext;
  ensure(
    equalBytes(link.pskGroupId, groupId) &&
      version === context.version &&
      cipherSuite === context.cipherSuite,
    "RFC 9420 §11.3: new group does not match the old one",
  );
  ensure(
    now.every((member) => before.some((old) => isSameClient(old.credential, member.credential))),
    "RFC 9420 §11.3: member not in the old group",
  );
}
