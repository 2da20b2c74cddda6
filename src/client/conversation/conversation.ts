import { equalBytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import { type ErrorCode, SubrosaError } from "../../base/errors.js";
import { SerialQueue } from "../../base/serial-queue.js";
import type { EntryContent, LogEntry } from "../../wire/entries.js";
import { EndReason } from "../../wire/frames.js";
import type { Cursor, LogId } from "../../wire/identifiers.js";
import { LogKind } from "../../wire/protocol.js";
import type { Context, Effect } from "../context.js";
import { announceEnd } from "./effects.js";
import { entering } from "./entering.js";
import { endOfStay } from "./membership/own-request.js";
import { oweReceipts } from "./receipts.js";
import { Following, headFrom } from "./receiving/following.js";
import { receiveEntries } from "./receiving/receive-log.js";
import { isLive, type Place } from "./record.js";
import { askOthers, beginAnew, bringBack, goOn, loseKeys, mayComeBack } from "./repair/repair.js";
import { Restorer } from "./repair/restorer.js";
import { UnreadableRun } from "./repair/unreadable-run.js";
import type { Action, Intent } from "./sending/intent.js";
import { endWithConversation, sendAgain } from "./sending/own-entries.js";
import { Sender } from "./sending/sender.js";
import type { ConversationState } from "./state.js";
import { Step } from "./step.js";

/** How many entries one transaction takes in at most. */
const BATCH = 32;
/** How long a group that the relay does not know is waited for: its creator may bring it back. */
const ABSENCE = 60_000;

/**
 * One conversation: its state, its place in the group's log, and its part of the outbox. Everything that changes it
 * is a {@link Step} on one queue; what a step leads to happens after it is durable.
 */
export class Conversation {
  readonly #context: Context;
  readonly #queue = new SerialQueue();
  readonly #sender: Sender;
  readonly #restorer: Restorer;
  #state: ConversationState;
  /** How often this device came into the conversation, counted in this process. */
  entered = 0;
  readonly #following: Following;
  /** The relay has ended the log once without its entries saying why. */
  #endDoubted = false;
  /** The log was asked for from elsewhere, in vain: what has ended there is a stay of before. */
  #hasStrayed = false;
  readonly #unreadable: UnreadableRun;
  /** Since when the relay does not know the group. */
  #absentSince: number | undefined;

  constructor(context: Context, state: ConversationState) {
    this.#context = context;
    this.#state = state;
    this.#sender = new Sender(context, this);
    this.#restorer = new Restorer(context, this);
    this.#following = new Following(context, this);
    this.#unreadable = new UnreadableRun(context, this);
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

  get position(): number {
    return this.#state.place.cursor.seq;
  }

  get isStale(): boolean {
    return this.#sender.isStale;
  }

  /** Whether the relay does not give the log. */
  get isRefused(): boolean {
    return this.#following.isRefused;
  }

  /** Whether this device and the log are where the others are: only then is anything sealed. */
  get isCurrent(): boolean {
    return this.#following.isRead && this.#state.record.restoration === undefined;
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
      if (status === "ended" && this.#state.record.status !== "ended") {
        this.#endIntents(step);
        await sendAgain(this.#context, step, this.#state.group);
        await this.#restorer.lost.ended(step);
        step.change(...(await endOfStay(this.#context.store, step.record.groupId)));
      }
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

  /** Sends what can be sent; with `all`, also what would be gathered for a while. */
  flush(all = false): void {
    this.#sender.flush(all);
  }

  /** Follows the log from where this device stands; called when a session begins. */
  async subscribe(): Promise<void> {
    const { record } = this.#state;
    // A crash may have come between the end of the conversation and that of what waited in it.
    if (record.status === "ended") return this.sweep();
    if (record.status === "creating") return;
    // What was pushed before is processed first, so that the cursor is not behind what comes.
    await this.#queue.idle();
    const answered = this.#following.ask();
    const { entered } = this;
    try {
      this.#follow(await this.#head());
    } catch (error) {
      // What was true of the keys of before is nothing to those that came meanwhile.
      if (entered === this.entered) await this.#subscribeFailed(error);
    } finally {
      answered();
    }
  }

  /** Asks for the log from where this device stands; resolves to where it ends. */
  #head(): Promise<number> {
    const ask = ({ cursor }: Place) => headFrom(this.#context, this.log, cursor);
    if (!this.#state.record.repair?.refused) return ask(this.#state.place);
    // One step, so that what the relay then sends is read.
    return this.step(async (step) => {
      const head = await ask(step.place);
      goOn(this.#context, step, this);
      return head;
    });
  }

  #follow(head: number): void {
    this.#absentSince = undefined;
    this.#hasStrayed = false;
    this.#following.begin(head);
    this.#unreadable.check();
    this.#proceed();
  }

  /** The relay has answered something of what it takes to follow the log. */
  heard(): void {
    this.#following.heard();
  }

  async #subscribeFailed(error: unknown): Promise<void> {
    if (!SubrosaError.is(error) || error.code === "connection-failed" || error.code === "closed") return;
    const { code } = error;
    if (code !== "unknown-group") this.#absentSince = undefined;
    switch (code) {
      case "unknown-group":
        return this.#absent();
      case "cursor-mismatch":
      case "gap": {
        this.#hasStrayed = code === "cursor-mismatch";
        const head = code === "gap" ? undefined : await this.#restorer.begin();
        if (head !== undefined) return this.#follow(head);
        if (!this.#state.record.repair?.refused) this.#context.report(error);
        return this.#refused(code);
      }
      case "store-outdated":
        if (this.#state.record.restoration === undefined) return this.#outdated(error);
        // It went back for what the relay had lost, before what it had acknowledged.
        return this.#refused("gap");
      case "not-a-member": // Nothing in the log says so. Whether it is true, the members know.
        return this.#refused(code);
      default:
        this.#context.report(error);
        this.#following.readAgain();
    }
  }

  async #refused(code: ErrorCode): Promise<void> {
    this.#following.end(true);
    const isAwaited = await mayComeBack(this.#context, this.#state.record, code);
    if (!isAwaited) await this.step((step) => loseKeys(this.#context, step, code, { refused: true }));
    if (isAwaited || this.#state.record.repair?.refused) this.#following.refused();
  }

  /** The relay does not know the group: it lost it, or it was told to forget it. */
  async #absent(): Promise<void> {
    const { subject, status, creator } = this.#state.record;
    if (subject.kind === "direct") return this.lose(undefined, true);
    if (creator && status === "active") {
      try {
        await bringBack(this.#context, this.#state, subject.name);
      } catch (error) {
        // Somebody else has made a group of that name meanwhile.
        if (SubrosaError.is(error) && error.code === "name-taken") return this.lose();
        throw error;
      }
      return this.#subscribeFailed(new SubrosaError("cursor-mismatch", "the relay has lost the group"));
    }
    const now = this.#context.clock.now();
    this.#absentSince ??= now;
    if (now - this.#absentSince >= ABSENCE) return this.lose();
    this.#following.end(true);
    this.#following.readAgain();
  }

  /** The session ended: nothing is current until the next. */
  disconnected(): void {
    this.#following.disconnected();
    this.#sender.disconnected();
    this.#restorer.stop();
  }

  /** Goes on with the keys it has, from the commit that added this device, which the relay had lost. */
  resume(content: EntryContent, at: Cursor, changes: readonly Effect[]): Promise<boolean> {
    return this.#restorer.resume(content, at, changes);
  }

  /**
   * Takes part in the conversation with the keys of a welcome; what waits goes on under them. False if it goes on with
   * those it has: then its log has to say first that they are over.
   */
  enter(state: ConversationState, changes: readonly Effect[]): Promise<boolean> {
    return this.#queue.run(async () => {
      if (isLive(this.#state.record)) return false;
      const work = await entering(this.#context, this.#state, state, this.intents());
      await this.#context.write([...work.changes, ...changes]);
      this.#state = work.state;
      this.#following.end();
      this.#sender.disconnected();
      this.entered++;
      for (const effect of work.effects) effect();
      return true;
    });
  }

  /** The welcome that was to repair this conversation was none: whoever else is there is asked. */
  async repairFailed(): Promise<void> {
    await this.step((step) => askOthers(this.#context, step, this));
  }

  /**
   * The relay does not have this conversation any more, or not for this device. Messages that wait in a direct one go
   * into the next, unless `error` says why they must not; `anew`: which is to begin whether any wait or not.
   */
  async lose(error?: SubrosaError, anew = false): Promise<void> {
    await this.step((step) => {
      const { status, subject } = step.record;
      if (status === "ended") return;
      announceEnd(this.#context, step, { lost: true });
      step.end(error);
      if (anew && subject.kind === "direct") beginAnew(this.#context, step, subject.peer);
    });
  }

  /** Takes in entries that the relay sent, in order; resolves when they are done with. */
  async receive(entries: readonly LogEntry[]): Promise<void> {
    const { isSubscribed } = this.#following;
    this.#following.arrived(entries.at(-1)?.seq ?? 0);
    const batches: Promise<void>[] = [];
    for (let at = 0; at < entries.length; at += BATCH) {
      const batch = entries.slice(at, at + BATCH);
      batches.push(
        this.step(async (step) => {
          const { cursor } = step.place;
          await receiveEntries(this.#context, step, batch, this.#receiving);
          return step.place.cursor !== cursor;
        }).then(
          (isNew) => void (isNew && this.#received()),
          (error: unknown) => this.#unreceived(error, isSubscribed),
        ),
      );
    }
    await Promise.all(batches);
  }

  /** The relay says that the log is over for this device. */
  async ended(reason: EndReason): Promise<void> {
    await this.#queue.idle();
    if (this.#hasStrayed && reason === EndReason.removed) return;
    this.#following.end();
    // What the log itself said has been processed: an end that it does not explain is the relay's doing.
    const { status, groupId, restoration } = this.#state.record;
    if (status === "ended") return;
    if (!this.#endDoubted) {
      // It may be meant for the subscription before this device was added anew: ask again.
      this.#endDoubted = true;
      return this.subscribe();
    }
    // Somebody asked for that who may not: the members, for whom it is void, let this device in again.
    const { group, access } = this.#state;
    const isIn = group === undefined || access.has(toHex(this.#context.identity.deviceId));
    if (!isIn && reason === EndReason.removed && status !== "leaving") return this.#refused("not-a-member");
    if (status === "repairing" && reason === EndReason.closed)
      return this.#context.closedWhileRepairing(groupId);
    // What ended it may not be to be read here any more: the log is being put back, or passed by until somebody repairs this.
    if (restoration !== undefined || status === "repairing") return this.lose();
    const how = reason === EndReason.closed ? "closed" : "removed";
    this.#context.report(new SubrosaError("protocol-error", `the relay ended a log without cause (${how})`));
    await this.lose();
  }

  /** What the relay sent makes no sense: nothing of it or after it is taken in; the log is read again from the last place. */
  #unreceived(error: unknown, wasSubscribed: boolean): void {
    if (SubrosaError.is(error) && error.code === "store-outdated") {
      this.#outdated(error);
      return;
    }
    // What comes of a subscription before this device came in anew, or before the last nonsense, says nothing.
    if (!this.#following.isSubscribed) return;
    if (wasSubscribed) this.#context.report(error);
    this.doubt();
  }

  #outdated(error: SubrosaError): void {
    this.#following.end();
    this.#context.outdated(error);
  }

  /** What the relay says of the log is not as it is known here: it is read again, soon or now, before anything more is sent. */
  doubt(now = false): void {
    if (!this.#following.isSubscribed) return;
    this.#following.end();
    this.#following.readAgain(now);
  }

  readonly #receiving = {
    log: (): LogId => this.log,
    intents: () => this.intents(),
    restorer: () => this.#restorer,
  };

  #received(): void {
    this.#endDoubted = false;
    this.#following.readOn();
    this.#following.ack(() => this.#state.place.cursor);
    this.#unreadable.check();
    this.#proceed();
  }

  /** What is next once the log was read: to put it back, if the relay has lost a part; else to send. */
  #proceed(): void {
    if (this.#state.record.restoration === undefined) {
      this.#context.gossip.compare(this);
      this.flush();
    } else if (this.#following.isRead) this.#context.background(this.#restorer.proceed());
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
    this.#following.stop();
    this.#unreadable.stop();
    this.#restorer.stop();
    this.#sender.stop();
  }
}
