import { asBytes, type Bytes, equalBytes } from "../../base/bytes.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { decodeLogId, encodeLogId, type LogId, logKey } from "../../wire/identifiers.js";
import { DIGEST_LENGTH } from "../../wire/protocol.js";
import { entryRecord } from "../embedded/records.js";
import type { Appended, StoredEntry } from "../storage.js";

/** Says that a log grew from one digest to the next, and by what unless that is much. */
export interface Growth {
  readonly log: LogId;
  /** The digest before the first of the entries. */
  readonly before: Bytes;
  readonly first: number;
  readonly last: number;
  readonly entries: readonly StoredEntry[];
  /** The log's head record after them: whoever appends next begins with it. */
  readonly head: Bytes;
}

/** Bytes of entries that one message may carry; more are read by those who need them. */
const MAX_MESSAGE_BYTES = 64 * 1024;
export const NODE_ID_LENGTH = 16;

export interface Message {
  /** The node that says so. */
  readonly node: Bytes;
  readonly growth: readonly Growth[];
}

function write(writer: Writer, { node, growth }: Message): void {
  writer.fixed(node);
  writer.vector(growth, (w, { log, before, first, last, entries, head }) => {
    encodeLogId(w, log);
    w.fixed(before).uint53(first).uint53(last);
    w.vector(entries, (inner, entry) => inner.opaque(entryRecord.encode(entry))).opaque(head);
  });
}

function read(reader: Reader): Message {
  const node = reader.fixed(NODE_ID_LENGTH);
  const growth = reader.vector((r) => ({
    log: decodeLogId(r),
    before: r.fixed(DIGEST_LENGTH),
    first: r.uint53(),
    last: r.uint53(),
    entries: r.vector((inner) => entryRecord.decode(inner.opaque())),
    head: r.opaque(),
  }));
  return { node, growth };
}

export const decodeMessage = (message: Buffer): Message => decode(read, asBytes(new Uint8Array(message)));

/** Sorts new entries of one slot by their logs. */
export function growthOf(
  appended: readonly Appended[],
  logOf: (log: LogId) => Pick<Growth, "before" | "head">,
): Growth[] {
  const logs = new Map<string, { log: LogId; entries: StoredEntry[] }>();
  for (const { log, entry } of appended) {
    const known = logs.get(logKey(log));
    if (known === undefined) logs.set(logKey(log), { log, entries: [entry as StoredEntry] });
    else known.entries.push(entry as StoredEntry);
  }
  return [...logs.values()].map(({ log, entries }) => ({
    log,
    ...logOf(log),
    first: (entries[0] as StoredEntry).seq,
    last: (entries.at(-1) as StoredEntry).seq,
    entries,
  }));
}

export function encodeMessage(node: Bytes, growth: readonly Growth[]): Buffer {
  let bytes = encode(write, { node, growth });
  if (bytes.length > MAX_MESSAGE_BYTES) {
    bytes = encode(write, { node, growth: growth.map((one) => ({ ...one, entries: [] })) });
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** What a node has told its readers of one log. */
export interface Told {
  readonly seq: number;
  readonly digest: Bytes;
}

/** Whether entries that begin with `growth` go on from what was told. */
export function continues(told: Told, { first, before }: Pick<Growth, "first" | "before">): boolean {
  return first === told.seq + 1 && equalBytes(before, told.digest);
}
