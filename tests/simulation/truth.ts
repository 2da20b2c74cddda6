import { toHex } from "../../src/base/encoding.js";
import type { Content } from "../../src/client/conversation/content.js";
import {
  decodeConversationRecord,
  decodeEpochRecord,
  decodePlace,
  type Status,
} from "../../src/client/conversation/record.js";
import { decodeIntent, type Intent, type Target } from "../../src/client/conversation/sending/intent.js";
import { decodeStoredMessage } from "../../src/client/delivery/pending-message.js";
import { layout } from "../../src/client/layout.js";
import { decode, type Reader } from "../../src/codec/reader.js";
import { decodeGroupContext, type GroupContext } from "../../src/mls/structs/group-context.js";
import { bytesOf, keys } from "../../src/relay/embedded/keys.js";
import type { KvChanges } from "../../src/relay/embedded/kv.js";
import {
  accessRecord,
  entryRecord,
  type GroupRecord,
  groupRecord,
  headRecord,
} from "../../src/relay/embedded/records.js";
import type { SealedChange } from "../../src/stores/records.js";
import type { AccessChange } from "../../src/wire/entries.js";
import { EntryKind, LogKind, Role } from "../../src/wire/protocol.js";

const PLACES = layout.place(new Uint8Array(0));

type Text = Extract<Content, { type: "text" }>;

/** Of the engine's record of an epoch, what all members have alike. */
function contextOf(reader: Reader): GroupContext {
  reader.u8();
  const context = decodeGroupContext(reader);
  reader.fixed(reader.remaining);
  return context;
}

/** An entry as the relay took it. */
export interface Accepted {
  readonly seq: number;
  readonly kind: EntryKind;
  readonly entryId: string;
  readonly digest: string;
  readonly user: string;
  readonly access: readonly AccessChange[];
}

/** How a time of membership ended. */
export type MembershipEnd = "removed" | "left" | "closed" | undefined;

/** A user's membership in a group: entries from the one after `from` up to, not including, `until` are for it. */
export interface Membership {
  readonly user: string;
  /** The commit that added the user; 0 for the creator. */
  readonly from: number;
  until: number;
  end: MembershipEnd;
}

/** A member has deleted the group; or the relay has closed it, as nobody was left who could come back. */
const isEnd = ({ kind }: Pick<Accepted, "kind">) =>
  kind === EntryKind.close || kind === EntryKind.operatorClose;

/** A group's log as it really was, and what follows from it. */
export class LogTruth {
  readonly groupId: string;
  /** As the relay has it now. */
  group: GroupRecord;
  readonly entries: Accepted[] = [];

  constructor(groupId: string, group: GroupRecord) {
    this.groupId = groupId;
    this.group = group;
  }

  get isClosed(): boolean {
    return this.entries.some(isEnd);
  }

  /** Every membership there was, with users in the order in which they came. `creator` made the group. */
  memberships(creator: string): Membership[] {
    const all: Membership[] = [{ user: creator, from: 0, until: Number.POSITIVE_INFINITY, end: undefined }];
    const devices = new Map([[toHex(this.group.creator), creator]]);
    const current = (user: string) => all.find((one) => one.user === user && one.end === undefined);
    const finish = (user: string, seq: number, end: MembershipEnd) => {
      const membership = current(user);
      if (membership !== undefined) Object.assign(membership, { until: seq, end });
    };
    for (const { seq, kind, user, access } of this.entries) {
      if (kind === EntryKind.leave) finish(user, seq, "left");
      if (isEnd({ kind })) for (const one of [...all]) finish(one.user, seq + 1, "closed");
      for (const change of access) {
        if (change.type === "remove") devices.delete(toHex(change.deviceId));
        if (change.type !== "add") continue;
        devices.set(toHex(change.deviceId), change.userId);
        // Who is added again without having been away, with whatever device, goes on as before.
        if (current(change.userId) !== undefined) continue;
        all.push({ user: change.userId, from: seq, until: Number.POSITIVE_INFINITY, end: undefined });
      }
      const users = new Set(devices.values());
      for (const one of all) if (!users.has(one.user)) finish(one.user, seq, "removed");
    }
    return all;
  }

  /** Users whom the relay takes for admins. */
  admins(creator: string): Set<string> {
    const admins = new Map([[toHex(this.group.creator), creator]]);
    for (const { access } of this.entries) {
      for (const change of access) {
        const device = toHex(change.deviceId);
        if (change.type !== "remove" && change.role === Role.admin) admins.set(device, change.userId);
        else admins.delete(device);
      }
    }
    return new Set(admins.values());
  }
}

