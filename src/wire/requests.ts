import type { Bytes } from "../base/bytes.js";
import type { Reader } from "../codec/reader.js";
import type { Writer } from "../codec/writer.js";
import { blobOperations } from "./blobs.js";
import { channelOperations } from "./channels.js";
import {
  type AccessChange,
  decodeAccessChange,
  decodeEntryContent,
  decodeEntryKind,
  decodeRejection,
  type EntryContent,
  encodeAccessChange,
  encodeEntryContent,
  encodeRejection,
  type Rejection,
} from "./entries.js";
import {
  type Cursor,
  decodeCursor,
  decodeLogId,
  decodeName,
  encodeCursor,
  encodeLogId,
  encodeName,
  type LogId,
} from "./identifiers.js";
import { type Account, decodeAccount, encodeAccount } from "./identity.js";
import { nothing, type Operation, operation } from "./operation.js";
import { operatorOperations } from "./operator.js";
import {
  DEVICE_ID_LENGTH,
  DIGEST_LENGTH,
  ENTRY_ID_LENGTH,
  EntryKind,
  GROUP_ID_LENGTH,
  Role,
} from "./protocol.js";

/**
 * A new entry. `bundle` belongs to commits; the welcome is empty where nobody is added, and where only its hash is
 * known: who puts a commit back into a log that lost it may not be the one who made it.
 */
export interface NewEntry {
  readonly kind: EntryKind;
  readonly entryId: Bytes;
  readonly payload: Bytes;
  readonly bundle?: NewBundle;
  /** Of a leave: it is another member's, who need not be there for a log that lost it to have it again. */
  readonly isOfAnother?: boolean;
}

export interface NewBundle {
  readonly access: readonly AccessChange[];
  readonly welcome: Bytes;
  /** Of a welcome that is not given. */
  readonly welcomeHash?: Bytes;
}

function encodeNewEntry(writer: Writer, entry: NewEntry): void {
  writer.u8(entry.kind).fixed(entry.entryId).opaque(entry.payload);
  if (entry.kind === EntryKind.commit) {
    writer
      .vector(entry.bundle?.access ?? [], encodeAccessChange)
      .opaque(entry.bundle?.welcome ?? new Uint8Array(0))
      .optional(entry.bundle?.welcomeHash, (w, hash) => w.fixed(hash));
  } else if (entry.kind === EntryKind.leave) {
    writer.u8(entry.isOfAnother ? 1 : 0);
  }
}

function decodeNewEntry(reader: Reader): NewEntry {
  const kind = decodeEntryKind(reader);
  const entry = { kind, entryId: reader.fixed(ENTRY_ID_LENGTH), payload: reader.opaque() };
  if (kind === EntryKind.leave) {
    const whose = reader.u8();
    if (whose > 1) reader.fail("unknown kind of leave");
    return whose === 0 ? entry : { ...entry, isOfAnother: true };
  }
  if (kind !== EntryKind.commit) return entry;
  const bundle = { access: reader.vector(decodeAccessChange), welcome: reader.opaque() };
  const welcomeHash = reader.optional((r) => r.fixed(DIGEST_LENGTH));
  if (welcomeHash !== undefined && bundle.welcome.length > 0) reader.fail("a welcome beside its hash");
  return { ...entry, bundle: welcomeHash === undefined ? bundle : { ...bundle, welcomeHash } };
}

export interface AppendBody {
  readonly log: LogId;
  /** Group logs: the last handshake entry the sender has processed; elsewhere {@link START}. */
  readonly after: Cursor;
  readonly entry: NewEntry;
}

/** Which of the directory's names a new group takes; both are checked and set in the same transaction. */
export interface CreateBody {
  readonly groupId: Bytes;
  /** SHA-256 of the group's name, for groups that have one. */
  readonly nameHash?: Bytes;
  /** The other user and the generation that this group becomes, for direct conversations. */
  readonly direct?: { readonly peer: string; readonly generation: number };
  /** The first entry, a commit, if the group starts with more than its creator. */
  readonly first?: NewEntry;
}

export interface KeyPackageUpload {
  /** Seconds since 1970 after which the relay must not hand it out. */
  readonly notAfter: number;
  readonly keyPackage: Bytes;
}

function encodeUpload(writer: Writer, upload: KeyPackageUpload): void {
  writer.uint53(upload.notAfter).opaque(upload.keyPackage);
}

function decodeUpload(reader: Reader): KeyPackageUpload {
  return { notAfter: reader.uint53(), keyPackage: reader.opaque() };
}

export interface DirectBinding {
  readonly generation: number;
  readonly groupId: Bytes;
}

export interface GroupMembership {
  readonly groupId: Bytes;
  readonly role: Role;
  /** The commit that added this device, or {@link START} for the group's creator. */
  readonly since: Cursor;
  /** Of a direct conversation: the other user. */
  readonly peer?: string;
}

