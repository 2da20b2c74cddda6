import { equalBytes } from "../../../base/bytes.js";
import { payloadOf, SubrosaError, withPayload } from "../../../base/errors.js";
import {
  encodeRatchets,
  epochAuthenticator,
  type GroupState,
  merge,
  processMessage,
  type StagedCommit,
} from "../../../mls/group/index.js";
import type { Rule } from "../../../mls/rules.js";
import type { LeafIndex } from "../../../mls/structs/indices.js";
import type { EntryContent } from "../../../wire/entries.js";
import { EntryKind } from "../../../wire/protocol.js";
import type { Context } from "../../context.js";
import { isOwnTrouble } from "../../own-trouble.js";
import { contentOf } from "../content.js";
import { announceCommit, announceEnd, deliver, groupField, oweReceipt } from "../effects.js";
import { keepHead } from "../gossip/gossip.js";
import { AUTHENTICATED_DATA_VERSION, messageAuthenticatedData } from "../membership/access.js";
import { acquaint } from "../membership/acquaintance.js";
import { checkCommit, pendingLeaves } from "../membership/commit-rules.js";
import { authenticate, hasGrown, leafAt, usersOf } from "../membership/leaves.js";
import { isAdmin } from "../membership/policy.js";
import { rebind } from "../membership/renaming.js";
import { granted } from "../membership/stored-requests.js";
import { noteReceipts } from "../receipts.js";
import { bequest } from "../repair/bequest.js";
import { adds, loseKeys } from "../repair/repair.js";
import { Trail } from "../repair/trail.js";
import { isMessage } from "../sending/outbox.js";
import { policyIn } from "../state.js";
import type { Step } from "../step.js";
import { isByLaterState } from "./later-state.js";

const OWN_MESSAGE: Rule = "RFC 9420 §6: own message";
const KEY_USED: Rule = "RFC 9420 §9.2: key of a generation used";
const UNREADABLE_PATH: Rule = "RFC 9420 §7.5: path secret";

/** What became of an entry. */
export type Outcome =
  | "processed"
  | "duplicate"
  /** Refused by all members alike; the log goes on. */
  | "void"
  /** This member could not read it. */
  | "unreadable";

/**
 * Carries out one entry of somebody else (or of ours, before this process began) on a step. `digest`: its content's.
 * `mayRepeat`: the log is being read again, so that what cannot be read may be what was read before.
 */
export async function receiveEntry(
  context: Context,
  step: Step,
  content: EntryContent,
  digest: Uint8Array,
  mayRepeat = false,
): Promise<Outcome> {
  const group = step.group;
  if (group === undefined) return "void";
  try {
    switch (content.kind) {
      case EntryKind.application:
      case EntryKind.close:
        return await receiveApplication(context, step, group, content);
      case EntryKind.leave:
        return await receiveLeave(step, group, content);
      case EntryKind.commit:
        return await receiveCommit(context, step, group, content);
      default:
        throw new SubrosaError("malformed", "an entry that does not belong into a group log");
    }
  } catch (error) {
    if (!SubrosaError.is(error) || error.code === "internal" || isOwnTrouble(error)) throw error;
    if (error.rule === OWN_MESSAGE) {
      if (!(await isByLaterState(group, content.payload))) {
        // A commit of this device that it does not know any more: the others are in an epoch that it cannot enter.
        if (content.kind === EntryKind.commit) loseKeys(context, step, "cursor-mismatch");
        return "duplicate";
      }
      throw new SubrosaError("store-outdated", "this device has sent more than this state of it knows");
    }
    if (content.kind === EntryKind.application) {
      if (mayRepeat) return "duplicate";
      // The same bytes once more: who sent them does not know that the relay had them, and has lost them since.
      const isPutBack = step.record.putBackIn === group.groupContext.epoch && error.rule === KEY_USED;
      if (isPutBack && (await Trail.load(context.store, step.record.groupId)).has(digest)) return "duplicate";
    }
    return refused(context, step, content, error);
  } finally {
    // The relay has carried out a commit's access changes whatever its members think of it.
    if (content.kind === EntryKind.commit && content.bundle !== undefined)
      step.applyAccess(content.bundle.access);
  }
}

function refused(context: Context, step: Step, content: EntryContent, error: SubrosaError): Outcome {
  if (content.kind === EntryKind.application || content.kind === EntryKind.close) {
    const { changes, tell } = context.failures.missed(error.code, 1, groupField(step).group);
    step.change(...changes);
    step.after(() => tell(payloadOf(content.payload)));
    if (content.kind === EntryKind.application) step.noteReadable(false);
    return "unreadable";
  }
  step.after(() => context.report(withPayload(error, content.payload)));
  // Only this member cannot read the path: the others go on without it (RFC 9420 §7.5).
  if (error.rule === UNREADABLE_PATH) {
    // What this member would say from its old epoch nobody could read, and its commits would confuse the relay.
    loseKeys(context, step, error.code);
    return "unreadable";
  }
  return "void";
}

