import type { Bytes } from "../../base/bytes.js";
import { encode } from "../../codec/writer.js";
import { signFramedContent } from "../framing/authentication.js";
import { type Padding, protectPrivate } from "../framing/private-message.js";
import { protectPublic } from "../framing/public-message.js";
import type { RatchetChange, SecretTree } from "../schedule/secret-tree.js";
import type {
  AuthenticatedContent,
  Content,
  FramedContent,
  FramingFormat,
} from "../structs/framed-content.js";
import { encodeMlsMessage } from "../structs/message.js";
import type { GroupState } from "./state.js";

/** How a handshake message is sent: encrypted, or signed in the clear. */
export type WireFormat = "private" | "public";

/** How a message is framed. */
export interface FramingOptions {
  /** Bytes that travel in the clear, signed. */
  readonly authenticatedData?: Uint8Array<ArrayBuffer>;
  /** The padded length for a plaintext length; of PrivateMessages only. */
  readonly padding?: Padding;
  /** Default `private`. */
  readonly wireFormat?: WireFormat;
}

/** A message that is ready to be sent. */
export interface SealedMessage {
  /** An encoded MLSMessage. */
  readonly message: Bytes;
  readonly secretTree: SecretTree;
  readonly changes: RatchetChange[];
}

export function framingFormat(wireFormat: WireFormat | undefined): FramingFormat {
  return wireFormat === "public" ? "public_message" : "private_message";
}

/** RFC 9420 §6. Content of this member in the current epoch. */
export function framedByMember(state: GroupState, content: Content, authenticatedData: Bytes): FramedContent {
  const { groupId, epoch } = state.groupContext;
  return {
    ...content,
    groupId,
    epoch,
    sender: { senderType: "member", leafIndex: state.ownLeafIndex },
    authenticatedData,
  };
}

/** RFC 9420 §6.1. Signs content that has no confirmation tag. */
export async function authenticate(
  state: Pick<GroupState, "groupContext">,
  content: FramedContent,
  wireFormat: FramingFormat,
  privateKey: CryptoKey,
): Promise<AuthenticatedContent> {
  const signature = await signFramedContent(wireFormat, content, state.groupContext, privateKey);
  return { wireFormat, content, auth: { signature, confirmationTag: undefined } };
}

/** RFC 9420 §6.2, §6.3. Protects signed content with the keys of the current epoch. */
export async function seal(
  state: GroupState,
  authenticated: AuthenticatedContent,
  padding: Padding | undefined,
): Promise<SealedMessage> {
  const { wireFormat, content, auth } = authenticated;
  const { groupContext, secrets, secretTree } = state;
  if (wireFormat === "public_message") {
    const { membershipKey } = secrets;
    const publicMessage = await protectPublic(authenticated, { groupContext, membershipKey });
    return { message: encode(encodeMlsMessage, { wireFormat, publicMessage }), secretTree, changes: [] };
  }
  const { senderDataSecret } = secrets;
  const sealed = await protectPrivate(content, auth, { senderDataSecret, secretTree }, padding);
  const message = encode(encodeMlsMessage, { wireFormat, privateMessage: sealed.message });
  return { message, secretTree: sealed.secretTree, changes: sealed.changes };
}
