import { SubrosaError } from "../../../base/errors.js";
import { EntryKind } from "../../../wire/protocol.js";
import type { Context } from "../../context.js";
import { MESSAGE_ID_LENGTH } from "../content.js";
import type { Conversation } from "../conversation.js";
import { keyPackagesFor } from "../membership/additions.js";
import { ownLeaves } from "../membership/commit-rules.js";
import {
  type CommitDue,
  commitDue,
  dueBeforeLeaving,
  isMade,
  stayingLeaves,
  userToEvict,
} from "../membership/duties.js";
import { claimFor, settleName } from "../membership/renaming.js";
import { Gathering } from "../receipts.js";
import { isLive } from "../record.js";
import { type ConversationState, isStale } from "../state.js";
import type { Step } from "../step.js";
import { isFinal } from "./final-refusals.js";
import { type Action, type Intent, isClose, isSend, type Sealed, type SendIntent } from "./intent.js";
import { fail, failOutgrown } from "./own-entries.js";
import { Refusals } from "./refusals.js";
import { sealCommit, sealLeave, sealMessage } from "./seal.js";

/** How much may be under way to the relay for one conversation. */
const MAX_IN_FLIGHT = 32;
const MAX_IN_FLIGHT_BYTES = 512 * 1024;
/** Who commits what is due when nobody sends: the first leaf after about this long, each further one later. */
const SETTLE_DELAY = 250;
const SETTLE_SPREAD = 1_000;

/**
 * Carries out a conversation's intents in their order: messages in a window, everything that changes the group
 * alone. Bytes go out after they are durable, and again unchanged until the log shows them, or that they came too late.
 */
export class Sender {
  readonly #context: Context;
  readonly #conversation: Conversation;
  /** What was handed to the relay in this session and has not come to its end, with its size. */
  readonly #inFlight = new Map<Sealed, number>();
  /** Counts sessions, and keys that have been replaced. */
  #session = 0;
  readonly #refreshFactor: number;
  #flushing = false;
  #again = false;
  #stopped = false;
  /** A lost race for keys of our own choosing does not keep messages waiting. */
  #skipRefresh = false;
  #settleNow = false;
  /** Intents that this sender made by itself. */
  readonly #ownInitiative = new Set<number>();
  #cancelTimer: (() => void) | undefined;
  readonly #refusals: Refusals;
  readonly #gathering: Gathering;

  constructor(context: Context, conversation: Conversation) {
    this.#context = context;
    this.#conversation = conversation;
    this.#gathering = new Gathering(context, () => this.flush());
    this.#refusals = new Refusals(context, conversation, () => this.flush());
    this.#refreshFactor = 0.75 + context.random() / 2;
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTimer?.();
    this.#refusals.stop();
    this.#gathering.stop();
  }

  /** Whether the relay has named a newer handshake entry than has been read. */
  get isStale(): boolean {
    return this.#refusals.isStale;
  }

  disconnected(): void {
    this.#session++;
    this.#inFlight.clear();
    this.#refusals.disconnected();
  }

  flush(all = false): void {
    if (all) this.#gathering.end();
    this.#again = true;
    if (this.#flushing || this.#stopped) return;
    this.#flushing = true;
    void this.#run().finally(() => {
      this.#flushing = false;
      if (this.#again) this.flush();
    });
  }

