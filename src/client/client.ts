import { systemClock } from "../base/clock.js";
import { toHex } from "../base/encoding.js";
import { assertArgument, SubrosaError } from "../base/errors.js";
import { VERSION } from "../base/version.js";
import { defaultStore } from "../stores/default.js";
import type { LinkEnd } from "../transport/link.js";
import { assertName } from "../wire/identifiers.js";
import { assertConversation, assertOptions, assertSignal, ownCopy } from "./arguments.js";
import type { JoinMode } from "./conversation/policy.js";
import {
  type ConversationSummary,
  Conversations,
  type GroupSummary,
  type MemberSummary,
} from "./conversations.js";
import { Consumers } from "./delivery/consumers.js";
import type { ConversationName, HistoryMessage } from "./delivery/history.js";
import { Emitter } from "./emitter.js";
import type { ClientEvents, EventName, Listener, Message } from "./events.js";
import { assertFingerprint, type SafetyNumber } from "./identity/safety-number.js";
import { type ClientOptions, checkOptions, DEFAULT_TIMEOUT, FLUSH_TIMEOUT, type Seams } from "./options.js";
import { RunningClient } from "./running-client.js";
import { type Deferred, deferred, type WaitOptions, within } from "./waiting.js";

/** Where a client stands. After `closed` nothing can be done with it. */
export type ClientState = "idle" | "connecting" | "connected" | "reconnecting" | "closed";

/** What a send can ask for. */
export interface SendOptions {
  /** The account fingerprint that the receiver must have; see {@link Client.safetyNumber}. */
  readonly fingerprint?: string;
}

/**
 * One user on one device. Everything it sends is encrypted for the receivers and durable before `send…` resolves;
 * everything it receives is durable before the relay may forget it.
 */
export class Client {
  /** The version of this package. */
  static readonly version: string = VERSION;

  readonly #options: ClientOptions;
  readonly #seams: Seams;
  readonly #emitter = new Emitter();
  readonly #consumers = new Consumers();
  #state: ClientState = "idle";
  #opening: Promise<Conversations> | undefined;
  #running: RunningClient | undefined;
  #connecting: (Deferred<void> & { callers: number }) | undefined;
  /** Calls that wait for the relay. */
  readonly #waits = new Set<Deferred<never>>();
  #closing: Promise<number> | undefined;
  #deviceId = "";

  /** Touches no global and no store; throws `invalid-argument` for what can never work. */
  constructor(options: ClientOptions, seams: Seams = {}) {
    checkOptions(options);
    this.#options = options;
    this.#seams = seams;
  }

  get userId(): string {
    return this.#options.userId;
  }

  /** This device's id, 32 hexadecimal digits; empty until the store was opened by the first call. */
  get deviceId(): string {
    return this.#deviceId;
  }

  get state(): ClientState {
    return this.#state;
  }

