import type { Bytes } from "../../base/bytes.js";
import { fromUtf8, toUtf8 } from "../../base/encoding.js";
import type { Reader } from "../../codec/reader.js";
import type { Writer } from "../../codec/writer.js";
import { AEAD_TAG_LENGTH } from "../../crypto/aead.js";
import { BLOB_ID_LENGTH, MAX_CHUNK_BYTES } from "../../wire/protocol.js";
import { paddedLength } from "../conversation/sending/padding.js";

export const FILE_KEY_LENGTH = 32;
/** The plaintext of every chunk but the last, in bytes. */
export const CHUNK_LENGTH = MAX_CHUNK_BYTES - AEAD_TAG_LENGTH;
const MAX_CHUNKS = 2 ** 32 - 1;
const MAX_TEXT_BYTES = 255;

/** What a message says of an attachment: where it is, how to open it, and what it is. */
export interface AttachmentReference {
  readonly blobId: Bytes;
  readonly key: Bytes;
  /** In bytes, without the padding. */
  readonly size: number;
  readonly name?: string;
  readonly mimeType?: string;
}

/** In how many chunks so many bytes are kept: what is empty has one too. */
export function chunksOf(size: number): number {
  return Math.max(1, Math.ceil(size / CHUNK_LENGTH));
}

/** The plaintext of a chunk with its padding: the whole is padded like a message, within its last chunk. */
export function chunkLength(size: number, index: number): number {
  const before = index * CHUNK_LENGTH;
  return Math.min(CHUNK_LENGTH, paddedLength(size) - before);
}

/** A name that can be that of a file in any folder: not empty, without slashes and controls, no way up. */
export function isFileName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  return fits(name) && !/[/\\\u0000-\u001f\u007f-\u009f]|^\.\.?$/.test(name);
}

export function isMimeType(type: string): boolean {
  return fits(type) && /^[\x20-\x7e]*$/.test(type);
}

function fits(text: unknown): text is string {
  return (
    typeof text === "string" &&
    text !== "" &&
    !/\p{Surrogate}/u.test(text) &&
    toUtf8(text).length <= MAX_TEXT_BYTES
  );
}

const encodeText = (writer: Writer, text: string) => void writer.opaque(toUtf8(text));

export function encodeReference(writer: Writer, reference: AttachmentReference): void {
  const { blobId, key, size, name, mimeType } = reference;
  writer.fixed(blobId).fixed(key).uint53(size).optional(name, encodeText).optional(mimeType, encodeText);
}

export function decodeReference(reader: Reader): AttachmentReference {
  // Copies: what is posted to another tab must not take along the bytes around it.
  const ids = { blobId: reader.fixed(BLOB_ID_LENGTH).slice(), key: reader.fixed(FILE_KEY_LENGTH).slice() };
  const size = reader.uint53();
  if (chunksOf(size) > MAX_CHUNKS) reader.fail("too many chunks");
  const decodeText = (isValid: (text: string) => boolean) => (r: Reader) => {
    const text = fromUtf8(r.opaque(MAX_TEXT_BYTES));
    return isValid(text) ? text : r.fail("not a name or type");
  };
  const name = reader.optional(decodeText(isFileName));
  const mimeType = reader.optional(decodeText(isMimeType));
  return { ...ids, size, ...(name !== undefined && { name }), ...(mimeType !== undefined && { mimeType }) };
}
