import { fromUtf8, toUtf8 } from "../base/encoding.js";
import type { Reader } from "../codec/reader.js";
import type { Writer } from "../codec/writer.js";
import { decodeName, encodeName } from "./identifiers.js";
import { operation } from "./operation.js";

/** The most bytes of UTF-8 that a notice has. */
export const MAX_NOTICE_BYTES = 4096;
/** The most bytes that the place in a list of users takes. */
const MAX_PLACE_BYTES = 512;

/** What the relay's operator says to users. No member said it, and nobody signed it: it is the relay's word. */
export interface Notice {
  readonly text: string;
  /** Milliseconds since 1970 by the relay's clock. */
  readonly sentAt: number;
}

// Cc: controls, line breaks among them; Zl and Zp: line breaks; Cs: lone surrogates; last, marks that change the
// direction of what stands beside them. Joiners stay: scripts and emoji need them.
const FORBIDDEN = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

/** Whether this can be a notice: one line of 1 to 4096 bytes without control characters. */
export function isNoticeText(text: unknown): text is string {
  return (
    typeof text === "string" &&
    text.trim() !== "" &&
    text.length <= MAX_NOTICE_BYTES &&
    !FORBIDDEN.test(text) &&
    toUtf8(text).length <= MAX_NOTICE_BYTES
  );
}

export function encodeNotice(writer: Writer, { text, sentAt }: Notice): void {
  writer.opaque(toUtf8(text)).uint53(sentAt);
}

export function decodeNotice(reader: Reader): Notice {
  const text = fromUtf8(reader.opaque(MAX_NOTICE_BYTES));
  return isNoticeText(text) ? { text, sentAt: reader.uint53() } : reader.fail("not a notice");
}

/** Who is new in an open directory, and who was removed. Empty when a session begins: the directory is open. */
export interface DirectoryNews {
  readonly created: readonly string[];
  readonly removed: readonly string[];
}

export function encodeDirectoryNews(writer: Writer, { created, removed }: DirectoryNews): void {
  writer.vector(created, encodeName).vector(removed, encodeName);
}

export function decodeDirectoryNews(reader: Reader): DirectoryNews {
  return { created: reader.vector(decodeName), removed: reader.vector(decodeName) };
}

/** Some of the users of an open directory, in any order; one may come twice. */
export interface UserPage {
  readonly users: readonly string[];
  /** Where the list goes on; absent at its end. */
  readonly next?: string;
}

const writePlace = (writer: Writer, place: string) => void writer.opaque(toUtf8(place));
const readPlace = (reader: Reader) => fromUtf8(reader.opaque(MAX_PLACE_BYTES));

function encodePlace(writer: Writer, { after }: { readonly after?: string }): void {
  writer.optional(after, writePlace);
}

function decodePlace(reader: Reader): { after?: string } {
  const after = reader.optional(readPlace);
  return after === undefined ? {} : { after };
}

function encodeUserPage(writer: Writer, { users, next }: UserPage): void {
  writer.vector(users, encodeName).optional(next, writePlace);
}

function decodeUserPage(reader: Reader): UserPage {
  const users = reader.vector(decodeName);
  const next = reader.optional(readPlace);
  return next === undefined ? { users } : { users, next };
}

/** The payload of `userRemoved` and `accountChanged` entries. */
export function encodeUserNamed(writer: Writer, { userId }: { readonly userId: string }): void {
  encodeName(writer, userId);
}

export function decodeUserNamed(reader: Reader): { userId: string } {
  return { userId: decodeName(reader) };
}

export const operatorOperations = {
  listUsers: operation<{ after?: string }, UserPage>({
    type: 0x2c,
    encode: encodePlace,
    decode: decodePlace,
    encodeResult: encodeUserPage,
    decodeResult: decodeUserPage,
  }),
} as const;
