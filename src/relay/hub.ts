import type { Bytes } from "../base/bytes.js";
import { type LogId, logKey } from "../wire/identifiers.js";
import { EntryKind, LogKind } from "../wire/protocol.js";
import type { Appended } from "./storage.js";
import { EntryFrames, type Subscription } from "./subscription.js";

/** Who reads which log now. */
export class Hub {
  readonly #logs = new Map<string, Set<Subscription>>();

  add(subscription: Subscription): void {
    const key = logKey(subscription.log);
    let readers = this.#logs.get(key);
    if (readers === undefined) {
      readers = new Set();
      this.#logs.set(key, readers);
    }
    readers.add(subscription);
  }

  remove(subscription: Subscription): void {
    const key = logKey(subscription.log);
    const readers = this.#logs.get(key);
    readers?.delete(subscription);
    if (readers?.size === 0) this.#logs.delete(key);
  }

  /** Passes an entry on to the log's readers. */
  announce(appended: Appended): void {
    const { log, entry } = appended;
    const readers = this.#logs.get(logKey(log));
    if (readers !== undefined) {
      const frames = entry && new EntryFrames(log, entry);
      for (const reader of readers) reader.offer(appended, frames);
    }
    if (log.kind === LogKind.group && entry?.kind !== EntryKind.application) this.#refreshBox(log.id);
  }

  /** Who may read a group's requests follows from the group's log. */
  #refreshBox(id: Bytes): void {
    const box: LogId = { kind: LogKind.requestBox, id };
    for (const reader of this.#logs.get(logKey(box)) ?? []) reader.refresh();
  }
}
