import type { Bytes } from "../base/bytes.js";
import { toHex } from "../base/encoding.js";
import type { LogEntry } from "../wire/entries.js";
import { encodeRelayFrame } from "../wire/frames.js";
import type { LogId } from "../wire/identifiers.js";
import { EntryKind } from "../wire/protocol.js";
import type { Appended, StoredEntry } from "./storage.js";

/** Bytes of a frame for one application message, at most, that are not its payload. */
const OVERHEAD_BYTES = 32;

/**
 * Entries of one log that followed each other at once, with the frames of all of them together: each frame is
 * built when the first reader needs it and then shared. Only application messages share a run.
 */
export class Run {
  readonly log: LogId;
  readonly first: number;
  readonly entries: StoredEntry[] = [];
  /** The devices that sent one of the entries, in hexadecimal. */
  readonly senders = new Set<string>();
  /** True for application messages: they change nobody's access. */
  readonly plain: boolean;
  readonly #maxBytes: number;
  #last: number;
  #bytes = 0;
  #full: Bytes | undefined;
  #short: Bytes | undefined;

  /** It takes no more entries than fit into `maxBytes`. */
  constructor({ log, seq, entry }: Appended, maxBytes: number) {
    this.log = log;
    this.first = seq;
    this.#last = seq;
    this.#maxBytes = maxBytes;
    this.plain = entry !== undefined && isPlain(entry);
    if (entry !== undefined) this.#push(entry);
  }

  /** The number of the last entry. */
  get last(): number {
    return this.#last;
  }

  /** False where the news came without the entries. */
  get complete(): boolean {
    return this.entries.length > 0;
  }

  /** Takes the entry if it goes on where this run ends; false if it needs a run of its own. */
  take({ seq, entry }: Appended): boolean {
    if (!this.plain || entry === undefined || !isPlain(entry) || seq !== this.#last + 1) return false;
    if (this.#bytes + bytesOf(entry) > this.#maxBytes) return false;
    this.#last = seq;
    this.#push(entry);
    return true;
  }

  #push(entry: StoredEntry): void {
    this.entries.push(entry);
    this.senders.add(toHex(entry.sender));
    this.#bytes += bytesOf(entry);
  }

  /** The frame with all entries in full, or all in the short form. */
  frame(short: boolean): Bytes {
    if (short) {
      this.#short ??= encodeEntries(this.log, this.entries, () => true);
      return this.#short;
    }
    this.#full ??= encodeEntries(this.log, this.entries, () => false);
    return this.#full;
  }
}

function isPlain({ kind, content }: StoredEntry): boolean {
  return kind === EntryKind.application && content !== undefined;
}

function bytesOf({ content }: StoredEntry): number {
  return OVERHEAD_BYTES + (content?.payload.length ?? 0);
}

/** An `entries` frame; entries whose content is gone are short in any case. */
export function encodeEntries(
  log: LogId,
  entries: readonly StoredEntry[],
  isShort: (entry: StoredEntry) => boolean,
): Bytes {
  const items = entries.map((entry): LogEntry => {
    const { seq, kind, entryId, contentDigest, content } = entry;
    if (content === undefined || isShort(entry)) return { form: "short", seq, kind, entryId, contentDigest };
    return { form: "full", seq, content };
  });
  return encodeRelayFrame({ type: "entries", log, entries: items });
}
