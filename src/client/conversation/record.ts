import type { Bytes } from "../../base/bytes.js";
import { fromHex, fromUtf8, toHex, toUtf8 } from "../../base/encoding.js";
import { ERROR_CODES, type ErrorCode } from "../../base/errors.js";
import type { Reader } from "../../codec/reader.js";
import type { Writer } from "../../codec/writer.js";
import { type Cursor, decodeCursor, decodeName, encodeCursor, encodeName } from "../../wire/identifiers.js";
import { DEVICE_ID_LENGTH, DIGEST_LENGTH, GROUP_ID_LENGTH, Role } from "../../wire/protocol.js";
import { decodeTime } from "./membership/policy.js";

/**
 * Where a conversation stands:
 * `creating`: the relay has not confirmed it; `active`; `invited`: followed, but shown only after acceptance;
 * `leaving`: hidden, followed until a commit removes this device; `ended`: nothing but its history is left;
 * `repairing`: this device's keys are of no use any more, and it waits for another member to add it anew.
 */
export type Status = "creating" | "active" | "invited" | "leaving" | "ended" | "repairing";

const STATUSES = ["creating", "active", "invited", "leaving", "ended", "repairing"] as const;

/** What is known of a repair while it lasts. */
export interface Repair {
  /** Why the keys are of no use. */
  readonly reason: ErrorCode;
  /** Messages that went by and could not be read. */
  readonly missed: number;
  /** The log has shown the commit that adds this device anew; what follows it is readable. */
  readonly readded: boolean;
  /**
   * It began with an answer of the relay to who asked for the log, and with nothing that the log says: the conversation
   * stands where it stood, and goes on from there if the relay takes that back.
   */
  readonly refused: boolean;
  /** Users whom a commit has removed that the relay has lost, and the others have gone on without. */
  readonly back?: readonly string[];
}

/** Whether only the log can end it. */
export function isLive({ status }: Pick<ConversationRecord, "status">): boolean {
  return status !== "ended" && status !== "repairing";
}

/** While the relay's log is put back to what it was before the relay lost a part of it. */
export interface Restoration {
  /** Entries up to this number may be ones that were processed before. */
  readonly until: number;
  /** The last of the kept handshake entries that the log has shown again (see `Journal`), by its order. */
  readonly matched: number;
  /** What was read before of the log behind this number is known (see `Trail`). */
  readonly since: number;
  /** Messages that were sent meanwhile in an epoch which is over here. */
  readonly missed: number;
}

/** What is known of a conversation beside its keys; written when it changes. */
export interface ConversationRecord {
  readonly groupId: Bytes;
  readonly status: Status;
  readonly subject:
    | { readonly kind: "direct"; readonly peer: string }
    | { readonly kind: "group"; readonly name: string };
  /** Who invited this user, while `invited`. */
  readonly inviter?: string | undefined;
  /**
   * Of one that is over: that this user has left it. Of an invitation: that it comes of nothing but that the relay has lost
   * that, so that it is turned down by itself.
   */
  readonly hasLeft?: boolean;
  /** How many messages at most had gone by when this device got in, of which the user is told once it accepts. */
  readonly missed?: number;
  /** The last epoch of a conversation that has ended: no welcome leads back before it. */
  readonly lastEpoch?: bigint;
  /** This device created the group, and can do so again if the relay has lost it. */
  readonly creator: boolean;
  /** Of a direct conversation that is being created: which one of its two users it is. */
  readonly generation?: number;
  /** Milliseconds since 1970 of this device's last own commit; 0 if it has made none since it joined. */
  readonly refreshedAt: number;
  /** Milliseconds since 1970 when this device came in; 0 if its keys should be renewed without delay. */
  readonly joinedAt: number;
  /** How long messages of a direct conversation are kept, in milliseconds, for the one that comes after it. */
  readonly disappearAfter?: number;
  /** SHA-256 of this device's leaf node: what a request for repair names. */
  readonly leafHash?: Bytes;
  /**
   * The same of leaves that the others may know in its place: those that it gets by commits which it has made, whatever it
   * knows of what came of them; of a group that has ended also those that it had before.
   */
  readonly otherLeaves?: readonly Bytes[];
  /** Milliseconds since 1970 of the last request for repair; 0 if there was none. */
  readonly repairedAt: number;
  /**
   * One more whenever somebody has come in, or may have, from the time when this device did: what was sent at another
   * count, or in another group, is not for everyone there is now.
   */
  readonly growth: number;
  /** The epochs in which users came in that joined after this device: they have nothing from before. */
  readonly since?: ReadonlyMap<string, bigint>;
  /** How many handshake entries were kept so far. */
  readonly kept?: number;
  readonly repair?: Repair | undefined;
  readonly restoration?: Restoration | undefined;
  /** The epoch in which the log was put back: who never heard that the relay had a message of it sends that again. */
  readonly putBackIn?: bigint | undefined;
}

