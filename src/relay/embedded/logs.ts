import { type Bytes, equalBytes } from "../../base/bytes.js";
import { encode } from "../../codec/writer.js";
import { sha256Now } from "../../crypto/node-hash.js";
import {
  chainDigestInput,
  contentDigestInput,
  type EntryContent,
  encodeEntryContent,
} from "../../wire/entries.js";
import type { Cursor, LogId } from "../../wire/identifiers.js";
import { DEVICE_ID_LENGTH, EntryKind, isHandshake, LogKind } from "../../wire/protocol.js";
import type { StoredEntry } from "../storage.js";
import { after, keys } from "./keys.js";
import { EMPTY_HEAD, entryIdRecord, entryRecord, type HeadRecord, headRecord } from "./records.js";
import { type Records, refuse, type Transaction } from "./transaction.js";

/** The sender of the relay's own entries. */
export const NO_SENDER: Bytes = new Uint8Array(DEVICE_ID_LENGTH);

export function headOf(records: Records, log: LogId): HeadRecord {
  return records.get(headRecord, keys.head(log)) ?? EMPTY_HEAD;
}

/** The answer to an entry id that was used before; refuses one that was used for other content. */
export function answerBefore(
  records: Records,
  log: LogId,
  entryId: Bytes,
  contentDigest: Bytes,
): Cursor | undefined {
  const known = records.get(entryIdRecord, keys.entryId(log, entryId));
  if (known === undefined) return undefined;
  if (!equalBytes(known.contentDigest, contentDigest))
    refuse("conflict", "the entry id was used for other content");
  return known.cursor;
}

export interface NewLogEntry {
  readonly content: EntryContent;
  readonly contentDigest: Bytes;
  readonly sender: Bytes;
  readonly now: number;
}

/** Appends, with nothing checked, and counts the entry in the log's head. */
export function appendEntry(transaction: Transaction, log: LogId, input: NewLogEntry): Cursor {
  const { content, contentDigest } = input;
  const head = headOf(transaction, log);
  const seq = head.seq + 1;
  const digest = sha256Now(chainDigestInput(log, seq, head.digest, contentDigest));
  const cursor: Cursor = { seq, digest };
  const entry: StoredEntry = {
    seq,
    kind: content.kind,
    entryId: content.entryId,
    digest,
    contentDigest,
    sender: input.sender,
    time: input.now,
    content,
  };
  transaction.put(entryRecord, keys.entry(log, seq), entry);
  transaction.put(entryIdRecord, keys.entryId(log, content.entryId), { cursor, contentDigest });
  transaction.put(headRecord, keys.head(log), {
    ...head,
    seq,
    digest,
    handshake: isHandshake(content.kind) ? cursor : head.handshake,
    closed: head.closed || content.kind === EntryKind.close || content.kind === EntryKind.operatorClose,
    count: head.count + 1,
    bytes: head.bytes + contentBytes(content),
  });
  transaction.appended.push({ log, seq, entry });
  return cursor;
}

/** Appends an entry of the relay's own; once only, by its entry id. */
export function appendOwn(transaction: Transaction, log: LogId, content: EntryContent, now: number): void {
  const contentDigest = sha256Now(contentDigestInput(content));
  if (answerBefore(transaction, log, content.entryId, contentDigest) !== undefined) return;
  appendEntry(transaction, log, { content, contentDigest, sender: NO_SENDER, now });
}

/** Leaves of an entry only what the digest chain needs, and its id: sent again late, it is no new one. */
export function hollowEntry(transaction: Transaction, log: LogId, seq: number): void {
  const entry = transaction.get(entryRecord, keys.entry(log, seq));
  if (entry?.content === undefined) return;
  const { content, ...rest } = entry;
  const head = headOf(transaction, log);
  transaction.put(entryRecord, keys.entry(log, seq), rest);
  transaction.put(headRecord, keys.head(log), {
    ...head,
    count: head.count - 1,
    bytes: head.bytes - contentBytes(content),
  });
}

/**
 * Drops entries from the log's beginning while `expendable` says so, at most `limit`; the digest before the first
 * one kept stays. Returns how many were dropped.
 */
export function dropEntries(
  transaction: Transaction,
  log: LogId,
  expendable: (entry: StoredEntry, bytesLeft: number) => boolean,
  limit: number,
): number {
  const before = headOf(transaction, log);
  let { first, tail, count, bytes } = before;
  while (first - before.first < limit && first <= before.seq) {
    const entry = transaction.get(entryRecord, keys.entry(log, first));
    if (entry === undefined || !expendable(entry, bytes)) break;
    transaction.delete(keys.entry(log, first));
    transaction.delete(keys.entryId(log, entry.entryId));
    if (entry.content !== undefined) {
      count--;
      bytes -= contentBytes(entry.content);
    }
    if (log.kind === LogKind.group && entry.kind === EntryKind.commit) {
      transaction.delete(keys.welcome(log.id, first));
    }
    tail = entry.digest;
    first++;
  }
  const dropped = first - before.first;
  if (log.kind === LogKind.inbox && count === 0) {
    const pointers = keys.pointers(log.id);
    for (const [key] of [...transaction.view.range(pointers, after(pointers))]) transaction.delete(key);
  }
  if (dropped > 0) transaction.put(headRecord, keys.head(log), { ...before, first, tail, count, bytes });
  return dropped;
}

function contentBytes(content: EntryContent): number {
  return encode(encodeEntryContent, content).length;
}
