import type { Bytes } from "../../base/bytes.js";
import type { Reader } from "../../codec/reader.js";
import type { Writer } from "../../codec/writer.js";
import {
  type ContentType,
  decodeContentType,
  decodeFramedContent,
  decodeFramedContentAuthData,
  encodeContentType,
  encodeFramedContent,
  encodeFramedContentAuthData,
  type FramedContent,
  type FramedContentAuthData,
  WIRE_FORMATS,
} from "./framed-content.js";
import { decodeKeyPackage, encodeKeyPackage, type KeyPackage } from "./key-package.js";
import { decodeName, MLS10 } from "./registry.js";
import {
  decodeGroupInfo,
  decodeWelcome,
  encodeGroupInfo,
  encodeWelcome,
  type GroupInfo,
  type Welcome,
} from "./welcome.js";

/** RFC 9420 §6.2. */
export interface PublicMessage {
  readonly content: FramedContent;
  readonly auth: FramedContentAuthData;
  /** Of messages by members, and of nothing else. */
  readonly membershipTag: Bytes | undefined;
}

/** RFC 9420 §6.3. */
export interface PrivateMessage {
  readonly groupId: Bytes;
  readonly epoch: bigint;
  readonly contentType: ContentType;
  readonly authenticatedData: Bytes;
  readonly encryptedSenderData: Bytes;
  readonly ciphertext: Bytes;
}

/** RFC 9420 §6. */
export type MlsMessage =
  | { readonly wireFormat: "public_message"; readonly publicMessage: PublicMessage }
  | { readonly wireFormat: "private_message"; readonly privateMessage: PrivateMessage }
  | { readonly wireFormat: "welcome"; readonly welcome: Welcome }
  | { readonly wireFormat: "group_info"; readonly groupInfo: GroupInfo }
  | { readonly wireFormat: "key_package"; readonly keyPackage: KeyPackage };

export function encodePublicMessage(writer: Writer, message: PublicMessage): void {
  encodeFramedContent(writer, message.content);
  encodeFramedContentAuthData(writer, message.auth);
  if (message.membershipTag !== undefined) writer.opaque(message.membershipTag);
}

export function decodePublicMessage(reader: Reader): PublicMessage {
  const content = decodeFramedContent(reader);
  return {
    content,
    auth: decodeFramedContentAuthData(reader, content.contentType),
    membershipTag: content.sender.senderType === "member" ? reader.opaque() : undefined,
  };
}

export function encodePrivateMessage(writer: Writer, message: PrivateMessage): void {
  writer.opaque(message.groupId).u64(message.epoch).struct(message.contentType, encodeContentType);
  writer.opaque(message.authenticatedData).opaque(message.encryptedSenderData).opaque(message.ciphertext);
}

export function decodePrivateMessage(reader: Reader): PrivateMessage {
  return {
    groupId: reader.opaque(),
    epoch: reader.u64(),
    contentType: decodeContentType(reader),
    authenticatedData: reader.opaque(),
    encryptedSenderData: reader.opaque(),
    ciphertext: reader.opaque(),
  };
}

export function encodeMlsMessage(writer: Writer, message: MlsMessage): void {
  writer.u16(MLS10).u16(WIRE_FORMATS[message.wireFormat]);
  switch (message.wireFormat) {
    case "public_message":
      encodePublicMessage(writer, message.publicMessage);
      break;
    case "private_message":
      encodePrivateMessage(writer, message.privateMessage);
      break;
    case "welcome":
      encodeWelcome(writer, message.welcome);
      break;
    case "group_info":
      encodeGroupInfo(writer, message.groupInfo);
      break;
    case "key_package":
      encodeKeyPackage(writer, message.keyPackage);
      break;
  }
}

export function decodeMlsMessage(reader: Reader): MlsMessage {
  if (reader.u16() !== MLS10) reader.fail("unknown protocol version");
  const wireFormat = decodeName(WIRE_FORMATS, reader.u16(), reader, "wire format");
  switch (wireFormat) {
    case "public_message":
      return { wireFormat, publicMessage: decodePublicMessage(reader) };
    case "private_message":
      return { wireFormat, privateMessage: decodePrivateMessage(reader) };
    case "welcome":
      return { wireFormat, welcome: decodeWelcome(reader) };
    case "group_info":
      return { wireFormat, groupInfo: decodeGroupInfo(reader) };
    case "key_package":
      return { wireFormat, keyPackage: decodeKeyPackage(reader) };
  }
}
