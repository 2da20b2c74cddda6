import { toHex } from "../../../base/encoding.js";
import type { GroupState } from "../../../mls/group/index.js";
import type { AccessChange } from "../../../wire/entries.js";
import { Role } from "../../../wire/protocol.js";
import type { AccessList } from "../record.js";
import { type ConversationState, policyIn } from "../state.js";
import { accessChanges, wantedAccess } from "./access.js";
import { pendingLeaves, successor } from "./commit-rules.js";
import { type Leaf, leavesOf } from "./leaves.js";
import { isAdmin, isSamePolicy, type Policy } from "./policy.js";
import { changedPolicy, type PolicyChange } from "./policy-change.js";

/** When a device renews its keys, piggybacked on sending: after so many own messages, or so many milliseconds. */
const REFRESH_MESSAGES = 256;
const REFRESH_AGE = 24 * 3600 * 1000;

/** The leaves that have not asked to be removed. */
export function stayingLeaves(group: GroupState): Leaf[] {
  const leaving = new Set<number>(pendingLeaves(group));
  return leavesOf(group).filter((leaf) => !leaving.has(leaf.leafIndex));
}

/** Whether someone has to commit: members wait to be removed, or the relay's list is not that of the leaves. */
function isCommitDue(group: GroupState, access: AccessList): boolean {
  return pendingLeaves(group).length > 0 || changesDue(group, access).length > 0;
}

/** What a commit with no purpose of its own asks of the relay. */
function changesDue(group: GroupState, access: AccessList): AccessChange[] {
  const staying = stayingLeaves(group);
  return accessChanges(access, wantedAccess(staying, successor(policyIn(group), staying)));
}

/**
 * Whether the relay may take a commit of this device now (PROTOCOL.md, Append): some changes need an admin. It may
 * still refuse to add an admin that has no access, or has another role.
 */
function mayCommit(group: GroupState, access: AccessList, deviceId: Uint8Array): boolean {
  if (access.get(toHex(deviceId))?.role === Role.admin) return true;
  const staying = new Set(stayingLeaves(group).map((leaf) => toHex(leaf.deviceId)));
  const hasAdmin = [...access].some(([device, { role }]) => role === Role.admin && staying.has(device));
  return (
    !hasAdmin ||
    changesDue(group, access).every(
      (change) => change.type === "remove" || (change.type === "add" && !access.has(toHex(change.deviceId))),
    )
  );
}

/** The devices that an admission leaves out: an admin's commit can take back who is leaving, a member's cannot. */
export function presentDevices(group: GroupState, access: AccessList, deviceId: Uint8Array): Set<string> {
  const isAdmin = access.get(toHex(deviceId))?.role === Role.admin;
  return new Set((isAdmin ? stayingLeaves(group) : leavesOf(group)).map((leaf) => toHex(leaf.deviceId)));
}

/** The policy with a change by `self`; throws what keeps that from being possible. */
export function policyWith(group: GroupState, change: PolicyChange, self: string): Policy {
  const members = new Set(stayingLeaves(group).map(({ userId }) => userId));
  return changedPolicy(policyIn(group), change, { members, self });
}

/** Whether the policy is as a change would have it; throws what keeps it from being made. */
export function isMade(group: GroupState, change: PolicyChange, self: string): boolean {
  return isSamePolicy(policyIn(group), policyWith(group, change, self));
}

/**
 * Why a commit is due: `must` if others wait for one that this device may make, `wait` if they wait for somebody
 * else's and no message may go before it (RFC 9420 §12.4), `refresh` to renew this device's keys. Without `deviceId`
 * this device makes none that others wait for.
 */
export type CommitDue = "must" | "wait" | "refresh";

export function commitDue(
  state: Pick<ConversationState, "group" | "access" | "place" | "record">,
  { deviceId, refreshFactor, now }: { deviceId: Uint8Array | undefined; refreshFactor: number; now: number },
): CommitDue | undefined {
  const { group, access, place, record } = state;
  if (group === undefined) return undefined;
  if (isCommitDue(group, access)) {
    if (deviceId !== undefined && mayCommit(group, access, deviceId)) return "must";
    return pendingLeaves(group).length > 0 ? "wait" : undefined;
  }
  const isWorn = place.sentSinceRefresh >= REFRESH_MESSAGES * refreshFactor;
  return isWorn || now - record.refreshedAt >= REFRESH_AGE * refreshFactor ? "refresh" : undefined;
}

/** Somebody whom an admin removes: of their devices nothing was heard since `before`. Never this user. */
export function userToEvict(
  { group, activity, record }: ConversationState,
  self: string,
  before: number,
): string | undefined {
  if (group === undefined || record.subject.kind !== "group" || !Number.isFinite(before)) return undefined;
  if (!isAdmin(policyIn(group), self)) return undefined;
  const staying = stayingLeaves(group);
  const awake = new Set(
    staying
      .filter(({ deviceId }) => (activity.get(toHex(deviceId)) ?? Number.POSITIVE_INFINITY) >= before)
      .map(({ userId }) => userId),
  );
  return staying.find(({ userId }) => userId !== self && !awake.has(userId))?.userId;
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
  // The leaf that has been there longest, as far as leaves tell; a device id is whatever its owner made it.
  return { heir: (others[0] as Leaf).userId };
}
