import type { Bytes } from "../../../base/bytes.js";
import { sha256 } from "../../../crypto/hash.js";
import {
  chainDigestInput,
  contentDigestInput,
  type EntryContent,
  type LogEntry,
} from "../../../wire/entries.js";
import type { Cursor, LogId } from "../../../wire/identifiers.js";

/** The content digest of an entry (PROTOCOL.md, Digests). */
export function contentDigest(content: EntryContent): Promise<Bytes> {
  return sha256(contentDigestInput(content));
}

/** The content digests of entries in either form. */
export function contentDigests(entries: readonly LogEntry[]): Promise<Bytes[]> {
  return Promise.all(
    entries.map((entry) => (entry.form === "full" ? contentDigest(entry.content) : entry.contentDigest)),
  );
}

/** The cursor behind the entry that follows `cursor` in the log. */
export async function nextCursor(log: LogId, cursor: Cursor, digest: Bytes): Promise<Cursor> {
  const seq = cursor.seq + 1;
  return { seq, digest: await sha256(chainDigestInput(log, seq, cursor.digest, digest)) };
}
