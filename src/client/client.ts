import { systemClock } from "../base/clock.js";
import { toHex } from "../base/encoding.js";
import { assertArgument, SubrosaError } from "../base/errors.js";
import { VERSION } from "../base/version.js";
import { randomBytes } from "../crypto/random.js";
import { assertName } from "../wire/identifiers.js";
import { assertConversation, assertOptions, assertSignal, ownCopy } from "./arguments.js";
import { MESSAGE_ID_LENGTH } from "./conversation/content.js";
import type { JoinMode } from "./conversation/policy.js";
import type { ConversationSummary, GroupSummary, MemberSummary } from "./conversations.js";
import { Consumers } from "./delivery/consumers.js";
import type { ConversationName, HistoryMessage } from "./delivery/history.js";
import { Emitter } from "./emitter.js";
import type { EventName, Listener, Message } from "./events.js";
import { assertFingerprint, type SafetyNumber } from "./identity/safety-number.js";
import { type ClientOptions, checkOptions, DEFAULT_TIMEOUT, type Seams } from "./options.js";
import type { Calls, Core, Stamp } from "./tabs/core.js";
import { fromData } from "./tabs/handles.js";
import { openCore } from "./tabs/open.js";
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
  readonly #consumers = new Consumers((isListening) => this.#core?.listen(isListening));
  #state: ClientState = "idle";
  #opening: Promise<Core> | undefined;
  #core: Core | undefined;
  /** Calls that wait for the relay. */
  readonly #waits = new Set<Deferred<never>>();
  #closing: Promise<number> | undefined;

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
    return this.#core?.deviceId ?? "";
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
    const call = (core: Core) => core.connect(options.signal);
    await this.#wait(call, { ...options, timeout: Number.POSITIVE_INFINITY });
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
    const core = await opening?.catch(() => undefined);
    return core?.close(true) ?? 0;
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
    const stamp = this.#stamp();
    return (await this.#open()).call("sendDirect", userId, own, stamp, options.fingerprint);
  }

  /** The same to a group; throws `not-a-member` too. */
  async sendGroupMessage(group: string, content: string | Uint8Array): Promise<string> {
    assertName(group, "group");
    const own = ownCopy(content);
    const stamp = this.#stamp();
    return (await this.#open()).call("sendToGroup", group, own, stamp);
  }

  /** Creates a group of which this user is a member and an admin. Throws `name-taken`, `timeout`, `quota-exceeded`. */
  async createGroup(group: string, options: { readonly join?: JoinMode } & WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    assertOptions(options);
    const { join = "approval" } = options;
    assertArgument(["approval", "open", "closed"].includes(join), "join: approval, open or closed");
    await this.#wait((core) => core.call("createGroup", group, join), options);
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
    await this.#wait((core) => core.call("joinGroup", group, options.fingerprint), options);
  }

  /** Adds a user to a group, who then gets an `invitation`. Throws `not-an-admin`, `unknown-user`, `already-a-member`, … */
  async invite(group: string, userId: string, options: SendOptions & WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    assertName(userId, "userId");
    assertOptions(options);
    assertFingerprint(options.fingerprint);
    await this.#wait((core) => core.call("invite", group, userId, options.fingerprint), options);
  }

  /** Removes a user from a group; what is sent afterwards is not for it. Throws `not-an-admin`, `not-a-member`, … */
  async remove(group: string, userId: string, options: WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    assertName(userId, "userId");
    await this.#wait((core) => core.call("remove", group, userId), options);
  }

  /** Leaves a group; the last member deletes it by leaving. Throws `not-a-member`, `timeout`. */
  async leaveGroup(group: string, options: WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    await this.#wait((core) => core.call("leaveGroup", group), options);
  }

  /** Deletes a group for all its members. Throws `not-an-admin`, `not-a-member`, `timeout`. */
  async deleteGroup(group: string, options: WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    await this.#wait((core) => core.call("deleteGroup", group), options);
  }

  /** The groups this user is a member of. */
  async groups(): Promise<GroupSummary[]> {
    return (await this.#open()).call("groups");
  }

  /** The members of a group; throws `not-a-member`. */
  async members(group: string): Promise<MemberSummary[]> {
    return (await this.#open()).call("members", group);
  }

  /** Everything this user can write to or has written to: users and groups. */
  async conversations(): Promise<ConversationSummary[]> {
    return (await this.#open()).call("conversations");
  }

  /** The newest messages of the local history, oldest first; empty unless the `history` option is on. */
  async history(
    conversation: ConversationName,
    options: { readonly before?: number; readonly limit?: number } = {},
  ): Promise<HistoryMessage[]> {
    assertOptions(options);
    assertConversation(conversation);
    const { before, limit } = options;
    const page = { ...(before !== undefined && { before }), ...(limit !== undefined && { limit }) };
    const name = typeof conversation === "string" ? conversation : { group: conversation.group };
    return (await this.#open()).call("history", name, page);
  }

  /** What to compare with the person, over another channel. Throws `unknown-user`, `connection-failed` at first contact. */
  async safetyNumber(userId: string): Promise<SafetyNumber & { readonly verified: boolean }> {
    assertName(userId, "userId");
    return (await this.#open()).call("safetyNumber", userId);
  }

  /** Notes that the safety number was compared. Throws `unknown-user`. */
  async markVerified(userId: string): Promise<void> {
    assertName(userId, "userId");
    await (await this.#open()).call("markVerified", userId);
  }

  /** Accepts the new identity of a user, as `identityChanged` offered it. Throws `identity-mismatch`. */
  async acceptIdentity(userId: string, fingerprint: string): Promise<void> {
    assertName(userId, "userId");
    await (await this.#open()).call("acceptIdentity", userId, fingerprint);
  }

  /**
   * Has the relay keep a user away: it gets no key packages of this user, begins no conversation with it and adds it
   * to no group, and is not told. Conversations that both are in go on. Holds for all devices of this user. Throws
   * `invalid-argument` for oneself, `quota-exceeded`, `connection-failed`, `timeout`.
   */
  async block(userId: string, options: WaitOptions = {}): Promise<void> {
    assertName(userId, "userId");
    assertArgument(userId !== this.userId, "userId: another user");
    await this.#wait((core) => core.call("setBlocked", userId, true), options);
  }

  /** Ends what {@link block} began. Throws `connection-failed`, `timeout`. */
  async unblock(userId: string, options: WaitOptions = {}): Promise<void> {
    assertName(userId, "userId");
    await this.#wait((core) => core.call("setBlocked", userId, false), options);
  }

  /** The users whom this one has blocked. Throws `connection-failed`, `timeout`. */
  async blocked(options: WaitOptions = {}): Promise<string[]> {
    let users: string[] = [];
    await this.#wait(async (core) => {
      users = await core.call("blocked");
    }, options);
    return users.sort();
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
  async #wait(call: (core: Core) => Promise<void>, options: WaitOptions): Promise<void> {
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

  /** What the message will be known by, whoever sends it in the end and however often it has to be asked for. */
  #stamp(): Stamp {
    const id = toHex((this.#seams.randomId ?? randomBytes)(MESSAGE_ID_LENGTH));
    return { id, sentAt: this.#clock.now() };
  }

  /** Everything from here on is refused, and who waits is told. */
  #becomeClosed(error: SubrosaError): void {
    this.#state = "closed";
    for (const wait of this.#waits) wait.reject(error);
  }

  #open(): Promise<Core> {
    if (this.#state === "closed") return Promise.reject(new SubrosaError("closed", "the client is closed"));
    this.#opening ??= this.#openCore().catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #openCore(): Promise<Core> {
    const core = await openCore(this.#options, this.#seams, {
      emit: (name, data) => {
        const answer: Calls["answer"] = async (...args) => (await this.#open()).call("answer", ...args);
        this.#emitter.emit(name, fromData(name, data, answer));
      },
      state: (state) => {
        if (this.#state !== "closed") this.#state = state;
      },
      deliver: (message) => this.#consumers.take(message),
      stopped: () => this.#consumers.end(),
      fatal: (error) => this.#fatal(error),
    });
    this.#core = core;
    core.listen(this.#consumers.isListening);
    return core;
  }

  #fatal(error: SubrosaError): void {
    if (this.#state === "closed") return;
    this.#becomeClosed(error);
    this.#emitter.emit("error", error);
    this.#closing = (this.#core?.close(false) ?? Promise.resolve(0)).catch(() => 0);
  }
}
