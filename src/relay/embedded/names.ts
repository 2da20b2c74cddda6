import { type Bytes, equalBytes } from "../../base/bytes.js";
import { Role } from "../../wire/protocol.js";
import type { NameCommand } from "../storage.js";
import { freeName, groupLog, memberAccess, takeName } from "./groups.js";
import { keys } from "./keys.js";
import { headOf } from "./logs.js";
import { type GroupRecord, groupRecord } from "./records.js";
import { type Records, refuse, type Transaction } from "./transaction.js";

/** How many names a group can have at once: it is renamed by taking the next before it leaves the last. */
const MAX_NAMES = 4;

/** PROTOCOL.md, "Direct conversations and names": a group takes another name. */
export function claimName(transaction: Transaction, command: NameCommand): void {
  const { groupId, nameHash } = command;
  const group = administered(transaction, command);
  if (!hasName(group, nameHash)) {
    if (group.names.length >= MAX_NAMES) refuse("quota-exceeded", "the group has too many names");
    const names = [...group.names, nameHash];
    transaction.put(groupRecord, keys.group(groupId), { ...group, names });
  }
  takeName(transaction, nameHash, groupId);
}

/** The group has the name no more. */
export function releaseName(transaction: Transaction, command: NameCommand): void {
  const { groupId, nameHash } = command;
  const group = administered(transaction, command);
  if (!hasName(group, nameHash)) return;
  const names = group.names.filter((one) => !equalBytes(one, nameHash));
  transaction.put(groupRecord, keys.group(groupId), { ...group, names });
  freeName(transaction, nameHash, groupId);
}

export function hasName({ names }: GroupRecord, nameHash: Bytes): boolean {
  return names.some((one) => equalBytes(one, nameHash));
}

/** The group, if the sender is one of its admins. */
function administered(records: Records, { groupId, sender }: NameCommand): GroupRecord {
  const group = records.get(groupRecord, keys.group(groupId)) ?? refuse("unknown-group", "no such group");
  if (headOf(records, groupLog(groupId)).closed) refuse("unknown-group", "the group was closed");
  const access = memberAccess(records, groupId, sender.deviceId);
  if (access.leavingSince > 0) refuse("not-a-member", "the device is leaving");
  if (access.role !== Role.admin) refuse("not-an-admin", "only an admin names a group");
  if (group.direct !== undefined) refuse("forbidden", "a direct conversation has no name");
  return group;
}
