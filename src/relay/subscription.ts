import { type Bytes, equalBytes } from "../base/bytes.js";
import { toHex } from "../base/encoding.js";
import { EndReason, encodeRelayFrame } from "../wire/frames.js";
import type { LogId } from "../wire/identifiers.js";
import { CloseCode, EntryKind, LogKind } from "../wire/protocol.js";
import type { ReadingTurns } from "./reading-turns.js";
import { encodeEntries, type Run } from "./run.js";
import { endedStayAt } from "./stays.js";
import type { RelayStorage, StoredEntry } from "./storage.js";

/** What a subscription needs of its session. */
export interface Reader {
  readonly deviceId: Bytes;
  readonly turns: Pick<ReadingTurns, "batchBytes" | "crowded" | "take">;
  send(frame: Bytes): void;
  close(code: number, reason: string): void;
  fail(error: unknown): void;
  /** True, once for each, for entries that this session appended itself. */
  claimOwn(log: LogId, entryId: Bytes): boolean;
  /** Called when the relay ends the subscription. */
  subscriptionEnded(subscription: Subscription): void;
}

/** What the reader may have of the log at this moment. */
interface Standing {
  /** The last entry it may read. */
  readonly last: number;
  /** Why nothing comes after {@link last}, if nothing does. */
  readonly ends?: EndReason;
  readonly leavingSince: number;
  /** The next commit may remove it, whatever it says. */
  readonly removalAsked: boolean;
  readonly first: number;
}

const MAX_BATCH_ENTRIES = 64;

/**
 * One session's reading of one log. It first reads from the storage, waiting for the reader; once it stands at the
 * head it is live and gets each entry as it is appended. Whatever touches the reader's own access, every doubt, and
 * a reader for whom much waits sends it back to reading, where the access is looked up after the entries.
 */
export class Subscription {
  readonly log: LogId;
  readonly #reader: Reader;
  readonly #storage: RelayStorage;
  /** The reader's device in hexadecimal. */
  readonly #device: string;
  #position: number;
  #leavingSince = 0;
  #removalAsked = false;
  #announced = 0;
  #live = false;
  #reading = false;
  #again = false;
  #over = false;

  constructor(reader: Reader, storage: RelayStorage, log: LogId, position: number) {
    this.#reader = reader;
    this.#device = toHex(reader.deviceId);
    this.#storage = storage;
    this.log = log;
    this.#position = position;
  }

