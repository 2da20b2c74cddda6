import type { Bytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import type { ErrorCode, SubrosaError } from "../../base/errors.js";
import type { GroupState } from "../../mls/group/index.js";
import type { RatchetChange } from "../../mls/schedule/secret-tree.js";
import { MAX_REPLACED } from "../../wire/entries.js";
import type { Cursor } from "../../wire/identifiers.js";
import type { Context, Effect } from "../context.js";
import type { SentMessage, Ticks } from "../delivery/sent-messages.js";
import { layout } from "../layout.js";
import { applyAccess } from "./membership/access.js";
import { leafHash, leavesOf, ownLeafOf } from "./membership/leaves.js";
import type { Owed } from "./receipts.js";
import { seenKey, seenValue } from "./receiving/seen-set.js";
import type { AccessList, Activity, ConversationRecord, Place, Repair, Status } from "./record.js";
import { keptHandshakes } from "./repair/journal.js";
import { noteRead } from "./repair/trail.js";
import type { Intent } from "./sending/intent.js";
import {
  type ConversationState,
  epochChange,
  forgetKeys,
  placeChange,
  policyIn,
  ratchetChanges,
  recordChange,
} from "./state.js";

/** How many other leaves a record names, so that a request can name all. */
const MAX_OTHERS = MAX_REPLACED - 2;

/**
 * One step of a conversation: from its state now to the next, with everything that must be written for it in one
 * transaction, and what is to happen once that is durable. A step that is dropped has changed nothing.
 */
export class Step {
  readonly #context: Context;
  readonly #before: ConversationState;
  readonly #changes: Effect[] = [];
  readonly #ratchets = new Map<string, RatchetChange>();
  readonly #effects: (() => void)[] = [];
  readonly #seen = new Set<string>();
  readonly #endedIntents = new Set<Intent>();
  #record: ConversationRecord;
  #place: Place;
  #group: GroupState | undefined;
  #access: AccessList;
  #activity: Activity;
  readonly #heard: Activity = new Map();
  #newEpoch = false;
  /** Messages received, or read, in this step whose senders are owed a receipt. */
  readonly owed: { readonly delivered: Owed[]; readonly read: Owed[] } = { delivered: [], read: [] };
  /** Own messages that the log has shown in this step: their receipts may stand behind them. */
  readonly sent = new Map<string, SentMessage>();
  /** Own messages that a log which is put back has shown in this step to have still. */
  readonly found = new Set<string>();
  /** What this step has made of the receipts for own messages. */
  readonly ticks = new Map<string, Ticks>();

  constructor(context: Context, state: ConversationState) {
    this.#context = context;
    this.#before = state;
    this.#record = state.record;
    this.#place = state.place;
    this.#group = state.group;
    this.#access = state.access;
    this.#activity = state.activity;
  }

  get record(): ConversationRecord {
    return this.#record;
  }
  get place(): Place {
    return this.#place;
  }
  get group(): GroupState | undefined {
    return this.#group;
  }
  get access(): AccessList {
    return this.#access;
  }

  /** Writes something beside the conversation's own records. */
  change(...changes: readonly Effect[]): void {
    this.#changes.push(...changes);
  }

  /** Something to do once the step is durable. */
  after(effect: () => void): void {
    this.#effects.push(effect);
  }

  setRecord(changes: Partial<Omit<ConversationRecord, "groupId">>): void {
    this.#record = { ...this.#record, ...changes };
  }

  setStatus(status: Status): void {
    this.setRecord({ status });
  }

  /** Where the log goes on, of which the relay has lost a part; `handshake`: the last handshake entry up to there. */
  moveTo(cursor: Cursor, handshake = cursor): void {
    this.#place = { ...this.#place, cursor, handshake };
  }

  /** Moves behind an entry; `handshake` if the append rule counts it. */
  advance(cursor: Cursor, handshake: boolean): void {
    this.#place = { ...this.#place, cursor, ...(handshake && { handshake: cursor }) };
  }

  /** Something of a device came: written with the next epoch, which is often enough to tell who is idle. */
  heardOf(deviceId: Uint8Array): void {
    this.#heard.set(toHex(deviceId), this.#context.clock.now());
  }

  /** Counts messages that cannot be read, until one can. */
  noteReadable(readable: boolean): void {
    const unreadable = readable ? 0 : this.#place.unreadable + 1;
    if (unreadable !== this.#place.unreadable) this.#place = { ...this.#place, unreadable };
  }

  /** What was read of a group's log, by the digests of its entries. */
  noteRead(digests: readonly Uint8Array[]): void {
    const { noted } = this.#place;
    this.change(noteRead(this.#record.groupId, noted, digests));
    this.#place = { ...this.#place, noted: noted + 1 };
  }

  countSent(count: number): void {
    this.#place = { ...this.#place, sentSinceRefresh: this.#place.sentSinceRefresh + count };
  }

  /** The group after a message or a proposal: the same epoch with other ratchets. */
  ratchet(group: GroupState, changes: readonly RatchetChange[]): void {
    this.#group = group;
    for (const change of changes) this.#ratchets.set(change.key, change);
  }

  /** The group with a proposal that waits for a commit. */
  propose(group: GroupState, changes: readonly RatchetChange[]): void {
    this.ratchet(group, changes);
    this.#newEpoch = true;
  }

  /** The group after a commit: every ratchet of the old epoch is deleted. */
  merge(group: GroupState, ratchets: readonly RatchetChange[], own: boolean): void {
    this.#group = group;
    this.#newEpoch = true;
    this.#ratchets.clear();
    this.#changes.push({ deletePrefix: layout.ratchets(this.#record.groupId) });
    for (const change of ratchets) this.#ratchets.set(change.key, change);
    if (own) {
      this.#place = { ...this.#place, sentSinceRefresh: 0 };
      this.setRecord({ refreshedAt: this.#context.clock.now() });
    }
  }

  /** This device has made a commit, after which the group is this one if the log shows it: also where it never learns that. */
  async offer(group: GroupState): Promise<void> {
    await this.#noteLeaf();
    const leaf = ownLeafOf(group);
    const { otherLeaves = [] } = this.#record;
    if (leaf !== undefined)
      this.setRecord({ otherLeaves: [await leafHash(leaf), ...otherLeaves].slice(0, MAX_OTHERS) });
  }

  /** What the relay did to its list with a commit, valid or void. */
  applyAccess(changes: Parameters<typeof applyAccess>[1]): void {
    if (changes.length === 0) return;
    this.#access = applyAccess(this.#access, changes);
    this.#newEpoch = true;
  }

  /** Why messages that wait must not go into another conversation with the same user. */
  endedBy: SubrosaError | undefined;

  /** The conversation is over for this device: its keys go, its history stays. */
  end(error?: SubrosaError): void {
    this.endedBy = error;
    this.#noteTime();
    // Nobody has added this device anew: what went by meanwhile it never gets.
    const { repair, restoration } = this.#record;
    this.tellMissed(repair?.reason ?? "data-lost", (repair?.missed ?? 0) + (restoration?.missed ?? 0));
    const lastEpoch = this.#group?.groupContext.epoch;
    this.setRecord({
      hasLeft: this.#record.status === "leaving",
      status: "ended",
      repair: undefined,
      restoration: undefined,
      ...(lastEpoch !== undefined && { lastEpoch }),
    });
    this.#group = undefined;
    this.#ratchets.clear();
  }

  /** Tells how many messages of a group, at most, this device never gets. */
  tellMissed(reason: ErrorCode, missed: number): void {
    const { subject } = this.#record;
    if (missed === 0 || subject.kind === "direct") return;
    const { changes, tell } = this.#context.failures.missed(reason, missed, subject.name);
    this.change(...changes);
    this.after(tell);
  }

  /** This device's keys are of no use any more; until it is added anew, what is written waits. */
  startRepair(repair: Omit<Repair, "missed">): void {
    const lastEpoch = this.#group?.groupContext.epoch;
    const { restoration } = this.#record;
    this.setRecord({
      status: "repairing",
      repair: { ...repair, missed: repair.refused ? 0 : (restoration?.missed ?? 0) },
      // The log is put back further if the relay takes its answer back.
      restoration: repair.refused ? restoration : undefined,
      ...(lastEpoch !== undefined && { lastEpoch }),
    });
  }

  /** An intent came to its end. */
  endIntent(intent: Intent, error?: Parameters<Context["outbox"]["settle"]>[1]): void {
    this.#endedIntents.add(intent);
    this.change(this.#context.outbox.end(intent));
    this.after(() => this.#context.outbox.settle(intent, error));
  }

  /** An intent goes on elsewhere. */
  moveIntent(intent: Intent, target: Intent["target"]): void {
    this.#endedIntents.add(intent);
    this.change(this.#context.outbox.retarget(intent, target));
  }

  /** Whether an intent came to its end here in this step. */
  hasEnded(intent: Intent): boolean {
    return this.#endedIntents.has(intent);
  }

  /** Whether a message was received before; from now on it was. */
  async isDuplicate(
    senderTag: string,
    message: { readonly id: Bytes; readonly sentAt: number },
  ): Promise<boolean> {
    const key = seenKey(senderTag, message);
    if (this.#seen.has(key) || (await this.#context.store.get(key)) !== undefined) return true;
    this.#seen.add(key);
    this.change({ put: key, value: seenValue({ time: this.#context.clock.now(), read: false }) });
    return false;
  }

  /** Writes everything; then the new state, after which {@link runEffects} is due. */
  async commit(): Promise<ConversationState> {
    const changes = this.#changes;
    if (this.#newEpoch) this.#noteTime();
    if (this.#newEpoch) await this.#noteLeaf();
    if (this.#record.status === "ended" && this.#before.record.status !== "ended") await this.#noteEarlier();
    if (this.#record !== this.#before.record) changes.push(recordChange(this.#record));
    if (this.#record.status === "ended") {
      if (this.#before.record.status !== "ended") {
        changes.push(...forgetKeys(this.#record), { deletePrefix: layout.keptOf(this.#record.groupId) });
      }
    } else {
      if (this.#place !== this.#before.place) changes.push(placeChange(this.#record, this.#place));
      if (this.#newEpoch && this.#group !== undefined) {
        this.#activity = this.#activityOf(this.#group);
        changes.push(
          epochChange(this.#record, this.#group, { access: this.#access, activity: this.#activity }),
        );
      }
      changes.push(...ratchetChanges(this.#record, [...this.#ratchets.values()]));
    }
    if (changes.length > 0) await this.#context.write(changes);
    if (!this.#newEpoch) for (const [device, time] of this.#heard) this.#activity.set(device, time);
    return {
      record: this.#record,
      place: this.#place,
      access: this.#access,
      activity: this.#activity,
      group: this.#group,
    };
  }

  /** Who is in the group, and nobody else, has been heard of: now, if never before. */
  #activityOf(group: GroupState): Activity {
    const now = this.#context.clock.now();
    return new Map(
      leavesOf(group).map(({ deviceId }) => {
        const device = toHex(deviceId);
        return [device, this.#heard.get(device) ?? this.#activity.get(device) ?? now];
      }),
    );
  }

  /** Keeps beside the keys how long messages of a direct conversation are kept: the next one goes on with it. */
  #noteTime(): void {
    if (this.#group === undefined || this.#record.subject.kind === "group") return;
    const { disappearAfter } = policyIn(this.#group);
    if (disappearAfter !== (this.#record.disappearAfter ?? 0)) this.setRecord({ disappearAfter });
  }

  /** Keeps the hash of this device's leaf beside its keys: who has lost these can still ask for repair. */
  async #noteLeaf(): Promise<void> {
    const leaf = this.#group && ownLeafOf(this.#group);
    const before = this.#before.group && ownLeafOf(this.#before.group);
    if (leaf === undefined || (leaf === before && this.#record.leafHash !== undefined)) return;
    this.setRecord({ leafHash: await leafHash(leaf) });
  }

  /** What was kept of the log goes with the keys; by which leaves this device was in it, it may yet have to say. */
  async #noteEarlier(): Promise<void> {
    const { groupId, leafHash: last, subject, otherLeaves = [] } = this.#record;
    if (subject.kind === "direct") return;
    const kept = (await keptHandshakes(this.#context.store, groupId)).reverse();
    const hashes = [...kept.flatMap(({ leafHash }) => leafHash ?? []), ...otherLeaves];
    const leaves = new Map(hashes.map((hash) => [toHex(hash), hash]));
    if (last !== undefined) leaves.delete(toHex(last));
    this.setRecord({ otherLeaves: [...leaves.values()].slice(0, MAX_OTHERS) });
  }

  runEffects(): void {
    const changed = this.#newEpoch || this.#record.status !== this.#before.record.status;
    if (changed && this.#record.subject.kind === "group") this.#context.groupChanged(this.#record.groupId);
    for (const effect of this.#effects) effect();
  }

  /** The group's id in hexadecimal. */
  get key(): string {
    return toHex(this.#record.groupId);
  }
}
