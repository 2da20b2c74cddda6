import { type Bytes, equalBytes } from "../../base/bytes.js";
import { HASH_LENGTH } from "../../crypto/hash.js";
import { isValidPublicKey } from "../../crypto/p256.js";
import { ensure, reject } from "../rules.js";
import {
  type Extension,
  externalSendersIn,
  findExtension,
  requiredCapabilitiesIn,
} from "../structs/extension.js";
import type { Sender } from "../structs/framed-content.js";
import type { LeafIndex } from "../structs/indices.js";
import type { LeafNode } from "../structs/leaf-node.js";
import type { GroupContextExtensionsProposal, Proposal, PskProposal } from "../structs/proposal.js";
import { ExtensionType, MLS10 } from "../structs/registry.js";
import type { RatchetTree } from "../tree/ratchet-tree.js";
import { checkExtensionList, meetsRequirements, supportsGroupExtensions } from "./capabilities.js";
import { checkKeyPackage, verifyKeyPackage } from "./key-package.js";
import { authenticateIdentity, checkLeafNode, verifyLeafNode } from "./leaf-node.js";
import type { LeafPolicy } from "./types.js";

/** The group as the proposals of an epoch find it. */
export interface ProposalContext {
  readonly groupId: Bytes;
  readonly tree: RatchetTree;
  /** The extensions before the commit. */
  readonly oldExtensions: readonly Extension[];
  /** The extensions in force once it is applied. */
  readonly extensions: readonly Extension[];
  /** Usages of resumption PSKs that this commit may have (RFC 9420 §11.2, §11.3). */
  readonly pskUsage?: "reinit" | "branch" | undefined;
}

/** RFC 9420 §12.1.8. The types that somebody outside may propose. */
const EXTERNAL_KINDS: readonly Proposal["kind"][] = [
  "add",
  "remove",
  "psk",
  "reInit",
  "groupContextExtensions",
];

/** RFC 9420 §6.1, §12.1.8. Whether this kind of sender may propose this. */
export function checkProposalSender(proposal: Proposal, sender: Sender): void {
  if (sender.senderType === "external") {
    ensure(EXTERNAL_KINDS.includes(proposal.kind), "RFC 9420 §12.1.8: proposal type of an external sender");
  }
  if (sender.senderType === "new_member_proposal" && proposal.kind !== "add") {
    reject("RFC 9420 §6.1: content type of this sender");
  }
}

/** RFC 9420 §12.1.4. */
function checkPsk({ psk }: PskProposal, { pskUsage }: ProposalContext): void {
  ensure(psk.pskNonce.length === HASH_LENGTH, "RFC 9420 §12.1.4: length of the PSK nonce");
  if (psk.pskType === "resumption" && psk.usage !== "application" && psk.usage !== pskUsage) {
    reject("RFC 9420 §12.1.4: resumption PSK usage");
  }
}

/** RFC 9420 §12.1.7, for the members that `leaves` lists. */
export function checkGroupExtensions(extensions: readonly Extension[], leaves: Iterable<LeafNode>): void {
  const required = requiredCapabilitiesIn(extensions);
  for (const { capabilities } of leaves) {
    ensure(
      required === undefined || meetsRequirements(capabilities, required),
      "RFC 9420 §12.1.7: required capabilities not supported by all members",
    );
    ensure(
      supportsGroupExtensions(capabilities, extensions),
      "RFC 9420 §13.4: group extension not supported",
    );
  }
}

function replacedLeaf(sender: Sender, { tree }: ProposalContext): [LeafNode, LeafIndex] {
  const leafIndex = sender.senderType === "member" ? sender.leafIndex : undefined;
  const leaf = leafIndex === undefined ? undefined : tree.leaf(leafIndex);
  if (leaf === undefined || leafIndex === undefined) reject("RFC 9420 §6: sender is not a member");
  return [leaf, leafIndex];
}

function updateContext(sender: Sender, context: ProposalContext) {
  const [replaces, leafIndex] = replacedLeaf(sender, context);
  return {
    groupExtensions: context.extensions,
    source: "update" as const,
    position: { groupId: context.groupId, leafIndex },
    replaces,
  };
}

/** RFC 9420 §12.1. What can be said of one proposal by itself without cryptography and without the application. */
export function checkProposal(
  proposal: Proposal,
  sender: Sender,
  context: ProposalContext,
  policy: Omit<LeafPolicy, "authenticate">,
): void {
  checkProposalSender(proposal, sender);
  switch (proposal.kind) {
    case "add":
      checkKeyPackage(proposal.keyPackage, context.extensions, policy);
      break;
    case "update":
      checkLeafNode(proposal.leafNode, updateContext(sender, context), policy);
      break;
    case "remove":
      ensure(context.tree.leaf(proposal.removed) !== undefined, "RFC 9420 §12.1.3: removal of a blank leaf");
      break;
    case "psk":
      checkPsk(proposal, context);
      break;
    case "reInit":
      ensure(proposal.version >= MLS10, "RFC 9420 §12.1.5: version of a ReInit");
      checkExtensionList(proposal.extensions);
      break;
    case "groupContextExtensions":
      checkExtensionList(proposal.extensions);
      break;
    case "externalInit":
      ensure(isValidPublicKey(proposal.kemOutput), "RFC 9420 §5.1.1: public key");
      break;
    case "unknown":
      break;
  }
}

/** RFC 9420 §5.3.1. Asks the application about the external senders of a new list. */
async function authenticateSenders(
  { extensions }: GroupContextExtensionsProposal,
  before: readonly Extension[],
  { authenticate }: LeafPolicy,
): Promise<void> {
  const [old, now] = [before, extensions].map((list) => findExtension(list, ExtensionType.externalSenders));
  if (now === undefined || (old !== undefined && equalBytes(old, now))) return;
  const senders = externalSendersIn(extensions);
  await Promise.all(senders.map((sender) => authenticateIdentity(authenticate, sender)));
}

/** RFC 9420 §12.1. Signatures within one proposal, and the application's word about new identities. */
export async function verifyProposal(
  proposal: Proposal,
  sender: Sender,
  context: ProposalContext,
  policy: LeafPolicy,
): Promise<void> {
  if (proposal.kind === "add") await verifyKeyPackage(proposal.keyPackage, policy);
  if (proposal.kind === "update") {
    await verifyLeafNode(proposal.leafNode, updateContext(sender, context), policy);
  }
  if (proposal.kind === "groupContextExtensions") {
    await authenticateSenders(proposal, context.oldExtensions, policy);
  }
}
