import { type Bytes, equalBytes } from "../../base/bytes.js";
import { fromHex } from "../../base/encoding.js";
import type { Cursor, LogId } from "../../wire/identifiers.js";
import { LogKind } from "../../wire/protocol.js";
import { binary, binaryNumber, keys } from "../embedded/keys.js";
import { accessRecord } from "../embedded/records.js";
import { acknowledge, forgetRemoved } from "../embedded/retention.js";
import type { PruneCommand } from "../storage.js";
import { type Blobs, RECORDS } from "./blobs.js";
import type { Errands } from "./errands.js";
import type { ScanPlace } from "./link.js";
import { globEscape, groupTag, logTag, partsOf } from "./places.js";
import { type RecordsLink, toBuffer } from "./records-link.js";
import { ACK, DROP, LEASE } from "./scripts.js";
import type { Slots } from "./slots.js";

/** Milliseconds after which another node may take over from one that keeps the logs and is gone. */
const LEASE_TIME = 30_000;
const LEASE_TAG = "keeper";

/** Acks, and dropping what nobody needs any more. */
export class Retention {
  readonly #records: RecordsLink;
  readonly #slots: Slots;
  readonly #errands: Errands;
  readonly #blobs: Blobs;
  readonly #node: string;
  #from: ScanPlace | undefined;
  #logs: LogId[] = [];
  #holds = false;

  constructor(records: RecordsLink, slots: Slots, errands: Errands, blobs: Blobs, node: string) {
    this.#records = records;
    this.#slots = slots;
    this.#errands = errands;
    this.#blobs = blobs;
    this.#node = node;
  }

  async ack(log: LogId, deviceId: Bytes, cursor: Cursor): Promise<void> {
    if (log.kind === LogKind.inbox) {
      if (!equalBytes(log.id, deviceId)) return;
      await this.#drop(log, { upto: cursor.seq, digest: cursor.digest });
    } else if (log.kind === LogKind.group) await this.#ackGroup(log, deviceId, cursor);
  }

