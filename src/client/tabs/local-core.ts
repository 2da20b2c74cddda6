import { toHex } from "../../base/encoding.js";
import { SubrosaError } from "../../base/errors.js";
import type { Store } from "../../stores/store.js";
import type { LinkEnd } from "../../transport/link.js";
import { CloseCode } from "../../wire/protocol.js";
import { Transfers } from "../attachments/transfers.js";
import { Conversations } from "../conversations.js";
import type { Consumer } from "../delivery/delivery.js";
import { markRead } from "../delivery/read-marks.js";
import { openClient } from "../open-client.js";
import { type ClientOptions, FLUSH_TIMEOUT, type Seams } from "../options.js";
import type { RunningClient } from "../running-client.js";
import { isGone } from "../session/refusal.js";
import { deferred, within } from "../waiting.js";
import { Connection } from "./connection.js";
import type { CallName, Calls, Core, CoreHandler } from "./core.js";
import { Handles } from "./handles.js";

/** How long `close()` takes leave of those who were told of this user's presence, in milliseconds. */
const LEAVE_TIMEOUT = 1_000;

/** What a local client can be told besides. */
export interface LocalOptions {
  /** Asked when a session ended for good; false if that was because another owner has the store. */
  readonly isOwner?: (running: RunningClient) => Promise<boolean>;
  /** Told the new id when another device of the user has taken the place of this one. */
  readonly renewed?: (deviceId: string) => void;
  /** Whether no other tab goes on with the connection when this one is closed. */
  readonly isAlone?: () => boolean;
}

