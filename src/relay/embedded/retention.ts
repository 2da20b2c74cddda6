import { type Bytes, equalBytes } from "../../base/bytes.js";
import type { Cursor, LogId } from "../../wire/identifiers.js";
import { DEVICE_ID_LENGTH, LogKind } from "../../wire/protocol.js";
import type { PruneCommand } from "../storage.js";
import { after, bytesOf, keys } from "./keys.js";
import { dropEntries, headOf } from "./logs.js";
import { accessRecord, entryRecord, headRecord } from "./records.js";
import type { Transaction } from "./transaction.js";

/** PROTOCOL.md, "Subscribe and ack". A cursor that does not match is ignored. */
export function acknowledge(transaction: Transaction, log: LogId, deviceId: Bytes, cursor: Cursor): void {
  if (log.kind === LogKind.inbox) {
    if (!equalBytes(log.id, deviceId) || !isAt(transaction, log, cursor)) return;
    dropEntries(transaction, log, ({ seq }) => seq <= cursor.seq, Number.POSITIVE_INFINITY);
  } else if (log.kind === LogKind.group) {
    const key = keys.access(log.id, deviceId);
    const access = transaction.get(accessRecord, key);
    if (access === undefined || access.acked >= cursor.seq || !isAt(transaction, log, cursor)) return;
    // Who was removed and knows it needs no place in the log any more.
    if (access.until !== undefined && access.until.seq <= cursor.seq) transaction.delete(key);
    else transaction.put(accessRecord, key, { ...access, acked: cursor.seq });
  }
}

/** Whether the cursor names an entry that is kept. Most acks are for the newest one, which the head tells of. */
function isAt(transaction: Transaction, log: LogId, cursor: Cursor): boolean {
  const head = headOf(transaction, log);
  const at = head.seq === cursor.seq ? head : transaction.get(entryRecord, keys.entry(log, cursor.seq));
  return at !== undefined && head.first <= cursor.seq && equalBytes(at.digest, cursor.digest);
}

/**
 * Drops from each log what is too old, what all devices have acked, and what is over the byte cap. Does one
 * bounded step, beginning with the log at or after the key `from`; returns the key to go on from, undefined at the
 * end of all logs.
 */
export function pruneLogs(transaction: Transaction, command: PruneCommand, from: string): string | undefined {
  let budget = command.batch;
  for (const [key] of transaction.view.range(from, after(keys.heads))) {
    if (budget <= 0) return key;
    const kind = key.charCodeAt(1) as LogKind;
    const used = pruneLog(transaction, { kind, id: bytesOf(key, 2) }, command, budget);
    // The budget ended in this log: it may hold more.
    if (used >= budget) return key;
    budget -= used + 1;
  }
  return undefined;
}

function pruneLog(transaction: Transaction, log: LogId, command: PruneCommand, budget: number): number {
  const acked = log.kind === LogKind.group ? ackedByAll(transaction, log.id) : 0;
  const dropped = dropEntries(
    transaction,
    log,
    (entry, bytesLeft) =>
      entry.time <= command.now - command.retention ||
      entry.seq <= acked ||
      (log.kind === LogKind.group && bytesLeft > command.maxLogBytes),
    budget,
  );
  if (log.kind === LogKind.group && dropped > 0) forgetRemoved(transaction, log);
  return dropped;
}

/** The entry up to which every device that may read the log has acked it. */
function ackedByAll(transaction: Transaction, groupId: Bytes): number {
  let least = Number.POSITIVE_INFINITY;
  for (const [, access] of transaction.all(accessRecord, keys.accesses(groupId)))
    least = Math.min(least, access.acked);
  return least === Number.POSITIVE_INFINITY ? 0 : least;
}

/** A removed device whose removal was dropped has nothing left to read. */
export function forgetRemoved(transaction: Transaction, log: LogId): void {
  const head = transaction.get(headRecord, keys.head(log));
  if (head === undefined) return;
  for (const [key, access] of [...transaction.all(accessRecord, keys.accesses(log.id))]) {
    if (access.until !== undefined && access.until.seq < head.first) {
      transaction.delete(keys.access(log.id, bytesOf(key, key.length - DEVICE_ID_LENGTH)));
    }
  }
}
