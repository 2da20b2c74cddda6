import { assertOptions } from "../../base/arguments.js";
import { systemClock } from "../../base/clock.js";
import { toHex } from "../../base/encoding.js";
import { assertArgument, SubrosaError } from "../../base/errors.js";
import { randomBytes } from "../../crypto/random.js";
import { assertSignal } from "../arguments.js";
import { type Ask, Attachment } from "../attachments/attachment.js";
import type { Body } from "../attachments/body.js";
import { MESSAGE_ID_LENGTH } from "../conversation/content.js";
import { Consumers } from "../delivery/consumers.js";
import { Emitter } from "../emitter.js";
import { EVENT_NAMES, type EventName, type Listener, type Message } from "../events.js";
import { type ClientOptions, checkOptions, DEFAULT_TIMEOUT, type Seams } from "../options.js";
import { isGone } from "../session/refusal.js";
import type { Calls, Core, Stamp } from "../tabs/core.js";
import { fromData } from "../tabs/handles.js";
import { openCore } from "../tabs/open.js";
import { type Deferred, deferred, SIGNAL_NAMES, WAIT_NAMES, type WaitOptions, within } from "../waiting.js";

/** Where a client stands. After `closed` nothing can be done with it. */
export type ClientState = "idle" | "connecting" | "connected" | "reconnecting" | "closed";

/** What every client does: opening its store, its connection, and telling the app what happens. */
export abstract class BaseClient {
  readonly #options: ClientOptions;
  readonly #seams: Seams;
  protected readonly emitter = new Emitter();
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
    assertOptions(options, SIGNAL_NAMES);
    const call = (core: Core) => core.connect(options.signal);
    try {
      await this.wait(call, { ...options, timeout: Number.POSITIVE_INFINITY });
    } catch (error) {
      if (isGone(error)) this.#consumers.end(error);
      throw error;
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
    const core = await opening?.catch(() => undefined);
    return core?.close(true) ?? 0;
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
    assertArgument(Object.hasOwn(EVENT_NAMES, name), `on: there is no event ${name}`);
    assertArgument(typeof listener === "function", "listener: a function");
    assertOptions(options, SIGNAL_NAMES);
    assertSignal(options.signal);
    if (options.signal?.aborted) return () => {};
    const off =
      name === "message"
        ? this.#consumers.listen(listener as Listener<"message">)
        : this.emitter.on(name, listener);
    options.signal?.addEventListener("abort", off, { once: true });
    return off;
  }

  /**
   * Messages one at a time, for bots: each counts as taken when the loop asks for the next. Ends with the client; throws
   * what put an end to it for good: `revoked`, `user-removed`, or an `error` after which it is closed.
   */
  messages(options: { readonly signal?: AbortSignal } = {}): AsyncIterableIterator<Message> {
    assertOptions(options, SIGNAL_NAMES);
    assertSignal(options.signal);
    return this.#consumers.iterate(options.signal);
  }

  protected get clock() {
    return this.#seams.clock ?? systemClock;
  }

  /** Runs a call that needs the relay, for as long as the caller wants to wait. */
  protected async wait<T>(call: (core: Core) => Promise<T>, options: WaitOptions): Promise<T> {
    assertOptions(options, WAIT_NAMES);
    const { timeout = DEFAULT_TIMEOUT, signal } = options;
    const closed = deferred<never>();
    this.#waits.add(closed);
    try {
      const called = Promise.race([this.open().then(call), closed.promise]);
      const why = () => (this.#state === "idle" ? ": connect() was not called" : "");
      return await within(called, this.clock, timeout, signal, why);
    } finally {
      this.#waits.delete(closed);
    }
  }

  /** What stands for an attachment, as one that can be read. */
  protected withContent<T extends { readonly content: Body }>(
    message: T,
  ): Omit<T, "content"> & { content: string | Uint8Array | Attachment } {
    const { content } = message;
    if (typeof content === "string" || content instanceof Uint8Array) return { ...message, content };
    const timeout = Number.POSITIVE_INFINITY;
    const ask: Ask = (call, signal) => this.wait(call, { timeout, ...(signal && { signal }) });
    return { ...message, content: new Attachment(content, ask) };
  }

  /** Random bytes for ids. */
  protected get randomId() {
    return this.#seams.randomId ?? randomBytes;
  }

  /** What the message will be known by, whoever sends it in the end and however often it has to be asked for. */
  protected stamp(): Stamp {
    const id = toHex(this.randomId(MESSAGE_ID_LENGTH));
    return { id, sentAt: this.clock.now() };
  }

  /** Everything from here on is refused, and who waits is told. */
  #becomeClosed(error: SubrosaError): void {
    this.#state = "closed";
    for (const wait of this.#waits) wait.reject(error);
  }

  protected open(): Promise<Core> {
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
        const answer: Calls["answer"] = async (...args) => (await this.open()).call("answer", ...args);
        if (name === "connect") this.#consumers.resume();
        if (name === "error" && isGone(data)) this.#consumers.end(data);
        this.emitter.emit(name, fromData(name, data, answer));
      },
      state: (state) => {
        if (this.#state !== "closed") this.#state = state;
      },
      deliver: (message) => this.#consumers.take(this.withContent(message)),
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
    this.#consumers.end(error);
    this.emitter.emit("error", error);
    this.#closing = (this.#core?.close(false) ?? Promise.resolve(0)).catch(() => 0);
  }
}
