import type { Bytes } from "../../base/bytes.js";
import { equalBytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import { verifyFramedContent } from "../framing/authentication.js";
import { unprotectPrivate } from "../framing/private-message.js";
import { unprotectPublic } from "../framing/public-message.js";
import { ensure, reject } from "../rules.js";
import type { RatchetChange } from "../schedule/secret-tree.js";
import { externalSendersIn } from "../structs/extension.js";
import type { AuthenticatedContent } from "../structs/framed-content.js";
import type { MlsMessage, PrivateMessage, PublicMessage } from "../structs/message.js";
import type { GroupState } from "./state.js";

/** A received message whose signature is valid. */
export interface OpenedMessage {
  readonly authenticated: AuthenticatedContent;
  /** The state without the message's key. */
  readonly state: GroupState;
  readonly changes: RatchetChange[];
}

/** RFC 9420 §6. A message of another group, or of another epoch. */
function checkAddress(state: GroupState, groupId: Bytes, epoch: bigint): void {
  ensure(equalBytes(groupId, state.groupContext.groupId), "RFC 9420 §6: group id");
  if (epoch !== state.groupContext.epoch) {
    const rule = "RFC 9420 §6: epoch" as const;
    throw new SubrosaError("wrong-epoch", rule, { rule });
  }
}

/** RFC 9420 §6.1. The key by which the signature of a message must verify. */
function signatureKeyOf(state: GroupState, { content }: AuthenticatedContent): Bytes {
  const { sender, contentType } = content;
  switch (sender.senderType) {
    case "member": {
      const leaf = state.tree.leaf(sender.leafIndex);
      ensure(leaf !== undefined, "RFC 9420 §6: sender is not a member");
      return leaf.signatureKey;
    }
    case "external": {
      ensure(contentType === "proposal", "RFC 9420 §6.1: content type of this sender");
      const known = externalSendersIn(state.groupContext.extensions)[sender.senderIndex];
      ensure(known !== undefined, "RFC 9420 §12.1.8: external sender");
      return known.signatureKey;
    }
    case "new_member_proposal":
      if (contentType !== "proposal" || content.proposal.kind !== "add") {
        reject("RFC 9420 §6.1: content type of this sender");
      }
      return content.proposal.keyPackage.leafNode.signatureKey;
    case "new_member_commit":
      ensure(contentType === "commit", "RFC 9420 §6.1: content type of this sender");
      ensure(content.commit.path !== undefined, "RFC 9420 §12.4: path required");
      return content.commit.path.leafNode.signatureKey;
  }
}

async function openPublic(state: GroupState, message: PublicMessage): Promise<OpenedMessage> {
  const { content } = message;
  checkAddress(state, content.groupId, content.epoch);
  const { sender } = content;
  if (sender.senderType === "member") {
    ensure(sender.leafIndex !== state.ownLeafIndex, "RFC 9420 §6: own message");
    ensure(state.tree.leaf(sender.leafIndex) !== undefined, "RFC 9420 §6: sender is not a member");
  }
  const { groupContext, secrets } = state;
  const framing = { groupContext, membershipKey: secrets.membershipKey };
  return { authenticated: await unprotectPublic(message, framing), state, changes: [] };
}

async function openPrivate(state: GroupState, message: PrivateMessage): Promise<OpenedMessage> {
  checkAddress(state, message.groupId, message.epoch);
  const { secrets, secretTree, tree, ownLeafIndex } = state;
  const opened = await unprotectPrivate(
    message,
    { senderDataSecret: secrets.senderDataSecret, secretTree },
    { ownLeafIndex, isMember: (leafIndex) => tree.leaf(leafIndex) !== undefined },
  );
  const { authenticated, changes } = opened;
  return { authenticated, state: { ...state, secretTree: opened.secretTree }, changes };
}

/** RFC 9420 §6. Decrypts or checks the frame of a message, and verifies its signature. */
export async function openMessage(state: GroupState, message: MlsMessage): Promise<OpenedMessage> {
  let opened: OpenedMessage;
  if (message.wireFormat === "public_message") opened = await openPublic(state, message.publicMessage);
  else if (message.wireFormat === "private_message")
    opened = await openPrivate(state, message.privateMessage);
  else reject("RFC 9420 §6: kind of message");
  const publicKey = signatureKeyOf(state, opened.authenticated);
  await verifyFramedContent(opened.authenticated, state.groupContext, publicKey);
  return opened;
}