  /** Noted beside the access record: commits compare that, and must not fail because somebody acks. */
  async #ackGroup(log: LogId, deviceId: Bytes, cursor: Cursor): Promise<void> {
    const tag = groupTag(log.id);
    const { names, link } = this.#records;
    const reply = await link.script({
      tag,
      script: ACK,
      keys: [names.key(`e${LogKind.group}`, tag), names.key("x", tag), names.key("acked", tag)],
      args: [
        toBuffer(binaryNumber(cursor.seq)),
        String(cursor.seq),
        Buffer.from(cursor.digest),
        Buffer.from(deviceId),
      ],
    });
    if (reply === null) return;
    const { until } = accessRecord.decode(new Uint8Array(reply as Buffer));
    if (until === undefined || until.seq > cursor.seq) return;
    // Who was removed and knows it.
    const hints = [keys.entry(log, cursor.seq), keys.access(log.id, deviceId)];
    await this.#slots.run(tag, (transaction) => acknowledge(transaction, log, deviceId, cursor), hints);
    await link.command(tag, ["HDEL", names.key("acked", tag), Buffer.from(deviceId)]);
  }

  /** The entry up to which the device has acked the group's log, as far as that is not in its access record. */
  async acked(groupId: Bytes, deviceId: Bytes): Promise<number> {
    const tag = groupTag(groupId);
    const key = this.#records.names.key("acked", tag);
    return Number(String((await this.#records.link.command(tag, ["HGET", key, Buffer.from(deviceId)])) ?? 0));
  }

  /** Drops from the log's beginning; resolves to how many entries. */
  async #drop(
    log: LogId,
    what: { since?: number; upto?: number; digest?: Bytes; most?: number; limit?: number },
  ): Promise<number> {
    const tag = logTag(log);
    const key = (kind: string) => this.#records.names.key(kind, tag);
    const reply = await this.#records.link.script({
      tag,
      script: DROP,
      keys: [key(`h${log.kind}`), key(`e${log.kind}`), key(`i${log.kind}`), key("w"), key("p")],
      args: [
        ...[String(what.since ?? 0), String(what.upto ?? 0), String(what.most ?? Number.MAX_SAFE_INTEGER)],
        ...[String(what.limit ?? Number.MAX_SAFE_INTEGER), Buffer.from(what.digest ?? [])],
      ],
    });
    return Number(reply);
  }

  /** One node does it for all; the others have nothing to do. */
  async prune(command: PruneCommand): Promise<boolean> {
    if (!(await this.renew(true))) return true;
    let budget = command.batch;
    while (budget > 0) {
      const log = this.#logs.at(-1);
      if (log === undefined) {
        const { keys: found, next } = await this.#records.link.scan(
          // Heads of logs, errands that were left undone, and blobs.
          `${globEscape(this.#records.names.prefix)}[ho${RECORDS}]*{?:*`,
          this.#from,
        );
        this.#from = next;
        this.#logs = [];
        for (const { kind, tag } of found.map((key) => partsOf(key, this.#records.names.prefix))) {
          const id = fromHex(tag.slice(2));
          if (kind === RECORDS) await this.#blobs.prune(tag, command);
          else if (kind === "out") await this.#errands.recover(id);
          else this.#logs.push({ kind: Number(kind.slice(1)) as LogKind, id });
        }
        if (this.#logs.length === 0 && next === undefined) return true;
        continue;
      }
      const dropped = await this.#prune(log, command, budget);
      budget -= dropped + 1;
      // Where the budget ended in this log it may hold more.
      if (budget > 0 || dropped === 0) this.#logs.pop();
      if (this.#logs.length === 0 && this.#from === undefined) return true;
    }
    return false;
  }

  async #prune(log: LogId, { now, retention, maxLogBytes }: PruneCommand, budget: number): Promise<number> {
    const since = now - retention + 1;
    if (log.kind !== LogKind.group) return this.#drop(log, { since, limit: budget });
    const upto = await this.#ackedByAll(log.id);
    const dropped = await this.#drop(log, { since, upto, most: maxLogBytes, limit: budget });
    if (dropped > 0) {
      const hints = [keys.head(log)];
      await this.#slots.run(logTag(log), (transaction) => forgetRemoved(transaction, log), hints);
    }
    return dropped;
  }

  /** The entry up to which every device that may read the log has acked it. */
  async #ackedByAll(groupId: Bytes): Promise<number> {
    const tag = groupTag(groupId);
    const { names, link } = this.#records;
    const [accesses, flat] = await Promise.all([
      this.#records.range(keys.accesses(groupId)),
      link.command(tag, ["HGETALL", names.key("acked", tag)]) as Promise<Buffer[]>,
    ]);
    const noted = new Map<string, number>();
    for (let i = 0; i < flat.length; i += 2)
      noted.set(binary(flat[i] as Buffer), Number(String(flat[i + 1])));
    let least = Number.POSITIVE_INFINITY;
    const prefix = keys.accesses(groupId).length;
    for (const [key, bytes] of accesses) {
      const { acked } = accessRecord.decode(bytes);
      least = Math.min(least, Math.max(acked, noted.get(key.slice(prefix)) ?? 0));
    }
    return least === Number.POSITIVE_INFINITY ? 0 : least;
  }

  /** Keeps the right to prune; with `take`, takes it if nobody has it. */
  async renew(take = false): Promise<boolean> {
    if (!take && !this.#holds) return false;
    const reply = await this.#records.link.script({
      tag: LEASE_TAG,
      script: LEASE,
      keys: [this.#records.names.key("", LEASE_TAG)],
      args: [this.#node, String(LEASE_TIME)],
    });
    this.#holds = Number(reply) === 1;
    return this.#holds;
  }

  /** Lets another node take over at once. */
  async release(): Promise<void> {
    if (!(await this.renew())) return;
    this.#holds = false;
    await this.#records.link.command(LEASE_TAG, ["DEL", this.#records.names.key("", LEASE_TAG)]);
  }
}
