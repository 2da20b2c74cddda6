import { equalBytes } from "../../../base/bytes.js";
import type { ErrorCode } from "../../../base/errors.js";
import { type BundleHead, type LogEntry, labelOf } from "../../../wire/entries.js";
import { EntryKind } from "../../../wire/protocol.js";
import type { Context } from "../../context.js";
import { layout } from "../../layout.js";
import { MESSAGE_ID_LENGTH } from "../content.js";
import type { Conversation } from "../conversation.js";
import { announceEnd } from "../effects.js";
import { UNKNOWN_LEAF } from "../membership/additions.js";
import { nameHash } from "../membership/directory-names.js";
import type { ConversationRecord, Repair } from "../record.js";
import { type ConversationState, policyIn } from "../state.js";
import type { Step } from "../step.js";
import { KEPT_FOR } from "./journal.js";

/**
 * This device cannot go on with its keys. In a group it waits to be added anew by another member; a direct conversation
 * begins anew. `readded`: the log has shown already that it was; `refused`: only an answer of the relay says so.
 */
export function loseKeys(
  context: Context,
  step: Step,
  reason: ErrorCode,
  { readded = false, refused = false }: { readonly readded?: boolean; readonly refused?: boolean } = {},
): void {
  const { subject, status, groupId, repair } = step.record;
  // Where the log was cut off meanwhile, what leads back into the group may stand before where this device was.
  if (repair !== undefined && reason === "cursor-mismatch")
    step.setRecord({ repair: { ...repair, reason, readded } });
  // Nothing is left here to go on with.
  if (repair !== undefined && reason === "store-damaged")
    step.setRecord({ repair: { ...repair, refused: false }, restoration: undefined });
  if (status === "ended" || status === "repairing") return;
  if (subject.kind === "direct") {
    step.end();
    beginAnew(context, step, subject.peer);
  } else if (status === "active") {
    step.startRepair({ reason, readded, refused });
    if (!readded) step.after(() => context.repair(groupId));
  } else {
    announceEnd(context, step, { lost: true });
    step.end();
  }
}

/**
 * The relay gives the log again from where it refused it: the keys are as good as they were. Others may add this device
 * anew all the same, as it asked; the log will show that.
 */
export function goOn(context: Context, step: Step, conversation: Conversation): void {
  const { repair, restoration, groupId } = step.record;
  if (!repair?.refused) return;
  if (step.group === undefined) {
    step.setRecord({ repair: { ...repair, refused: false } });
    return;
  }
  step.setRecord({ status: "active", repair: undefined });
  // As long as the log is being put back, what others grant is wanted.
  if (restoration === undefined) step.change({ delete: layout.join(groupId) });
  step.after(() => context.repaired(conversation));
}

/**
 * Whether a log that the relay refuses is waited for: that of a group which is nothing yet, or no more, that the app is in.
 * Who let this device in puts back that it did, as long as that is kept, unless it is let in anew.
 */
export async function mayComeBack(
  { clock, store }: Context,
  { status, joinedAt, groupId }: ConversationRecord,
  code: ErrorCode,
): Promise<boolean> {
  if ((status !== "invited" && status !== "leaving") || code === "gap") return false;
  return clock.now() - joinedAt < KEPT_FOR && (await store.get(layout.pointer(groupId))) === undefined;
}

/** Has the relay know a group again that this device made. Throws `name-taken` where there is another of its name by now. */
export async function bringBack(
  { relay }: Context,
  { record, group }: ConversationState,
  listed: string,
): Promise<void> {
  const policy = group && policyIn(group);
  const name = policy?.kind === "group" ? policy.name : listed;
  await relay.request("create", { groupId: record.groupId, nameHash: await nameHash(name) });
}

/** The members are asked once more to add this device anew: it could not open the welcome that came of that. */
export function askOthers(context: Context, step: Step, conversation: Conversation): void {
  const { repair, groupId, leafHash = UNKNOWN_LEAF } = step.record;
  if (repair === undefined) return;
  // The leaf that is there now came with that welcome.
  step.setRecord({ repair: { ...repair, readded: false }, leafHash });
  // It has been answered: the relay shows nobody what is asked by it again.
  step.change({ delete: layout.join(groupId) });
  step.after(() => {
    // What has come since then was left to the new keys.
    conversation.doubt(true);
    context.repair(groupId);
  });
}

/** A direct conversation starts with the next message: this one says nothing, but lets the other side send again. */
export function beginAnew(context: Context, step: Pick<Step, "change">, peer: string): void {
  const { randomId, clock, outbox } = context;
  const content = { type: "hello", id: randomId(MESSAGE_ID_LENGTH), sentAt: clock.now() } as const;
  step.change(outbox.add({ userId: peer }, { type: "send", content }).change);
}

/** An entry that this device cannot read any more, or not yet. */
export function passBy(context: Context, step: Step, entry: LogEntry): void {
  const repair = step.record.repair as Repair;
  const { kind } = labelOf(entry);
  if (kind === EntryKind.application) {
    step.setRecord({ repair: { ...repair, missed: repair.missed + 1 } });
  } else if (kind === EntryKind.close) {
    const { groupId } = step.record;
    const isDeleted = entry.form === "full" && entry.content.payload.length > 0;
    step.after(() => context.closedWhileRepairing(groupId, isDeleted));
  } else if (entry.form === "full" && adds(entry.content.bundle, context.identity.deviceId)) {
    step.setRecord({ repair: { ...repair, readded: true } });
  }
}

/** Whether a commit asks the relay to let a device in. */
export function adds(bundle: BundleHead | undefined, deviceId: Uint8Array): boolean {
  return (
    bundle?.access.some((change) => change.type === "add" && equalBytes(change.deviceId, deviceId)) ?? false
  );
}
