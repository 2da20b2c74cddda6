import { asBytes } from "../base/bytes.js";
import { systemClock } from "../base/clock.js";
import { SubrosaError } from "../base/errors.js";
import { randomBytes } from "../crypto/random.js";
import type { Store } from "../stores/store.js";
import type { LinkEnd } from "../transport/link.js";
import { listenForWake } from "../transport/wake-signals.js";
import { webSocketConnector } from "../transport/websocket.js";
import type { Ready } from "../wire/frames.js";
import type { Context } from "./context.js";
import { acquaint } from "./conversation/acquaintance.js";
import type { Conversation } from "./conversation/conversation.js";
import { Gossip } from "./conversation/gossip.js";
import { Inbox } from "./conversation/inbox.js";
import { Invitations } from "./conversation/invitations.js";
import { pruneJournal } from "./conversation/journal.js";
import { askAgain } from "./conversation/orphans.js";
import { Outbox } from "./conversation/outbox.js";
import { OwnRequests } from "./conversation/own-requests.js";
import { Recreation } from "./conversation/recreation.js";
import { Registry } from "./conversation/registry.js";
import { pruneSeen } from "./conversation/seen-set.js";
import { Starter } from "./conversation/start.js";
import { Delivery } from "./delivery/delivery.js";
import { History } from "./delivery/history.js";
import { Contacts } from "./identity/contacts.js";
import { KeyPackages } from "./identity/key-packages.js";
import { PackageSupply } from "./identity/package-supply.js";
import { layout } from "./layout.js";
import { Logs } from "./logs.js";
import { type ClientOptions, DEFAULT_EVICT_IDLE_AFTER, type Seams } from "./options.js";
import { PrivateTags } from "./private-tags.js";
import { reconcile } from "./reconciliation.js";
import { loadConversations } from "./recovery/broken-conversations.js";
import { GuardedStore } from "./recovery/guarded-store.js";
import { Recovery } from "./recovery/recovery.js";
import { writing } from "./recovery/writing.js";
import { asError, ifConnected } from "./reporting.js";
import { Incarnation } from "./session/incarnation.js";
import { RelaySession } from "./session/relay-session.js";

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

/** A client whose store is open: all its parts, wired together. */
export class RunningClient {
  readonly context: Context;
  readonly registry: Registry;
  readonly starter: Starter;
  readonly ownRequests: OwnRequests;
  readonly invitations: Invitations;
  readonly recreation: Recreation;
  readonly logs: Logs;
  readonly #handler: RunningHandler;
  readonly #inbox: Inbox;
  readonly #store: GuardedStore;
  readonly #reload: (store: GuardedStore) => Promise<RunningClient>;
  readonly #stopWaking: () => void;
  readonly #waitingForSession: (() => void)[] = [];
  readonly #supply: PackageSupply;
  #reconciled = false;
  #registered: boolean;
  #cancelHousekeeping: (() => void) | undefined;
  /** Counts sessions and their ends: what was begun in one must not go on in the next. */
  #session = 0;

  private constructor(parts: {
    context: Context;
    store: GuardedStore;
    reload: (store: GuardedStore) => Promise<RunningClient>;
    registry: Registry;
    starter: Starter;
    inbox: Inbox;
    handler: RunningHandler;
    registered: boolean;
    ownRequests: OwnRequests;
    invitations: Invitations;
  }) {
    this.context = parts.context;
    this.registry = parts.registry;
    this.starter = parts.starter;
    this.ownRequests = parts.ownRequests;
    this.invitations = parts.invitations;
    this.#handler = parts.handler;
    this.#inbox = parts.inbox;
    this.#store = parts.store;
    this.#reload = parts.reload;
    this.#registered = parts.registered;
    this.#supply = new PackageSupply(parts.context);
    this.logs = new Logs(parts.context, parts.registry, parts.inbox);
    this.recreation = new Recreation(parts.context, parts.registry, parts.starter, parts.ownRequests);
    this.#stopWaking = listenForWake(() => this.#wake());
  }

  /** Opens the store and loads what is in it. Throws what the store throws; then nothing is left open. */
  static async open(
    options: ClientOptions,
    store: Store,
    seams: Seams,
    handler: RunningHandler,
  ): Promise<RunningClient> {
    const session = new GuardedStore(await store.open(`${new URL(options.url).href} ${options.userId}`));
    try {
      return await RunningClient.#load(options, session, seams, handler);
    } catch (error) {
      await session.close().catch(() => {});
      throw error;
    }
  }

