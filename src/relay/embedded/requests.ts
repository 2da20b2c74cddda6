import { type Bytes, equalBytes } from "../../base/bytes.js";
import { toUtf8 } from "../../base/encoding.js";
import { decode } from "../../codec/reader.js";
import { encode } from "../../codec/writer.js";
import { sha256Now } from "../../crypto/node-hash.js";
import { decodeJoinRequest, encodeRejection } from "../../wire/entries.js";
import type { Cursor, LogId } from "../../wire/identifiers.js";
import { ENTRY_ID_LENGTH, EntryKind, Role } from "../../wire/protocol.js";
import type { AppendCommand, RejectCommand } from "../storage.js";
import { accountRecord } from "./accounts.js";
import { dropRequest, groupLog, inboxLog, memberAccess, requestBox } from "./groups.js";
import { keys } from "./keys.js";
import { answerBefore, appendEntry, appendOwn, dropEntries, headOf, type NewLogEntry } from "./logs.js";
import { accessRecord, entryIdRecord, entryRecord, seqRecord } from "./records.js";
import { refuse, type Transaction } from "./transaction.js";

/** Requests that were answered or replaced leave digests behind; of more than so many times a box's limit the oldest go. */
const HOLLOW_FACTOR = 16;

/** PROTOCOL.md, "Append", request box. */
export function appendRequest(transaction: Transaction, command: AppendCommand): Cursor {
  const { log, sender, now, quotas } = command;
  const { content, contentDigest } = command.entry;
  if (!transaction.has(keys.group(log.id))) refuse("unknown-group", "no such group");
  // Before anything else: who asked and was not answered is to learn that nobody will.
  if (headOf(transaction, groupLog(log.id)).closed) refuse("unknown-group", "the group was closed");
  const before = answerBefore(transaction, log, content.entryId, contentDigest);
  if (before !== undefined) return before;
  if (content.kind !== EntryKind.joinRequest)
    refuse("forbidden", "only join requests belong into a request box");
  const request = decode(decodeJoinRequest, content.payload);
  const account = transaction.get(accountRecord, keys.account(sender.userId));
  const own =
    request.userId === sender.userId &&
    equalBytes(request.deviceId, sender.deviceId) &&
    equalBytes(request.groupId, log.id) &&
    account !== undefined &&
    equalBytes(request.accountKey, account.accountKey);
  if (!own) refuse("forbidden", "a join request must name its sender and its group");
  dropRequest(transaction, log.id, sender.deviceId);
  // Who is in the group asks to be added anew: strangers do not keep it from that.
  if (headOf(transaction, log).count >= quotas.maxRequests && !isIn(transaction, log.id, sender.deviceId)) {
    refuse("quota-exceeded", "too many join requests are waiting");
  }
  dropAnswered(transaction, log, HOLLOW_FACTOR * quotas.maxRequests);
  return putRequest(transaction, log, { content, contentDigest, sender: sender.deviceId, now });
}

function isIn(transaction: Transaction, groupId: Bytes, deviceId: Bytes): boolean {
  const access = transaction.get(accessRecord, keys.access(groupId, deviceId));
  return access !== undefined && access.until === undefined && access.leavingSince === 0;
}

function putRequest(transaction: Transaction, log: LogId, entry: NewLogEntry): Cursor {
  const cursor = appendEntry(transaction, log, entry);
  transaction.put(seqRecord, keys.request(log.id, entry.sender), cursor.seq);
  return cursor;
}

/** Drops the oldest of what is left of requests, over `most`. A request that waits before it goes to the box's end. */
function dropAnswered(transaction: Transaction, log: LogId, most: number): void {
  for (;;) {
    const { first, seq, count } = headOf(transaction, log);
    const excess = seq - first + 1 - count - most;
    if (excess <= 0) return;
    if (dropEntries(transaction, log, ({ content }) => content === undefined, excess) > 0) continue;
    const waiting = transaction.get(entryRecord, keys.entry(log, first));
    if (waiting?.content === undefined) return;
    const { content, contentDigest, sender, time } = waiting;
    dropEntries(transaction, log, () => true, 1);
    putRequest(transaction, log, { content, contentDigest, sender, now: time });
  }
}

/** Drops a join request and tells the device that sent it. */
export function rejectRequest(transaction: Transaction, command: RejectCommand): void {
  const { groupId, requestId, reason } = command;
  const access = memberAccess(transaction, groupId, command.sender.deviceId);
  if (access.leavingSince > 0) refuse("not-a-member", "the device is leaving");
  if (access.role !== Role.admin) refuse("not-an-admin", "only an admin rejects join requests");
  const box = requestBox(groupId);
  const known = transaction.get(entryIdRecord, keys.entryId(box, requestId));
  const entry = known && transaction.get(entryRecord, keys.entry(box, known.cursor.seq));
  if (entry?.content === undefined) refuse("unknown-entry", "no such join request");
  dropRequest(transaction, groupId, entry.sender);
  const id = sha256Now(
    encode((w) => void w.opaque(toUtf8("Subrosa 1 rejection")).fixed(groupId).fixed(requestId), undefined),
  );
  const payload = encode(encodeRejection, { groupId, requestId, reason });
  const content = { kind: EntryKind.rejection, entryId: id.subarray(0, ENTRY_ID_LENGTH), payload };
  appendOwn(transaction, inboxLog(entry.sender), content, command.now);
}
