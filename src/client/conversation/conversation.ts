import { equalBytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import { SubrosaError } from "../../base/errors.js";
import { SerialQueue } from "../../base/serial-queue.js";
import type { LogEntry } from "../../wire/entries.js";
import { EndReason } from "../../wire/frames.js";
import { isSameCursor, type LogId } from "../../wire/identifiers.js";
import { EntryKind, isHandshake, LogKind } from "../../wire/protocol.js";
import type { Context } from "../context.js";
import { announceEnd } from "./effects.js";
import type { Action, Intent } from "./intent.js";
import { leavesOf } from "./leaves.js";
import { contentDigests, nextCursor } from "./log-digest.js";
import { endWithConversation, oweReceipts, receiveOwn, unseal } from "./own-entries.js";
import { receiveEntry } from "./receive.js";
import { Sender } from "./sender.js";
import type { ConversationState } from "./state.js";
import { Step } from "./step.js";

/** How many entries one transaction takes in at most. */
const BATCH = 32;
/** How long acks are gathered, in milliseconds. */
const ACK_DELAY = 50;
/** How long a log is left alone after the relay sent something senseless, in milliseconds. */
const REREAD_DELAY = 1_000;
const MAX_REREAD_DELAY = 10_000;

/**
 * One conversation: its state, its place in the group's log, and its part of the outbox. Everything that changes it
 * is a {@link Step} on one queue; what a step leads to happens after it is durable.
 */
export class Conversation {
  readonly #context: Context;
  readonly #queue = new SerialQueue();
  readonly #sender: Sender;
  #state: ConversationState;
  #subscribed = false;
  /** The log's head as far as the relay has named it. */
  #head = 0;
  #cancelAck: (() => void) | undefined;
  #cancelReread: (() => void) | undefined;
  #rereadDelay = REREAD_DELAY;
  /** The relay has ended the log once without its entries saying why. */
  #endDoubted = false;

  constructor(context: Context, state: ConversationState) {
    this.#context = context;
    this.#state = state;
    this.#sender = new Sender(context, this);
  }

  get state(): ConversationState {
    return this.#state;
  }

  get log(): LogId {
    return { kind: LogKind.group, id: this.#state.record.groupId };
  }

  get key(): string {
    return toHex(this.#state.record.groupId);
  }

  /** Whether the log has been read to its end in this session: only then is anything sealed. */
  get isCurrent(): boolean {
    return this.#subscribed && this.#state.place.cursor.seq >= this.#head;
  }

  /** Whether a leaf of the user bears this account key. */
  isWith(userId: string, accountKey: Uint8Array | undefined): boolean {
    const { group } = this.#state;
    if (group === undefined || accountKey === undefined) return false;
    return leavesOf(group).some((leaf) => leaf.userId === userId && equalBytes(leaf.accountKey, accountKey));
  }

  /** Intents for this conversation, oldest first. */
  intents(): Intent[] {
    const { groupId } = this.#state.record;
    return this.#context.outbox.forTarget(
      (target) => "groupId" in target && equalBytes(target.groupId, groupId),
    );
  }

  /** Runs a step: `work` changes the draft, then it is written, then its effects happen. */
  step<T>(work: (step: Step) => Promise<T> | T): Promise<T> {
    return this.#queue.run(async () => {
      const step = new Step(this.#context, this.#state);
      const result = await work(step);
      oweReceipts(this.#context, step, this.intents());
      const { status } = step.record;
      if (status === "ended" && this.#state.record.status !== "ended") this.#endIntents(step);
      this.#state = await step.commit();
      step.runEffects();
      return result;
    });
  }

  /** Stores an intent and waits for its end. Throws `not-a-member` when the conversation has ended. */
  async perform(action: Action): Promise<void> {
    if (this.#state.record.status === "ended") {
      throw new SubrosaError("not-a-member", "the conversation has ended");
    }
    const { intent, change } = this.#context.outbox.add({ groupId: this.#state.record.groupId }, action);
    const finished = this.#context.outbox.finished(intent);
    finished.catch(() => {});
    await this.#context.write([change]);
    this.flush();
    await finished;
  }

  /** Sends what can be sent. */
  flush(): void {
    this.#sender.flush();
  }

  /** Follows the log from where this device stands; called when a session begins. */
  async subscribe(): Promise<void> {
    const { record } = this.#state;
    // A crash may have come between the end of the conversation and that of what waited in it.
    if (record.status === "ended") return this.sweep();
    if (record.status === "creating") return;
    try {
      // What was pushed before is processed first, so that the cursor is not behind what comes.
      await this.#queue.idle();
      const { head } = await this.#context.relay.request("subscribe", {
        log: this.log,
        cursor: this.#state.place.cursor,
      });
      this.#subscribed = true;
      this.#head = head.seq;
      this.flush();
    } catch (error) {
      await this.#subscribeFailed(error);
    }
  }

  async #subscribeFailed(error: unknown): Promise<void> {
    if (!SubrosaError.is(error) || error.code === "connection-failed" || error.code === "closed") return;
    switch (error.code) {
      case "unknown-group":
      case "not-a-member":
        await this.lose();
        return;
      case "cursor-mismatch":
      case "gap":
        this.#context.report(error);
        await this.lose();
        return;
      default:
        this.#context.report(error);
        this.#readAgain();
    }
  }

  /** The session ended: nothing is current until the next. */
  disconnected(): void {
    this.#subscribed = false;
    this.#rereadDelay = REREAD_DELAY;
    this.#sender.disconnected();
  }

  /**
   * The relay does not have this conversation any more, or not for this device. Messages that wait in a direct one go
   * into the next, unless `error` says why they must not.
   */
  async lose(error?: SubrosaError): Promise<void> {
    await this.step((step) => {
      if (step.record.status === "ended") return;
      announceEnd(this.#context, step, { lost: true });
      step.end(error);
    });
  }

  /** Takes in entries that the relay sent, in order; resolves when they are done with. */
  async receive(entries: readonly LogEntry[]): Promise<void> {
    this.#head = Math.max(this.#head, entries.at(-1)?.seq ?? 0);
    if (entries.length > 0) this.#endDoubted = false;
    const batches: Promise<void>[] = [];
    for (let at = 0; at < entries.length; at += BATCH) {
      const batch = entries.slice(at, at + BATCH);
      batches.push(
        this.step((step) => this.#receive(step, batch)).then(
          () => this.#received(),
          (error: unknown) => this.#unreceived(error),
        ),
      );
    }
    await Promise.all(batches);
  }

  /** The relay says that the log is over for this device. */
  async ended(reason: EndReason): Promise<void> {
    await this.#queue.idle();
    this.#subscribed = false;
    // What the log itself said has been processed: an end that it does not explain is the relay's doing.
    if (this.#state.record.status === "ended") return;
    if (!this.#endDoubted) {
      // It may be meant for the subscription before this device was added anew: ask again.
      this.#endDoubted = true;
      return this.subscribe();
    }
    this.#context.report(
      new SubrosaError(
        "protocol-error",
        `the relay ended a log without cause (${reason === EndReason.closed ? "closed" : "removed"})`,
      ),
    );
    await this.lose();
  }

  /** What the relay sent makes no sense: nothing of it is taken in, and the log is read again from the last place. */
  #unreceived(error: unknown): void {
    if (SubrosaError.is(error) && error.code === "store-outdated") {
      this.#context.outdated(error);
      return;
    }
    this.#context.report(error);
    if (!this.#subscribed) return;
    this.#subscribed = false;
    this.#readAgain();
  }

  /** Reads the log anew after a while, which grows as long as that comes to nothing. */
  #readAgain(): void {
    const delay = this.#rereadDelay;
    this.#rereadDelay = Math.min(2 * delay, MAX_REREAD_DELAY);
    this.#cancelReread?.();
    this.#cancelReread = this.#context.clock.after(delay, () => this.#context.background(this.subscribe()));
  }

  async #receive(step: Step, entries: readonly LogEntry[]): Promise<void> {
    const first = step.place.cursor.seq + 1;
    const isWhole = entries.every(({ seq }, at) => at === 0 || seq === (entries[at - 1]?.seq ?? 0) + 1);
    if (!isWhole || (entries[0]?.seq ?? first) > first) {
      throw new SubrosaError("protocol-error", "the relay left out entries of a log");
    }
    const digests = await contentDigests(entries);
    for (const [index, entry] of entries.entries()) {
      if (step.record.status === "ended") return;
      const { cursor } = step.place;
      if (entry.seq <= cursor.seq) continue;
      const digest = digests[index] as Awaited<(typeof digests)[number]>;
      const kind = entry.form === "full" ? entry.content.kind : entry.kind;
      const entryId = entry.form === "full" ? entry.content.entryId : entry.entryId;
      const next = await nextCursor(this.log, cursor, digest);
      await this.#receiveOne(step, entry, toHex(entryId), digest);
      step.advance(next, isHandshake(kind));
    }
  }

  async #receiveOne(step: Step, entry: LogEntry, entryId: string, digest: Uint8Array): Promise<void> {
    const intent = this.intents().find(
      ({ sealed }) =>
        sealed !== undefined && toHex(sealed.entryId) === entryId && equalBytes(sealed.contentDigest, digest),
    );
    const sealed = intent?.sealed;
    // What was made for another place in the log is not in force here, whoever put it there.
    if (intent !== undefined && sealed !== undefined && isSameCursor(sealed.after, step.place.handshake)) {
      receiveOwn(this.#context, step, intent, sealed);
      return;
    }
    if (entry.form === "full") {
      const { kind } = entry.content;
      if (isHandshake(kind)) this.#unsealAll(step);
      await receiveEntry(this.#context, step, entry.content);
      return;
    }
    // The relay withholds messages after we left, nothing else.
    if (step.record.status === "leaving" && entry.kind === EntryKind.application) return;
    throw new SubrosaError("protocol-error", "the relay withholds an entry");
  }

  /** Somebody's handshake entry came first: what was sealed for the place before it can never be taken. */
  #unsealAll(step: Step): void {
    for (const intent of this.intents()) {
      if (intent.sealed !== undefined) unseal(this.#context, step, intent);
    }
  }

  #received(): void {
    this.#rereadDelay = REREAD_DELAY;
    this.#cancelAck ??= this.#context.clock.after(ACK_DELAY, () => {
      this.#cancelAck = undefined;
      this.#context.relay.ack(this.log, this.#state.place.cursor);
    });
    this.flush();
  }

  #endIntents(step: Step): void {
    for (const intent of this.intents()) endWithConversation(this.#context, step, intent);
    step.after(() => this.#context.conversationEnded(this));
  }

  /** Ends intents that came too late for a conversation that has ended. */
  async sweep(): Promise<void> {
    if (this.intents().length > 0) await this.step((step) => this.#endIntents(step));
  }

  /** Resolves when every step begun so far is durable. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  stop(): void {
    this.#cancelAck?.();
    this.#cancelReread?.();
    this.#sender.stop();
  }
}
