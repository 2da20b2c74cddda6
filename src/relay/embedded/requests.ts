import { equalBytes } from "../../base/bytes.js";
import { toUtf8 } from "../../base/encoding.js";
import { decode } from "../../codec/reader.js";
import { encode } from "../../codec/writer.js";
import { sha256Now } from "../../crypto/node-hash.js";
import { decodeJoinRequest, encodeRejection } from "../../wire/entries.js";
import type { Cursor } from "../../wire/identifiers.js";
import { ENTRY_ID_LENGTH, EntryKind, Role } from "../../wire/protocol.js";
import type { AppendCommand, RejectCommand } from "../storage.js";
import { accountRecord } from "./accounts.js";
import { dropRequest, groupLog, inboxLog, memberAccess, requestBox } from "./groups.js";
import { keys } from "./keys.js";
import { answerBefore, appendEntry, appendOwn, headOf } from "./logs.js";
import { entryIdRecord, entryRecord, seqRecord } from "./records.js";
import { refuse, type Transaction } from "./transaction.js";

/** Answered requests leave digests behind until retention; no box holds more than this many times its limit. */
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
  const head = headOf(transaction, log);
  if (head.count >= quotas.maxRequests || head.seq - head.first >= HOLLOW_FACTOR * quotas.maxRequests) {
    refuse("quota-exceeded", "too many join requests are waiting");
  }
  const cursor = appendEntry(transaction, log, {
    content,
    contentDigest,
    sender: sender.deviceId,
    now,
  });
  transaction.put(seqRecord, keys.request(log.id, sender.deviceId), cursor.seq);
  return cursor;
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