/** The client that has the store open, in this tab or process. */
export class LocalCore implements Core {
  readonly connection: Connection;
  readonly handles: Handles;
  readonly transfers = new Transfers(() => this.#running);
  readonly #options: ClientOptions;
  #running: RunningClient;
  #conversations: Conversations;
  #calls: Calls;
  /** Another device of the user is taking the place of this one. */
  #renewal: Promise<void> | undefined;
  #closing = false;
  /** What the relay said last, if it is that this device is no more. */
  #gone: SubrosaError | undefined;
  readonly #consumer: Consumer;
  readonly #handler: CoreHandler;
  readonly #local: LocalOptions;
  #listening = false;

  private constructor(
    running: RunningClient,
    connection: Connection,
    handles: Handles,
    options: ClientOptions,
    handler: CoreHandler,
    local: LocalOptions,
  ) {
    this.#running = running;
    this.connection = connection;
    this.handles = handles;
    this.#options = options;
    this.#conversations = new Conversations(running, options.limits ?? {});
    this.#calls = this.#makeCalls();
    this.#handler = handler;
    this.#local = local;
    this.#consumer = (message) => handler.deliver(message);
  }

  /** Opens the store. Throws what that throws; then nothing is left open. */
  static async open(
    options: ClientOptions,
    store: Store,
    seams: Seams,
    handler: CoreHandler,
    local: LocalOptions = {},
  ): Promise<LocalCore> {
    const handles = new Handles();
    let connection: Connection | undefined;
    let core: LocalCore | undefined;
    const ended = async (end: LinkEnd, error: SubrosaError | undefined) => {
      if (core !== undefined && isGone(error)) core.#gone = error;
      if (core?.renews(error)) return connection?.ended({ ...end, willReconnect: true }, undefined);
      if (!end.willReconnect && local.isOwner !== undefined && !(await local.isOwner(running))) return;
      connection?.ended(end, error);
    };
    const running = await openClient(options, store, seams, {
      emit: (name, event) => {
        if (name !== "message") handler.emit(name, handles.toData(name, event as never));
      },
      ready: ({ registered }) => {
        if (core !== undefined) core.#gone = undefined;
        connection?.ready(registered);
      },
      ended: (end, error) => void ended(end, error),
      fatal: (error) => {
        if (!core?.renews(error)) handler.fatal(error);
      },
    });
    const { relay, clock } = running.context;
    connection = new Connection(relay, clock, handler);
    core = new LocalCore(running, connection, handles, options, handler, local);
    return core;
  }

  get running(): RunningClient {
    return this.#running;
  }

  get conversations(): Conversations {
    return this.#conversations;
  }

  /**
   * Whether another device of the user goes on in the place of this one, whose state has turned out to be an older
   * copy; the end of the old one's session is none then.
   */
  renews(error: SubrosaError | undefined): boolean {
    if (this.#renewal === undefined && !this.#closing && error?.code === "store-outdated") {
      // In a moment: the session that it ends is to find that it has begun.
      this.#renewal = Promise.resolve()
        .then(() => this.#renew(error))
        .catch((failure) => this.#handler.fatal(SubrosaError.is(failure) ? failure : error))
        .finally(() => {
          this.#renewal = undefined;
        });
    }
    return this.#renewal !== undefined;
  }

  async #renew(error: SubrosaError): Promise<void> {
    const { deviceId } = this;
    this.#running.context.delivery.remove(this.#consumer);
    this.handles.renew();
    this.#running = await this.#running.renew();
    this.#conversations = new Conversations(this.#running, this.#options.limits ?? {});
    this.#calls = this.#makeCalls();
    const { delivery, relay } = this.#running.context;
    if (this.#listening) delivery.add(this.#consumer);
    // It was another device's turn not long ago: the relay, or a rival copy, would have it so for ever.
    if (this.deviceId === deviceId) {
      const end = { code: CloseCode.outdated, reason: "", willReconnect: false, wasReady: false };
      this.connection.ended(end, error);
    } else {
      this.#local.renewed?.(this.deviceId);
      this.connection.renew(relay);
    }
  }

  get deviceId(): string {
    return toHex(this.running.context.identity.deviceId);
  }

  /** Whether there is such a call. */
  has(name: string): name is CallName {
    return Object.hasOwn(this.#calls, name);
  }

  call<Name extends CallName>(name: Name, ...args: Parameters<Calls[Name]>): ReturnType<Calls[Name]> {
    if (this.#renewal !== undefined) {
      return this.#renewal.then((): unknown => this.call(name, ...args)) as ReturnType<Calls[Name]>;
    }
    return (this.#calls[name] as (...args: Parameters<Calls[Name]>) => ReturnType<Calls[Name]>)(...args);
  }

  connect(signal: AbortSignal | undefined): Promise<void> {
    return this.connection.connect(signal);
  }

  listen(on: boolean): void {
    if (on === this.#listening) return;
    this.#listening = on;
    if (this.#renewal !== undefined) return;
    const { delivery } = this.running.context;
    if (on) delivery.add(this.#consumer);
    else delivery.remove(this.#consumer);
  }

  async close(flush: boolean): Promise<number> {
    this.#closing = true;
    await this.#renewal;
    const { outbox, delivery, clock } = this.running.context;
    this.connection.stop(new SubrosaError("closed", "the client was closed"));
    if (flush) await this.#flush();
    if (flush && this.#local.isAlone?.() !== false) await this.#leave();
    const unsent = outbox.unsentMessages;
    const handedOver = delivery.stop();
    this.#handler.stopped();
    if (flush) await within(handedOver, clock, FLUSH_TIMEOUT).catch(() => {});
    await this.running.stop();
    return unsent;
  }

  async #flush(): Promise<number> {
    const { outbox, relay, clock } = this.running.context;
    for (const conversation of this.running.registry.all()) conversation.flush(true);
    if (relay.isReady && outbox.size > 0) {
      const empty = deferred<void>();
      const off = outbox.onEnd(() => outbox.size === 0 && empty.resolve());
      await within(empty.promise, clock, FLUSH_TIMEOUT).catch(() => {});
      off();
    }
    return outbox.unsentMessages;
  }

  /** Nobody is to think for long that this user is there still. */
  async #leave(): Promise<void> {
    const { signals, clock } = this.running.context;
    await within(signals.presence.leave(), clock, LEAVE_TIMEOUT).catch(() => {});
  }

  /** What a device took that the relay refuses for ever would never go out. */
  #assertMaySend(): void {
    if (this.#gone !== undefined) throw this.#gone;
  }

  #makeCalls(): Calls {
    const { running, conversations, transfers } = this;
    const { contacts, history, signals, relay } = running.context;
    return {
      sendDirect: async (userId, content, stamp, fingerprint) => {
        this.#assertMaySend();
        return conversations.sendDirect(userId, content, stamp, fingerprint);
      },
      sendToGroup: async (group, content, stamp) => {
        this.#assertMaySend();
        return conversations.sendToGroup(group, content, stamp);
      },
      markRead: (messages) => markRead(running, messages),
      beginUpload: async (blobId, to) => {
        await conversations.assertDestination(to);
        await transfers.begin(blobId);
      },
      uploadChunk: (blobId, index, chunk) => transfers.put(blobId, index, chunk),
      finishUpload: (blobId, chunks) => transfers.finish(blobId, chunks),
      deleteBlob: (blobId) => transfers.delete(blobId),
      fetchChunk: (reference, index) => transfers.fetch(reference, index),
      readChunk: (reference, index) => transfers.read(reference, index),
      dropSpool: (reference) => transfers.drop(reference),
      createGroup: (group, join) => conversations.createGroup(group, join),
      joinGroup: (group, fingerprint) => conversations.joinGroup(group, fingerprint),
      invite: (group, userId, fingerprint) => conversations.invite(group, userId, fingerprint),
      remove: (group, userId) => conversations.remove(group, userId),
      leaveGroup: (group) => conversations.leaveGroup(group),
      deleteGroup: (group) => conversations.deleteGroup(group),
      administer: (group, change) =>
        change.type === "rename"
          ? conversations.renameGroup(group, change.name)
          : conversations.administer(group, change),
      banned: async (group) => conversations.banned(group),
      setDisappearing: (conversation, time) => conversations.setDisappearing(conversation, time),
      groups: async () => conversations.groups(),
      members: async (group) => conversations.members(group),
      conversations: async () => conversations.list(),
      history: (conversation, page) => history.read(conversation, page),
      deleteMessages: (conversation, which) => running.context.removal.delete(conversation, which),
      safetyNumber: (userId) => conversations.safetyNumber(userId),
      markVerified: (userId) => contacts.markVerified(userId),
      acceptIdentity: async (userId, fingerprint) => {
        await contacts.accept(userId, fingerprint);
        await running.identityAccepted(userId);
      },
      setTyping: (conversation, typing) => signals.setTyping(conversation, typing),
      presence: async (userId) => signals.presence.of(userId),
      writeData: (data) => relay.request("write", { data }),
      publish: (channel, data) => relay.request("publish", { channel, data }),
      followChannel: async (holder, channel, on) => {
        if (!on) return running.channels.leave(holder, channel);
        await running.connected();
        await running.channels.follow(holder, channel);
      },
      setBlocked: (userId, blocked) => conversations.setBlocked(userId, blocked),
      blocked: () => conversations.blocked(),
      users: async () => running.roster.users(),
      answer: (handle, accept, fingerprint) => this.handles.answer(handle, accept, fingerprint),
      flush: () => this.#flush(),
    };
  }
}
