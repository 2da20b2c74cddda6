import type { Bytes } from "../../base/bytes.js";
import { DEVICE_ID_LENGTH, EntryKind, LogKind } from "../../wire/protocol.js";
import { groupLog, inboxLog } from "../embedded/groups.js";
import { bytesOf, keys } from "../embedded/keys.js";
import type { Overlay } from "../embedded/kv.js";
import { appendOwn } from "../embedded/logs.js";
import { placePointer } from "../embedded/pointers.js";
import { groupIdRecord, headRecord, membershipRecord } from "../embedded/records.js";
import type { Transaction } from "../embedded/transaction.js";
import type { Appended } from "../storage.js";
import type { Claims } from "./claims.js";
import { decodeErrand, type Errand, encodeErrand } from "./outbox.js";
import { deviceTag, groupTag, placeOf } from "./places.js";
import type { RecordsLink } from "./records-link.js";
import { REMOVE_ITEMS } from "./scripts.js";
import type { Slots } from "./slots.js";

/** How many of a group's errands are read at once when they are found undone. */
const BATCH = 256;

/** What the commands' changes in a group's slot ask of other slots. */
export function errandsOf(tag: string, overlay: Overlay, appended: readonly Appended[]): Errand[] {
  if (!tag.startsWith("g:")) return [];
  const errands: Errand[] = [];
  for (const { log, entry } of appended) {
    if (log.kind !== LogKind.inbox || entry?.content === undefined) continue;
    errands.push({ type: "entry", deviceId: log.id, time: entry.time, content: entry.content });
  }
  for (const [key, value] of overlay.changes) {
    if (key.startsWith("m")) {
      const split = 1 + DEVICE_ID_LENGTH;
      const groupId = bytesOf(key, split);
      const head = overlay.changes.get(keys.head(groupLog(groupId)));
      const seq = head === undefined ? 0 : headRecord.decode(head).seq;
      const deviceId = bytesOf(key, 1, split);
      const made = value !== undefined && membershipRecord.decode(value).made;
      errands.push({ type: "membership", deviceId, groupId, seq, member: value !== undefined, made });
    } else if (key.startsWith("n") && value === undefined) {
      errands.push({ type: "name", nameHash: bytesOf(key, 1), groupId: groupIdOf(tag, overlay) });
    }
  }
  return errands;
}

function groupIdOf(tag: string, overlay: Overlay): Bytes {
  for (const key of overlay.changes.keys()) {
    if (key.startsWith("h") && placeOf(key).tag === tag) return bytesOf(key, 2);
    if (key.startsWith("g")) return bytesOf(key, 1);
  }
  throw new Error("a name is freed by no group");
}

/** Does what groups ask of other slots: at once as a rule, by whoever finds it undone otherwise. */
export class Errands {
  readonly #records: RecordsLink;
  readonly #claims: Claims;
  readonly #slots: () => Slots;
  readonly #report: (error: unknown) => void;

  constructor(records: RecordsLink, claims: Claims, slots: () => Slots, report: (error: unknown) => void) {
    this.#records = records;
    this.#claims = claims;
    this.#slots = slots;
    this.#report = report;
  }

  encode(tag: string, overlay: Overlay, appended: readonly Appended[]): Buffer[] {
    return errandsOf(tag, overlay, appended).map(encodeErrand);
  }

  /** Does these; those that fail stay to be found. Never rejects. */
  async deliver(tag: string, items: readonly Buffer[]): Promise<void> {
    const byDevice = new Map<string, { item: Buffer; errand: Errand }[]>();
    const names: { item: Buffer; errand: Extract<Errand, { type: "name" }> }[] = [];
    for (const item of items) {
      const errand = decodeErrand(item);
      if (errand.type === "name") names.push({ item, errand });
      else {
        const device = deviceTag(errand.deviceId);
        byDevice.set(device, [...(byDevice.get(device) ?? []), { item, errand }]);
      }
    }
    const work = [
      ...[...byDevice].map(([device, list]) => this.#tell(device, list).then(() => list)),
      ...names.map((one) => this.#free(one.errand).then(() => [one])),
    ];
    const results = await Promise.allSettled(work);
    const done: Buffer[] = [];
    for (const result of results) {
      if (result.status === "fulfilled") done.push(...result.value.map(({ item }) => item));
      else this.#report(result.reason);
    }
    if (done.length === 0) return;
    const list = this.#records.names.key("out", tag);
    const call = { tag, script: REMOVE_ITEMS, keys: [list], args: done };
    await this.#records.link.script(call).catch(this.#report);
  }

  /** Does what a group still asks, if anything. */
  async recover(groupId: Bytes): Promise<void> {
    const tag = groupTag(groupId);
    const list = this.#records.names.key("out", tag);
    const items = await this.#records.link.command(tag, ["LRANGE", list, "0", String(BATCH - 1)]);
    if ((items as Buffer[]).length > 0) await this.deliver(tag, items as Buffer[]);
  }

  #tell(tag: string, list: readonly { errand: Errand }[]): Promise<void> {
    const hints = new Set<string>();
    for (const { errand } of list) {
      if (errand.type === "entry") hints.add(keys.head(inboxLog(errand.deviceId)));
      if (errand.type === "membership") hints.add(keys.membership(errand.deviceId, errand.groupId));
    }
    return this.#slots().run(
      tag,
      async (transaction) => {
        for (const { errand } of list) await carryOut(transaction, errand);
      },
      [...hints],
    );
  }

  #free({ nameHash, groupId }: Extract<Errand, { type: "name" }>): Promise<boolean> {
    return this.#claims.end(keys.name(nameHash), groupIdRecord.encode(groupId), "free");
  }
}

async function carryOut(transaction: Transaction, errand: Errand): Promise<void> {
  if (errand.type === "entry" && errand.content.kind === EntryKind.pointer) {
    placePointer(transaction, errand.deviceId, errand.content, errand.time);
  } else if (errand.type === "entry") {
    await appendOwn(transaction, inboxLog(errand.deviceId), errand.content, errand.time);
  } else if (errand.type === "membership") {
    const key = keys.membership(errand.deviceId, errand.groupId);
    const known = transaction.get(membershipRecord, key);
    // An errand may come late: nothing newer is undone. A membership too many is harmless, access decides.
    if (known !== undefined && known.seq >= errand.seq) return;
    if (errand.member) transaction.put(membershipRecord, key, { seq: errand.seq, made: errand.made });
    else if (known !== undefined) transaction.delete(key);
  }
}
