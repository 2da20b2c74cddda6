import { type Bytes, equalBytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import type { GroupState } from "../../mls/group/index.js";
import type { Context } from "../context.js";
import {
  forgetSent,
  lookUpSent,
  type SentMessage,
  type Ticks,
  ticksChange,
} from "../delivery/sent-messages.js";
import { type Content, MAX_RECEIPT_IDS, MESSAGE_ID_LENGTH, type Received } from "./content.js";
import { groupField } from "./effects.js";
import { usersOf } from "./membership/leaves.js";
import { forgetMessage } from "./repair/journal.js";
import type { Action, Intent } from "./sending/intent.js";
import type { Step } from "./step.js";

/** How long receipts are gathered, in milliseconds; in groups, where many are due at once, longer by chance. */
const GATHERED_FOR = 250;
const SPREAD = 750;
const SPREAD_PER_MEMBER = 15;

/** A receipt that waits takes in more up to as many: it is written anew each time. */
const ENOUGH = 128;

type ReceiptKind = "delivered" | "read";
type ReceiptContent = Extract<Content, { type: ReceiptKind }>;

/** A message whose sender is owed a receipt. */
export interface Owed {
  readonly of: string;
  readonly id: Bytes;
}

function receiptIn(action: Action): ReceiptContent | undefined {
  if (action.type !== "send") return undefined;
  const { content } = action;
  return content.type === "delivered" || content.type === "read" ? content : undefined;
}

const isReceipt = ({ action }: Intent): boolean => receiptIn(action) !== undefined;
const owedIn = ({ receipts }: ReceiptContent): Owed[] =>
  receipts.flatMap(({ of, ids }) => ids.map((id) => ({ of, id })));
const keyOf = ({ of, id }: Owed): string => `${toHex(id)} ${of}`;

/** Whether a conversation is one in which receipts are given. */
export function mayOwe({ record }: Pick<Step, "record">): boolean {
  return record.status === "active" || record.status === "repairing";
}

/**
 * Messages received, or read, in a step owe their senders a receipt, which is written with them: one with those that
 * wait to be sent.
 */
export function oweReceipts(context: Context, step: Step, intents: readonly Intent[]): void {
  const { groupId } = step.record;
  const { owed } = step;
  if (owed.delivered.length + owed.read.length === 0 || !mayOwe(step)) return;
  const waiting = intents.filter((intent) => intent.sealed === undefined && !step.hasEnded(intent));
  const read = owed.read.map(keyOf);
  for (const type of ["delivered", "read"] as const) {
    const earlier = waiting.filter(({ action }) => {
      const content = receiptIn(action);
      return content?.type === type && owedIn(content).length < ENOUGH;
    });
    const all = [
      ...earlier.flatMap(({ action }) => owedIn(receiptIn(action) as ReceiptContent)),
      ...owed[type],
    ];
    const wanted = new Map(all.map((one) => [keyOf(one), one] as const));
    // Who has read a message has it.
    if (type === "delivered") for (const key of read) wanted.delete(key);
    if (owed[type].length === 0 && wanted.size === all.length) continue;
    const left = [...wanted.values()];
    const next = (): Action => {
      const receipts = bySender(left.splice(0, MAX_RECEIPT_IDS));
      const id = context.randomId(MESSAGE_ID_LENGTH);
      return { type: "send", content: { type, id, sentAt: context.clock.now(), receipts } };
    };
    // In the place of what waits, not at the end: whoever sends all the time would put them off again and again.
    for (const intent of earlier) {
      if (left.length > 0) step.change(context.outbox.amend(intent, next()));
      else step.endIntent(intent);
    }
    while (left.length > 0) step.change(context.outbox.add({ groupId }, next()).change);
  }
}

function bySender(owed: readonly Owed[]): Received[] {
  const ids = new Map<string, Bytes[]>();
  for (const { of, id } of owed) {
    const known = ids.get(of);
    if (known === undefined) ids.set(of, [id]);
    else known.push(id);
  }
  return [...ids].map(([of, known]) => ({ of, ids: known }));
}

/** Holds receipts for a moment, so that those of a burst go in one message. Nothing else waits for them. */
export class Gathering {
  readonly #context: Context;
  readonly #over: () => void;
  #cancel: (() => void) | undefined;
  #isOver = false;

  /** `over` is called when what was held may go. */
  constructor(context: Context, over: () => void) {
    this.#context = context;
    this.#over = over;
  }

  /** Of a conversation's intents, those that wait to be sealed and may be now. */
  ripe(intents: readonly Intent[], group: GroupState | undefined): readonly Intent[] {
    const waiting = intents.filter(({ sealed }) => sealed === undefined);
    if (this.#isOver || !waiting.some(isReceipt)) return waiting;
    const users = group === undefined ? 0 : usersOf(group).length;
    const spread = users > 2 ? this.#context.random() * Math.min(SPREAD, SPREAD_PER_MEMBER * users) : 0;
    this.#cancel ??= this.#context.clock.after(GATHERED_FOR + spread, () => this.end());
    return waiting.filter((intent) => !isReceipt(intent));
  }

  /** What is held may go. */
  end(): void {
    this.stop();
    this.#isOver = true;
    this.#over();
  }

  /** These were sealed: what comes now is gathered anew. */
  sealed(intents: readonly Intent[]): void {
    if (!intents.some(isReceipt)) return;
    this.stop();
    this.#isOver = false;
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}

/** A receiver says that it holds messages of this user, or has read them. What does not hold, or is known, changes nothing. */
export async function noteReceipts(
  context: Context,
  step: Step,
  by: string,
  { type, receipts }: ReceiptContent,
): Promise<void> {
  const self = context.identity.userId;
  const ids = new Set(receipts.flatMap((one) => (one.of === self ? one.ids.map(toHex) : [])));
  const others = step.group ? usersOf(step.group).filter((userId) => userId !== self) : [];
  const changed: Record<ReceiptKind, string[]> = { delivered: [], read: [] };
  const found = await Promise.all(
    [...ids].map(async (id) => [id, await lookUpSent(context.store, id)] as const),
  );
  for (const [id, { sent: written, ticks: stored }] of found) {
    const sent = step.sent.get(id) ?? written;
    if (sent?.state !== "sent" || !isFor(step, sent, by)) continue;
    const ticks = step.ticks.get(id) ?? stored;
    const isNew = (kind: ReceiptKind) => !ticks[kind].includes(by);
    const kinds = (["delivered", "read"] as const).filter((kind) => kind === "delivered" || type === "read");
    const news = kinds.filter(isNew);
    if (news.length === 0) continue;
    for (const kind of news) changed[kind].push(id);
    note(step, id, sent, {
      others,
      delivered: isNew("delivered") ? [...ticks.delivered, by] : ticks.delivered,
      read: type === "read" && isNew("read") ? [...ticks.read, by] : ticks.read,
    });
  }
  const group = groupField(step);
  for (const state of ["delivered", "read"] as const) {
    const news = changed[state];
    if (news.length > 0) step.after(() => context.emit("receipt", { ids: news, by, ...group, state }));
  }
}

function note(
  step: Step,
  id: string,
  sent: SentMessage,
  { others, ...ticks }: Ticks & { readonly others: readonly string[] },
): void {
  step.ticks.set(id, ticks);
  // There is nobody else who could miss it.
  if (sent.groupId && hasArrived(step, sent, others, ticks)) step.change(forgetMessage(sent.groupId, id));
  // Nor will anybody say more of it, or ask.
  if (sent.peer !== undefined && !sent.listed && ticks.read.length > 0) step.change(...forgetSent(id));
  else step.change(ticksChange(id, ticks));
}

/** Whether everybody who is still there and was meant to have it says so. */
function hasArrived(step: Step, sent: SentMessage, others: readonly string[], ticks: Ticks): boolean {
  if (sent.peer !== undefined) return true;
  const delivered = new Set(ticks.delivered);
  return others.every((user) => delivered.has(user) || !isFor(step, sent, user));
}

/** Whether a message went to this member of the step's conversation. */
function isFor({ record }: Step, sent: SentMessage, by: string): boolean {
  const { subject, groupId, since } = record;
  if (subject.kind === "direct") return sent.peer === by && subject.peer === by;
  return (
    sent.groupId !== undefined && equalBytes(sent.groupId, groupId) && (since?.get(by) ?? 0n) <= sent.epoch
  );
}