  async #run(): Promise<void> {
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false;
        await this.#round();
      }
    } catch (error) {
      this.#again = false;
      const code = SubrosaError.is(error) ? error.code : "internal";
      if (code === "unknown-group") this.#conversation.doubt();
      else if (code !== "connection-failed" && code !== "closed") {
        this.#context.report(error);
        this.#refusals.later();
      }
    }
  }

  async #round(): Promise<void> {
    const conversation = this.#conversation;
    const { state } = conversation;
    const { status } = state.record;
    if (status === "ended") return conversation.sweep();
    if (!this.#context.relay.isReady || !conversation.isCurrent || state.group === undefined) return;
    // Who is leaving proposes it again only where the others have gone on without.
    const isFollowing = status === "invited" || (status === "leaving" && ownLeaves(state.group).length === 0);
    if (status !== "active" && !isFollowing) return;
    if (!this.#refusals.isCaughtUp()) return;

    const intents = conversation.intents();
    const current = new Set(intents.map(({ sealed }) => sealed));
    for (const sealed of this.#inFlight.keys()) if (!current.has(sealed)) this.#inFlight.delete(sealed);
    for (const intent of intents) {
      if (intent.sealed !== undefined && !this.#inFlight.has(intent.sealed))
        this.#send(intent, intent.sealed);
    }
    if (intents.some(({ sealed }) => sealed !== undefined && sealed.kind !== EntryKind.application)) return;

    const waiting = this.#gathering.ripe(intents, state.group);
    const lost = waiting.filter(
      ({ action, order }) => action.type === "refresh" || this.#ownInitiative.has(order),
    );
    if (lost.length > 0) return this.#lost(lost);
    // Before it is accepted, an invitation is only followed; to refuse it is to leave.
    const first = isFollowing ? waiting.find(({ action }) => action.type === "leave") : waiting[0];
    const due = this.#due(state);
    if (first === undefined) {
      if (this.#inFlight.size === 0) this.#skipRefresh = false;
      if (status !== "active") return;
      if (
        due === "must" ||
        (due === "refresh" && isStale(state, this.#context.clock.now(), this.#refreshFactor))
      )
        await this.#settle();
      else await this.#evict(state);
      return;
    }
    const next = first.action.type === "leave" ? this.#beforeLeaving(state, first) : first;
    if (isSend(next)) {
      // RFC 9420 §12.4: what others wait for to be committed comes before any message, the last one too.
      if (due === "wait") return;
      if (due === "must") return this.#refresh();
      if (!isClose(next)) {
        return due === "refresh" && !this.#skipRefresh ? this.#refresh() : this.#sealMessages();
      }
    }
    if (this.#inFlight.size > 0) return;
    await this.#sealAlone(next);
  }

  /** The leave itself, or what has to happen first. */
  #beforeLeaving({ record, group }: ConversationState, leave: Intent): Intent {
    const { identity, outbox, randomId, clock } = this.#context;
    const due = group && dueBeforeLeaving(group, identity.userId);
    if (due === undefined) return leave;
    const content = { type: "close", id: randomId(MESSAGE_ID_LENGTH), sentAt: clock.now() } as const;
    const action: Action =
      due === "close"
        ? { type: "send", content }
        : { type: "policy", change: { type: "promote", userId: due.heir } };
    const { intent } = outbox.add({ groupId: record.groupId }, action);
    this.#ownInitiative.add(intent.order);
    return intent;
  }

  #due(state: Parameters<typeof commitDue>[0]): CommitDue | undefined {
    const { identity, clock } = this.#context;
    return commitDue(state, {
      deviceId: this.#refusals.cannotCommit ? undefined : identity.deviceId,
      refreshFactor: this.#refreshFactor,
      now: clock.now(),
    });
  }

  /** An admin removes whom nothing was heard of for long: what they would come back to, the relay has dropped by then. */
  async #evict(state: ConversationState): Promise<void> {
    const { record } = state;
    const { clock, identity, evictIdleAfter, outbox } = this.#context;
    const userId = userToEvict(state, identity.userId, clock.now() - evictIdleAfter);
    if (userId === undefined) return;
    if (!this.#settleNow) return this.#settle();
    this.#settleNow = false;
    const { intent } = outbox.add({ groupId: record.groupId }, { type: "remove", userId });
    this.#ownInitiative.add(intent.order);
    await this.#sealAlone(intent);
  }

  /** Nobody of this device sends: commits what is due once it is this leaf's turn. */
  async #settle(): Promise<void> {
    if (this.#settleNow) {
      this.#settleNow = false;
      return this.#refresh();
    }
    if (this.#cancelTimer !== undefined) return;
    const group = this.#conversation.state.group as NonNullable<ConversationState["group"]>;
    const staying = stayingLeaves(group);
    const rank = Math.max(
      0,
      staying.findIndex((leaf) => leaf.leafIndex === group.ownLeafIndex),
    );
    const delay = SETTLE_DELAY * (1 + rank) + this.#context.random() * SETTLE_SPREAD * Math.min(rank, 10);
    this.#later(delay, () => {
      this.#settleNow = true;
    });
  }

  #later(delay: number, then: () => void = () => {}): void {
    this.#cancelTimer ??= this.#context.clock.after(delay, () => {
      this.#cancelTimer = undefined;
      then();
      this.flush();
    });
  }

  async #refresh(): Promise<void> {
    if (this.#inFlight.size > 0) return;
    const target = { groupId: this.#conversation.state.record.groupId };
    const { intent } = this.#context.outbox.add(target, { type: "refresh" });
    this.#ownInitiative.add(intent.order);
    await this.#sealAlone(intent);
  }

  /** Somebody's commit came before ours: whether it is still wanted is decided anew; new keys, once the messages are out. */
  async #lost(intents: readonly Intent[]): Promise<void> {
    this.#skipRefresh ||= intents.some(({ action }) => action.type === "refresh");
    this.#again = true;
    await this.#conversation.step((step) => {
      for (const intent of intents) step.endIntent(intent);
    });
    for (const { order } of intents) this.#ownInitiative.delete(order);
  }

  /** Those that nothing else comes before. */
  #nextMessages(): readonly SendIntent[] {
    const waiting = this.#gathering.ripe(this.#conversation.intents(), this.#conversation.state.group);
    const end = waiting.findIndex((intent) => !isSend(intent) || isClose(intent));
    return (end < 0 ? waiting : waiting.slice(0, end)) as readonly SendIntent[];
  }

  async #sealMessages(): Promise<void> {
    const session = this.#session;
    let bytes = [...this.#inFlight.values()].reduce((sum, size) => sum + size, 0);
    const room = MAX_IN_FLIGHT - this.#inFlight.size;
    const sealed: SendIntent[] = [];
    let isAll = true;
    await this.#conversation.step(async (step) => {
      // What was decided on may have changed while other steps ran.
      if (!this.#mayGoOut(step) || ["must", "wait"].includes(this.#due(step) ?? "")) return;
      // So may have what comes first: a commit that was read meanwhile has unsealed what was under way.
      const next = this.#nextMessages();
      const messages = next.filter((intent) => !failOutgrown(this.#context, step, intent));
      if (messages.length < next.length) this.#again = true;
      if (messages.length === 0) return;
      for (const intent of messages.slice(0, room)) {
        if (bytes >= MAX_IN_FLIGHT_BYTES) break;
        bytes += (await sealMessage(this.#context, step, intent)).payload.length;
        sealed.push(intent);
      }
      isAll = sealed.length === messages.length;
      step.countSent(sealed.length);
    });
    if (isAll) this.#gathering.sealed(sealed);
    for (const intent of sealed) this.#sendIn(session, intent);
    if (sealed.length > 0 && !isAll) this.#again = true;
  }

  /** Whether the keys of a step are the others' too: what is made of keys that they have left only breaks what is theirs. */
  #mayGoOut({ record, group }: Step): boolean {
    return isLive(record) && record.restoration === undefined && group !== undefined;
  }

  /** Seals a leave, a close or a commit, which goes out with nothing else under way. */
  async #sealAlone(intent: Intent): Promise<void> {
    const session = this.#session;
    const { action } = intent;
    if (action.type === "settleName") {
      this.#again = true;
      return settleName(this.#context, this.#conversation, intent, action.release);
    }
    try {
      await claimFor(this.#context, this.#conversation.state, action);
      const addition =
        action.type === "add"
          ? await keyPackagesFor(this.#context, this.#conversation.state, action)
          : undefined;
      await this.#conversation.step(async (step) => {
        if (step.group === undefined) throw new SubrosaError("not-a-member", "the conversation has ended");
        // The keys may have turned out to be of no use while key packages were fetched.
        if (!this.#mayGoOut(step)) return;
        if (action.type === "leave") await sealLeave(this.#context, step, intent);
        else if (isSend(intent)) await sealMessage(this.#context, step, intent);
        else if (action.type === "policy" && isMade(step.group, action.change, this.#context.identity.userId))
          step.endIntent(intent);
        else await sealCommit(this.#context, step, intent, addition);
      });
    } catch (error) {
      if (!isFinal(error)) throw error;
      this.#refusals.commitFailed(intent);
      await this.#conversation.step((step) => fail(this.#context, step, intent, error));
      // What this sender made up by itself it would only make up again.
      if (this.#ownInitiative.delete(intent.order)) this.#refusals.later();
      else this.#again = true;
      return;
    }
    this.#sendIn(session, intent);
    if (intent.sealed === undefined) this.#again = true;
  }

  /** In another session what was under way goes out first, in its order, once the log has been read. */
  #sendIn(session: number, intent: Intent): void {
    if (session === this.#session && intent.sealed !== undefined) this.#send(intent, intent.sealed);
  }

  #send(intent: Intent, sealed: Sealed): void {
    const { kind, entryId, payload, bundle } = sealed;
    this.#inFlight.set(sealed, payload.length);
    const entry = {
      kind,
      entryId,
      payload,
      ...(bundle && { bundle: { access: bundle.access, welcome: bundle.welcome } }),
    };
    // Taken or not, what counts is the log: it ends the intent when it shows the entry.
    this.#context.relay
      .request("append", { log: this.#conversation.log, after: sealed.after, entry })
      .then(() => this.#refusals.taken())
      .catch(async (error: unknown) => {
        this.#inFlight.delete(sealed);
        if (!(await this.#refusals.refused(intent, sealed, error))) return;
        // What this sender made up by itself it would only make up again.
        if (this.#ownInitiative.delete(intent.order)) this.#refusals.later();
        else this.flush();
      })
      .catch((error: unknown) => this.#context.report(error));
  }
}
