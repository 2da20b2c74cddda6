import type { Bytes } from "../../base/bytes.js";
import type { Reader } from "../../codec/reader.js";
import type { Writer } from "../../codec/writer.js";
import { type Commit, decodeCommit, encodeCommit } from "./commit.js";
import { encodeGroupContext, type GroupContext } from "./group-context.js";
import { type LeafIndex, toLeafIndex } from "./indices.js";
import { decodeProposal, encodeProposal, type Proposal } from "./proposal.js";
import { decodeName, MLS10 } from "./registry.js";

const CONTENT_TYPES = { application: 1, proposal: 2, commit: 3 } as const;
const SENDER_TYPES = { member: 1, external: 2, new_member_proposal: 3, new_member_commit: 4 } as const;

/** RFC 9420 §17.2: the numbers of the wire formats. */
export const WIRE_FORMATS = {
  public_message: 1,
  private_message: 2,
  welcome: 3,
  group_info: 4,
  key_package: 5,
} as const;

/** RFC 9420 §6. */
export type ContentType = keyof typeof CONTENT_TYPES;
/** The wire formats that carry framed content. */
export type FramingFormat = "public_message" | "private_message";

/** RFC 9420 §6. */
export type Sender =
  | { readonly senderType: "member"; readonly leafIndex: LeafIndex }
  | { readonly senderType: "external"; readonly senderIndex: number }
  | { readonly senderType: "new_member_proposal" }
  | { readonly senderType: "new_member_commit" };

/** RFC 9420 §6: what a message carries. */
export type Content =
  | { readonly contentType: "application"; readonly applicationData: Bytes }
  | { readonly contentType: "proposal"; readonly proposal: Proposal }
  | { readonly contentType: "commit"; readonly commit: Commit };

/** RFC 9420 §6. */
export type FramedContent = Content & {
  readonly groupId: Bytes;
  readonly epoch: bigint;
  readonly sender: Sender;
  readonly authenticatedData: Bytes;
};

/** RFC 9420 §6.1. */
export interface FramedContentAuthData {
  readonly signature: Bytes;
  /** Of commits, and of nothing else. */
  readonly confirmationTag: Bytes | undefined;
}

/** RFC 9420 §6. */
export interface AuthenticatedContent {
  readonly wireFormat: FramingFormat;
  readonly content: FramedContent;
  readonly auth: FramedContentAuthData;
}

export function encodeContentType(writer: Writer, contentType: ContentType): void {
  writer.u8(CONTENT_TYPES[contentType]);
}

export function decodeContentType(reader: Reader): ContentType {
  return decodeName(CONTENT_TYPES, reader.u8(), reader, "content type");
}

export function encodeSender(writer: Writer, sender: Sender): void {
  writer.u8(SENDER_TYPES[sender.senderType]);
  if (sender.senderType === "member") writer.u32(sender.leafIndex);
  if (sender.senderType === "external") writer.u32(sender.senderIndex);
}

export function decodeSender(reader: Reader): Sender {
  const senderType = decodeName(SENDER_TYPES, reader.u8(), reader, "sender type");
  if (senderType === "member") return { senderType, leafIndex: toLeafIndex(reader.u32()) };
  return senderType === "external" ? { senderType, senderIndex: reader.u32() } : { senderType };
}

/** The content without its type, as it stands in FramedContent and in PrivateMessageContent. */
export function encodeBareContent(writer: Writer, content: Content): void {
  if (content.contentType === "application") writer.opaque(content.applicationData);
  else if (content.contentType === "proposal") encodeProposal(writer, content.proposal);
  else encodeCommit(writer, content.commit);
}

export function decodeBareContent(reader: Reader, contentType: ContentType): Content {
  if (contentType === "application") return { contentType, applicationData: reader.opaque() };
  if (contentType === "proposal") return { contentType, proposal: decodeProposal(reader) };
  return { contentType, commit: decodeCommit(reader) };
}

export function encodeFramedContent(writer: Writer, content: FramedContent): void {
  writer.opaque(content.groupId).u64(content.epoch).struct(content.sender, encodeSender);
  writer.opaque(content.authenticatedData).struct(content.contentType, encodeContentType);
  encodeBareContent(writer, content);
}

export function decodeFramedContent(reader: Reader): FramedContent {
  return {
    groupId: reader.opaque(),
    epoch: reader.u64(),
    sender: decodeSender(reader),
    authenticatedData: reader.opaque(),
    ...decodeBareContent(reader, decodeContentType(reader)),
  };
}

export function encodeFramedContentAuthData(writer: Writer, auth: FramedContentAuthData): void {
  writer.opaque(auth.signature);
  if (auth.confirmationTag !== undefined) writer.opaque(auth.confirmationTag);
}

export function decodeFramedContentAuthData(reader: Reader, contentType: ContentType): FramedContentAuthData {
  return {
    signature: reader.opaque(),
    confirmationTag: contentType === "commit" ? reader.opaque() : undefined,
  };
}

export function encodeFramingFormat(writer: Writer, format: FramingFormat): void {
  writer.u16(WIRE_FORMATS[format]);
}

export function encodeAuthenticatedContent(writer: Writer, value: AuthenticatedContent): void {
  encodeFramingFormat(writer, value.wireFormat);
  encodeFramedContent(writer, value.content);
  encodeFramedContentAuthData(writer, value.auth);
}

export function decodeAuthenticatedContent(reader: Reader): AuthenticatedContent {
  const wireFormat = decodeName(WIRE_FORMATS, reader.u16(), reader, "wire format");
  if (wireFormat !== "public_message" && wireFormat !== "private_message")
    reader.fail("not a framing format");
  const content = decodeFramedContent(reader);
  return { wireFormat, content, auth: decodeFramedContentAuthData(reader, content.contentType) };
}

/**
 * RFC 9420 §6.1 `FramedContentTBS`. The group context is covered when a member or a new member by commit sends,
 * and only then.
 */
export function encodeFramedContentTbs(
  writer: Writer,
  format: FramingFormat,
  content: FramedContent,
  groupContext: GroupContext,
): void {
  writer.u16(MLS10).struct(format, encodeFramingFormat).struct(content, encodeFramedContent);
  const { senderType } = content.sender;
  if (senderType === "member" || senderType === "new_member_commit") encodeGroupContext(writer, groupContext);
}
