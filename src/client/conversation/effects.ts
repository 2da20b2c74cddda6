import type { Bytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import type { GroupState, StagedCommit } from "../../mls/group/index.js";
import type { LeafIndex } from "../../mls/structs/indices.js";
import type { Context } from "../context.js";
import { conversationOf } from "../delivery/history.js";
import { bodyOf, type MessageContent } from "./content.js";
import { pendingLeaves } from "./membership/commit-rules.js";
import { type Leaf, leafAt, usersOf } from "./membership/leaves.js";
import { type PolicyNews, policyNews } from "./membership/policy-change.js";
import type { ConversationRecord } from "./record.js";
import { policyIn } from "./state.js";
import type { Step } from "./step.js";

/** What the events of a conversation carry. */
export function groupField(step: Pick<Step, "record">): { group?: string } {
  const { subject } = step.record;
  return subject.kind === "group" ? { group: subject.name } : {};
}

/** Stores a message for the app, with its history and the receipt that it is due. */
export function deliver(
  context: Context,
  step: Step,
  sender: Pick<Leaf, "userId" | "accountKey">,
  content: MessageContent,
): void {
  const { userId: from, accountKey } = sender;
  const isKnown = context.contacts.isPinned(from, accountKey);
  const message = {
    groupId: step.key,
    ...(!isKnown && { unknownKey: accountKey }),
    id: toHex(content.id),
    from,
    ...groupField(step),
    content: bodyOf(content),
    sentAt: content.sentAt,
  };
  const { change, deliver: handOver } = context.delivery.prepare(message);
  const { subject } = step.record;
  const conversation = conversationOf(message, subject.kind === "direct" ? subject.peer : from);
  step.change(change, ...(isKnown ? context.history.add(message, conversation) : []));
  if (content.disappearAfter !== undefined) {
    const at = context.clock.now() + content.disappearAfter;
    step.change(context.expiries.add(at, { id: message.id, from, conversation, content: message.content }));
  }
  step.after(handOver);
  step.after(() => context.signals.typing.clear(step.key, from));
  oweReceipt(context, step, from, content.id);
}

/** The sender of a message that was received is due a receipt, if the app wants that. */
export function oweReceipt(context: Context, step: Step, of: string, id: Bytes): void {
  if (context.ack[step.record.subject.kind] && step.record.status === "active") {
    step.owed.delivered.push({ of, id });
  }
}

type Subject = ConversationRecord["subject"];

function nameChange(before: Subject, after: Subject): PolicyNews["name"] {
  if (before.kind === "direct" || after.kind === "direct" || before.name === after.name) return undefined;
  return { before: before.name, after: after.name };
}

/** Who came and who went with a commit, and what else it changed. */
export function announceCommit(
  context: Context,
  step: Step,
  before: GroupState,
  after: GroupState,
  { staged, subject }: { readonly staged: StagedCommit; readonly subject: Subject },
): void {
  const by = leafAt(before, staged.committer as LeafIndex).userId;
  announceChange(context, step, before, after, { by, subject });
}

/** The same of all that has changed in a group; `by`: who told this device of it. */
export function announceChange(
  context: Context,
  step: Pick<Step, "record" | "after">,
  before: GroupState,
  after: GroupState,
  { by, subject: listed }: { readonly by: string; readonly subject: Subject },
): void {
  const { subject, status } = step.record;
  if (status === "invited" || status === "leaving") return;
  // What differs from the group whose place it takes is told once it does.
  if (status === "active" && subject.kind === "group" && context.isBegunAnew(subject.name)) return;
  const name = nameChange(listed, subject);
  const changes = policyNews(policyIn(before), policyIn(after), usersOf(after));
  const news = name === undefined ? changes : { ...changes, name };
  const where = subject.kind === "direct" ? { user: subject.peer } : { group: subject.name };
  if (news !== undefined) step.after(() => context.emit("groupUpdated", { ...where, by, ...news }));
  if (subject.kind === "direct") return;
  const group = subject.name;
  const earlier = new Set(usersOf(before));
  const later = new Set(usersOf(after));
  // Who proposed to be removed left by itself, whoever made the commit.
  const leavers = new Set(pendingLeaves(before).map((leafIndex) => leafAt(before, leafIndex).userId));
  for (const userId of later) {
    if (!earlier.has(userId)) step.after(() => context.emit("memberJoin", { group, userId, by }));
  }
  for (const userId of earlier) {
    if (!later.has(userId))
      step.after(() => context.emit("memberLeave", { group, userId, by: leavers.has(userId) ? userId : by }));
  }
}

/** Why a conversation ends for this device. */
export type End =
  | { readonly removedBy: string }
  | { readonly left: true }
  | { readonly deletedBy: string }
  | { readonly closed: true }
  | { readonly lost: true };

/** Tells the app that a conversation ended; one that it left is gone for it already. */
export function announceEnd(context: Context, step: Step, end: End): void {
  const { subject, status } = step.record;
  if (subject.kind === "direct" || "left" in end || status === "leaving") return;
  if (status === "invited") {
    // Taken back before it was accepted: nothing of it is ever shown.
    step.change(...context.delivery.discard(step.key));
    return;
  }
  const group = subject.name;
  if ("deletedBy" in end) {
    if (status === "active") step.after(() => context.emit("groupDeleted", { group, by: end.deletedBy }));
  } else if ("removedBy" in end) {
    step.after(() => context.emit("groupLeave", { group, reason: "removed", by: end.removedBy }));
  } else {
    const reason = "closed" in end ? "closed" : "lost";
    step.after(() => context.emit("groupLeave", { group, reason }));
  }
}
