import type { Bytes } from "../base/bytes.js";
import { toUtf8 } from "../base/encoding.js";
import type { Reader } from "../codec/reader.js";
import { encode, type Writer } from "../codec/writer.js";
import {
  type Cursor,
  decodeCursor,
  decodeName,
  encodeCursor,
  encodeLogId,
  encodeName,
  type LogId,
} from "./identifiers.js";
import {
  DEVICE_ID_LENGTH,
  DIGEST_LENGTH,
  ENTRY_ID_LENGTH,
  EntryKind,
  GROUP_ID_LENGTH,
  PUBLIC_KEY_LENGTH,
  RejectionReason,
  Role,
} from "./protocol.js";

/** What one commit changes in the list of devices that may use a group log. */
export type AccessChange =
  /** The device may read from this commit on; the relay puts a pointer to it into the device's inbox. */
  | { readonly type: "add"; readonly userId: string; readonly deviceId: Bytes; readonly role: Role }
  | { readonly type: "role"; readonly userId: string; readonly deviceId: Bytes; readonly role: Role }
  /** The device may read up to this commit. */
  | { readonly type: "remove"; readonly userId: string; readonly deviceId: Bytes };

const CHANGE_TYPES = { add: 1, role: 2, remove: 3 } as const;

function decodeRole(reader: Reader): Role {
  const role = reader.u8();
  return role === Role.member || role === Role.admin ? role : reader.fail("unknown role");
}

export function encodeAccessChange(writer: Writer, change: AccessChange): void {
  writer.u8(CHANGE_TYPES[change.type]);
  encodeName(writer, change.userId);
  writer.fixed(change.deviceId);
  if (change.type !== "remove") writer.u8(change.role);
}

export function decodeAccessChange(reader: Reader): AccessChange {
  const type = reader.u8();
  const userId = decodeName(reader);
  const deviceId = reader.fixed(DEVICE_ID_LENGTH);
  switch (type) {
    case CHANGE_TYPES.add:
      return { type: "add", userId, deviceId, role: decodeRole(reader) };
    case CHANGE_TYPES.role:
      return { type: "role", userId, deviceId, role: decodeRole(reader) };
    case CHANGE_TYPES.remove:
      return { type: "remove", userId, deviceId };
    default:
      return reader.fail("unknown access change");
  }
}

/** The part of a bundle that every reader gets: all but the welcome, of which only the hash. */
export interface BundleHead {
  readonly access: readonly AccessChange[];
  /** SHA-256 of the welcome; empty where the commit adds nobody. */
  readonly welcomeHash: Bytes;
}

export function encodeBundleHead(writer: Writer, head: BundleHead): void {
  writer.vector(head.access, encodeAccessChange).opaque(head.welcomeHash);
}

export function decodeBundleHead(reader: Reader): BundleHead {
  const access = reader.vector(decodeAccessChange);
  const welcomeHash = reader.opaque(DIGEST_LENGTH);
  if (welcomeHash.length !== 0 && welcomeHash.length !== DIGEST_LENGTH) reader.fail("invalid welcome hash");
  return { access, welcomeHash };
}

/** What an entry says. `bundle` is there for commits only. */
export interface EntryContent {
  readonly kind: EntryKind;
  readonly entryId: Bytes;
  readonly payload: Bytes;
  readonly bundle?: BundleHead;
}

export function encodeEntryContent(writer: Writer, content: EntryContent): void {
  writer.u8(content.kind).fixed(content.entryId).opaque(content.payload);
  if (content.kind === EntryKind.commit) encodeBundleHead(writer, content.bundle as BundleHead);
}

const KINDS: ReadonlySet<number> = new Set(Object.values(EntryKind));

export function decodeEntryKind(reader: Reader): EntryKind {
  const kind = reader.u8();
  return KINDS.has(kind) ? (kind as EntryKind) : reader.fail("unknown kind of entry");
}

export function decodeEntryContent(reader: Reader): EntryContent {
  const kind = decodeEntryKind(reader);
  const content = { kind, entryId: reader.fixed(ENTRY_ID_LENGTH), payload: reader.opaque() };
  return kind === EntryKind.commit ? { ...content, bundle: decodeBundleHead(reader) } : content;
}

/**
 * An entry as a reader gets it. The short form stands for an entry whose bytes the reader has (its own) or may
 * not have (application messages after it left): the digest keeps the chain whole.
 */
export type LogEntry =
  | { readonly form: "full"; readonly seq: number; readonly content: EntryContent }
  | {
      readonly form: "short";
      readonly seq: number;
      readonly kind: EntryKind;
      readonly entryId: Bytes;
      readonly contentDigest: Bytes;
    };

/** What an entry is, in either form. */
export function labelOf(entry: LogEntry): { readonly kind: EntryKind; readonly entryId: Bytes } {
  return entry.form === "full" ? entry.content : entry;
}

const FORMS = { full: 1, short: 2 } as const;

export function encodeLogEntry(writer: Writer, entry: LogEntry): void {
  writer.u8(FORMS[entry.form]).uint53(entry.seq);
  if (entry.form === "full") encodeEntryContent(writer, entry.content);
  else writer.u8(entry.kind).fixed(entry.entryId).fixed(entry.contentDigest);
}