const encodeGroupId = (writer: Writer, body: { groupId: Bytes }) => void writer.fixed(body.groupId);
const decodeGroupId = (reader: Reader) => ({ groupId: reader.fixed(GROUP_ID_LENGTH) });
/** A name, as a hash, that a group takes beside those it has, or has no more. */
export interface NameBody {
  readonly groupId: Bytes;
  readonly nameHash: Bytes;
}

const encodeGroupName = (writer: Writer, body: NameBody) =>
  void writer.fixed(body.groupId).fixed(body.nameHash);
const decodeGroupName = (reader: Reader): NameBody => ({
  groupId: reader.fixed(GROUP_ID_LENGTH),
  nameHash: reader.fixed(DIGEST_LENGTH),
});

const encodeUser = (writer: Writer, body: { userId: string }) => encodeName(writer, body.userId);
const decodeUser = (reader: Reader) => ({ userId: decodeName(reader) });

/** All requests. PROTOCOL.md says what each does and which refusals it can meet. */
export const operations = {
  append: operation<AppendBody, Cursor>({
    type: 0x10,
    encode(writer, body) {
      encodeLogId(writer, body.log);
      encodeCursor(writer, body.after);
      encodeNewEntry(writer, body.entry);
    },
    decode: (reader) => ({
      log: decodeLogId(reader),
      after: decodeCursor(reader),
      entry: decodeNewEntry(reader),
    }),
    encodeResult: encodeCursor,
    decodeResult: decodeCursor,
  }),
  create: operation<CreateBody, Cursor>({
    type: 0x11,
    encode(writer, body) {
      writer.fixed(body.groupId);
      writer.optional(body.nameHash, (w, hash) => w.fixed(hash));
      writer.optional(body.direct, (w, direct) => {
        encodeName(w, direct.peer);
        w.uint53(direct.generation);
      });
      writer.optional(body.first, encodeNewEntry);
    },
    decode(reader) {
      const groupId = reader.fixed(GROUP_ID_LENGTH);
      const nameHash = reader.optional((r) => r.fixed(DIGEST_LENGTH));
      const direct = reader.optional((r) => ({ peer: decodeName(r), generation: r.uint53() }));
      const first = reader.optional(decodeNewEntry);
      return { groupId, ...(nameHash && { nameHash }), ...(direct && { direct }), ...(first && { first }) };
    },
    encodeResult: encodeCursor,
    decodeResult: decodeCursor,
  }),
  subscribe: operation<{ log: LogId; cursor: Cursor }, { head: Cursor; from: Cursor }>({
    type: 0x12,
    encode(writer, body) {
      encodeLogId(writer, body.log);
      encodeCursor(writer, body.cursor);
    },
    decode: (reader) => ({ log: decodeLogId(reader), cursor: decodeCursor(reader) }),
    encodeResult(writer, result) {
      encodeCursor(writer, result.head);
      encodeCursor(writer, result.from);
    },
    decodeResult: (reader) => ({ head: decodeCursor(reader), from: decodeCursor(reader) }),
  }),
  unsubscribe: operation<{ log: LogId }, undefined>({
    type: 0x13,
    encode: (writer, body) => encodeLogId(writer, body.log),
    decode: (reader) => ({ log: decodeLogId(reader) }),
    encodeResult: nothing.encode,
    decodeResult: nothing.decode,
  }),
  fetchBundle: operation<
    { groupId: Bytes; seq: number },
    { content: EntryContent; welcome: Bytes; at: Cursor }
  >({
    type: 0x14,
    encode: (writer, body) => void writer.fixed(body.groupId).uint53(body.seq),
    decode: (reader) => ({ groupId: reader.fixed(GROUP_ID_LENGTH), seq: reader.uint53() }),
    encodeResult(writer, result) {
      encodeEntryContent(writer, result.content);
      writer.opaque(result.welcome);
      encodeCursor(writer, result.at);
    },
    decodeResult: (reader) => ({
      content: decodeEntryContent(reader),
      welcome: reader.opaque(),
      at: decodeCursor(reader),
    }),
  }),
  publishKeyPackages: operation<
    { oneTime: readonly KeyPackageUpload[]; lastResort?: KeyPackageUpload },
    { oneTime: number }
  >({
    type: 0x15,
    encode: (writer, body) =>
      void writer.vector(body.oneTime, encodeUpload).optional(body.lastResort, encodeUpload),
    decode(reader) {
      const oneTime = reader.vector(decodeUpload);
      const lastResort = reader.optional(decodeUpload);
      return lastResort ? { oneTime, lastResort } : { oneTime };
    },
    encodeResult: (writer, result) => void writer.u32(result.oneTime),
    decodeResult: (reader) => ({ oneTime: reader.u32() }),
  }),
  fetchKeyPackages: operation<
    { userId: string },
    { account: Account; devices: readonly { deviceId: Bytes; keyPackage: Bytes }[] }
  >({
    type: 0x16,
    encode: encodeUser,
    decode: decodeUser,
    encodeResult(writer, result) {
      encodeAccount(writer, result.account);
      writer.vector(result.devices, (w, device) => w.fixed(device.deviceId).opaque(device.keyPackage));
    },
    decodeResult: (reader) => ({
      account: decodeAccount(reader),
      devices: reader.vector((r) => ({ deviceId: r.fixed(DEVICE_ID_LENGTH), keyPackage: r.opaque() })),
    }),
  }),
  fetchAccount: operation<{ userId: string }, Account>({
    type: 0x17,
    encode: encodeUser,
    decode: decodeUser,
    encodeResult: encodeAccount,
    decodeResult: decodeAccount,
  }),
  resolveName: operation<{ nameHash: Bytes }, { groupId: Bytes }>({
    type: 0x18,
    encode: (writer, body) => void writer.fixed(body.nameHash),
    decode: (reader) => ({ nameHash: reader.fixed(DIGEST_LENGTH) }),
    encodeResult: encodeGroupId,
    decodeResult: decodeGroupId,
  }),
  resolveDirect: operation<{ userId: string }, { binding?: DirectBinding }>({
    type: 0x19,
    encode: encodeUser,
    decode: decodeUser,
    encodeResult: (writer, result) =>
      void writer.optional(result.binding, (w, binding) =>
        w.uint53(binding.generation).fixed(binding.groupId),
      ),
    decodeResult(reader) {
      const binding = reader.optional((r) => ({ generation: r.uint53(), groupId: r.fixed(GROUP_ID_LENGTH) }));
      return binding ? { binding } : {};
    },
  }),
  /** `of`: another device of the asking account, be it a removed one; of none of its own it is in nothing. */
  listGroups: operation<{ readonly of?: Bytes }, { groups: readonly GroupMembership[] }>({
    type: 0x1a,
    encode: (writer, { of }) => void writer.optional(of, (w, deviceId) => w.fixed(deviceId)),
    decode(reader) {
      const of = reader.optional((r) => r.fixed(DEVICE_ID_LENGTH));
      return of ? { of } : {};
    },
    encodeResult: (writer, result) =>
      void writer.vector(result.groups, (w, group) => {
        w.fixed(group.groupId).u8(group.role).optional(group.peer, encodeName);
        encodeCursor(w, group.since);
      }),
    decodeResult: (reader) => ({
      groups: reader.vector((r) => {
        const groupId = r.fixed(GROUP_ID_LENGTH);
        const role = r.u8();
        if (role !== Role.member && role !== Role.admin) return r.fail("invalid membership");
        const peer = r.optional(decodeName);
        return { groupId, role, since: decodeCursor(r), ...(peer !== undefined && { peer }) };
      }),
    }),
  }),
  rejectJoin: operation<Rejection, undefined>({
    type: 0x1b,
    encode: encodeRejection,
    decode: decodeRejection,
    encodeResult: nothing.encode,
    decodeResult: nothing.decode,
  }),
  claimName: operation<NameBody, undefined>({
    type: 0x28,
    encode: encodeGroupName,
    decode: decodeGroupName,
    encodeResult: nothing.encode,
    decodeResult: nothing.decode,
  }),
  releaseName: operation<NameBody, undefined>({
    type: 0x29,
    encode: encodeGroupName,
    decode: decodeGroupName,
    encodeResult: nothing.encode,
    decodeResult: nothing.decode,
  }),
  setBlocked: operation<{ userId: string; blocked: boolean }, undefined>({
    type: 0x1c,
    encode(writer, body) {
      encodeName(writer, body.userId);
      writer.u8(body.blocked ? 1 : 0);
    },
    decode(reader) {
      const userId = decodeName(reader);
      const blocked = reader.u8();
      return blocked > 1 ? reader.fail("neither blocked nor not") : { userId, blocked: blocked === 1 };
    },
    encodeResult: nothing.encode,
    decodeResult: nothing.decode,
  }),
  listBlocked: operation<Record<string, never>, { users: readonly string[] }>({
    type: 0x1d,
    encode: () => {},
    decode: () => ({}),
    encodeResult: (writer, result) => void writer.vector(result.users, encodeName),
    decodeResult: (reader) => ({ users: reader.vector(decodeName) }),
  }),
  ...blobOperations,
  ...channelOperations,
  ...operatorOperations,
} as const;

export type Operations = typeof operations;
export type OperationName = keyof Operations;
export type BodyOf<Name extends OperationName> =
  Operations[Name] extends Operation<infer Body, infer _> ? Body : never;
export type ResultOf<Name extends OperationName> =
  Operations[Name] extends Operation<infer _, infer Result> ? Result : never;

const BY_TYPE = new Map<number, OperationName>(
  (Object.keys(operations) as OperationName[]).map((name) => [operations[name].type, name]),
);

/** The operation of a frame type, if it has one. */
export function operationOf(type: number): OperationName | undefined {
  return BY_TYPE.get(type);
}
