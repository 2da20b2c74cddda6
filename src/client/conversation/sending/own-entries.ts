import { toHex } from "../../../base/encoding.js";
import { SubrosaError } from "../../../base/errors.js";
import { decodeStagedCommit, dropProposals, type GroupState } from "../../../mls/group/index.js";
import type { Cursor } from "../../../wire/identifiers.js";
import { EntryKind } from "../../../wire/protocol.js";
import type { Context } from "../../context.js";
import { fateChange, type SentMessage } from "../../delivery/sent-messages.js";
import { fingerprintOf } from "../../identity/safety-number.js";
import type { Content } from "../content.js";
import { announceEnd, groupField } from "../effects.js";
import { ownLeaves } from "../membership/commit-rules.js";
import { renamed } from "../membership/renaming.js";
import { answered } from "../membership/stored-requests.js";
import { mergeCommit } from "../receiving/receive.js";
import { forgetMessage, type KeptMessage, keptMessages } from "../repair/journal.js";
import { policyIn } from "../state.js";
import type { Step } from "../step.js";
import type { Intent, Sealed } from "./intent.js";
import { isMessage } from "./outbox.js";

/** The log shows an entry of ours at the place for which it was made: it counts from here on. */
export function receiveOwn(
  context: Context,
  step: Step,
  intent: Intent,
  sealed: Sealed,
  { seq }: Cursor,
): void {
  const { action } = intent;
  switch (sealed.kind) {
    case EntryKind.application:
      noteSent(context, step, intent, { seq, entryId: sealed.entryId });
      break;
    case EntryKind.leave:
      hide(context, step);
      break;
    case EntryKind.close:
      announceEnd(context, step, { deletedBy: context.identity.userId });
      step.end();
      break;
    case EntryKind.commit: {
      const before = step.group;
      if (before === undefined || sealed.bundle === undefined) return;
      mergeCommit(context, step, before, decodeStagedCommit(sealed.bundle.staged), true);
      step.applyAccess(sealed.bundle.access);
      if (step.record.status !== "ended") renamed(context, step, intent, before);
      break;
    }
    default:
      return;
  }
  step.endIntent(intent);
  if (action.type === "add" && action.request !== undefined) {
    step.change(answered(context, step.record.groupId, action.request.id));
  }
}

function noteSent(
  context: Context,
  step: Step,
  { action, order }: Intent,
  place: Pick<KeptMessage, "seq" | "entryId">,
): void {
  if (action.type !== "send" || !isMessage(action) || action.deleted) return;
  const { content, expected } = action;
  const kept = {
    ...place,
    order,
    content,
    time: context.clock.now(),
    growth: step.record.growth,
    ...(expected !== undefined && { expected }),
  };
  const { sent, change } = noteFate(context, step, content, "sent");
  step.change(context.journal.keepMessage(step.record.groupId, kept), change);
  const id = toHex(content.id);
  step.sent.set(id, sent);
  const by = context.identity.userId;
  step.after(() => context.emit("receipt", { ids: [id], by, ...groupField(step), state: "sent" }));
}

function noteFate(
  context: Context,
  { record, group }: Pick<Step, "record" | "group">,
  { id }: Content,
  state: SentMessage["state"],
): ReturnType<typeof fateChange> {
  const { subject, groupId } = record;
  return fateChange(context, id, {
    state,
    groupId,
    ...(subject.kind === "direct" && { peer: subject.peer }),
    epoch: group?.groupContext.epoch ?? 0n,
  });
}

/** The relay has our proposal to leave: the group is hidden at once. */
function hide(context: Context, step: Step): void {
  const { subject, status } = step.record;
  step.setStatus("leaving");
  step.change(...context.delivery.discard(step.key));
  if (subject.kind === "group" && status === "active") {
    step.after(() => context.emit("groupLeave", { group: subject.name, reason: "left" }));
  }
}

/** The bytes of an intent are void; it is sealed anew, under the same message id. */
export function unseal(context: Context, step: Step, intent: Intent): void {
  dropOwnLeave(step, intent);
  context.gossip.untold(step, intent.sealed);
  step.change(context.outbox.seal(intent, undefined));
}

