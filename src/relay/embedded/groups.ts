import { type Bytes, equalBytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import type { AccessChange } from "../../wire/entries.js";
import { type Cursor, type LogId, START } from "../../wire/identifiers.js";
import { EntryKind, isHandshake, LogKind, Role } from "../../wire/protocol.js";
import type { GroupMembership } from "../../wire/requests.js";
import { endedStays } from "../stays.js";
import type { Access, AppendCommand, CreateCommand } from "../storage.js";
import { accountRecord } from "./accounts.js";
import { bytesOf, keys } from "./keys.js";
import { answerBefore, appendEntry, headOf, hollowEntry } from "./logs.js";
import { appendPointer } from "./pointers.js";
import {
  type AccessRecord,
  accessRecord,
  directRecord,
  entryRecord,
  type GroupRecord,
  groupIdRecord,
  groupRecord,
  type HeadRecord,
  membershipRecord,
  seqRecord,
} from "./records.js";
import { type Records, refuse, type Transaction } from "./transaction.js";

export const groupLog = (id: Bytes): LogId => ({ kind: LogKind.group, id });
export const inboxLog = (id: Bytes): LogId => ({ kind: LogKind.inbox, id });
export const requestBox = (id: Bytes): LogId => ({ kind: LogKind.requestBox, id });

/** The access of a device that was not removed; refuses others. */
export function memberAccess(records: Records, groupId: Bytes, deviceId: Bytes): AccessRecord {
  const access = records.get(accessRecord, keys.access(groupId, deviceId));
  if (access === undefined || access.until !== undefined)
    refuse("not-a-member", "the device has no access to the group");
  return access;
}

/** What a device is told of a group it is in. */
export function membershipOf(groupId: Bytes, access: Access, group: GroupRecord): GroupMembership {
  const peer = group.direct?.find((userId) => userId !== access.userId);
  return { groupId, role: access.role, since: access.since, ...(peer !== undefined && { peer }) };
}

/** PROTOCOL.md, "Append", group log. */
export function appendToGroup(transaction: Transaction, command: AppendCommand): Cursor {
  const { log, sender } = command;
  const { content, contentDigest, welcome, isOfAnother } = command.entry;
  const group = transaction.get(groupRecord, keys.group(log.id)) ?? refuse("unknown-group", "no such group");
  const before = answerBefore(transaction, log, content.entryId, contentDigest);
  if (before !== undefined) {
    // Whoever put the entry back may have known only the hash of its welcome.
    keepWelcome(transaction, log.id, before.seq, welcome);
    return before;
  }
  const head = headOf(transaction, log);
  if (head.closed) refuse("unknown-group", "the group was closed");
  const access = memberAccess(transaction, log.id, sender.deviceId);
  if (access.leavingSince > 0) refuse("not-a-member", "the device is leaving");
  checkAfter(transaction, log, head, command.after);

  switch (content.kind) {
    case EntryKind.application:
      break;
    case EntryKind.leave:
      if (isOfAnother) break;
      transaction.put(accessRecord, keys.access(log.id, sender.deviceId), {
        ...access,
        leavingSince: head.seq + 1,
      });
      countNoMore(transaction, log.id, group, sender.deviceId, head.seq + 1);
      break;
    case EntryKind.close:
      if (access.role !== Role.admin) refuse("not-an-admin", "only an admin closes a group");
      countNoMore(transaction, log.id, group, group.creator, head.seq + 1);
      for (const nameHash of group.names) freeName(transaction, nameHash, log.id);
      break;
    case EntryKind.commit:
      break;
    default:
      refuse("forbidden", "this kind of entry does not belong into a group log");
  }
  const { changed, removalsAsked } =
    content.kind === EntryKind.commit
      ? applyChanges(transaction, group, command, access, content.bundle?.access ?? [])
      : { changed: [], removalsAsked: group.removalsAsked };
  const cursor = appendEntry(transaction, log, {
    content,
    contentDigest,
    sender: sender.deviceId,
    now: command.now,
  });
  keepWelcome(transaction, log.id, cursor.seq, welcome);
  for (const change of changed) writeAccess(transaction, command, cursor, change, group);
  if (removalsAsked !== group.removalsAsked)
    transaction.put(groupRecord, keys.group(log.id), { ...group, removalsAsked });
  return cursor;
}

/** The group is none any more of those that count against what its maker may make. */
export function countNoMore(
  transaction: Transaction,
  groupId: Bytes,
  { creator }: GroupRecord,
  deviceId: Bytes,
  seq: number,
): void {
  if (!equalBytes(creator, deviceId)) return;
  const access = transaction.get(accessRecord, keys.access(groupId, creator));
  if (access === undefined || access.until !== undefined) return;
  transaction.put(membershipRecord, keys.membership(creator, groupId), { seq, made: false });
}

function keepWelcome(transaction: Transaction, groupId: Bytes, seq: number, welcome: Bytes): void {
  const key = keys.welcome(groupId, seq);
  const kept = transaction.has(keys.entry(groupLog(groupId), seq));
  if (welcome.length > 0 && kept && !transaction.has(key)) transaction.putBytes(key, welcome);
}

/** The append rule: `after` must be the last handshake entry. */
function checkAfter(records: Records, log: LogId, head: HeadRecord, after: Cursor): void {
  if (after.seq === head.handshake.seq && equalBytes(after.digest, head.handshake.digest)) return;
  if (after.seq > head.seq) refuse("cursor-mismatch", "the cursor lies behind the log's head");
  const expected = after.seq === 0 ? START : handshakeAt(records, log, head, after.seq);
  if (expected !== undefined && !equalBytes(expected.digest, after.digest)) {
    refuse("cursor-mismatch", "the cursor's digest is another");
  }
  refuse("stale", "there is a newer commit or proposal");
}

/** The handshake entry `seq`, if there is one and it is still known. */
function handshakeAt(records: Records, log: LogId, head: HeadRecord, seq: number): Cursor | undefined {
  if (seq === head.handshake.seq) return head.handshake;
  const entry = records.get(entryRecord, keys.entry(log, seq));
  return entry !== undefined && isHandshake(entry.kind) ? entry : undefined;
}

/** A device whose access a commit changes: what it has after it, or undefined if it was removed. */
interface ChangedAccess {
  readonly deviceId: Bytes;
  readonly userId: string;
  before: AccessRecord | undefined;
  now: { role: Role; fresh: boolean; removalAsked: boolean } | undefined;
  /** Whether the sender was no admin. */
  byMember?: boolean;
}

/** Checks the changes of a commit in their order, each on what the ones before it left. */
function applyChanges(
  records: Records,
  group: GroupRecord,
  command: AppendCommand,
  sender: AccessRecord,
  changes: readonly AccessChange[],
): { readonly changed: ChangedAccess[]; readonly removalsAsked: boolean } {
  const byDevice = new Map<string, ChangedAccess>();
  const admin = sender.role === Role.admin || !hasAdmin(records, command.log.id);
  const entryOf = ({ deviceId, userId }: Pick<AccessChange, "deviceId" | "userId">) => {
    const known = byDevice.get(toHex(deviceId));
    if (known !== undefined) return known;
    const before = records.get(accessRecord, keys.access(command.log.id, deviceId));
    const now =
      before !== undefined && before.until === undefined
        ? { role: before.role, fresh: false, removalAsked: before.removalAsked }
        : undefined;
    const entry: ChangedAccess = { deviceId, userId, before, now };
    byDevice.set(toHex(deviceId), entry);
    return entry;
  };
  for (const change of changes) {
    const entry = entryOf(change);
    if (entry.before !== undefined && entry.before.userId !== change.userId) {
      refuse("forbidden", "the device belongs to another user");
    }
    switch (change.type) {
      case "add": {
        if (entry.now === undefined || (entry.before?.leavingSince ?? 0) > 0) {
          const listed = isListed(records, change.userId, change.deviceId);
          // Who had access and may get none holds nobody up: others had to add it, as the group says that it is in.
          if (entry.before !== undefined && (!listed || isBlocked(records, command, change))) break;
          if (!listed) refuse("unknown-user", "an added device is not in the named user's list");
        }
        // Only for members: the lookup reads every access of the group.
        if (
          !admin &&
          change.role !== (entry.now?.role ?? inheritedRole(records, command.log.id, change.userId))
        ) {
          refuse("not-an-admin", "a member adds devices as members, and others anew as what they are");
        }
        const direct = group.direct?.includes(change.userId) ?? false;
        entry.now = { role: direct ? Role.admin : change.role, fresh: true, removalAsked: false };
        break;
      }
      case "role":
        if (!admin) refuse("not-an-admin", "only an admin changes roles");
        if (entry.now !== undefined) entry.now = { ...entry.now, role: change.role };
        break;
      case "remove": {
        if (equalBytes(change.deviceId, command.sender.deviceId)) {
          refuse("forbidden", "a commit does not remove its sender");
        }
        const leaving = (entry.before?.leavingSince ?? 0) > 0;
        const free = admin || leaving || entry.before?.byMember;
        if (free || !isListed(records, change.userId, change.deviceId)) entry.now = undefined;
        else if (entry.now !== undefined) entry.now = { ...entry.now, removalAsked: true };
        break;
      }
    }
  }
  if (admin && group.removalsAsked) {
    for (const asked of removalsAskedIn(records, command.log.id)) {
      const entry = entryOf(asked);
      const isSender = equalBytes(asked.deviceId, command.sender.deviceId);
      if (entry.now?.removalAsked && !isSender) entry.now = undefined;
    }
  }
  const changed = [...byDevice.values()].map((entry) => ({ ...entry, byMember: !admin }));
  const isAsked = changed.some(({ now }) => now?.removalAsked);
  return { changed, removalsAsked: isAsked || (!admin && group.removalsAsked) };
}

/** The devices that members have asked to remove, and that an admin's commit will. */
function removalsAskedIn(records: Records, groupId: Bytes): Pick<AccessChange, "deviceId" | "userId">[] {
  const prefix = keys.accesses(groupId);
  return [...records.all(accessRecord, prefix)].flatMap(([key, { userId, until, removalAsked }]) =>
    removalAsked && until === undefined ? [{ userId, deviceId: bytesOf(key, prefix.length) }] : [],
  );
}

/** Whether the user of an added device has blocked who adds it, and has not asked to be added. */
function isBlocked(
  records: Records,
  { log, sender }: AppendCommand,
  { userId, deviceId }: AccessChange,
): boolean {
  return records.has(keys.block(userId, sender.userId)) && !records.has(keys.request(log.id, deviceId));
}

/** Whether the device is in the user's present list. */
function isListed(records: Records, userId: string, deviceId: Bytes): boolean {
  const { devices } = records.get(accountRecord, keys.account(userId))?.deviceList.list ?? { devices: [] };
  return devices.some((listed) => equalBytes(listed.deviceId, deviceId));
}

/** What a new device of a user may be: what one was that is not in the user's list any more, whose place it takes. */
function inheritedRole(records: Records, groupId: Bytes, userId: string): Role {
  const prefix = keys.accesses(groupId);
  for (const [key, access] of records.all(accessRecord, prefix)) {
    if (access.userId !== userId || access.until !== undefined || access.role !== Role.admin) continue;
    if (!isListed(records, userId, bytesOf(key, prefix.length))) return Role.admin;
  }
  return Role.member;
}

/** Whether the group has an admin that stays: without one, any member may make any change. */
function hasAdmin(records: Records, groupId: Bytes): boolean {
  for (const [, { role, until, leavingSince }] of records.all(accessRecord, keys.accesses(groupId))) {
    if (role === Role.admin && until === undefined && leavingSince === 0) return true;
  }
  return false;
}

/** Writes the access a device has from the commit at `cursor` on, and the pointer to it if it was added. */
function writeAccess(
  transaction: Transaction,
  command: Pick<AppendCommand, "log" | "now" | "quotas">,
  cursor: Cursor,
  { deviceId, userId, before, now, byMember = false }: ChangedAccess,
  { creator }: GroupRecord,
): void {
  const groupId = command.log.id;
  const key = keys.access(groupId, deviceId);
  if (now === undefined) {
    if (before === undefined || before.until !== undefined) return;
    transaction.put(accessRecord, key, { ...before, until: cursor });
    transaction.delete(keys.membership(deviceId, groupId));
  } else if (!now.fresh) {
    const { role, removalAsked } = now;
    // Only who may make any change gives roles, and thereby vouches for the device.
    if (before !== undefined) {
      const stays = byMember && before.byMember;
      transaction.put(accessRecord, key, { ...before, role, removalAsked, byMember: stays });
    }
    // For the members it is out: it is not to find the group as one that it is in.
    if (removalAsked) transaction.delete(keys.membership(deviceId, groupId));
  } else {
    // Who had access keeps what it may read: nobody can take another's unread entries by adding it anew.
    const kept = before !== undefined && before.until === undefined && before.leavingSince === 0;
    const earlier = endedStays(before);
    transaction.put(accessRecord, key, {
      userId,
      role: now.role,
      since: cursor,
      from: kept ? before.from : cursor,
      leavingSince: 0,
      acked: before !== undefined && (kept || earlier.length > 0) ? before.acked : cursor.seq - 1,
      // It became admin as its user is one: no member takes that away, nor the group its last admin.
      byMember: byMember && now.role === Role.member && (!kept || before.byMember),
      removalAsked: now.removalAsked,
      earlier,
    });
    // Not after it has left: others would use up what it may make by adding it anew.
    const made = kept && equalBytes(creator, deviceId);
    transaction.put(membershipRecord, keys.membership(deviceId, groupId), { seq: cursor.seq, made });
    dropRequest(transaction, groupId, deviceId);
    appendPointer(transaction, command, cursor, deviceId, before !== undefined);
  }
}

/** A device that was added needs its join request no more. */
export function dropRequest(transaction: Transaction, groupId: Bytes, deviceId: Bytes): void {
  const key = keys.request(groupId, deviceId);
  const seq = transaction.get(seqRecord, key);
  if (seq === undefined) return;
  hollowEntry(transaction, requestBox(groupId), seq);
  transaction.delete(key);
}

export function freeName(transaction: Transaction, nameHash: Bytes, groupId: Bytes): void {
  const holder = transaction.get(groupIdRecord, keys.name(nameHash));
  if (holder !== undefined && equalBytes(holder, groupId)) transaction.delete(keys.name(nameHash));
}

/** Refuses one that another group has. */
export function takeName(transaction: Transaction, nameHash: Bytes, groupId: Bytes): void {
  const holder = transaction.get(groupIdRecord, keys.name(nameHash));
  // Where a claim and its group are not written at once, a repeated request finds its own claim.
  if (holder !== undefined && !equalBytes(holder, groupId)) {
    refuse("name-taken", "another group has this name");
  }
  transaction.put(groupIdRecord, keys.name(nameHash), groupId);
}

/** PROTOCOL.md, "Direct conversations and names". */
export function createGroup(transaction: Transaction, command: CreateCommand): Cursor {
  const { groupId, sender, nameHash, direct, first } = command;
  const known = transaction.get(groupRecord, keys.group(groupId));
  if (known !== undefined) {
    const same =
      equalBytes(known.creator, sender.deviceId) && equalBytes(known.bodyDigest, command.bodyDigest);
    return same ? known.answer : refuse("conflict", "the group id is taken");
  }
  let groups = 0;
  const memberships = keys.memberships(sender.deviceId);
  for (const [, { made }] of transaction.all(membershipRecord, memberships)) {
    // Those that others put it in are their doing.
    if (made && ++groups >= command.quotas.maxGroups)
      refuse("quota-exceeded", "the device has made too many groups");
  }
  if (nameHash !== undefined) {
    takeName(transaction, nameHash, groupId);
  }
  if (direct !== undefined) {
    if (direct.peer === sender.userId) refuse("forbidden", "a direct conversation needs two users");
    if (!transaction.has(keys.account(direct.peer))) refuse("unknown-user", "no such user");
    const bound = transaction.get(directRecord, keys.direct(direct.slot));
    const claimed = bound?.generation === direct.generation && equalBytes(bound.groupId, groupId);
    if (!claimed && direct.generation !== (bound?.generation ?? 0) + 1) {
      refuse("conflict", "the direct slot has another generation");
    }
    transaction.put(directRecord, keys.direct(direct.slot), { generation: direct.generation, groupId });
  }
  const group: GroupRecord = {
    creator: sender.deviceId,
    bodyDigest: command.bodyDigest,
    answer: START,
    names: nameHash === undefined ? [] : [nameHash],
    disowned: 0,
    removalsAsked: false,
    ...(direct && { direct: [sender.userId, direct.peer] as const }),
  };
  transaction.put(groupRecord, keys.group(groupId), group);
  transaction.put(accessRecord, keys.access(groupId, sender.deviceId), {
    userId: sender.userId,
    role: Role.admin,
    since: START,
    from: START,
    leavingSince: 0,
    acked: 0,
    byMember: false,
    removalAsked: false,
    earlier: [],
  });
  transaction.put(membershipRecord, keys.membership(sender.deviceId, groupId), { seq: 0, made: true });
  if (first === undefined) return START;
  if (first.content.kind !== EntryKind.commit) refuse("forbidden", "a group begins with a commit");
  const { now, quotas } = command;
  const log = groupLog(groupId);
  const answer = appendToGroup(transaction, { log, sender, after: START, entry: first, now, quotas });
  transaction.put(groupRecord, keys.group(groupId), { ...group, answer });
  return answer;
}
