import type { Bytes } from "../../base/bytes.js";
import { fromHex, toHex } from "../../base/encoding.js";
import type { Reader } from "../../codec/reader.js";
import type { Writer } from "../../codec/writer.js";
import { decodeName, encodeName } from "../../wire/identifiers.js";
import { GROUP_ID_LENGTH, PUBLIC_KEY_LENGTH } from "../../wire/protocol.js";
import { type Body, copyBody, decodeBody, encodeBody } from "../attachments/body.js";
import { MESSAGE_ID_LENGTH } from "../conversation/content.js";
import type { MessageData } from "../events.js";

/** A received message as it is stored: for the app to take, and for history. */
export interface StoredMessage {
  /** Of the conversation it came in, in hexadecimal. */
  readonly groupId: string;
  readonly id: string;
  readonly from: string;
  readonly group?: string;
  readonly content: Body;
  readonly sentAt: number;
  /** The sender's account key, if it was not the known one: the message waits until it is. */
  readonly unknownKey?: Bytes;
}

export function encodeStoredMessage(writer: Writer, message: StoredMessage): void {
  writer.u8(1).fixed(fromHex(message.groupId)).fixed(fromHex(message.id));
  encodeName(writer, message.from);
  writer.optional(message.group, encodeName).uint53(message.sentAt);
  encodeBody(writer, message.content);
  writer.optional(message.unknownKey, (w, key) => w.fixed(key));
}

export function decodeStoredMessage(reader: Reader): StoredMessage {
  if (reader.u8() !== 1) reader.fail("unknown version of message");
  const groupId = toHex(reader.fixed(GROUP_ID_LENGTH));
  const id = toHex(reader.fixed(MESSAGE_ID_LENGTH));
  const from = decodeName(reader);
  const group = reader.optional(decodeName);
  const sentAt = reader.uint53();
  const content = decodeBody(reader);
  const unknownKey = reader.optional((r) => r.fixed(PUBLIC_KEY_LENGTH));
  const rest = { ...(group !== undefined && { group }), ...(unknownKey && { unknownKey }) };
  return { groupId, id, from, content, sentAt, ...rest };
}

/** The message as the app gets it. */
export function toMessage(stored: StoredMessage, redelivered: boolean): MessageData {
  const { groupId: _, unknownKey: __, content, ...rest } = stored;
  // A copy: what the app does to its bytes must not reach ours.
  return {
    ...rest,
    type: "message",
    content: copyBody(content),
    redelivered,
  };
}
