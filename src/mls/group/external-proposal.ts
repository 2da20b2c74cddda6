import { type Bytes, copyBytes, EMPTY } from "../../base/bytes.js";
import { encode } from "../../codec/writer.js";
import { signFramedContent } from "../framing/authentication.js";
import { protectPublic } from "../framing/public-message.js";
import type { FramedContent, Sender } from "../structs/framed-content.js";
import type { GroupContext } from "../structs/group-context.js";
import type { KeyPackage } from "../structs/key-package.js";
import { encodeMlsMessage } from "../structs/message.js";
import type { Proposal } from "../structs/proposal.js";
import { CIPHER_SUITE, MLS10 } from "../structs/registry.js";
import { checkProposalSender } from "./proposal-checks.js";
import type { Signer } from "./types.js";

/** The group and epoch that somebody outside knows of. */
export interface OutsideView {
  readonly groupId: Uint8Array;
  readonly epoch: bigint;
}

export interface OutsideOptions {
  readonly signer: Signer;
  readonly authenticatedData?: Bytes;
}

async function proposeAs(
  sender: Sender,
  view: OutsideView,
  proposal: Proposal,
  { signer, authenticatedData = EMPTY }: OutsideOptions,
): Promise<Bytes> {
  checkProposalSender(proposal, sender);
  const groupId = copyBytes(view.groupId);
  const { epoch } = view;
  const content: FramedContent = {
    contentType: "proposal",
    proposal,
    groupId,
    epoch,
    sender,
    authenticatedData,
  };
  // The signatures of those outside do not cover the group context (§6.1), which they need not know.
  const groupContext: GroupContext = {
    version: MLS10,
    cipherSuite: CIPHER_SUITE,
    groupId,
    epoch,
    treeHash: EMPTY,
    confirmedTranscriptHash: EMPTY,
    extensions: [],
  };
  const wireFormat = "public_message";
  const signature = await signFramedContent(wireFormat, content, groupContext, signer.privateKey);
  const auth = { signature, confirmationTag: undefined };
  const publicMessage = await protectPublic({ wireFormat, content, auth }, { groupContext });
  return encode(encodeMlsMessage, { wireFormat, publicMessage });
}

/** RFC 9420 §12.1.8. A proposal, an MLSMessage, by the sender at `senderIndex` of the group's external_senders. */
export function proposeFromOutside(
  view: OutsideView,
  senderIndex: number,
  proposal: Proposal,
  options: OutsideOptions,
): Promise<Bytes> {
  return proposeAs({ senderType: "external", senderIndex }, view, proposal, options);
}

/** RFC 9420 §12.1.8. A proposal, an MLSMessage, by which the owner of a key package asks to be added. */
export function proposeOwnAddition(
  view: OutsideView,
  keyPackage: KeyPackage,
  options: OutsideOptions,
): Promise<Bytes> {
  return proposeAs({ senderType: "new_member_proposal" }, view, { kind: "add", keyPackage }, options);
}