/** An epoch of a group as a device stored it. */
export interface StoredEpoch {
  readonly user: string;
  /** The last handshake entry that the device had processed then. */
  readonly handshake: number;
  readonly context: GroupContext;
}

/** What is known of a message from its sender's outbox. */
export interface MessageFacts {
  /** Where it was to go; undefined while there was no conversation. */
  readonly groupId: string | undefined;
  /** When it was sent, in milliseconds since 1970. */
  readonly sentAt: number;
  /** How long each device keeps it once it has it, in milliseconds. */
  readonly keptFor: number;
}

/** A conversation that a device took up, and whether its app ever got to see it. */
export interface Taken {
  readonly user: string;
  readonly groupId: string;
  readonly at: number;
  /** The last entry that it processed, once it had ended. */
  endedAt: number | undefined;
  readonly statuses: Status[];
}

/** A log as it was when the relay lost the end of it, or all. */
export interface LostLog {
  readonly log: LogTruth;
  /** The conversations in it that were over by then, as far as the devices knew. */
  readonly over: readonly Taken[];
}

/** What really happened, read off the disks of relay and devices as it is written. */
export class Truth {
  readonly logs = new Map<string, LogTruth>();
  readonly users = new Map<string, string>();
  /** The messages behind entries: by entry id, the message's id and who made it. */
  readonly sealed = new Map<string, { readonly user: string; readonly intent: Intent }>();
  /** The ids of messages, by their texts. */
  readonly messages = new Map<string, string>();
  readonly facts = new Map<string, MessageFacts>();
  readonly taken: Taken[] = [];
  /** When a device stored a message for its app, by user and id. */
  readonly received = new Map<string, number>();
  /** Messages that a user's app said it has read: user and id. */
  readonly read = new Set<string>();
  /** Epochs as devices stored them, by group, user and last handshake entry. */
  readonly #epochs = new Map<string, Omit<StoredEpoch, "context"> & { groupId: string; value: Uint8Array }>();
  /** How far each user's device has come in which log. */
  readonly #places = new Map<string, number>();
  /** What an honest relay's log never does. */
  readonly impossible: string[] = [];

  readonly lost: LostLog[] = [];
  hasLost = false;

  /** The relay has only what is in a backup: what came later never was. */
  rewind(backup: ReadonlyMap<string, Uint8Array>): void {
    this.hasLost = true;
    for (const [groupId, log] of [...this.logs]) {
      const before = new LogTruth(groupId, log.group);
      before.entries.push(...log.entries);
      const over = this.taken.filter((one) => one.groupId === groupId && one.endedAt !== undefined);
      this.lost.push({ log: before, over });
      const id = Uint8Array.from(Buffer.from(groupId, "hex"));
      const group = backup.get(keys.group(id));
      if (group === undefined) this.logs.delete(groupId);
      else log.group = groupRecord.decode(group);
      const head = backup.get(keys.head({ kind: LogKind.group, id }));
      log.entries.length = head === undefined ? 0 : headRecord.decode(head).seq;
    }
  }

  noteRelay(changes: KvChanges): void {
    for (const [key, value] of changes) {
      if (value === undefined) continue;
      const id = toHex(bytesOf(key, 1, 33));
      if (key[0] === "g") {
        const group = groupRecord.decode(value);
        const log = this.logs.get(id);
        if (log === undefined) this.logs.set(id, new LogTruth(id, group));
        else log.group = group;
      }
      if (key[0] === "x") this.users.set(toHex(bytesOf(key, 33, 49)), accessRecord.decode(value).userId);
    }
    for (const [key, value] of changes) {
      if (key[0] === "e" && key.charCodeAt(1) === LogKind.group && value !== undefined) {
        this.#noteEntry(toHex(bytesOf(key, 2, 34)), value);
      }
    }
  }