async function receiveApplication(
  context: Context,
  step: Step,
  group: GroupState,
  entry: EntryContent,
): Promise<Outcome> {
  const result = await processMessage(group, entry.payload, { authenticate });
  if (result.kind !== "application") throw new SubrosaError("invalid-message", "not an application message");
  // The key is used up whatever the content turns out to be.
  step.ratchet(result.state, result.changes);
  const sender = leafAt(group, result.sender);
  step.heardOf(sender.deviceId);
  step.noteReadable(true);
  if (!equalBytes(result.authenticatedData, messageAuthenticatedData(epochAuthenticator(group)))) {
    throw new SubrosaError("invalid-message", "a message of another history", {
      rule: "epoch authenticator",
    });
  }
  const { content, hearsay } = contentOf(result.content);
  await context.gossip.hear(step, group, sender, hearsay);
  if ((content.type === "close") !== (entry.kind === EntryKind.close)) {
    throw new SubrosaError("invalid-message", "content and entry differ", { rule: "close" });
  }
  if (await step.isDuplicate(await context.privateTag(sender.accountKey), content)) {
    // Who sends a message again does not know that it has arrived.
    if (isMessage({ type: "send", content })) oweReceipt(context, step, sender.userId, content.id);
    return "duplicate";
  }
  switch (content.type) {
    case "text":
    case "bytes":
    case "attachment":
      deliver(context, step, sender, content);
      break;
    case "hello":
      break;
    case "delivered":
    case "read":
      await noteReceipts(context, step, sender.userId, content);
      break;
    case "close":
      if (!isAdmin(policyIn(group), sender.userId)) {
        throw new SubrosaError("invalid-message", "only admins delete a group", { rule: "close" });
      }
      announceEnd(context, step, { deletedBy: sender.userId });
      step.end();
      break;
  }
  return "processed";
}

async function receiveLeave(step: Step, group: GroupState, entry: EntryContent): Promise<Outcome> {
  const result = await processMessage(group, entry.payload, { authenticate });
  if (result.kind !== "proposal")
    throw new SubrosaError("invalid-message", "not a proposal", { rule: "leave" });
  const { proposal, sender } = result;
  const version = result.authenticatedData[0];
  if (pendingLeaves(group).some((leafIndex) => leafIndex === sender)) {
    throw new SubrosaError("invalid-message", "a member leaves once", { rule: "leave" });
  }
  if (proposal.kind !== "remove" || proposal.removed !== sender || version !== AUTHENTICATED_DATA_VERSION) {
    // The key is used up, the proposal is not taken in.
    step.ratchet({ ...result.state, pendingProposals: group.pendingProposals }, result.changes);
    throw new SubrosaError("invalid-message", "a proposal other than to leave", { rule: "leave" });
  }
  step.propose(result.state, result.changes);
  return "processed";
}

async function receiveCommit(
  context: Context,
  step: Step,
  group: GroupState,
  entry: EntryContent,
): Promise<Outcome> {
  const bundle = entry.bundle;
  if (bundle === undefined) throw new SubrosaError("malformed", "a commit without its bundle");
  const result = await processMessage(group, entry.payload, { authenticate });
  if (result.kind !== "commit") throw new SubrosaError("invalid-message", "not a commit", { rule: "commit" });
  step.ratchet({ ...group, secretTree: result.state.secretTree }, result.changes);
  await checkCommit(group, step.access, result.staged, bundle);
  if (result.staged.selfRemoved) step.change(...(await bequest(context, step.record)));
  if (result.staged.selfRemoved && adds(bundle, context.identity.deviceId)) {
    // Removed and added anew in one: a pointer to the keys is on its way.
    loseKeys(context, step, "removed", { readded: true });
    return "processed";
  }
  mergeCommit(context, step, group, result.staged, false);
  if (step.group !== undefined)
    step.change(...(await granted(context, step.record.groupId, group, step.group)));
  return "processed";
}

/** Merges a commit that the log has shown and that passed every check. */
export function mergeCommit(
  context: Context,
  step: Step,
  before: GroupState,
  staged: StagedCommit,
  own: boolean,
): void {
  if (staged.selfRemoved) {
    const by = leafAt(before, staged.committer as LeafIndex).userId;
    announceEnd(context, step, step.record.status === "leaving" ? { left: true } : { removedBy: by });
    step.end();
    return;
  }
  const after = merge(staged);
  if (step.record.subject.kind === "group") step.change(...keepHead(before));
  step.merge(after, encodeRatchets(after.secretTree), own);
  step.heardOf(leafAt(before, staged.committer as LeafIndex).deviceId);
  if (hasGrown(before, after)) {
    const known = new Set(usersOf(before));
    const { epoch } = after.groupContext;
    const since = usersOf(after).map((userId) => {
      return [userId, known.has(userId) ? step.record.since?.get(userId) : epoch] as const;
    });
    step.setRecord({
      growth: step.record.growth + 1,
      since: new Map(since.filter((one): one is [string, bigint] => one[1] !== undefined)),
    });
  }
  const { subject } = step.record;
  rebind(context, step, after);
  announceCommit(context, step, before, after, { staged, subject });
  // What one thinks of the members is one's own affair: it does not keep the commit from being merged.
  step.after(() => context.background(acquaint(context, after)));
}