/** A proposal to leave that the log has not shown binds nobody, this member least of all. */
function dropOwnLeave(step: Step, { action, sealed }: Intent): void {
  const { group, record } = step;
  if (action.type !== "leave" || group === undefined) return;
  // The log has shown another.
  if (record.status === "leaving" && sealed === undefined) return;
  step.propose(dropProposals(group, ownLeaves(group)), []);
}

/**
 * A message that was sent, and that the relay has lost, or says so, waits again; until it is sent, only as what waits.
 * It fails if somebody may have come in since: it was not meant for them.
 */
export function reviveKept(
  context: Context,
  step: Pick<Step, "record" | "group" | "change" | "after">,
  message: KeptMessage,
): void {
  const { groupId, growth } = step.record;
  if (message.growth !== growth) failKept(context, step, message);
  else step.change(context.outbox.revive(message, { groupId }), forgetMessage(groupId, message.content.id));
}

/** A message that was sent, and that the relay has lost, cannot be sent again. */
export function failKept(
  context: Context,
  step: Pick<Step, "record" | "group" | "change" | "after">,
  { content }: KeptMessage,
): void {
  const { changes, tell } = context.failures.add(content.id, "data-lost", groupField(step).group);
  step.change(
    ...changes,
    noteFate(context, step, content, "failed").change,
    forgetMessage(step.record.groupId, content.id),
  );
  step.after(tell);
}

/** An intent came to nothing; whoever waits for it, or sent it, is told why. */
export function fail(context: Context, step: Step, intent: Intent, error: SubrosaError): void {
  dropOwnLeave(step, intent);
  context.gossip.untold(step, intent.sealed);
  const { action } = intent;
  if (action.type === "send" && isMessage(action)) {
    const { changes, tell } = context.failures.add(action.content.id, error.code, groupField(step).group);
    step.change(...changes);
    if (!action.deleted) step.change(noteFate(context, step, action.content, "failed").change);
    step.after(tell);
  }
  step.endIntent(intent, error);
  if (error.code !== "name-taken" && step.record.status !== "ended") renamed(context, step, intent);
}

/** Fails a message that waits to be sent again if somebody may have come in since it was sent first. */
export function failOutgrown(context: Context, step: Step, intent: Intent): boolean {
  const { action } = intent;
  const growth = action.type === "send" ? action.growth : undefined;
  if (growth === undefined || growth === step.record.growth) return false;
  fail(context, step, intent, new SubrosaError("data-lost", "somebody has come in since it was sent"));
  return true;
}

/**
 * The conversation has ended: what the app wants of one with a user finds another, unless the step says why it must not; everything
 * else that waits fails.
 */
export function endWithConversation(context: Context, step: Step, intent: Intent): void {
  if (step.hasEnded(intent)) return;
  const { subject } = step.record;
  const goesOn = isMessage(intent.action) || intent.action.type === "policy";
  if (subject.kind === "direct" && step.endedBy === undefined && goesOn) {
    step.moveIntent(intent, { userId: subject.peer });
  } else if (intent.action.type === "leave") {
    // It is not to come back, if it is over here only.
    step.setRecord({ hasLeft: true });
    step.endIntent(intent);
  } else {
    const ended = new SubrosaError("not-a-member", "the conversation has ended");
    fail(context, step, intent, step.endedBy ?? ended);
  }
}

/**
 * What was sent in a direct conversation that is over, and is not known to have arrived, is sent in the next; to the
 * account that it was sent to, and no other.
 */
export async function sendAgain(context: Context, step: Step, before: GroupState | undefined): Promise<void> {
  const { subject, groupId } = step.record;
  if (subject.kind !== "direct" || step.endedBy !== undefined || before === undefined) return;
  const policy = policyIn(before);
  const account = policy.kind === "direct" && policy.users.find(({ userId }) => userId === subject.peer);
  if (!account) return;
  const fingerprint = await fingerprintOf(subject.peer, account.accountKey);
  for (const message of await keptMessages(context.store, groupId)) {
    const { expected = fingerprint } = message;
    step.change(context.outbox.revive({ ...message, expected }, { userId: subject.peer }));
  }
}