  #noteEntry(groupId: string, value: Uint8Array): void {
    const { seq, kind, entryId, digest, sender, content } = entryRecord.decode(value);
    const entries = this.logs.get(groupId)?.entries;
    const known = entries?.[seq - 1];
    if (known !== undefined && known.digest !== toHex(digest)) {
      this.impossible.push(`log ${groupId.slice(0, 8)} had another entry ${seq} before`);
    }
    if (entries === undefined || known !== undefined) return;
    if (entries.length !== seq - 1)
      this.impossible.push(`log ${groupId.slice(0, 8)} has a gap before ${seq}`);
    const name = toHex(entryId);
    if (entries.some((entry) => entry.entryId === name)) {
      this.impossible.push(`log ${groupId.slice(0, 8)} has an entry twice, again as ${seq}`);
    }
    // Another may put back that somebody leaves.
    const maker = kind === EntryKind.leave ? this.sealed.get(name)?.user : undefined;
    const user = maker ?? this.users.get(toHex(sender)) ?? "?";
    entries.push({
      seq,
      kind,
      entryId: name,
      digest: toHex(digest),
      user,
      access: content?.bundle?.access ?? [],
    });
  }

  noteStore(user: string, changes: readonly SealedChange[], now: number): void {
    const puts = new Map<string, Uint8Array>();
    for (const change of changes)
      if (change.kind === "put") puts.set(change.key, change.record as Uint8Array);
    for (const [key, value] of puts) {
      if (!key.startsWith(PLACES)) continue;
      this.#places.set(`${user} ${key.slice(PLACES.length)}`, decode(decodePlace, value).cursor.seq);
    }
    for (const [key, value] of puts) {
      if (key.startsWith(layout.intents)) {
        const intent = decode(decodeIntent, value);
        const { action } = intent;
        if (action.type === "send" && action.content.type === "text") {
          this.#noteMessage(intent.target, action.content);
        }
        if (intent.sealed !== undefined) this.sealed.set(toHex(intent.sealed.entryId), { user, intent });
      } else if (key.startsWith(layout.pending)) {
        this.received.set(`${user} ${decode(decodeStoredMessage, value).id}`, now);
      } else if (key.startsWith(layout.epochs)) {
        const groupId = key.slice(layout.epochs.length);
        const place = puts.get(`${PLACES}${groupId}`);
        const handshake = place === undefined ? undefined : decode(decodePlace, place).handshake.seq;
        if (handshake === undefined) continue;
        this.#epochs.set(`${groupId} ${user} ${handshake}`, { user, groupId, handshake, value });
      } else if (key.startsWith(layout.conversations)) {
        const { groupId, status } = decode(decodeConversationRecord, value);
        const id = toHex(groupId);
        const key = `${user} ${id}`;
        const last = this.taken.findLast((one) => one.user === user && one.groupId === id);
        // What it waited to be repaired in is over where it is invited anew.
        const isAnew = status === "invited" && last?.statuses.at(-1) !== "invited";
        if (last !== undefined && last.endedAt === undefined && isAnew)
          last.endedAt = this.#places.get(key) ?? 0;
        if (last !== undefined && last.endedAt === undefined) {
          if (last.statuses.at(-1) !== status) last.statuses.push(status);
          if (status === "ended") last.endedAt = this.#places.get(key) ?? 0;
          continue;
        }
        const at = this.#places.get(key) ?? 0;
        this.taken.push({ user, groupId: id, at, endedAt: undefined, statuses: [status] });
      }
    }
  }

  #noteMessage(target: Target, { id, text, sentAt, disappearAfter }: Text): void {
    const name = toHex(id);
    this.messages.set(text, name);
    this.facts.set(name, {
      groupId: "groupId" in target ? toHex(target.groupId) : this.facts.get(name)?.groupId,
      sentAt,
      keptFor: disappearAfter ?? Number.POSITIVE_INFINITY,
    });
  }

  /** Every epoch of a group that some device was in. */
  epochsOf(groupId: string): StoredEpoch[] {
    const stored = [...this.#epochs.values()].filter((one) => one.groupId === groupId);
    return stored.map(({ user, handshake, value }) => {
      const { epoch } = decode(decodeEpochRecord, value);
      return { user, handshake, context: decode(contextOf, epoch) };
    });
  }

  /** Group names by the hash under which the relay knows them. */
  readonly names = new Map<string, string>();

  nameOf({ group }: LogTruth): string | undefined {
    const [newest] = group.names.slice(-1);
    return newest && this.names.get(toHex(newest));
  }

  /** The group that has a name now. */
  openLogNamed(name: string): LogTruth | undefined {
    return [...this.logs.values()].find((log) => this.nameOf(log) === name && !log.isClosed);
  }

  /** For whoever looks into a run that failed. */
  inWords(): string[] {
    return [...this.logs.values()].flatMap((log) => [
      `${log.groupId.slice(0, 8)} ${this.nameOf(log) ?? log.group.direct?.join("+")} of ${this.creatorOf(log)}`,
      ...log.entries.map(({ seq, kind, user, access, entryId }) => {
        const action = this.sealed.get(entryId)?.intent.action;
        const what =
          action?.type === "send"
            ? action.content.type === "text"
              ? action.content.text
              : action.content.type
            : action?.type;
        const changes = access.map(({ type, userId }) => `${type} ${userId}`);
        return `  ${seq} ${["", "message", "commit", "leave", "close", "operatorClose"][kind]} of ${user}: ${what} ${changes}`;
      }),
    ]);
  }

  creatorOf(log: LogTruth): string {
    return this.users.get(toHex(log.group.creator)) ?? "?";
  }
}