  /**
   * Resolves when a session with the relay is up; from then on the client reconnects by itself. Transient failures are
   * tried again while this is pending. Throws what trying again cannot mend: `unauthorized`, `user-id-taken`,
   * `store-outdated`, `replaced`, `store-in-use`, `store-locked`, `insecure-context`, …; `aborted`; `closed`.
   */
  async connect(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    assertOptions(options);
    const conversations = await within(this.#open(), this.#clock, undefined, options.signal);
    const { relay } = conversations.running.context;
    if (this.#isClosed()) throw new SubrosaError("closed", "the client was closed");
    if (this.#state === "connected") return;
    this.#connecting ??= { ...deferred<void>(), callers: 0 };
    const connecting = this.#connecting;
    connecting.callers++;
    if (this.#state === "idle") this.#state = "connecting";
    relay.open();
    try {
      await within(connecting.promise, this.#clock, undefined, options.signal);
    } finally {
      connecting.callers--;
      // Everyone who waited has given up before there was a session.
      if (this.#connecting === connecting && connecting.callers === 0 && this.#state === "connecting") {
        this.#connecting = undefined;
        this.#state = "idle";
        relay.close();
      }
    }
  }

  /**
   * Sends what waits for up to five seconds if there is a session, then ends everything. Resolves to the number of
   * messages that are still unsent; they are in the store and go out when it is opened again. Idempotent.
   */
  close(): Promise<number> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close().then(() => {});
  }

  async #close(): Promise<number> {
    const opening = this.#opening;
    this.#becomeClosed(new SubrosaError("closed", "the client was closed"));
    // Waits for an opening under way, so that the store is not left open behind our back.
    const conversations = await opening?.catch(() => undefined);
    if (conversations === undefined) return 0;
    const { running } = conversations;
    const { outbox, delivery, relay } = running.context;
    if (relay.isReady && outbox.size > 0) {
      const empty = deferred<void>();
      const off = outbox.onEnd(() => outbox.size === 0 && empty.resolve());
      await within(empty.promise, this.#clock, FLUSH_TIMEOUT).catch(() => {});
      off();
    }
    const unsent = outbox.unsentMessages;
    const handedOver = delivery.stop();
    this.#consumers.end();
    await within(handedOver, this.#clock, FLUSH_TIMEOUT).catch(() => {});
    await running.stop();
    return unsent;
  }

  /**
   * Encrypts a message to a user; resolves to its id once it is safely in the outbox. Works offline, and while the other
   * user is. What becomes of it comes as `receipt` events. Throws `too-large`, `outbox-full`,
   * `identity-mismatch`, `invalid-argument`.
   */
  async sendDirectMessage(
    userId: string,
    content: string | Uint8Array,
    options: SendOptions = {},
  ): Promise<string> {
    assertName(userId, "userId");
    assertArgument(userId !== this.userId, "userId: another user than oneself");
    assertOptions(options);
    assertFingerprint(options.fingerprint);
    const own = ownCopy(content);
    return (await this.#open()).sendDirect(userId, own, options.fingerprint);
  }

  /** The same to a group; throws `not-a-member` too. */
  async sendGroupMessage(group: string, content: string | Uint8Array): Promise<string> {
    assertName(group, "group");
    const own = ownCopy(content);
    return (await this.#open()).sendToGroup(group, own);
  }

  /** Creates a group of which this user is a member and an admin. Throws `name-taken`, `timeout`, `quota-exceeded`. */
  async createGroup(group: string, options: { readonly join?: JoinMode } & WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    assertOptions(options);
    const { join = "approval" } = options;
    assertArgument(["approval", "open", "closed"].includes(join), "join: approval, open or closed");
    await this.#wait((conversations) => conversations.createGroup(group, join), options);
  }

  /**
   * Asks to join a group; resolves once this user is a member. After `timeout` the request stands: a later approval
   * raises `groupJoin`. With `fingerprint`, the member who admits must have it. Throws `join-rejected`,
   * `unknown-group`, `already-a-member`, `identity-mismatch`, `timeout`, `aborted`.
   */
  async joinGroup(
    group: string,
    options: { readonly fingerprint?: string } & WaitOptions = {},
  ): Promise<void> {
    assertName(group, "group");
    assertOptions(options);
    assertFingerprint(options.fingerprint);
    await this.#wait((conversations) => conversations.joinGroup(group, options.fingerprint), options);
  }

  /** Adds a user to a group, who then gets an `invitation`. Throws `not-an-admin`, `unknown-user`, `already-a-member`, … */
  async invite(group: string, userId: string, options: SendOptions & WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    assertName(userId, "userId");
    assertOptions(options);
    assertFingerprint(options.fingerprint);
    await this.#wait((conversations) => conversations.invite(group, userId, options.fingerprint), options);
  }

  /** Removes a user from a group; what is sent afterwards is not for it. Throws `not-an-admin`, `not-a-member`, … */
  async remove(group: string, userId: string, options: WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    assertName(userId, "userId");
    await this.#wait((conversations) => conversations.remove(group, userId), options);
  }

  /** Leaves a group; the last member deletes it by leaving. Throws `not-a-member`, `timeout`. */
  async leaveGroup(group: string, options: WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    await this.#wait((conversations) => conversations.leaveGroup(group), options);
  }

  /** Deletes a group for all its members. Throws `not-an-admin`, `not-a-member`, `timeout`. */
  async deleteGroup(group: string, options: WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    await this.#wait((conversations) => conversations.deleteGroup(group), options);
  }

  /** The groups this user is a member of. */
  async groups(): Promise<GroupSummary[]> {
    return (await this.#open()).groups();
  }

  /** The members of a group; throws `not-a-member`. */
  async members(group: string): Promise<MemberSummary[]> {
    return (await this.#open()).members(group);
  }

  /** Everything this user can write to or has written to: users and groups. */
  async conversations(): Promise<ConversationSummary[]> {
    return (await this.#open()).list();
  }

  /** The newest messages of the local history, oldest first; empty unless the `history` option is on. */
  async history(
    conversation: ConversationName,
    options: { readonly before?: number; readonly limit?: number } = {},
  ): Promise<HistoryMessage[]> {
    assertOptions(options);
    assertConversation(conversation);
    return (await this.#open()).running.context.history.read(conversation, options);
  }

  /** What to compare with the person, over another channel. Throws `unknown-user`, `connection-failed` at first contact. */
  async safetyNumber(userId: string): Promise<SafetyNumber & { readonly verified: boolean }> {
    assertName(userId, "userId");
    return (await this.#open()).safetyNumber(userId);
  }

  /** Notes that the safety number was compared. Throws `unknown-user`. */
  async markVerified(userId: string): Promise<void> {
    assertName(userId, "userId");
    await (await this.#open()).running.context.contacts.markVerified(userId);
  }

  /** Accepts the new identity of a user, as `identityChanged` offered it. Throws `identity-mismatch`. */
  async acceptIdentity(userId: string, fingerprint: string): Promise<void> {
    assertName(userId, "userId");
    const { running } = await this.#open();
    await running.context.contacts.accept(userId, fingerprint);
    await running.identityAccepted(userId);
  }

  /**
   * Listens to an event; the result, or `signal`, ends it. A message counts as taken when every listener's promise has
   * settled; a listener that throws is reported as an uncaught error and stops nothing.
   */
  on<Name extends EventName>(
    name: Name,
    listener: Listener<Name>,
    options: { readonly signal?: AbortSignal } = {},
  ): () => void {
    assertArgument(typeof listener === "function", "listener: a function");
    assertOptions(options);
    assertSignal(options.signal);
    if (options.signal?.aborted) return () => {};
    const off =
      name === "message"
        ? this.#consumers.listen(listener as Listener<"message">)
        : this.#emitter.on(name, listener);
    options.signal?.addEventListener("abort", off, { once: true });
    return off;
  }

  /** Messages one at a time, for bots: each counts as taken when the loop asks for the next. */
  messages(options: { readonly signal?: AbortSignal } = {}): AsyncIterableIterator<Message> {
    assertOptions(options);
    assertSignal(options.signal);
    return this.#consumers.iterate(options.signal);
  }

  get #clock() {
    return this.#seams.clock ?? systemClock;
  }

  /** Runs a call that needs the relay, for as long as the caller wants to wait. */
  async #wait(call: (conversations: Conversations) => Promise<void>, options: WaitOptions): Promise<void> {
    assertOptions(options);
    const { timeout = DEFAULT_TIMEOUT, signal } = options;
    const closed = deferred<never>();
    this.#waits.add(closed);
    try {
      await within(Promise.race([this.#open().then(call), closed.promise]), this.#clock, timeout, signal);
    } finally {
      this.#waits.delete(closed);
    }
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }

  /** Everything from here on is refused, and who waits is told. */
  #becomeClosed(error: SubrosaError): void {
    this.#state = "closed";
    this.#connecting?.reject(error);
    for (const wait of this.#waits) wait.reject(error);
  }

  #open(): Promise<Conversations> {
    if (this.#state === "closed") return Promise.reject(new SubrosaError("closed", "the client is closed"));
    this.#opening ??= this.#openStore().catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #openStore(): Promise<Conversations> {
    const { store = defaultStore() } = this.#options;
    const running = await RunningClient.open(this.#options, store, this.#seams, {
      emit: <Name extends EventName>(name: Name, event: ClientEvents[Name]) =>
        this.#emitter.emit(name, event),
      ready: (ready) => this.#ready(ready.registered),
      ended: (end, error) => this.#ended(end, error),
      fatal: (error) => this.#fatal(error),
    });
    this.#running = running;
    this.#deviceId = toHex(running.context.identity.deviceId);
    this.#consumers.attach(running.context.delivery);
    return new Conversations(running, this.#options.limits ?? {});
  }

  #ready(registered: boolean): void {
    if (this.#state === "closed") return;
    this.#state = "connected";
    this.#connecting?.resolve();
    this.#connecting = undefined;
    this.#emitter.emit("connect", { registered });
  }

  #ended(end: LinkEnd, error: SubrosaError | undefined): void {
    const wasConnected = this.#state === "connected";
    if (this.#state !== "closed") {
      if (end.willReconnect) this.#state = this.#connecting === undefined ? "reconnecting" : this.#state;
      else this.#state = "idle";
    }
    const isAwaited = this.#connecting !== undefined;
    if (!end.willReconnect) {
      this.#connecting?.reject(
        error ?? new SubrosaError("connection-failed", `the relay ended the session (${end.code})`),
      );
      this.#connecting = undefined;
    }
    if (wasConnected || end.wasReady) {
      this.#emitter.emit("disconnect", {
        code: end.code,
        reason: end.reason,
        willReconnect: end.willReconnect,
      });
    }
    if (!end.willReconnect && error !== undefined && !isAwaited) this.#emitter.emit("error", error);
  }

  #fatal(error: SubrosaError): void {
    if (this.#state === "closed") return;
    this.#becomeClosed(error);
    this.#emitter.emit("error", error);
    this.#closing = (this.#running?.stop() ?? Promise.resolve()).then(
      () => this.#running?.context.outbox.unsentMessages ?? 0,
      () => 0,
    );
  }
}
