import type { Bytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import type { Reader } from "../../codec/reader.js";
import type { Writer } from "../../codec/writer.js";
import { type Cursor, decodeCursor, decodeName, encodeCursor, encodeName } from "../../wire/identifiers.js";
import { DEVICE_ID_LENGTH, GROUP_ID_LENGTH, Role } from "../../wire/protocol.js";

/**
 * Where a conversation stands:
 * `creating`: the relay has not confirmed it; `active`; `invited`: followed, but shown only after acceptance;
 * `leaving`: hidden, followed until a commit removes this device; `ended`: nothing but its history is left.
 */
export type Status = "creating" | "active" | "invited" | "leaving" | "ended";

const STATUSES = ["creating", "active", "invited", "leaving", "ended"] as const;

/** What is known of a conversation beside its keys; written when it changes. */
export interface ConversationRecord {
  readonly groupId: Bytes;
  readonly status: Status;
  readonly subject:
    | { readonly kind: "direct"; readonly peer: string }
    | { readonly kind: "group"; readonly name: string };
  /** Who invited this user, while `invited`. */
  readonly inviter?: string | undefined;
  /** The last epoch of a conversation that has ended: no welcome leads back before it. */
  readonly lastEpoch?: bigint;
  /** Of a direct conversation that is being created: which one of its two users it is. */
  readonly generation?: number;
  /** Milliseconds since 1970 of this device's last own commit; 0 if it has made none since it joined. */
  readonly refreshedAt: number;
}

export function encodeConversationRecord(writer: Writer, record: ConversationRecord): void {
  writer.u8(1).fixed(record.groupId).u8(STATUSES.indexOf(record.status));
  if (record.subject.kind === "direct") encodeName(writer.u8(1), record.subject.peer);
  else encodeName(writer.u8(2), record.subject.name);
  writer.optional(record.inviter, encodeName);
  writer.optional(record.generation, (w, generation) => w.uint53(generation));
  writer.optional(record.lastEpoch, (w, epoch) => w.u64(epoch)).uint53(record.refreshedAt);
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
  return {
    groupId,
    status,
    subject: kind === 1 ? { kind: "direct", peer: name } : { kind: "group", name },
    ...(inviter !== undefined && { inviter }),
    ...(generation !== undefined && { generation }),
    ...(lastEpoch !== undefined && { lastEpoch }),
    refreshedAt: reader.uint53(),
  };
}

/** How far this device has come in a group's log. */
export interface Place {
  readonly cursor: Cursor;
  /** The last handshake entry at or before the cursor. */
  readonly handshake: Cursor;
  /** Messages sent since this device's last own commit. */
  readonly sentSinceRefresh: number;
}

export function encodePlace(writer: Writer, place: Place): void {
  encodeCursor(writer.u8(1), place.cursor);
  encodeCursor(writer, place.handshake);
  writer.uint53(place.sentSinceRefresh);
}

export function decodePlace(reader: Reader): Place {
  if (reader.u8() !== 1) reader.fail("unknown version of place");
  return {
    cursor: decodeCursor(reader),
    handshake: decodeCursor(reader),
    sentSinceRefresh: reader.uint53(),
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

/** What changes with every epoch: the engine's part, and the relay's list. */
export interface EpochRecord {
  readonly epoch: Bytes;
  readonly access: AccessList;
}

export function encodeEpochRecord(writer: Writer, record: EpochRecord): void {
  encodeAccessList(writer.u8(1).opaque(record.epoch), record.access);
}

export function decodeEpochRecord(reader: Reader): EpochRecord {
  if (reader.u8() !== 1) reader.fail("unknown version of epoch");
  return { epoch: reader.opaque(), access: decodeAccessList(reader) };
}
