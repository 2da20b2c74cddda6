import { type Bytes, copyBytes } from "../../base/bytes.js";
import { assertArgument, SubrosaError } from "../../base/errors.js";
import { decode } from "../../codec/reader.js";
import { encode, Writer } from "../../codec/writer.js";
import { aeadOpen, aeadSeal } from "../../crypto/aead.js";
import { randomBytes } from "../../crypto/random.js";
import { reject } from "../rules.js";
import type { MessageKey } from "../schedule/hash-ratchet.js";
import type { RatchetChange, RatchetKind, SecretTree } from "../schedule/secret-tree.js";
import {
  type AuthenticatedContent,
  type ContentType,
  decodeBareContent,
  decodeFramedContentAuthData,
  encodeBareContent,
  encodeContentType,
  encodeFramedContentAuthData,
  type FramedContent,
  type FramedContentAuthData,
} from "../structs/framed-content.js";
import type { LeafIndex } from "../structs/indices.js";
import type { PrivateMessage } from "../structs/message.js";
import { openSenderData, type PrivateHeader, REUSE_GUARD_LENGTH, sealSenderData } from "./sender-data.js";

/** The length to which a plaintext of `length` bytes is padded; at least `length`. */
export type Padding = (length: number) => number;

/** The secrets that private messages of an epoch use. */
export interface PrivateFraming {
  readonly senderDataSecret: Bytes;
  readonly secretTree: SecretTree;
}

export interface ProtectedMessage {
  readonly message: PrivateMessage;
  /** The tree after the sender's key was taken; to be stored before the message leaves. */
  readonly secretTree: SecretTree;
  readonly changes: RatchetChange[];
}

export interface UnprotectedMessage {
  /** Decrypted, its signature and confirmation tag not yet checked. */
  readonly authenticated: AuthenticatedContent;
  readonly sender: LeafIndex;
  /** The tree after the message's key was taken; to be dropped with the message if it turns out invalid. */
  readonly secretTree: SecretTree;
  readonly changes: RatchetChange[];
}

function ratchetOf(contentType: ContentType): RatchetKind {
  return contentType === "application" ? "application" : "handshake";
}

function guardedNonce(messageKey: MessageKey, reuseGuard: Bytes): Bytes {
  const nonce = copyBytes(messageKey.nonce);
  for (let i = 0; i < REUSE_GUARD_LENGTH; i++) nonce[i] = (nonce[i] as number) ^ (reuseGuard[i] as number);
  return nonce;
}

function privateContentAad(header: PrivateHeader & Pick<PrivateMessage, "authenticatedData">): Bytes {
  return new Writer()
    .opaque(header.groupId)
    .u64(header.epoch)
    .struct(header.contentType, encodeContentType)
    .opaque(header.authenticatedData)
    .finish();
}

function encodePlaintext(
  content: FramedContent,
  auth: FramedContentAuthData,
  padding: Padding | undefined,
): Bytes {
  const plain = encode((writer) => {
    encodeBareContent(writer, content);
    encodeFramedContentAuthData(writer, auth);
  }, undefined);
  if (padding === undefined) return plain;
  const length = padding(plain.length);
  assertArgument(
    Number.isSafeInteger(length) && length >= plain.length,
    "padding must not shorten the message",
  );
  const padded = new Uint8Array(length);
  padded.set(plain);
  return padded;
}

/**
 * RFC 9420 §6.3. Encrypts a member's content; `auth` may still be on its way while the key is derived.
 * Takes the next generation of the sender's ratchet.
 */
export async function protectPrivate(
  content: FramedContent,
  auth: FramedContentAuthData | Promise<FramedContentAuthData>,
  { senderDataSecret, secretTree }: PrivateFraming,
  padding?: Padding,
): Promise<ProtectedMessage> {
  const { sender, groupId, epoch, contentType, authenticatedData } = content;
  if (sender.senderType !== "member")
    throw new SubrosaError("internal", "only members send private messages");
  const [{ messageKey, tree, changes, key }, signed] = await Promise.all([
    secretTree
      .next(sender.leafIndex, ratchetOf(contentType))
      .then(async (taken) => ({ ...taken, key: await taken.messageKey.aead() })),
    auth,
  ]);
  const header = { groupId, epoch, contentType, authenticatedData };
  const reuseGuard = randomBytes(REUSE_GUARD_LENGTH);
  const ciphertext = await aeadSeal(
    key,
    guardedNonce(messageKey, reuseGuard),
    privateContentAad(header),
    encodePlaintext(content, signed, padding),
  );
  const encryptedSenderData = await sealSenderData(senderDataSecret, header, ciphertext, {
    leafIndex: sender.leafIndex,
    generation: messageKey.generation,
    reuseGuard,
  });
  return { message: { ...header, encryptedSenderData, ciphertext }, secretTree: tree, changes };
}

/** Whose messages a PrivateMessage may be. */
export interface PrivateReceiver {
  readonly ownLeafIndex: LeafIndex;
  /** Whether a leaf is not blank. */
  readonly isMember: (leaf: LeafIndex) => boolean;
}

/**
 * RFC 9420 §6.3. Decrypts content. Throws `decryption-failed`, `malformed`, or `invalid-message` when the sender
 * is no member or oneself.
 */
export async function unprotectPrivate(
  message: PrivateMessage,
  { senderDataSecret, secretTree }: PrivateFraming,
  { ownLeafIndex, isMember }: PrivateReceiver,
): Promise<UnprotectedMessage> {
  const { groupId, epoch, contentType, authenticatedData } = message;
  const { leafIndex, generation, reuseGuard } = await openSenderData(senderDataSecret, message);
  if (!isMember(leafIndex)) reject("RFC 9420 §6: sender is not a member");
  if (leafIndex === ownLeafIndex) reject("RFC 9420 §6: own message");
  const { messageKey, tree, changes } = await secretTree.at(leafIndex, ratchetOf(contentType), generation);
  const plaintext = await aeadOpen(
    await messageKey.aead(),
    guardedNonce(messageKey, reuseGuard),
    privateContentAad(message),
    message.ciphertext,
  );
  const { content, auth } = decode((reader) => {
    const bare = decodeBareContent(reader, contentType);
    const signed = decodeFramedContentAuthData(reader, contentType);
    if (reader.fixed(reader.remaining).some((byte) => byte !== 0)) reader.fail("padding is not zero");
    return { content: bare, auth: signed };
  }, plaintext);
  const sender = { senderType: "member", leafIndex } as const;
  return {
    authenticated: {
      wireFormat: "private_message",
      content: { ...content, groupId, epoch, sender, authenticatedData },
      auth,
    },
    sender: leafIndex,
    secretTree: tree,
    changes,
  };
}
