import { SubrosaError } from "../base/errors.js";
import type { LinkEnd } from "../transport/link.js";
import { listenForWake } from "../transport/wake-signals.js";
import type { Ready } from "../wire/frames.js";
import { pruneSpools } from "./attachments/transfers.js";
import type { Context } from "./context.js";
import type { Conversation } from "./conversation/conversation.js";
import { pruneEquivocations } from "./conversation/gossip/equivocations.js";
import { acquaint, acquaintSenders } from "./conversation/membership/acquaintance.js";
import type { Invitations } from "./conversation/membership/invitations.js";
import { isWith } from "./conversation/membership/leaves.js";
import type { OwnRequests } from "./conversation/membership/own-requests.js";
import type { Starter } from "./conversation/membership/start.js";
import type { Inbox } from "./conversation/receiving/inbox.js";
import { pruneSeen } from "./conversation/receiving/seen-set.js";
import type { Registry } from "./conversation/registry.js";
import { Recreation } from "./conversation/repair/recreation.js";
import { pruneSent } from "./delivery/sent-messages.js";
import { PackageSupply } from "./identity/package-supply.js";
import { layout } from "./layout.js";
import { Logs } from "./logs.js";
import { reconcile } from "./reconciliation.js";
import type { GuardedStore } from "./recovery/guarded-store.js";
import { resumeReplaced } from "./recovery/replaced-conversations.js";
import { ifConnected } from "./reporting.js";
import { Retry } from "./retry.js";
import type { Roster } from "./roster.js";
import { FollowedChannels } from "./signals/followed-channels.js";
import { within } from "./waiting.js";

/** How long the relay may take to let all logs be followed before what else waits goes on, in milliseconds. */
const FOLLOWED_WITHIN = 5_000;
/** Milliseconds between two looks for what is too old, or due. */
const HOUSEKEEPING = 6 * 3600 * 1000;

/** What the surface of a client is told of. */
export interface RunningHandler {
  readonly emit: Context["emit"];
  ready(ready: Ready): void;
  ended(end: LinkEnd, error: SubrosaError | undefined): void;
  /** Memory and store have parted, or another owner has the store: nothing more can be done. */
  fatal(error: SubrosaError): void;
}

/** What a client is made of once its store has been read. */
export interface RunningParts {
  readonly context: Context;
  readonly store: GuardedStore;
  /** Reads the store again, for another device of the user. */
  readonly reload: (store: GuardedStore) => Promise<RunningClient>;
  readonly registry: Registry;
  readonly roster: Roster;
  readonly starter: Starter;
  readonly inbox: Inbox;
  readonly handler: RunningHandler;
  readonly registered: boolean;
  /** How long the history keeps messages, in milliseconds, if not for ever. */
  readonly retention: number | undefined;
  readonly ownRequests: OwnRequests;
  readonly invitations: Invitations;
}

/** A client whose store is open: what its parts do together, from session to session. */
export class RunningClient {
  readonly context: Context;
  readonly registry: Registry;
  readonly roster: Roster;
  readonly starter: Starter;
  readonly ownRequests: OwnRequests;
  readonly invitations: Invitations;
  readonly recreation: Recreation;
  readonly logs: Logs;
  readonly channels: FollowedChannels;
  readonly #handler: RunningHandler;
  readonly #inbox: Inbox;
  readonly #store: GuardedStore;
  readonly #reload: (store: GuardedStore) => Promise<RunningClient>;
  readonly #stopWaking: () => void;
  readonly #waitingForSession: (() => void)[] = [];
  readonly #supply: PackageSupply;
  readonly #acquaintance: Retry;
  readonly #reconciliation: Retry;
  #registered: boolean;
  readonly #retention: number | undefined;
  #cancelHousekeeping: (() => void) | undefined;
  /** Counts sessions and their ends: what was begun in one must not go on in the next. */
  #session = 0;
  /** The logs are only just being followed: what needs repair is asked for once that is done. */
  #isBeginning = false;

