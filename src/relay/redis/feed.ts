import { equalBytes } from "../../base/bytes.js";
import { SerialQueue } from "../../base/serial-queue.js";
import type { LogId } from "../../wire/identifiers.js";
import type { Appended, LogHead, StoredEntry } from "../storage.js";
import { continues, type Growth, type Told } from "./news.js";

/** What a feed reads from. */
export interface FeedSource {
  head(log: LogId): Promise<LogHead>;
  entry(log: LogId, seq: number): Promise<StoredEntry | undefined>;
  read(log: LogId, seq: number, maxEntries: number, maxBytes: number): Promise<StoredEntry[]>;
}

const BATCH_ENTRIES = 64;
const BATCH_BYTES = 4 * 1024 * 1024;

/**
 * Tells this node's readers of one log's entries, each once and in order, whichever node appended them. News may be
 * lost, and may overtake each other; whatever does not go on from what was told last is read from Redis. If what was
 * told is not in the log any more, Redis lost it, and the readers have to come again.
 */
export class Feed {
  readonly #log: LogId;
  readonly #source: FeedSource;
  readonly #tell: (appended: Appended) => void;
  readonly #report: (error: unknown) => void;
  readonly #queue = new SerialQueue();
  #told: Told | undefined;
  #checking = false;

  constructor(
    log: LogId,
    source: FeedSource,
    tell: (appended: Appended) => void,
    report: (error: unknown) => void,
  ) {
    this.#log = log;
    this.#source = source;
    this.#tell = tell;
    this.#report = report;
  }

  /** Takes news of the log. */
  hear(growth: Growth): void {
    if (this.#queue.length === 0 && this.#pass(growth)) return;
    void this.#queue
      .run(async () => {
        if (!this.#pass(growth)) await this.#catchUp();
      })
      .catch(this.#report);
  }

  /** Looks for what was missed. */
  check(): void {
    if (this.#checking) return;
    this.#checking = true;
    void this.#queue
      .run(() => {
        this.#checking = false;
        return this.#catchUp();
      })
      .catch(this.#report);
  }

  /** Tells what the news carry, if that is all that is needed. */
  #pass(growth: Growth): boolean {
    const told = this.#told;
    if (told === undefined) return false;
    const own = growth.entries.find(({ seq }) => seq === told.seq);
    // Heard already, be it from here or elsewhere.
    if (growth.last <= told.seq && own !== undefined && equalBytes(own.digest, told.digest)) return true;
    if (!continues(told, growth) || growth.entries.length === 0) return false;
    for (const entry of growth.entries) this.#next(entry);
    return true;
  }

  #next(entry: StoredEntry): void {
    this.#told = { seq: entry.seq, digest: entry.digest };
    this.#tell({ log: this.#log, seq: entry.seq, entry });
  }

  async #catchUp(): Promise<void> {
    const head = await this.#source.head(this.#log);
    const told = this.#told;
    if (told === undefined) {
      // Who subscribed meanwhile may have read before the news came.
      this.#told = { seq: head.seq, digest: head.digest };
      if (head.seq > 0) this.#tell({ log: this.#log, seq: head.seq });
      return;
    }
    if (head.seq === told.seq && equalBytes(head.digest, told.digest)) return;
    if (!(await this.#stillThere(told, head))) {
      this.#told = { seq: head.seq, digest: head.digest };
      this.#tell({ log: this.#log, seq: head.seq, lost: true });
      return;
    }
    for (;;) {
      const from = (this.#told as Told).seq;
      const entries = await this.#source.read(this.#log, from, BATCH_ENTRIES, BATCH_BYTES);
      for (const entry of entries) this.#next(entry);
      if (entries.length === 0) break;
    }
    // What was dropped before it was told is gone; readers find that out by themselves.
    if ((this.#told as Told).seq < head.seq) {
      this.#told = { seq: head.seq, digest: head.digest };
      this.#tell({ log: this.#log, seq: head.seq });
    }
  }

  async #stillThere(told: Told, head: LogHead): Promise<boolean> {
    if (told.seq > head.seq) return false;
    if (told.seq < head.first - 1) return true;
    if (told.seq === head.first - 1) return equalBytes(head.tail, told.digest);
    const entry = await this.#source.entry(this.#log, told.seq);
    return entry === undefined || equalBytes(entry.digest, told.digest);
  }
}
