import type { Bytes } from "../../base/bytes.js";
import { ensure } from "../rules.js";
import type { AuthenticatedContent } from "../structs/framed-content.js";
import type { GroupContext } from "../structs/group-context.js";
import type { PublicMessage } from "../structs/message.js";
import { membershipTag, verifyMembershipTag } from "./authentication.js";

/** What a PublicMessage is bound to. `membershipKey` is missing for someone outside the group. */
export interface PublicFraming {
  readonly groupContext: GroupContext;
  readonly membershipKey?: Bytes | undefined;
}

/**
 * RFC 9420 §6.2. Frames signed content; with a membership tag when a member sends.
 * Throws `invalid-message` for application data, which is never sent in the clear.
 */
export async function protectPublic(
  authenticated: AuthenticatedContent,
  { groupContext, membershipKey }: PublicFraming,
): Promise<PublicMessage> {
  const { content, auth } = authenticated;
  ensure(content.contentType !== "application", "RFC 9420 §6.2: application data in a PublicMessage");
  if (content.sender.senderType !== "member") return { content, auth, membershipTag: undefined };
  ensure(membershipKey !== undefined, "RFC 9420 §6.2: membership tag");
  return { content, auth, membershipTag: await membershipTag(membershipKey, content, auth, groupContext) };
}

/**
 * RFC 9420 §6.2. The content of a PublicMessage after its membership tag was checked. Its signature and its
 * confirmation tag are still to be checked. Throws `invalid-message`.
 */
export async function unprotectPublic(
  message: PublicMessage,
  { groupContext, membershipKey }: PublicFraming,
): Promise<AuthenticatedContent> {
  const { content, auth, membershipTag: tag } = message;
  ensure(content.contentType !== "application", "RFC 9420 §6.2: application data in a PublicMessage");
  if (content.sender.senderType === "member") {
    const valid =
      tag !== undefined &&
      membershipKey !== undefined &&
      (await verifyMembershipTag(membershipKey, content, auth, groupContext, tag));
    ensure(valid, "RFC 9420 §6.2: membership tag");
  }
  return { wireFormat: "public_message", content, auth };
}
