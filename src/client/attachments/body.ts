import { fromUtf8, toUtf8 } from "../../base/encoding.js";
import type { Reader } from "../../codec/reader.js";
import type { Writer } from "../../codec/writer.js";
import { type AttachmentReference, decodeReference, encodeReference } from "./reference.js";

/** What a message says, as it is stored and passed between tabs. */
export type Body = string | Uint8Array | AttachmentReference;

export function encodeBody(writer: Writer, body: Body): void {
  if (typeof body === "string") writer.u8(1).opaque(toUtf8(body));
  else if (body instanceof Uint8Array) writer.u8(2).opaque(body);
  else encodeReference(writer.u8(3), body);
}

export function decodeBody(reader: Reader): Body {
  switch (reader.u8()) {
    case 1:
      return fromUtf8(reader.opaque());
    case 2:
      return reader.opaque().slice();
    case 3:
      return decodeReference(reader);
    default:
      return reader.fail("unknown kind of content");
  }
}

/** What one reader does to its bytes must not reach the others. */
export function copyBody<T>(body: T): T {
  return body instanceof Uint8Array ? (body.slice() as T & Uint8Array) : body;
}
