import type { Bytes } from "../../base/bytes.js";
import { fromUtf8, toUtf8 } from "../../base/encoding.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { decodeName, encodeName } from "../../wire/identifiers.js";
import type { Body } from "../attachments/body.js";
import { type AttachmentReference, decodeReference, encodeReference } from "../attachments/reference.js";
import { decodeHearsay, encodeHearsay, type Hearsay, NOTHING } from "./gossip/hearsay.js";
import { MAX_DISAPPEAR_AFTER } from "./membership/policy.js";

/** The version of what stands inside an application message. */
const VERSION = 1;
export const MESSAGE_ID_LENGTH = 16;
/** How many messages one receipt can name. */
export const MAX_RECEIPT_IDS = 1024;

/** Messages of one user that another has received, or read. */
export interface Received {
  readonly of: string;
  readonly ids: readonly Bytes[];
}

interface MessageHeader {
  readonly id: Bytes;
  readonly sentAt: number;
  /** After how many milliseconds whoever has the message deletes it. */
  readonly disappearAfter?: number;
}

/** What one application message says, before it is padded and encrypted. */
export type Content =
  | ({ readonly type: "text"; readonly text: string } & MessageHeader)
  | ({ readonly type: "bytes"; readonly bytes: Bytes } & MessageHeader)
  /** Its chunks are at the relay, as a blob. */
  | ({ readonly type: "attachment"; readonly attachment: AttachmentReference } & MessageHeader)
  /** The sender holds these messages in its durable store; or its user has read them. */
  | {
      readonly type: "delivered" | "read";
      readonly id: Bytes;
      readonly sentAt: number;
      readonly receipts: readonly Received[];
    }
  /** Says nothing: it makes a conversation begin anew, so that the other side can send what was lost. */
  | { readonly type: "hello"; readonly id: Bytes; readonly sentAt: number }
  /** An admin deletes the group. */
  | { readonly type: "close"; readonly id: Bytes; readonly sentAt: number };

const TYPES = {
  text: 1,
  bytes: 2,
  delivered: 3,
  close: 4,
  hello: 5,
  read: 7,
  attachment: 8,
} as const;

/** What the app sends and gets as a message. */
export type MessageContent = Extract<Content, { type: "text" | "bytes" | "attachment" }>;

export function isMessageContent(content: Content): content is MessageContent {
  return ["text", "bytes", "attachment"].includes(content.type);
}

/** The content of a message that says this. */
export function messageContent(
  body: Body,
  common: { readonly id: Bytes; readonly sentAt: number },
): MessageContent {
  if (typeof body === "string") return { ...common, type: "text", text: body };
  if (body instanceof Uint8Array) return { ...common, type: "bytes", bytes: new Uint8Array(body) };
  return { ...common, type: "attachment", attachment: body };
}

export function bodyOf(content: MessageContent): Body {
  if (content.type === "text") return content.text;
  return content.type === "bytes" ? content.bytes : content.attachment;
}

export function encodeContent(writer: Writer, content: Content): void {
  writer.u8(VERSION).u8(TYPES[content.type]).fixed(content.id).uint53(content.sentAt);
  switch (content.type) {
    case "text":
      return void writer.uint53(content.disappearAfter ?? 0).opaque(toUtf8(content.text));
    case "bytes":
      return void writer.uint53(content.disappearAfter ?? 0).opaque(content.bytes);
    case "attachment":
      writer.uint53(content.disappearAfter ?? 0);
      encodeReference(writer, content.attachment);
      return;
    case "delivered":
    case "read":
      return void writer.vector(content.receipts, encodeReceived);
    case "hello":
    case "close":
      return;
  }
}

export function decodeContent(reader: Reader): Content {
  if (reader.u8() !== VERSION) reader.fail("unknown version of content");
  const type = reader.u8();
  const id = reader.fixed(MESSAGE_ID_LENGTH);
  const sentAt = reader.uint53();
  switch (type) {
    case TYPES.text:
      return { type: "text", id, sentAt, ...decodeTime(reader), text: fromUtf8(reader.opaque()) };
    case TYPES.bytes:
      return { type: "bytes", id, sentAt, ...decodeTime(reader), bytes: reader.opaque() };
    case TYPES.attachment:
      return { type: "attachment", id, sentAt, ...decodeTime(reader), attachment: decodeReference(reader) };
    case TYPES.delivered:
    case TYPES.read: {
      const receipts = reader.vector(decodeReceived, MAX_RECEIPT_IDS);
      const count = receipts.reduce((sum, { ids }) => sum + ids.length, 0);
      if (count > MAX_RECEIPT_IDS) reader.fail("too many receipts");
      return { type: type === TYPES.read ? "read" : "delivered", id, sentAt, receipts };
    }
    case TYPES.hello:
      return { type: "hello", id, sentAt };
    case TYPES.close:
      return { type: "close", id, sentAt };
    default:
      return reader.fail("unknown type of content");
  }
}

function decodeTime(reader: Reader): Pick<MessageHeader, "disappearAfter"> {
  const disappearAfter = reader.uint53();
  if (disappearAfter > MAX_DISAPPEAR_AFTER) reader.fail("a time longer than a year");
  return disappearAfter > 0 ? { disappearAfter } : {};
}

function encodeReceived(writer: Writer, { of, ids }: Received): void {
  encodeName(writer, of);
  writer.vector(ids, (w, id) => w.fixed(id));
}

function decodeReceived(reader: Reader): Received {
  const of = decodeName(reader);
  return { of, ids: reader.vector((r) => r.fixed(MESSAGE_ID_LENGTH), MAX_RECEIPT_IDS) };
}

/** The bytes of a message: what it says, and what is told along with it. */
export function contentBytes(content: Content, hearsay: Hearsay = NOTHING): Bytes {
  return encode((writer) => {
    encodeContent(writer, content);
    encodeHearsay(writer, hearsay);
  }, undefined);
}

/** What the bytes of a message say; throws `malformed`. */
export function contentOf(bytes: Uint8Array): { readonly content: Content; readonly hearsay: Hearsay } {
  return decode((reader) => ({ content: decodeContent(reader), hearsay: decodeHearsay(reader) }), bytes);
}
