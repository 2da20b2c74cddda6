import { asBytes } from "../base/bytes.js";
import { systemClock } from "../base/clock.js";
import { assertArgument, SubrosaError } from "../base/errors.js";
import { randomBytes } from "../crypto/random.js";
import type { Store } from "../stores/store.js";
import { webSocketConnector } from "../transport/websocket.js";
import type { Context } from "./context.js";
import { AccountWatch } from "./conversation/gossip/account-watch.js";
import { Gossip } from "./conversation/gossip/gossip.js";
import { Invitations } from "./conversation/membership/invitations.js";
import { OwnRequests } from "./conversation/membership/own-requests.js";
import { Starter } from "./conversation/membership/start.js";
import { Inbox } from "./conversation/receiving/inbox.js";
import { Registry } from "./conversation/registry.js";
import { Journal } from "./conversation/repair/journal.js";
import { askAgain } from "./conversation/repair/orphans.js";
import { Outbox } from "./conversation/sending/outbox.js";
import { Delivery } from "./delivery/delivery.js";
import { Expiries } from "./delivery/expiries.js";
import { Failures } from "./delivery/failures.js";
import { conversationOf, History } from "./delivery/history.js";
import { Removal } from "./delivery/removal.js";
import { Contacts } from "./identity/contacts.js";
import { KeyPackages } from "./identity/key-packages.js";
import { layout } from "./layout.js";
import { type ClientOptions, DEFAULT_EVICT_IDLE_AFTER, type Seams } from "./options.js";
import { PrivateTags } from "./private-tags.js";
import { loadConversations } from "./recovery/broken-conversations.js";
import { GuardedStore } from "./recovery/guarded-store.js";
import { Recovery } from "./recovery/recovery.js";
import { writing } from "./recovery/writing.js";
import { asError, ifConnected } from "./reporting.js";
import { Roster } from "./roster.js";
import { RunningClient, type RunningHandler } from "./running-client.js";
import { Incarnation } from "./session/incarnation.js";
import { RelaySession } from "./session/relay-session.js";
import { Signals } from "./signals/signals.js";

/** Opens the store and loads what is in it. Throws what the store throws; then nothing is left open. */
export async function openClient(
  options: ClientOptions,
  store: Store,
  seams: Seams,
  handler: RunningHandler,
): Promise<RunningClient> {
  const session = new GuardedStore(await store.open(`${new URL(options.url).href} ${options.userId}`));
  try {
    return await load(options, session, seams, handler);
  } catch (error) {
    await session.close().catch(() => {});
    throw error;
  }
}

