import { type Bytes, EMPTY } from "../../base/bytes.js";
import { toUtf8 } from "../../base/encoding.js";
import { encode } from "../../codec/writer.js";
import { sha256Now } from "../../crypto/node-hash.js";
import { ENTRY_ID_LENGTH, EntryKind } from "../../wire/protocol.js";
import type { DepositCommand } from "../storage.js";
import { countNoMore, freeName, groupLog, inboxLog } from "./groups.js";
import { keys } from "./keys.js";
import { appendOwn, headOf } from "./logs.js";
import { deviceRecord, groupRecord } from "./records.js";
import { refuse, type Transaction } from "./transaction.js";

/** Ends a group's log in the operator's name; false if it had ended. */
export function closeByOperator(transaction: Transaction, groupId: Bytes, now: number): boolean {
  const group = transaction.get(groupRecord, keys.group(groupId)) ?? refuse("unknown-group", "no such group");
  if (group.direct !== undefined) refuse("forbidden", "a direct conversation would begin anew");
  const log = groupLog(groupId);
  const head = headOf(transaction, log);
  if (head.closed) return false;
  countNoMore(transaction, groupId, group, group.creator, head.seq + 1);
  for (const nameHash of group.names) freeName(transaction, nameHash, groupId);
  const id = sha256Now(
    encode((writer) => void writer.opaque(toUtf8("Subrosa 1 operator close")).fixed(groupId), undefined),
  );
  const entryId = id.subarray(0, ENTRY_ID_LENGTH);
  appendOwn(transaction, log, { kind: EntryKind.operatorClose, entryId, payload: EMPTY }, now);
  return true;
}

/** Puts an entry of the relay's own into one inbox; false if the device was removed or its inbox is full. */
export function depositInto(
  transaction: Transaction,
  deviceId: Bytes,
  { content, now, quotas }: Omit<DepositCommand, "devices">,
): boolean {
  const device = transaction.get(deviceRecord, keys.device(deviceId));
  if (device === undefined || device.removed) return false;
  const inbox = inboxLog(deviceId);
  const { count, bytes } = headOf(transaction, inbox);
  if (count >= quotas.maxInboxEntries || bytes >= quotas.maxInboxBytes) return false;
  appendOwn(transaction, inbox, content, now);
  return true;
}
