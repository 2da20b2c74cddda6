import type { Bytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import { encode } from "../../codec/writer.js";
import { ensure, reject } from "../rules.js";
import type { Sender } from "../structs/framed-content.js";
import type { LeafIndex } from "../structs/indices.js";
import type { Proposal } from "../structs/proposal.js";
import { encodePreSharedKeyId } from "../structs/psk.js";
import { keyText } from "../tree/validate-tree.js";
import { supportsProposal } from "./capabilities.js";
import { checkProposal, type ProposalContext, verifyProposal } from "./proposal-checks.js";
import type { LeafPolicy } from "./types.js";

/** A proposal of a commit, with who made it. */
export interface ListedProposal {
  readonly proposal: Proposal;
  readonly sender: Sender;
  /** Of a proposal that was sent, and validated, before the commit. */
  readonly ref?: Bytes;
}

/** The member that commits, or nobody in the group. */
export type Committer = LeafIndex | "external";

/** RFC 9420 §12.4. The kinds of proposal that can be committed without a path. */
const PATH_FREE: readonly Proposal["kind"][] = ["add", "psk", "reInit"];

/** RFC 9420 §12.4. Whether a commit of these proposals must have a path. */
export function isPathRequired(list: readonly ListedProposal[]): boolean {
  return list.length === 0 || list.some(({ proposal }) => !PATH_FREE.includes(proposal.kind));
}

/** The proposals of one kind, in order. */
export function ofKind<K extends Proposal["kind"]>(
  list: readonly ListedProposal[],
  kind: K,
): Extract<Proposal, { kind: K }>[] {
  return list.flatMap(({ proposal }) =>
    proposal.kind === kind ? [proposal as Extract<Proposal, { kind: K }>] : [],
  );
}

/** The leaf that an update or a removal is about. */
export function leafOf({ proposal, sender }: ListedProposal): LeafIndex | undefined {
  if (proposal.kind === "remove") return proposal.removed;
  return proposal.kind === "update" && sender.senderType === "member" ? sender.leafIndex : undefined;
}

/** RFC 9420 §12.2. Updates and removals: none of the committer itself, one per leaf. */
function checkLeaves(list: readonly ListedProposal[], committer: Committer): void {
  const seen = new Set<LeafIndex>();
  for (const item of list) {
    const leafIndex = leafOf(item);
    if (leafIndex === undefined) continue;
    if (leafIndex === committer) {
      reject(
        item.proposal.kind === "update"
          ? "RFC 9420 §12.2: update by the committer"
          : "RFC 9420 §12.2: removal of the committer",
      );
    }
    ensure(!seen.has(leafIndex), "RFC 9420 §12.2: several updates or removals of one leaf");
    seen.add(leafIndex);
  }
}

/** RFC 9420 §12.2. Nobody is added twice, or who is a member and stays. A client is its signature key. */
function checkAdditions(list: readonly ListedProposal[], { tree }: ProposalContext): void {
  const additions = ofKind(list, "add");
  if (additions.length === 0) return;
  const removed = new Set(ofKind(list, "remove").map((proposal) => proposal.removed));
  const present = new Set<string>();
  for (const [leafIndex, leaf] of tree.members()) {
    if (!removed.has(leafIndex)) present.add(keyText(leaf.signatureKey));
  }
  const added = new Set<string>();
  for (const { keyPackage } of additions) {
    const key = keyText(keyPackage.leafNode.signatureKey);
    ensure(!added.has(key), "RFC 9420 §12.2: duplicate addition");
    ensure(!present.has(key), "RFC 9420 §12.2: addition of a member");
    added.add(key);
  }
}

/** RFC 9420 §12.2. A proposal of another type must be supported by all members that process the commit. */
function checkTypes(list: readonly ListedProposal[], { tree }: ProposalContext): void {
  const unknown = ofKind(list, "unknown");
  if (unknown.length === 0) return;
  const removed = new Set(ofKind(list, "remove").map((proposal) => proposal.removed));
  for (const [leafIndex, { capabilities }] of tree.members()) {
    if (removed.has(leafIndex)) continue;
    ensure(
      unknown.every((proposal) => supportsProposal(capabilities, proposal.proposalType)),
      "RFC 9420 §12.2: proposal type not supported by all members",
    );
  }
}

/** RFC 9420 §12.2. */
function checkPsks(list: readonly ListedProposal[]): void {
  const ids = ofKind(list, "psk").map(({ psk }) => toHex(encode(encodePreSharedKeyId, psk)));
  ensure(new Set(ids).size === ids.length, "RFC 9420 §12.2: duplicate PSK");
}

function checkRegularList(
  list: readonly ListedProposal[],
  committer: LeafIndex,
  context: ProposalContext,
): void {
  ensure(ofKind(list, "externalInit").length === 0, "RFC 9420 §12.2: ExternalInit in a regular commit");
  checkLeaves(list, committer);
  checkAdditions(list, context);
  checkPsks(list);
  checkTypes(list, context);
  ensure(
    ofKind(list, "groupContextExtensions").length <= 1,
    "RFC 9420 §12.2: several GroupContextExtensions",
  );
  ensure(
    list.length === 1 || ofKind(list, "reInit").length === 0,
    "RFC 9420 §12.2: ReInit with other proposals",
  );
}

const EXTERNAL_COMMIT: readonly Proposal["kind"][] = ["externalInit", "remove", "psk"];

function checkExternalList(list: readonly ListedProposal[]): void {
  ensure(
    list.every(({ ref }) => ref === undefined),
    "RFC 9420 §12.4.3.2: proposal by reference",
  );
  ensure(
    list.every(({ proposal }) => EXTERNAL_COMMIT.includes(proposal.kind)),
    "RFC 9420 §12.2: proposal type in an external commit",
  );
  ensure(ofKind(list, "externalInit").length === 1, "RFC 9420 §12.2: not exactly one ExternalInit");
  ensure(ofKind(list, "remove").length <= 1, "RFC 9420 §12.2: several removals in an external commit");
  checkPsks(list);
}

/**
 * RFC 9420 §12.2. The list that a commit covers, apart from what shows in the resulting tree. Proposals that were sent
 * before have had their signatures verified then.
 */
export async function validateProposalList(
  list: readonly ListedProposal[],
  committer: Committer,
  context: ProposalContext,
  policy: LeafPolicy,
): Promise<void> {
  if (committer === "external") checkExternalList(list);
  else checkRegularList(list, committer, context);
  for (const { proposal, sender } of list) checkProposal(proposal, sender, context, policy);
  await Promise.all(
    list.map(({ proposal, sender, ref }) =>
      ref === undefined ? verifyProposal(proposal, sender, context, policy) : undefined,
    ),
  );
}
