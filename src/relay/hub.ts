import type { Bytes } from "../base/bytes.js";
import { toHex } from "../base/encoding.js";
import { type LogId, logKey } from "../wire/identifiers.js";
import { LogKind } from "../wire/protocol.js";
import { Run } from "./run.js";
import type { Appended } from "./storage.js";
import type { Reader, Subscription } from "./subscription.js";

/** Messages that are passed on together take no more bytes than this: the first of them should not wait long. */
const MAX_RUN_BYTES = 64 * 1024;

/** What relays that share a storage name a group by when they pass on what is kept nowhere. */
export const groupTopic = (groupId: Bytes) => `g:${toHex(groupId)}`;

/** Who reads which log now. */
export class Hub {
  readonly #logs = new Map<string, Set<Subscription>>();
  readonly #maxRunBytes: number;
  readonly #report: (error: unknown) => void;
  /** Tells a storage that several relays share which logs have readers here. */
  readonly #follow: (log: LogId) => () => void;
  readonly #hear: (topic: string, listener: (frame: Bytes) => void) => () => void;
  readonly #followed = new Map<string, () => void>();
  /** What was announced and not passed on yet, in order for each log. */
  #news = new Map<string, Run[]>();

  constructor(
    maxFrameBytes: number,
    report: (error: unknown) => void,
    follow: (log: LogId) => () => void = () => () => {},
    hear: (topic: string, listener: (frame: Bytes) => void) => () => void = () => () => {},
  ) {
    this.#hear = hear;
    this.#follow = follow;
    this.#maxRunBytes = Math.min(MAX_RUN_BYTES, maxFrameBytes / 4);
    this.#report = report;
  }

  add(subscription: Subscription): void {
    const key = logKey(subscription.log);
    let readers = this.#logs.get(key);
    if (readers === undefined) {
      readers = new Set();
      this.#logs.set(key, readers);
      this.#followed.set(key, this.#followWhole(subscription.log));
    }
    readers.add(subscription);
  }

  remove(subscription: Subscription): void {
    const key = logKey(subscription.log);
    const readers = this.#logs.get(key);
    readers?.delete(subscription);
    if (readers?.size !== 0) return;
    this.#logs.delete(key);
    this.#followed.get(key)?.();
    this.#followed.delete(key);
  }

  /** Who may read a request box follows from its group's log. */
  #followWhole(log: LogId): () => void {
    const ends = [this.#follow(log)];
    if (log.kind === LogKind.group)
      ends.push(this.#hear(groupTopic(log.id), (frame) => this.pass(log.id, frame)));
    if (log.kind === LogKind.requestBox) ends.push(this.#follow({ kind: LogKind.group, id: log.id }));
    return () => {
      for (const end of ends) end();
    };
  }

  /** Passes a frame that is kept nowhere on to who reads the group's log, but for one session. */
  pass(groupId: Bytes, frame: Bytes, except?: Reader): void {
    const key = logKey({ kind: LogKind.group, id: groupId });
    for (const reader of this.#logs.get(key) ?? []) this.#tell(() => reader.pass(frame, except));
  }

  /** Passes an entry on to the log's readers, together with those that are announced right after it. */
  announce(appended: Appended): void {
    const key = logKey(appended.log);
    if (appended.lost) {
      for (const reader of this.#logs.get(key) ?? []) this.#tell(() => reader.lost());
      return;
    }
    const runs = this.#news.get(key);
    if (runs?.at(-1)?.take(appended)) return;
    const run = new Run(appended, this.#maxRunBytes);
    if (runs !== undefined) runs.push(run);
    else this.#news.set(key, [run]);
    // Before the appends are answered: their promises were resolved after this.
    if (this.#news.size === 1 && runs === undefined) queueMicrotask(() => this.#passOn());
  }

  #passOn(): void {
    const news = this.#news;
    this.#news = new Map();
    for (const [key, runs] of news) {
      for (const run of runs) {
        for (const reader of this.#logs.get(key) ?? []) this.#tell(() => reader.offer(run));
        if (run.log.kind === LogKind.group && !run.plain) this.#refreshBox(run.log.id);
      }
    }
  }

  /** A failure at one reader is none at the others. */
  #tell(tell: () => void): void {
    try {
      tell();
    } catch (error) {
      this.#report(error);
    }
  }

  /** Who may read a group's requests follows from the group's log. */
  #refreshBox(id: Bytes): void {
    const box: LogId = { kind: LogKind.requestBox, id };
    for (const reader of this.#logs.get(logKey(box)) ?? []) this.#tell(() => reader.refresh());
  }
}
