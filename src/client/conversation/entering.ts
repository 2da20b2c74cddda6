import type { Context, Effect } from "../context.js";
import { groupField } from "./effects.js";
import { hasGrown, usersOf } from "./membership/leaves.js";
import { isAdmin, isBanned } from "./membership/policy.js";
import type { ConversationRecord } from "./record.js";
import { bequest } from "./repair/bequest.js";
import { keptMessages } from "./repair/journal.js";
import type { Action, Intent } from "./sending/intent.js";
import { isMessage } from "./sending/outbox.js";
import { reviveKept } from "./sending/own-entries.js";
import { type ConversationState, forgetKeys, initialChanges, policyIn } from "./state.js";

/** How a conversation is entered with new keys, what is written for it, and what follows once that is durable. */
export interface Entering {
  readonly state: ConversationState;
  readonly changes: Effect[];
  readonly effects: (() => void)[];
}

/**
 * Everything of the old keys goes. What waits goes on under the new ones; so does what the relay had lost of this
 * device's messages, and how much it could not read is told.
 */
export async function entering(
  context: Context,
  before: ConversationState,
  welcomed: ConversationState,
  intents: readonly Intent[],
): Promise<Entering> {
  const { record, place, group } = before;
  // Only who knows who was there can tell that nobody has come in.
  const isGrown = !group || !welcomed.group || hasGrown(group, welcomed.group);
  const growth = record.growth + (isGrown ? 1 : 0);
  const after = { ...welcomed, record: { ...welcomed.record, growth } };
  const changes: Effect[] = [
    ...(await bequest(context, record)),
    ...forgetKeys(record),
    ...initialChanges(after),
    ...unsealed(context, before, after, intents),
  ];
  const effects: (() => void)[] = [];
  const { repair, groupId } = record;
  if (repair === undefined) return { state: after, changes, effects };
  const unseen = repair.readded ? 0 : Math.max(0, after.place.cursor.seq - 1 - place.cursor.seq);
  const missed = repair.missed + unseen;
  if (missed > 0) {
    const told = context.failures.missed(repair.reason, missed, groupField(after).group);
    changes.push(...told.changes);
    effects.push(told.tell);
  }
  if (group !== undefined && after.group !== undefined) {
    // Of a log that could not be read nothing is known; else what it has of this device's messages.
    const isUnknown = repair.refused && isLogInDoubt(record);
    for (const message of await keptMessages(context.store, groupId)) {
      if (!isUnknown && message.seq !== undefined) continue;
      const step = {
        record: after.record,
        group: after.group,
        change: (...more: readonly Effect[]) => void changes.push(...more),
        after: (effect: () => void) => void effects.push(effect),
      };
      reviveKept(context, step, message);
    }
  }
  return { state: after, changes, effects };
}

/**
 * What waits goes on, but for messages where somebody is back of whom a commit that the relay has lost had rid the group:
 * they are not for them, and fail. An admin removes them again before anything else is said.
 */
function unsealed(
  { identity, outbox }: Context,
  { record, group }: ConversationState,
  after: ConversationState,
  intents: readonly Intent[],
): Effect[] {
  const members = new Set(after.group && usersOf(after.group));
  const back = (record.repair?.back ?? []).filter((userId) => members.has(userId));
  const isBack = back.length > 0 && group !== undefined && after.group !== undefined;
  const changes = intents.map((intent) => {
    const { action } = intent;
    // Of another growth than the conversation has now.
    const isFor = !isBack || action.type !== "send" || !isMessage(action);
    return outbox.seal(intent, undefined, isFor ? action : { growth: record.growth, ...action });
  });
  if (!isBack || !isAdmin(policyIn(after.group), identity.userId)) return changes;
  const target = { groupId: after.record.groupId };
  const before = policyIn(group);
  const removals = back.map((userId): Action => {
    if (!isBanned(before, userId)) return { type: "remove", userId };
    return { type: "policy", change: { type: "ban", userId } };
  });
  return [...changes, ...removals.map((action) => outbox.add(target, action).change)];
}

/** The relay's log may be shorter than the one that this device has read. */
export function isLogInDoubt({ repair }: Pick<ConversationRecord, "repair">): boolean {
  return repair?.reason === "not-a-member" || repair?.reason === "cursor-mismatch";
}