export function encodeConversationRecord(writer: Writer, record: ConversationRecord): void {
  writer.u8(1).fixed(record.groupId).u8(STATUSES.indexOf(record.status));
  if (record.subject.kind === "direct") encodeName(writer.u8(1), record.subject.peer);
  else encodeName(writer.u8(2), record.subject.name);
  writer.optional(record.inviter, encodeName);
  writer.optional(record.generation, (w, generation) => w.uint53(generation));
  writer.optional(record.lastEpoch, (w, epoch) => w.u64(epoch)).uint53(record.refreshedAt);
  writer
    .optional(record.leafHash, (w, hash) => w.fixed(hash))
    .uint53(record.repairedAt)
    .uint53(record.growth);
  writer.u8(record.creator ? 1 : 0).uint53(record.joinedAt);
  writer.optional(record.repair, (w, repair) =>
    w
      .opaque(toUtf8(repair.reason))
      .uint53(repair.missed)
      .u8(repair.readded ? 1 : 0)
      .u8(repair.refused ? 1 : 0)
      .vector(repair.back ?? [], encodeName),
  );
  writer.optional(record.restoration, (w, { until, matched, since, missed }) =>
    w.uint53(until).uint53(matched).uint53(since).uint53(missed),
  );
  writer.vector([...(record.since ?? [])], (w, [userId, epoch]) => {
    encodeName(w, userId);
    w.u64(epoch);
  });
  writer
    .uint53(record.disappearAfter ?? 0)
    .uint53(record.kept ?? 0)
    .uint53(record.missed ?? 0);
  writer.optional(record.putBackIn, (w, epoch) => w.u64(epoch));
  writer.u8(record.hasLeft ? 1 : 0).vector(record.otherLeaves ?? [], (w, hash) => w.fixed(hash));
}

export function decodeConversationRecord(reader: Reader): ConversationRecord {
  if (reader.u8() !== 1) reader.fail("unknown version of conversation");
  const groupId = reader.fixed(GROUP_ID_LENGTH);
  const status = STATUSES[reader.u8()] ?? reader.fail("unknown status");
  const kind = reader.u8();
  if (kind !== 1 && kind !== 2) reader.fail("unknown kind of conversation");
  const name = decodeName(reader);
  const inviter = reader.optional(decodeName);
  const generation = reader.optional((r) => r.uint53());
  const lastEpoch = reader.optional((r) => r.u64());
  const refreshedAt = reader.uint53();
  const leafHash = reader.optional((r) => r.fixed(DIGEST_LENGTH));
  const repairedAt = reader.uint53();
  const growth = reader.uint53();
  const creator = reader.u8() === 1;
  const joinedAt = reader.uint53();
  const repair = reader.optional((r) => ({
    reason: codeOf(fromUtf8(r.opaque(64))),
    missed: r.uint53(),
    readded: r.u8() === 1,
    refused: r.u8() === 1,
    back: r.vector(decodeName),
  }));
  const restoration = reader.optional((r) => ({
    until: r.uint53(),
    matched: r.uint53(),
    since: r.uint53(),
    missed: r.uint53(),
  }));
  const since = new Map(reader.vector((r): [string, bigint] => [decodeName(r), r.u64()]));
  const disappearAfter = decodeTime(reader);
  const [kept, missed] = [reader.uint53(), reader.uint53()];
  const putBackIn = reader.optional((r) => r.u64());
  const hasLeft = reader.u8() === 1;
  const otherLeaves = reader.vector((r) => r.fixed(DIGEST_LENGTH));
  return {
    groupId,
    status,
    subject: kind === 1 ? { kind: "direct", peer: name } : { kind: "group", name },
    ...(inviter !== undefined && { inviter }),
    ...(generation !== undefined && { generation }),
    ...(lastEpoch !== undefined && { lastEpoch }),
    refreshedAt,
    repairedAt,
    growth,
    creator,
    joinedAt,
    ...(leafHash && { leafHash }),
    ...(repair && { repair }),
    ...(restoration && { restoration }),
    ...(since.size > 0 && { since }),
    ...(disappearAfter > 0 && { disappearAfter }),
    ...(kept > 0 && { kept }),
    ...(missed > 0 && { missed }),
    ...(putBackIn !== undefined && { putBackIn }),
    ...(hasLeft && { hasLeft }),
    ...(otherLeaves.length > 0 && { otherLeaves }),
  };
}

