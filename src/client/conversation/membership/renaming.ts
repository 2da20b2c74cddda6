import { SubrosaError } from "../../../base/errors.js";
import type { GroupState } from "../../../mls/group/index.js";
import { isName } from "../../../wire/identifiers.js";
import type { Context } from "../../context.js";
import type { Conversation } from "../conversation.js";
import { isFinal } from "../sending/final-refusals.js";
import type { Action, Intent } from "../sending/intent.js";
import { type ConversationState, policyIn } from "../state.js";
import type { Step } from "../step.js";
import { nameHash } from "./directory-names.js";
import { policyWith } from "./duties.js";
import type { GroupPolicy } from "./policy.js";

/**
 * A group is renamed in this order: the relay binds the new name to it, the commit names it so, the relay frees the old
 * name. Whatever ends in between, the group has its name, and what is left to do waits in the outbox.
 */
export async function claimFor(
  { relay, identity }: Context,
  { group, record }: ConversationState,
  action: Action,
): Promise<void> {
  if (action.type !== "policy" || action.change.type !== "rename" || group === undefined) return;
  const { change } = action;
  policyWith(group, change, identity.userId);
  await relay.request("claimName", { groupId: record.groupId, nameHash: await nameHash(change.name) });
}

/** A rename came to its end: `before` is what the group was called, if it is renamed. */
export function renamed(context: Context, step: Step, { action }: Intent, before?: GroupState): void {
  if (action.type !== "policy" || action.change.type !== "rename") return;
  const release = before === undefined ? action.change.name : nameIn(before);
  if (release === undefined) return;
  const target = { groupId: step.record.groupId };
  step.change(context.outbox.add(target, { type: "settleName", release }).change);
}

/**
 * The group's name is claimed once more, since another admin's release of it may have come after the claim; then the
 * other name is free.
 */
export async function settleName(
  context: Context,
  conversation: Conversation,
  intent: Intent,
  release: string,
): Promise<void> {
  const { group, record } = conversation.state;
  const { groupId } = record;
  const name = group && nameIn(group);
  try {
    if (name !== undefined) {
      await context.relay.request("claimName", { groupId, nameHash: await nameHash(name) });
      if (name !== release) {
        await context.relay.request("releaseName", { groupId, nameHash: await nameHash(release) });
      }
    }
  } catch (error) {
    if (!isFinal(error)) throw error;
    // Who is no admin any more leaves it to those who are.
    if (error.code === "name-taken") context.report(error);
  }
  await conversation.step((step) => step.endIntent(intent));
}

/**
 * Lists a group under the name that its policy gives it, unless another one has that name here: then it stays what it
 * was called.
 */
export function rebind(context: Context, step: Step, after: GroupState): void {
  const { subject, groupId } = step.record;
  const name = nameIn(after);
  if (subject.kind !== "group" || name === undefined || name === subject.name) return;
  if (isName(name) && !context.isNameBound(name, groupId)) {
    step.setRecord({ subject: { kind: "group", name } });
    return;
  }
  const reason = `a group goes on as ${JSON.stringify(subject.name)}: its new name is that of another here`;
  step.after(() => context.report(new SubrosaError("name-taken", reason)));
}

function nameIn(group: GroupState): GroupPolicy["name"] | undefined {
  const policy = policyIn(group);
  return policy.kind === "group" ? policy.name : undefined;
}