  static async #load(
    options: ClientOptions,
    store: GuardedStore,
    seams: Seams,
    handler: RunningHandler,
    outdated = false,
  ): Promise<RunningClient> {
    const clock = seams.clock ?? systemClock;
    const random = seams.random ?? Math.random;
    const randomId = seams.randomId ?? randomBytes;
    const { ack = {}, token } = options;
    const fatal = (error: SubrosaError) => handler.fatal(error);
    const write = writing(store, {
      full: (error) => relay.interrupt(error),
      room: () => relay.wake(),
      fatal,
    });
    store.onLost(fatal);
    const report = (error: unknown) => {
      // What is asked of a client that the app has closed meanwhile is nobody's concern.
      if (!SubrosaError.is(error) || error.code !== "closed") handler.emit("error", asError(error));
    };
    const recovery = new Recovery(store, { userId: options.userId, randomId, now: clock.now(), outdated });
    const identity = await recovery.identity();
    const incarnation = await Incarnation.load(store, write, randomId);
    let running: RunningClient | undefined;
    const relay = new RelaySession({
      url: options.url,
      connector: seams.connector ?? webSocketConnector({ WebSocket: options.WebSocket, clock }),
      clock,
      random,
      identity,
      incarnation,
      token: async () => (typeof token === "function" ? token() : (token ?? "")),
      handler: {
        ready: (ready) => void running?.ready(ready).catch(report),
        ended: (end, error) => running?.ended(end, error),
        entries: (log, entries) => running?.logs.entries(log, entries),
        logEnded: (log, reason) => running?.logs.ended(log, reason),
        resume: (log) => running?.logs.resume(log),
      },
      maxUnprocessedBytes: options.limits?.maxUnprocessedBytes,
    });
    const [contacts, keyPackages, outbox, delivery, history, registered] = await Promise.all([
      Contacts.load(store, write, {
        identityChanged: (userId, pinned, offered) =>
          handler.emit("identityChanged", { userId, pinned, offered }),
        deviceAdded: (userId, deviceId) => handler.emit("deviceAdded", { userId, deviceId }),
        deviceRemoved: (userId, deviceId) => handler.emit("deviceRemoved", { userId, deviceId }),
      }),
      KeyPackages.load(store, write, identity),
      Outbox.load(store, clock.now(), options.limits?.maxOutbox),
      Delivery.load(store, {
        write,
        isKnown: (userId, accountKey) => running?.context.contacts.isPinned(userId, accountKey) ?? false,
        list: (stored) =>
          running?.context.history.add({ ...stored, peer: stored.from }, options.userId) ?? [],
      }),
      History.load(store, options.history ?? false, options.userId),
      store.get(layout.registered),
    ]);
    const tags = new PrivateTags(store, write);
    const context: Context = {
      store,
      write,
      clock,
      randomId,
      random,
      identity,
      contacts,
      keyPackages,
      outbox,
      delivery,
      history,
      privateTag: (bytes) => tags.tag(bytes),
      relay,
      ack: { direct: ack.direct ?? true, group: ack.group ?? false },
      evictIdleAfter: options.limits?.evictIdleAfter ?? DEFAULT_EVICT_IDLE_AFTER,
      gossip: new Gossip(
        () => context,
        () => running?.registry.all() ?? [],
      ),
      emit: handler.emit,
      groupChanged: (groupId) => running?.groupChanged(running.registry.get(groupId)),
      conversationEnded: (conversation) => running?.conversationEnded(conversation),
      repair: (groupId) => running?.repair(groupId),
      closedWhileRepairing: (groupId) => running?.recreation.closed(groupId),
      outdated: (error) => void incarnation.refused().then(() => handler.fatal(error), report),
      background: (work) => void work.catch(ifConnected(report)),
      report,
    };
    const loaded = await loadConversations(store, options.userId);
    const registry = Registry.load(context, [...loaded.states, ...loaded.broken]);
    const starter = new Starter(context, registry, (pointer) => inbox.recover(pointer));
    const ownRequests = await OwnRequests.load(context, registry);
    const invitations = new Invitations(context, registry, {
      automatic: options.acceptFromVerified ?? false,
    });
    const inbox = await Inbox.load(context, registry, {
      joined: (conversation) => running?.joined(conversation),
      dropped: (groupId, error) => {
        ownRequests.failed(groupId, error);
        if (error.code === "no-key-package")
          askAgain(context, { registry, starter, ownRequests }, asBytes(groupId));
        // The group is over, or was never for this device: nothing was lost.
        if (error.code !== "unknown-group" && error.code !== "not-a-member") report(error);
      },
      rejected: (groupId, requestId) => void ownRequests.rejected(groupId, requestId).catch(report),
    });
    running = new RunningClient({
      context,
      store,
      reload: (session) => RunningClient.#load(options, session, seams, handler, true),
      registry,
      starter,
      inbox,
      handler,
      registered: registered !== undefined,
      ownRequests,
      invitations,
    });
    await recovery.settle(context, registry, loaded);
    return running;
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
    await Promise.all([this.logs.subscribe(), this.ownRequests.resume().catch(ignore)]);
    if (session !== this.#session) return;
    for (const { state } of this.registry.all()) {
      if (state.record.status === "repairing") this.repair(state.record.groupId);
    }
    for (const conversation of this.registry.all()) context.background(this.recreation.settle(conversation));
    this.starter.flushCreations();
    for (const userId of context.outbox.waitingUsers()) this.starter.flushDirect(userId);
    this.invitations.show();
    for (const { state } of this.registry.all()) {
      if (state.group !== undefined) context.background(acquaint(context, state.group));
    }
    // With no key package left, members may have tried to add this device in vain, or with the last resort.
    if (!this.#reconciled || ready.keyPackages === 0) {
      await reconcile(context, this.registry, this.#inbox).then(() => {
        this.#reconciled = true;
      }, ignore);
    }
    await this.#keepHouse();
    await this.#supply.complete().catch(ignore);
  }

  /** What is to be done now and then: it reads all that is kept, so by the clock, and not with every session. */
  async #keepHouse(): Promise<void> {
    if (this.#cancelHousekeeping !== undefined) return;
    this.#cancelHousekeeping = this.context.clock.after(HOUSEKEEPING, () => {
      this.#cancelHousekeeping = undefined;
      this.context.background(this.#keepHouse());
    });
    await pruneSeen(this.context);
    await pruneJournal(this.context);
    await this.context.gossip.prune();
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
    this.logs.disconnected();
    this.#handler.ended(end, error);
  }

  joined(conversation: Conversation): void {
    this.ownRequests.joined(conversation);
    this.context.background(conversation.subscribe());
    this.groupChanged(conversation);
    const { subject } = conversation.state.record;
    if (subject.kind === "direct") this.starter.flushDirect(subject.peer);
    else this.invitations.show();
  }

  /** The keys of a group are of no use here any more. */
  repair(groupId: Uint8Array): void {
    const conversation = this.registry.get(groupId);
    if (conversation === undefined) return;
    this.context.background(this.ownRequests.repair(conversation));
    this.recreation.watch(conversation);
    // A pointer to what takes the place of the group may have waited for this.
    this.#inbox.retry();
  }

  groupChanged(conversation: Conversation | undefined): void {
    void this.logs.followBox(conversation);
    // The keys that a repair brings may have come before the log said so.
    if (conversation?.state.record.repair?.readded) this.#inbox.retry();
    this.context.background(this.recreation.settle(conversation));
  }

  /** Resolves when there is a session: now, or with the next. */
  connected(): Promise<void> {
    if (this.context.relay.isReady) return Promise.resolve();
    return new Promise((resolve) => this.#waitingForSession.push(resolve));
  }

  /** A conversation is over: a pointer to it may have waited for that, and messages to its user need another. */
  conversationEnded(conversation: Conversation): void {
    this.#inbox.retry();
    const { subject } = conversation.state.record;
    if (subject.kind === "direct") this.starter.flushDirect(subject.peer);
  }

  /** After an identity was accepted: what waited for it goes on. */
  async identityAccepted(userId: string): Promise<void> {
    const conversation = this.registry.direct(userId);
    const pinned = this.context.contacts.get(userId)?.pinnedKey;
    if (conversation !== undefined && !conversation.isWith(userId, pinned)) {
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
      return await this.#reload(session);
    } catch (error) {
      await session.close().catch(() => {});
      throw error;
    }
  }

  async #halt(reason: SubrosaError): Promise<void> {
    this.#stopWaking();
    this.#cancelHousekeeping?.();
    this.recreation.stop();
    for (const conversation of this.registry.all()) conversation.stop();
    this.context.relay.close();
    this.context.outbox.abandon(reason);
    await Promise.all(this.registry.all().map((conversation) => conversation.idle()));
  }
}
