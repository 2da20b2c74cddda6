import type { Bytes } from "../../base/bytes.js";
import { toUtf8 } from "../../base/encoding.js";
import { decode } from "../../codec/reader.js";
import { encode } from "../../codec/writer.js";
import { sha256Now } from "../../crypto/node-hash.js";
import { decodePointer, type EntryContent, encodePointer } from "../../wire/entries.js";
import type { Cursor, LogId } from "../../wire/identifiers.js";
import { ENTRY_ID_LENGTH, EntryKind, LogKind } from "../../wire/protocol.js";
import type { Quotas } from "../storage.js";
import { keys } from "./keys.js";
import { appendOwn, headOf, hollowEntry } from "./logs.js";
import { pointerRecord } from "./records.js";
import { refuse, type Transaction } from "./transaction.js";

/** Replaced pointers leave digests behind; none is replaced where an inbox holds more than this many times its limit. */
const HOLLOW_FACTOR = 16;

/**
 * Tells a device of the commit that added it. An inbox that is full of what it has not read refuses it, unless the
 * device had access before: members may have to add that one anew, and it finds the group in its list.
 */
export function appendPointer(
  transaction: Transaction,
  { log, now, quotas }: { readonly log: LogId; readonly now: number; readonly quotas: Quotas },
  at: Cursor,
  deviceId: Bytes,
  hadAccess: boolean,
): void {
  const head = headOf(transaction, { kind: LogKind.inbox, id: deviceId });
  const full = transaction.has(keys.pointer(deviceId, log.id))
    ? head.seq - head.first >= HOLLOW_FACTOR * quotas.maxInboxEntries
    : head.count >= quotas.maxInboxEntries || head.bytes >= quotas.maxInboxBytes;
  if (full) {
    if (hadAccess) return;
    refuse("quota-exceeded", "the inbox of an added device is full");
  }
  const id = sha256Now(
    encode(
      (writer) =>
        void writer.opaque(toUtf8("Subrosa 1 pointer")).fixed(log.id).uint53(at.seq).fixed(deviceId),
      undefined,
    ),
  );
  const payload = encode(encodePointer, { groupId: log.id, at });
  const entryId = id.subarray(0, ENTRY_ID_LENGTH);
  placePointer(transaction, deviceId, { kind: EntryKind.pointer, entryId, payload }, now);
}

/** Puts a pointer into the inbox in place of an older one to its group; does nothing when a newer one was there. */
export function placePointer(
  transaction: Transaction,
  deviceId: Bytes,
  content: EntryContent,
  now: number,
): void {
  const inbox: LogId = { kind: LogKind.inbox, id: deviceId };
  const { groupId, at } = decode(decodePointer, content.payload);
  const key = keys.pointer(deviceId, groupId);
  const known = transaction.get(pointerRecord, key);
  if (known !== undefined && known.at >= at.seq) return;
  dropPointer(transaction, deviceId, groupId);
  appendOwn(transaction, inbox, content, now);
  transaction.put(pointerRecord, key, { seq: headOf(transaction, inbox).seq, at: at.seq });
}

/** One pointer to a group says what several would, and leaves the inbox's room to other groups. */
function dropPointer(transaction: Transaction, deviceId: Bytes, groupId: Bytes): void {
  const known = transaction.get(pointerRecord, keys.pointer(deviceId, groupId));
  if (known !== undefined) hollowEntry(transaction, { kind: LogKind.inbox, id: deviceId }, known.seq);
}