  /** Reads what there is; called when access or the log may have changed. */
  refresh(): void {
    this.#live = false;
    this.#again = true;
    if (this.#reading || this.#over) return;
    void this.#read().catch((error) => this.#reader.fail(error));
  }

  /** Entries that were announced are gone: the reader comes again and is told of it. */
  lost(): void {
    if (!this.#over) this.#reader.close(CloseCode.internal, "the relay lost entries of a log");
  }

  /** Ends it without a word. */
  stop(): void {
    this.#over = true;
  }

  /** Takes a frame that may be lost; a reader that is behind, or slow, does without. */
  pass(frame: Bytes, except: Reader | undefined): void {
    const isCurrent = this.#live && !this.#over && this.#leavingSince === 0;
    if (!isCurrent || this.#reader === except || this.#reader.turns.crowded) return;
    this.#reader.send(frame);
  }

  /** Takes entries that were just appended. */
  offer(run: Run): void {
    if (this.#over) return;
    this.#announced = Math.max(this.#announced, run.last);
    if (!this.#live || run.last <= this.#position) return;
    const concerns = !run.plain && run.entries.some((entry) => this.#concerns(entry));
    if (!run.complete || run.first !== this.#position + 1 || concerns || this.#reader.turns.crowded) {
      this.refresh();
      return;
    }
    this.#position = run.last;
    this.#reader.send(this.#frameOf(run));
  }

  /** Most readers sent none of a run's entries and stay: all these get the same bytes. */
  #frameOf(run: Run): Bytes {
    if (run.plain && this.#leavingSince > 0) return run.frame(true);
    if (this.#leavingSince === 0 && !run.senders.has(this.#device)) return run.frame(false);
    const short = new Set(run.entries.filter((entry) => this.#isShort(entry)));
    if (short.size === 0) return run.frame(false);
    return encodeEntries(this.log, run.entries, (entry) => short.has(entry));
  }

  /** True for entries after which this reader may read less, or nothing. */
  #concerns({ kind, sender, content }: StoredEntry): boolean {
    if (kind === EntryKind.close || kind === EntryKind.operatorClose) return true;
    const me = this.#reader.deviceId;
    if (kind === EntryKind.leave) return equalBytes(sender, me);
    if (kind === EntryKind.commit && this.#removalAsked) return true;
    return content?.bundle?.access.some(({ deviceId }) => equalBytes(deviceId, me)) ?? false;
  }

  #isShort(entry: StoredEntry): boolean {
    const left = this.#leavingSince > 0 && entry.seq > this.#leavingSince;
    if (left && entry.kind === EntryKind.application) return true;
    return equalBytes(entry.sender, this.#reader.deviceId) && this.#reader.claimOwn(this.log, entry.entryId);
  }

  async #read(): Promise<void> {
    this.#reading = true;
    try {
      while (!this.#over && !this.#live) await this.#reader.turns.take(() => this.#readBatch());
    } finally {
      this.#reading = false;
    }
  }

  async #readBatch(): Promise<void> {
    if (this.#over) return;
    this.#again = false;
    const { batchBytes } = this.#reader.turns;
    const entries = await this.#storage.read(this.log, this.#position, MAX_BATCH_ENTRIES, batchBytes);
    const standing = await this.#standing();
    if (this.#over) return;
    this.#leavingSince = standing.leavingSince;
    this.#removalAsked = standing.removalAsked;
    if (standing.first > this.#position + 1 && this.#position < standing.last) {
      // What a box drops nobody needs any more.
      if (this.log.kind === LogKind.requestBox) this.#position = standing.first - 1;
      else this.#reader.close(CloseCode.slowReader, "entries were dropped before they were read");
      return;
    }
    const allowed = entries.filter(({ seq }) => seq <= standing.last);
    const last = allowed.at(-1);
    if (last !== undefined) {
      this.#position = last.seq;
      this.#reader.send(encodeEntries(this.log, allowed, (entry) => this.#isShort(entry)));
    }
    if (standing.ends !== undefined && this.#position >= standing.last) {
      this.#over = true;
      this.#reader.send(encodeRelayFrame({ type: "ended", log: this.log, reason: standing.ends }));
      this.#reader.subscriptionEnded(this);
      return;
    }
    this.#live = !this.#again && this.#position >= Math.max(this.#announced, standing.last);
  }

  async #standing(): Promise<Standing> {
    const { kind, id } = this.log;
    const head = await this.#storage.head(this.log);
    const whole: Standing = { last: head.seq, leavingSince: 0, removalAsked: false, first: head.first };
    if (kind === LogKind.inbox) return whole;
    const access = await this.#storage.access(id, this.#reader.deviceId);
    if (kind === LogKind.requestBox) {
      const group = await this.#storage.head({ kind: LogKind.group, id });
      if (access === undefined || access.until !== undefined || access.leavingSince > 0) {
        return { ...whole, last: 0, ends: EndReason.removed };
      }
      return group.closed ? { ...whole, ends: EndReason.closed } : whole;
    }
    if (access === undefined) return { ...whole, last: 0, ends: EndReason.removed };
    const { leavingSince, removalAsked } = access;
    // It was removed and added anew meanwhile: what lies between is not for it.
    if (this.#position < access.from.seq - 1) {
      const stay = endedStayAt(access, this.#position);
      return {
        ...whole,
        leavingSince: stay?.leavingSince ?? leavingSince,
        last: stay?.until.seq ?? this.#position,
        ends: EndReason.removed,
      };
    }
    if (access.until !== undefined)
      return { ...whole, leavingSince, last: access.until.seq, ends: EndReason.removed };
    return { ...whole, leavingSince, removalAsked, ...(head.closed && { ends: EndReason.closed }) };
  }
}
