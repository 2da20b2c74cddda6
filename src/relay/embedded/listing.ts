import type { Bytes } from "../../base/bytes.js";
import type { Account } from "../../wire/identity.js";
import type { GroupInfo, Page, PageCommand, Sender } from "../storage.js";
import { accountRecord } from "./accounts.js";
import { groupLog } from "./groups.js";
import { after, bytesOf, keys } from "./keys.js";
import { headOf } from "./logs.js";
import { accessRecord, type GroupRecord, groupRecord, type HeadRecord } from "./records.js";
import { type Records, refuse } from "./transaction.js";

/** The place after a key, as text: keys hold any byte. */
const placeAfter = (key: string) => Buffer.from(key.slice(1), "latin1").toString("base64url");

function keyAt(place: string, kind: string): string {
  const key = kind + Buffer.from(place, "base64url").toString("latin1");
  return placeAfter(key) === place ? key : refuse("malformed", "no place in this list");
}

/** Items of the records of one kind, in order of their keys. */
function page<T>(
  { view }: Records,
  kind: string,
  { after: place, limit }: PageCommand,
  read: (id: Bytes, value: Bytes) => T,
): Page<T> {
  const last = place === undefined ? undefined : keyAt(place, kind);
  const items: T[] = [];
  let reached = "";
  for (const [key, value] of view.range(last ?? kind, after(kind))) {
    if (key === last) continue;
    if (items.length >= limit) return { items, next: placeAfter(reached) };
    items.push(read(bytesOf(key, kind.length), value));
    reached = key;
  }
  return { items };
}

export function listUsers(records: Records, command: PageCommand): Page<Account> {
  return page(records, "a", command, (_, value) => accountRecord.decode(value));
}

export function listAllGroups(records: Records, command: PageCommand): Page<GroupInfo> {
  return page(records, "g", command, (groupId, value) =>
    groupInfo(groupId, groupRecord.decode(value), headOf(records, groupLog(groupId))),
  );
}

export function groupInfo(groupId: Bytes, group: GroupRecord, head: HeadRecord): GroupInfo {
  const { names, direct } = group;
  const nameHash = names.at(-1);
  const { count: entries, bytes, closed } = head;
  return { groupId, entries, bytes, closed, ...(nameHash && { nameHash }), ...(direct && { direct }) };
}

export function membersOf(records: Records, groupId: Bytes): Sender[] {
  const prefix = keys.accesses(groupId);
  return membersIn(records.view.range(prefix, after(prefix)), prefix.length);
}

/** Of a group's access records those of devices that have access. */
export function membersIn(pairs: Iterable<readonly [string, Bytes]>, prefix: number): Sender[] {
  const members: Sender[] = [];
  for (const [key, value] of pairs) {
    const { userId, until } = accessRecord.decode(value);
    if (until === undefined) members.push({ userId, deviceId: bytesOf(key, prefix) });
  }
  return members;
}