  constructor(parts: RunningParts) {
    this.context = parts.context;
    this.registry = parts.registry;
    this.roster = parts.roster;
    this.starter = parts.starter;
    this.ownRequests = parts.ownRequests;
    this.invitations = parts.invitations;
    this.#handler = parts.handler;
    this.#inbox = parts.inbox;
    this.#store = parts.store;
    this.#reload = parts.reload;
    this.#registered = parts.registered;
    this.#retention = parts.retention;
    this.#supply = new PackageSupply(parts.context);
    this.#acquaintance = new Retry(parts.context.clock, () => parts.context.background(this.#acquaint()));
    this.#reconciliation = new Retry(parts.context.clock, () => parts.context.background(this.#reconcile()));
    this.channels = new FollowedChannels(parts.context.relay);
    this.logs = new Logs(parts.context, parts.registry, parts.inbox);
    this.recreation = new Recreation(parts.context, parts.registry, parts.starter, parts.ownRequests);
    this.#stopWaking = listenForWake(() => this.#wake());
  }

  /** A session is up: become reachable, follow every log, and take up everything that waits. */
  async ready(ready: Ready): Promise<void> {
    const { context } = this;
    const session = ++this.#session;
    const ignore = ifConnected(context.report);
    const wasRegistered = this.#registered;
    if (!wasRegistered) {
      await context.write([{ put: layout.registered, value: new Uint8Array(0) }]);
      this.#registered = true;
    }
    await this.#supply.begin(ready).catch(ignore);
    if (session !== this.#session) return;
    this.#handler.ready(ready);
    if (ready.registered && wasRegistered) {
      context.report(
        new SubrosaError("data-lost", "the relay has lost its data: it did not know this user any more"),
      );
    }
    for (const resolve of this.#waitingForSession.splice(0)) resolve();
    context.contacts.announce();
    context.failures.tellLeft();
    context.signals.ready(ready);
    context.accounts.resume();
    this.#isBeginning = true;
    // A log that the relay does not answer for keeps nothing else waiting.
    const followed = Promise.all([this.logs.subscribe(), this.ownRequests.resume().catch(ignore)]);
    await within(followed, context.clock, FOLLOWED_WITHIN).catch((error: unknown) => {
      if (!SubrosaError.is(error) || error.code !== "timeout") throw error;
    });
    if (session !== this.#session) return;
    this.#isBeginning = false;
    for (const { state } of this.registry.all()) {
      if (state.record.status === "repairing") this.repair(state.record.groupId);
    }
    for (const conversation of this.registry.all()) context.background(this.recreation.settle(conversation));
    this.starter.flushCreations();
    for (const userId of context.outbox.waitingUsers()) this.starter.flushDirect(userId);
    context.background(resumeReplaced(context, this.registry, this));
    this.invitations.show();
    for (const { state } of this.registry.all()) {
      if (state.group !== undefined) context.background(acquaint(context, state.group));
    }
    this.#acquaintance.reset();
    context.background(this.#acquaint());
    this.#reconciliation.reset();
    await this.#reconcile();
    await this.#keepHouse();
    await this.#supply.complete().catch(ignore);
  }

  /** Asks who wrote what waits for its sender to be known; again as long as the relay does not say. */
  async #acquaint(): Promise<void> {
    if (await acquaintSenders(this.context)) this.#acquaintance.reset();
    else this.#acquaintance.later();
  }

  /**
   * With no key package left, members may have tried to add this device in vain, or with the last resort; what is over here
   * may not be over for a relay that has lost why, or for the others. Looked for until nothing is left of that.
   */
  async #reconcile(): Promise<void> {
    if (!this.context.relay.isReady) return;
    const ignore = ifConnected(this.context.report);
    const isSettled = await reconcile(this.context, this.registry, this.#inbox).catch(ignore);
    if (isSettled !== true) this.lookAgain();
  }

  /** What is to be done now and then: it reads all that is kept, so by the clock, and not with every session. */
  async #keepHouse(): Promise<void> {
    if (this.#cancelHousekeeping !== undefined) return;
    this.#cancelHousekeeping = this.context.clock.after(HOUSEKEEPING, () => {
      this.#cancelHousekeeping = undefined;
      this.context.background(this.#keepHouse());
    });
    await pruneSeen(this.context);
    await this.context.journal.prune();
    await pruneSent(this.context);
    if (this.#retention !== undefined) await this.context.removal.prune(this.#retention);
    await pruneSpools(this.context);
    await pruneEquivocations(this.context);
    for (const conversation of this.registry.all()) conversation.flush();
  }

  /** The page or the network came back. */
  #wake(): void {
    this.context.relay.wake();
    this.#supply.check();
  }

  ended(end: LinkEnd, error: SubrosaError | undefined): void {
    this.#session++;
    this.recreation.stop();
    this.#supply.ended();
    this.channels.ended();
    this.logs.disconnected();
    this.roster.disconnected();
    this.#handler.ended(end, error);
  }

  joined(conversation: Conversation): void {
    this.ownRequests.joined(conversation);
    this.context.background(conversation.subscribe());
    this.groupChanged(conversation);
    this.context.signals.changed(conversation);
    const { subject } = conversation.state.record;
    if (subject.kind === "direct") this.starter.flushDirect(subject.peer);
    else this.invitations.show();
  }

  /** The keys of a group are of no use here any more. */
  repair(groupId: Uint8Array): void {
    const conversation = this.registry.get(groupId);
    if (conversation === undefined) return;
    // A pointer to the group, or to what takes its place, may have waited for this.
    this.#inbox.retry();
    // What the members grant beside one makes the welcome that it leads to useless, and what follows that is lost.
    if (!this.#isBeginning && !this.#inbox.isFollowed(groupId))
      this.context.background(this.ownRequests.repair(conversation));
    this.recreation.watch(conversation);
  }

  groupChanged(conversation: Conversation | undefined): void {
    void this.logs.followBox(conversation);
    if (conversation !== undefined) this.context.signals.changed(conversation);
    // The keys that a repair brings may have come before the log said so.
    if (conversation?.state.record.repair?.readded) this.#inbox.retry();
    this.#acquaintance.later();
    this.context.background(this.recreation.settle(conversation));
  }

  /** Resolves when there is a session: now, or with the next. */
  connected(): Promise<void> {
    if (this.context.relay.isReady) return Promise.resolve();
    return new Promise((resolve) => this.#waitingForSession.push(resolve));
  }

  /** A conversation is over: a pointer to it may have waited for that, and messages to its user need another. */
  conversationEnded(conversation: Conversation): void {
    this.context.signals.changed(conversation);
    this.ownRequests.ended(conversation);
    this.#inbox.retry();
    // What was written for it while it ended goes where the rest went.
    conversation.flush();
    const { subject } = conversation.state.record;
    if (subject.kind === "direct") this.starter.flushDirect(subject.peer);
    else this.lookAgain();
  }

  /** What the relay has this device in is to be looked at again before long; without a session, with the next. */
  lookAgain(): void {
    if (this.context.relay.isReady) this.#reconciliation.later();
  }

  /** After an identity was accepted: what waited for it goes on. */
  async identityAccepted(userId: string): Promise<void> {
    const conversation = this.registry.direct(userId);
    const pinned = this.context.contacts.get(userId)?.pinnedKey;
    if (conversation !== undefined && !isWith(conversation.state.group, userId, pinned)) {
      // What was written to the one must not go to the other.
      await conversation.lose(
        new SubrosaError("identity-changed", "the message was for the identity before"),
      );
    }
    this.#inbox.retry();
    this.context.delivery.recheck();
    this.starter.flushDirect(userId);
  }

  /** Ends everything; what is not written now stays as it was. */
  async stop(): Promise<void> {
    await this.#halt(new SubrosaError("closed", "the client was closed"));
    await this.#store.close();
  }

  /**
   * This state is an older copy: ends it, and opens the store again, for another device of the user if that may be.
   * Throws what opening throws; then the store is closed.
   */
  async renew(): Promise<RunningClient> {
    await this.#halt(new SubrosaError("store-outdated", "another device has taken the place of this one"));
    const session = this.#store.successor();
    try {
      // What was still being written comes first.
      await session.write([]);
      const next = await this.#reload(session);
      next.#waitingForSession.push(...this.#waitingForSession.splice(0));
      return next;
    } catch (error) {
      await session.close().catch(() => {});
      throw error;
    }
  }

  async #halt(reason: SubrosaError): Promise<void> {
    this.#stopWaking();
    this.#acquaintance.reset();
    this.#reconciliation.reset();
    this.#cancelHousekeeping?.();
    this.recreation.stop();
    this.context.signals.stop();
    this.context.accounts.stop();
    for (const conversation of this.registry.all()) conversation.stop();
    this.context.expiries.stop();
    this.context.relay.close();
    this.context.outbox.abandon(reason);
    await Promise.all(this.registry.all().map((conversation) => conversation.idle()));
  }
}
