import { type Bytes, equalBytes } from "../base/bytes.js";
import { fromUtf8, toHex, toUtf8 } from "../base/encoding.js";
import { SubrosaError } from "../base/errors.js";
import type { Reader } from "../codec/reader.js";
import { encode, type Writer } from "../codec/writer.js";
import { DEVICE_ID_LENGTH, DIGEST_LENGTH, GROUP_ID_LENGTH, LogKind } from "./protocol.js";

/** The most bytes a user id or a group name can have in UTF-8. */
export const MAX_NAME_BYTES = 128;

/**
 * True for a user id or group name: NFC, 1 to 128 bytes of UTF-8, no control characters. It follows the Unicode tables
 * of the engine it runs in, so it may decide what enters, never what members of a group have to find alike.
 */
export function isName(name: string): boolean {
  if (typeof name !== "string" || name.length === 0 || name.length > MAX_NAME_BYTES) return false;
  // Cc: controls; Cf: invisible formatting such as direction marks; Zl and Zp: line breaks; Cs: lone surrogates.
  if (name.normalize("NFC") !== name || /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(name)) return false;
  if (name.trim() !== name) return false;
  return toUtf8(name).length <= MAX_NAME_BYTES;
}

/** Throws `invalid-argument` unless {@link isName} holds. */
export function assertName(name: string, what: string): void {
  if (!isName(name)) {
    throw new SubrosaError(
      "invalid-argument",
      `${what}: 1 to ${MAX_NAME_BYTES} bytes of NFC text without control characters or outer spaces`,
    );
  }
}

export function encodeName(writer: Writer, name: string): void {
  writer.opaque(toUtf8(name));
}

/** Goes by the bytes alone, so that all engines agree: UTF-8, not empty, no C0 or C1 controls. */
export function decodeName(reader: Reader): string {
  const bytes = reader.opaque(MAX_NAME_BYTES);
  const hasControl = bytes.some(
    (byte, at) => byte < 0x20 || byte === 0x7f || (byte === 0xc2 && ((bytes[at + 1] ?? 0) & 0xe0) === 0x80),
  );
  if (bytes.length === 0 || hasControl) reader.fail("not a valid name");
  return fromUtf8(bytes);
}

/** The bytes whose SHA-256 a relay knows a group's name by. */
export function groupNameInput(name: string): Bytes {
  return encode((writer) => {
    writer.opaque(toUtf8("Subrosa 1 group name"));
    encodeName(writer, name);
  }, undefined);
}

/** Names one log. The id is a device id (inbox) or a group id (group log, request box). */
export interface LogId {
  readonly kind: LogKind;
  readonly id: Bytes;
}

export function encodeLogId(writer: Writer, log: LogId): void {
  writer.u8(log.kind).fixed(log.id);
}

export function decodeLogId(reader: Reader): LogId {
  const kind = reader.u8();
  switch (kind) {
    case LogKind.inbox:
      return { kind, id: reader.fixed(DEVICE_ID_LENGTH) };
    case LogKind.group:
    case LogKind.requestBox:
      return { kind, id: reader.fixed(GROUP_ID_LENGTH) };
    default:
      return reader.fail("unknown kind of log");
  }
}

/** A key for maps. */
export function logKey(log: LogId): string {
  return `${log.kind}:${toHex(log.id)}`;
}

/** A place in a log: behind the entry `seq`, whose chain digest is `digest`. */
export interface Cursor {
  readonly seq: number;
  readonly digest: Bytes;
}

/** Whether two cursors name the same place in the same log. */
export function isSameCursor(a: Cursor, b: Cursor): boolean {
  return a.seq === b.seq && equalBytes(a.digest, b.digest);
}

/** Before the first entry of any log. */
export const START: Cursor = { seq: 0, digest: new Uint8Array(DIGEST_LENGTH) };

export function encodeCursor(writer: Writer, cursor: Cursor): void {
  writer.uint53(cursor.seq).fixed(cursor.digest);
}

export function decodeCursor(reader: Reader): Cursor {
  return { seq: reader.uint53(), digest: reader.fixed(DIGEST_LENGTH) };
}
