import { compareBytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import type { GroupState } from "../../mls/group/index.js";
import type { AccessChange } from "../../wire/entries.js";
import { Role } from "../../wire/protocol.js";
import { accessChanges, wantedAccess } from "./access.js";
import { pendingLeaves, successor } from "./commit-rules.js";
import { type Leaf, leavesOf } from "./leaves.js";
import { isAdmin } from "./policy.js";
import type { AccessList } from "./record.js";
import { policyIn } from "./state.js";

/** The leaves that have not asked to be removed. */
export function stayingLeaves(group: GroupState): Leaf[] {
  const leaving = new Set<number>(pendingLeaves(group));
  return leavesOf(group).filter((leaf) => !leaving.has(leaf.leafIndex));
}

/** Whether someone has to commit: members wait to be removed, or the relay's list is not that of the leaves. */
export function isCommitDue(group: GroupState, access: AccessList): boolean {
  return pendingLeaves(group).length > 0 || changesDue(group, access).length > 0;
}

/** What a commit with no purpose of its own asks of the relay. */
function changesDue(group: GroupState, access: AccessList): AccessChange[] {
  const staying = stayingLeaves(group);
  return accessChanges(access, wantedAccess(staying, successor(policyIn(group), staying)));
}

/** Whether the relay takes a commit of this device now (PROTOCOL.md, Append): undoing some changes needs an admin. */
export function mayCommit(group: GroupState, access: AccessList, deviceId: Uint8Array): boolean {
  const own = toHex(deviceId);
  if (access.get(own)?.role === Role.admin) return true;
  const staying = new Set(stayingLeaves(group).map((leaf) => toHex(leaf.deviceId)));
  const leaving = new Set(leavesOf(group).map((leaf) => toHex(leaf.deviceId)));
  return changesDue(group, access).every((change) => {
    const device = toHex(change.deviceId);
    if (change.type === "add") return change.role === Role.member && !access.has(device);
    return change.type === "remove" && (device === own || (leaving.has(device) && !staying.has(device)));
  });
}

/**
 * What has to happen before this user can leave: `close` if nobody would be left, or the promotion of an heir if no
 * admin would be. A group never loses its last admin, since the relay would let nobody mend that.
 */
export function dueBeforeLeaving(group: GroupState, userId: string): "close" | { heir: string } | undefined {
  const policy = policyIn(group);
  if (policy.kind !== "group" || !isAdmin(policy, userId)) return undefined;
  const others = stayingLeaves(group).filter((leaf) => leaf.userId !== userId);
  if (others.length === 0) return "close";
  if (others.some((leaf) => isAdmin(policy, leaf.userId))) return undefined;
  const heir = others.reduce((a, b) => (compareBytes(a.deviceId, b.deviceId) <= 0 ? a : b));
  return { heir: heir.userId };
}