/** Reads the store and wires the parts together; anew, where this state was found outdated after its outbox `before`. */
async function load(
  options: ClientOptions,
  store: GuardedStore,
  seams: Seams,
  handler: RunningHandler,
  before?: Outbox,
): Promise<RunningClient> {
  const clock = seams.clock ?? systemClock;
  const random = seams.random ?? Math.random;
  const randomId = seams.randomId ?? randomBytes;
  const { ack = {}, token } = options;
  const fatal = (error: SubrosaError) => handler.fatal(error);
  const interrupt = (error: SubrosaError) => {
    report(error);
    relay.interrupt(error);
  };
  const write = writing(store, {
    full: (error, isNew) => {
      // What could not be taken in nobody waits for: only this says so.
      if (isNew) report(error);
      relay.interrupt(error);
    },
    room: () => relay.wake(),
    fatal,
  });
  store.onLost(fatal);
  const report = (error: unknown) => {
    // What is asked of a client that the app has closed meanwhile is nobody's concern.
    if (!SubrosaError.is(error) || error.code !== "closed") handler.emit("error", asError(error));
  };
  const recovery = new Recovery(store, {
    userId: options.userId,
    randomId,
    now: clock.now(),
    outdated: before !== undefined,
  });
  const identity = await recovery.identity();
  const incarnation = await Incarnation.load(store, write, randomId);
  let running: RunningClient | undefined;
  const roster = new Roster(() => context, options.limits?.maxUsers);
  const relay = new RelaySession({
    url: options.url,
    connector: seams.connector ?? webSocketConnector({ WebSocket: options.WebSocket, clock }),
    clock,
    random,
    identity,
    incarnation,
    token: async () => {
      try {
        const value = typeof token === "function" ? await token() : (token ?? "");
        assertArgument(typeof value === "string", "token: a string");
        return value;
      } catch (cause) {
        const error = new SubrosaError("unauthorized", "the token function failed", { cause });
        // It is asked again with the next attempt, and nothing else would say why there is no connection.
        report(error);
        throw error;
      }
    },
    handler: {
      ready: (ready) => void running?.ready(ready).catch(report),
      ended: (end, error) => running?.ended(end, error),
      unanswered: interrupt,
      entries: (log, entries) => running?.logs.entries(log, entries),
      logEnded: (log, reason) => running?.logs.ended(log, reason),
      resume: (log) => running?.logs.resume(log),
      signal: (groupId, payload) => context.signals.hear(groupId, payload),
      data: (data) => handler.emit("unencryptedData", data),
      notice: ({ text, sentAt }) => handler.emit("notice", { text, sentAt }),
      directory: (news) => roster.news(news),
    },
    maxUnprocessedBytes: options.limits?.maxUnprocessedBytes,
  });
  const [contacts, keyPackages, outbox, delivery, failures, history, accounts, registered] =
    await Promise.all([
      Contacts.load(store, write, {
        met: (userId) => roster.met(userId),
        identityChanged: (userId, pinned, offered) =>
          handler.emit("identityChanged", { userId, pinned, offered }),
        deviceAdded: (userId, deviceId) => handler.emit("deviceAdded", { userId, deviceId }),
        deviceRemoved: (userId, deviceId) => handler.emit("deviceRemoved", { userId, deviceId }),
      }),
      KeyPackages.load(store, write, identity),
      Outbox.load(store, before, options.limits?.maxOutbox),
      Delivery.load(store, {
        write,
        isKnown: (userId, accountKey) => running?.context.contacts.isPinned(userId, accountKey) ?? false,
        named: (stored) => (running === undefined ? stored : running.registry.asListed(stored)),
        list: (stored) => running?.context.history.add(stored, conversationOf(stored, stored.from)) ?? [],
      }),
      Failures.load(store, () => context),
      History.load(store, {
        enabled: (options.history ?? false) !== false,
        userId: options.userId,
        nameOf: (groupId) => running?.registry.nameOf(groupId),
        randomId,
        now: () => clock.now(),
      }),
      AccountWatch.load(store, identity, () => context),
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
    journal: new Journal(() => context, options.limits),
    delivery,
    failures,
    history,
    privateTag: (bytes) => tags.tag(bytes),
    relay,
    ack: { direct: ack.direct ?? true, group: ack.group ?? false },
    evictIdleAfter: options.limits?.evictIdleAfter ?? DEFAULT_EVICT_IDLE_AFTER,
    removal: new Removal(
      () => context,
      () => registry,
    ),
    expiries: new Expiries(() => context),
    gossip: new Gossip(
      () => context,
      () => running?.registry.all() ?? [],
    ),
    accounts,
    signals: new Signals(
      () => context,
      () => running?.registry,
      options.presence ?? false,
    ),
    emit: handler.emit,
    groupChanged: (groupId) => running?.groupChanged(running.registry.get(groupId)),
    isBegunAnew: (name) => registry.stranded(name) !== undefined,
    isNameBound: (name, groupId) => running?.registry.isBound(name, groupId) ?? false,
    conversationEnded: (conversation) => running?.conversationEnded(conversation),
    repaired: (conversation) => running?.ownRequests.joined(conversation),
    repair: (groupId) => running?.repair(groupId),
    closedWhileRepairing: (groupId, isDeleted) => running?.recreation.closed(groupId, isDeleted),
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
      // The group is over, or was never for this device: nothing was lost.
      if (error.code !== "unknown-group" && error.code !== "not-a-member") report(error);
    },
    isAwaited: (groupId) => ownRequests.isAwaited(groupId),
    unopened: async (groupId, error) => {
      running?.lookAgain();
      return askAgain(context, { registry, starter, ownRequests }, asBytes(groupId), error);
    },
    answered: (rejection) => ownRequests.answered(rejection),
    rejected: (rejection) => void ownRequests.rejected(rejection).catch(report),
    userRemoved: (userId) => roster.removed(userId),
    notice: ({ text, sentAt }) => handler.emit("notice", { text, sentAt }),
    accountChanged: (userId) => accounts.hinted(userId),
  });
  running = new RunningClient({
    context,
    retention: typeof options.history === "object" ? options.history.retention : undefined,
    store,
    reload: (session) => load(options, session, seams, handler, outbox),
    registry,
    roster,
    starter,
    inbox,
    handler,
    registered: registered !== undefined,
    ownRequests,
    invitations,
  });
  await recovery.settle(context, registry, loaded, (record) =>
    ownRequests.askAgain(record.groupId, { record }),
  );
  await context.expiries.run();
  return running;
}