/** The error code of this name; `internal` where it is none. */
export function codeOf(text: string): ErrorCode {
  return ERROR_CODES.find((code) => code === text) ?? "internal";
}

/** How far this device has come in a group's log. */
export interface Place {
  readonly cursor: Cursor;
  /** The last handshake entry at or before the cursor. */
  readonly handshake: Cursor;
  /** Messages sent since this device's last own commit. */
  readonly sentSinceRefresh: number;
  /** Messages that could not be read, since the last that could. */
  readonly unreadable: number;
  /** How many steps have noted what they read (see `Trail`). */
  readonly noted: number;
}

export function encodePlace(writer: Writer, place: Place): void {
  encodeCursor(writer.u8(1), place.cursor);
  encodeCursor(writer, place.handshake);
  writer.uint53(place.sentSinceRefresh).uint53(place.unreadable).uint53(place.noted);
}

export function decodePlace(reader: Reader): Place {
  if (reader.u8() !== 1) reader.fail("unknown version of place");
  return {
    cursor: decodeCursor(reader),
    handshake: decodeCursor(reader),
    sentSinceRefresh: reader.uint53(),
    unreadable: reader.uint53(),
    noted: reader.uint53(),
  };
}

/** One device in the relay's list for a group, as every member computes it from the log. */
export interface AccessEntry {
  readonly userId: string;
  readonly deviceId: Bytes;
  readonly role: Role;
}

/** By device id in hexadecimal. */
export type AccessList = ReadonlyMap<string, AccessEntry>;

export function encodeAccessList(writer: Writer, access: AccessList): void {
  writer.vector([...access.values()], (w, entry) => {
    encodeName(w, entry.userId);
    w.fixed(entry.deviceId).u8(entry.role);
  });
}

export function decodeAccessList(reader: Reader): AccessList {
  const access = new Map<string, AccessEntry>();
  reader.vector((r) => {
    const userId = decodeName(r);
    const deviceId = r.fixed(DEVICE_ID_LENGTH);
    const role = r.u8();
    if (role !== Role.member && role !== Role.admin) return r.fail("unknown role");
    return access.set(toHex(deviceId), { userId, deviceId, role });
  });
  return access;
}

/**
 * When each device was last heard of, in milliseconds since 1970 by this device's clock; by id in hexadecimal. It is
 * stored with each epoch, and kept up in place between them.
 */
export type Activity = Map<string, number>;

/** What changes with every epoch: the engine's part, the relay's list, and who was heard of when. */
export interface EpochRecord {
  readonly epoch: Bytes;
  readonly access: AccessList;
  readonly activity: Activity;
}

export function encodeEpochRecord(writer: Writer, record: EpochRecord): void {
  encodeAccessList(writer.u8(1).opaque(record.epoch), record.access);
  writer.vector([...record.activity], (w, [device, time]) => w.fixed(fromHex(device)).uint53(time));
}

export function decodeEpochRecord(reader: Reader): EpochRecord {
  if (reader.u8() !== 1) reader.fail("unknown version of epoch");
  const epoch = reader.opaque();
  const access = decodeAccessList(reader);
  const activity = reader.vector((r): [string, number] => [toHex(r.fixed(DEVICE_ID_LENGTH)), r.uint53()]);
  return { epoch, access, activity: new Map(activity) };
}
