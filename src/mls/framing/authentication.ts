import { type Bytes, concat } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import { encode } from "../../codec/writer.js";
import { cachedHmacKey, hmacWith, verifyMac } from "../../crypto/hmac.js";
import { signWithLabel, verifyWithLabel } from "../labels.js";
import type { Rule } from "../rules.js";
import {
  type AuthenticatedContent,
  encodeFramedContentAuthData,
  encodeFramedContentTbs,
  type FramedContent,
  type FramedContentAuthData,
  type FramingFormat,
} from "../structs/framed-content.js";
import type { GroupContext } from "../structs/group-context.js";

const LABEL = "FramedContentTBS";
const SIGNATURE: Rule = "RFC 9420 §6.1: signature";

/** RFC 9420 §6.1 `FramedContentTBS`, encoded. */
export function framedContentTbs(
  wireFormat: FramingFormat,
  content: FramedContent,
  groupContext: GroupContext,
): Bytes {
  return encode((writer) => encodeFramedContentTbs(writer, wireFormat, content, groupContext), undefined);
}

/** RFC 9420 §6.1: the signature over framed content. */
export function signFramedContent(
  wireFormat: FramingFormat,
  content: FramedContent,
  groupContext: GroupContext,
  privateKey: CryptoKey,
): Promise<Bytes> {
  return signWithLabel(privateKey, LABEL, framedContentTbs(wireFormat, content, groupContext));
}

/** RFC 9420 §6.1. Throws `invalid-signature`, or `invalid-key` when the public key is not on the curve. */
export async function verifyFramedContent(
  authenticated: AuthenticatedContent,
  groupContext: GroupContext,
  publicKey: Bytes,
): Promise<void> {
  const { wireFormat, content, auth } = authenticated;
  const tbs = framedContentTbs(wireFormat, content, groupContext);
  if (!(await verifyWithLabel(publicKey, LABEL, tbs, auth.signature))) {
    throw new SubrosaError("invalid-signature", SIGNATURE, { rule: SIGNATURE });
  }
}

function authenticatedContentTbm(
  content: FramedContent,
  auth: FramedContentAuthData,
  groupContext: GroupContext,
): Bytes {
  const tbs = framedContentTbs("public_message", content, groupContext);
  return concat(tbs, encode(encodeFramedContentAuthData, auth));
}

/** RFC 9420 §6.2: the membership tag of a PublicMessage. */
export async function membershipTag(
  membershipKey: Bytes,
  content: FramedContent,
  auth: FramedContentAuthData,
  groupContext: GroupContext,
): Promise<Bytes> {
  return hmacWith(await cachedHmacKey(membershipKey), authenticatedContentTbm(content, auth, groupContext));
}

/** RFC 9420 §6.2: whether `tag` is the membership tag. */
export async function verifyMembershipTag(
  membershipKey: Bytes,
  content: FramedContent,
  auth: FramedContentAuthData,
  groupContext: GroupContext,
  tag: Bytes,
): Promise<boolean> {
  const key = await cachedHmacKey(membershipKey);
  return verifyMac(key, authenticatedContentTbm(content, auth, groupContext), tag);
}
