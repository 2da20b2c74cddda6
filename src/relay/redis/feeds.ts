import { type Bytes, equalBytes } from "../../base/bytes.js";
import { type LogId, logKey } from "../../wire/identifiers.js";
import type { Appended } from "../storage.js";
import { Feed, type FeedSource } from "./feed.js";
import type { RedisLink } from "./link.js";
import { decodeMessage, type Growth } from "./news.js";
import { logTag, type Names } from "./places.js";

/** The logs of one slot that have readers here. */
interface Followed {
  readonly feeds: Map<string, { feed: Feed; followers: number }>;
}

export interface FeedOptions {
  readonly node: Bytes;
  readonly link: RedisLink;
  readonly names: Names;
  readonly source: FeedSource;
  readonly tell: (appended: Appended) => void;
  /** Hears what other nodes have appended. */
  readonly learn: (growth: Growth) => void;
  readonly report: (error: unknown) => void;
}

/** What other nodes append, for the logs that have readers at this one. */
export class Feeds {
  readonly #options: FeedOptions;
  readonly #slots = new Map<string, Followed>();

  constructor(options: FeedOptions) {
    this.#options = options;
    options.link.onGap(() => this.check());
  }

  /** Begins to tell of the log's entries; the result ends it. */
  follow(log: LogId): () => void {
    const tag = logTag(log);
    const key = logKey(log);
    const { source, tell, report } = this.#options;
    let slot = this.#slots.get(tag);
    const known = slot !== undefined;
    slot ??= { feeds: new Map() };
    this.#slots.set(tag, slot);
    const followed = slot.feeds.get(key) ?? { feed: new Feed(log, source, tell, report), followers: 0 };
    slot.feeds.set(key, followed);
    if (++followed.followers === 1) {
      if (known) followed.feed.check();
      else this.#subscribe(tag, slot);
    }
    let over = false;
    return () => {
      if (over) return;
      over = true;
      if (--followed.followers > 0) return;
      slot.feeds.delete(key);
      if (slot.feeds.size === 0 && this.#slots.get(tag) === slot) {
        this.#slots.delete(tag);
        void this.#options.link.unsubscribe(this.#options.names.channel(tag)).catch(report);
      }
    };
  }

  /** Tells of entries that this node appended. */
  appended(growth: Growth): void {
    const followed = this.#slots.get(logTag(growth.log))?.feeds.get(logKey(growth.log));
    if (followed !== undefined) followed.feed.hear(growth);
    else for (const entry of growth.entries) this.#options.tell({ log: growth.log, seq: entry.seq, entry });
  }

  /** Looks after every log, as news may have been lost. */
  check(): void {
    for (const { feeds } of this.#slots.values()) for (const { feed } of feeds.values()) feed.check();
  }

  /** Looks after the logs of a slot in which something may have been appended that nobody told of. */
  checkSlot(tag: string): void {
    for (const { feed } of this.#slots.get(tag)?.feeds.values() ?? []) feed.check();
  }

  #subscribe(tag: string, slot: Followed): void {
    const { link, names, report } = this.#options;
    link
      .subscribe(names.channel(tag), (message) => this.#hear(tag, message))
      .catch(report)
      // Even without news: what is there now, and then what the next look finds.
      .finally(() => {
        for (const { feed } of slot.feeds.values()) feed.check();
      });
  }

  #hear(tag: string, message: Buffer): void {
    try {
      const { node, growth } = decodeMessage(message);
      if (equalBytes(node, this.#options.node)) return;
      for (const one of growth) {
        this.#options.learn(one);
        this.#slots.get(tag)?.feeds.get(logKey(one.log))?.feed.hear(one);
      }
    } catch (error) {
      this.#options.report(error);
    }
  }
}