export function decodeLogEntry(reader: Reader): LogEntry {
  const form = reader.u8();
  const seq = reader.uint53();
  if (form === FORMS.full) return { form: "full", seq, content: decodeEntryContent(reader) };
  if (form !== FORMS.short) reader.fail("unknown form of entry");
  const kind = decodeEntryKind(reader);
  return {
    form: "short",
    seq,
    kind,
    entryId: reader.fixed(ENTRY_ID_LENGTH),
    contentDigest: reader.fixed(DIGEST_LENGTH),
  };
}

/** What SHA-256 turns into an entry's content digest. */
export function contentDigestInput(content: EntryContent): Bytes {
  return encode((writer) => {
    writer.opaque(toUtf8("Subrosa 1 entry"));
    encodeEntryContent(writer, content);
  }, undefined);
}

/** What SHA-256 turns into the digest of the log up to and including the entry `seq`. */
export function chainDigestInput(log: LogId, seq: number, previous: Bytes, contentDigest: Bytes): Bytes {
  return encode((writer) => {
    writer.opaque(toUtf8("Subrosa 1 log"));
    encodeLogId(writer, log);
    writer.uint53(seq).fixed(previous).fixed(contentDigest);
  }, undefined);
}

/** The payload of a `pointer` entry: the commit that added this device, as a cursor into its group log. */
export interface Pointer {
  readonly groupId: Bytes;
  readonly at: Cursor;
}

export function encodePointer(writer: Writer, pointer: Pointer): void {
  writer.fixed(pointer.groupId);
  encodeCursor(writer, pointer.at);
}

export function decodePointer(reader: Reader): Pointer {
  return { groupId: reader.fixed(GROUP_ID_LENGTH), at: decodeCursor(reader) };
}

/** The payload of a `joinRequest` entry. The signature is the requesting account's. */
export interface JoinRequest {
  readonly groupId: Bytes;
  readonly userId: string;
  readonly deviceId: Bytes;
  readonly accountKey: Bytes;
  /** A fresh KeyPackage (RFC 9420 §10). */
  readonly keyPackage: Bytes;
  /**
   * When it asks for repair: SHA-256 of the leaf nodes (RFC 9420 §7.2) that the device has had in the group, as far as it
   * knows, of which this is to take the place of whichever is there; zeros stand for one that it has never seen.
   */
  readonly replaces?: readonly Bytes[];
  readonly signature: Bytes;
}

/** The bytes that the account key signs for a join request; `requestId` is the id of the entry that carries it. */
export function joinRequestToBeSigned(request: Omit<JoinRequest, "signature">, requestId: Bytes): Bytes {
  return encode((writer) => {
    writer.opaque(toUtf8("Subrosa 1 join request")).fixed(requestId);
    encodeUnsignedJoinRequest(writer, request);
  }, undefined);
}

function encodeUnsignedJoinRequest(writer: Writer, request: Omit<JoinRequest, "signature">): void {
  writer.fixed(request.groupId);
  encodeName(writer, request.userId);
  writer.fixed(request.deviceId).fixed(request.accountKey).opaque(request.keyPackage);
  encodeReplaced(writer, request.replaces);
}

export function encodeJoinRequest(writer: Writer, request: JoinRequest): void {
  encodeUnsignedJoinRequest(writer, request);
  writer.opaque(request.signature);
}

export function decodeJoinRequest(reader: Reader): JoinRequest {
  const request = {
    groupId: reader.fixed(GROUP_ID_LENGTH),
    userId: decodeName(reader),
    deviceId: reader.fixed(DEVICE_ID_LENGTH),
    accountKey: reader.fixed(PUBLIC_KEY_LENGTH),
    keyPackage: reader.opaque(),
  };
  const replaced = decodeReplaced(reader);
  return { ...request, signature: reader.opaque(128), ...replaced };
}

/** How many leaves a request can name. */
export const MAX_REPLACED = 32;

/** None: it asks for no repair. */
export function encodeReplaced(writer: Writer, replaces: JoinRequest["replaces"] = []): void {
  writer.vector(replaces, (w, hash) => w.fixed(hash));
}

export function decodeReplaced(reader: Reader): Pick<JoinRequest, "replaces"> {
  const replaces = reader.vector((r) => r.fixed(DIGEST_LENGTH), MAX_REPLACED);
  return replaces.length > 0 ? { replaces } : {};
}

/** The payload of a `rejection` entry, and what `rejectJoin` asks for: which request (its entry id) in which group. */
export interface Rejection {
  readonly groupId: Bytes;
  readonly requestId: Bytes;
  readonly reason: RejectionReason;
}

export function encodeRejection(writer: Writer, rejection: Rejection): void {
  writer.fixed(rejection.groupId).fixed(rejection.requestId).u8(rejection.reason);
}

export function decodeRejection(reader: Reader): Rejection {
  const asked = { groupId: reader.fixed(GROUP_ID_LENGTH), requestId: reader.fixed(ENTRY_ID_LENGTH) };
  const reason = reader.u8();
  const known = Object.values(RejectionReason).find((one) => one === reason);
  return { ...asked, reason: known ?? reader.fail("unknown reason of a rejection") };
}
