import type { Bytes } from "../base/bytes.js";
import { SubrosaError } from "../base/errors.js";
import { SerialQueue } from "../base/serial-queue.js";
import {
  type ClientFrame,
  decodeClientFrame,
  encodeRelayFrame,
  encodeResult,
  type RelayFrame,
  type Request,
} from "../wire/frames.js";
import { type LogId, logKey } from "../wire/identifiers.js";
import type { Authentication } from "../wire/identity.js";
import { CloseCode, LogKind, NONCE_LENGTH } from "../wire/protocol.js";
import { REFUSALS, type RefusalCode } from "../wire/refusals.js";
import type { ResultOf } from "../wire/requests.js";
import { checkForm, verifyAuthentication } from "./authentication.js";
import type { RelayServices } from "./core.js";
import { beginAppend, handlers, type OperationContext } from "./operations.js";
import { OwnEntries } from "./own-entries.js";
import { ReadingGate } from "./reading-gate.js";
import type { RelaySocket } from "./socket.js";
import type { Sender } from "./storage.js";
import { type Reader, Subscription } from "./subscription.js";

type State = "challenged" | "authenticating" | "ready" | "closed";

/** One connection, from its challenge to its end. Nothing that comes in can make it throw. */
export class Session implements Reader {
  readonly #services: RelayServices;
  readonly #socket: RelaySocket;
  readonly #relayName: string;
  readonly #nonce: Bytes;
  readonly #gate: ReadingGate;
  readonly #requests = new SerialQueue();
  readonly #appends = new Set<Promise<void>>();
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #own = new OwnEntries();
  #state: State = "challenged";
  #sender: Sender | undefined;
  #cancelTimeout: () => void = () => {};

  constructor(services: RelayServices, socket: RelaySocket, relayName: string) {
    this.#services = services;
    this.#nonce = services.randomId(NONCE_LENGTH);
    this.#socket = socket;
    this.#relayName = relayName;
    this.#gate = new ReadingGate(socket, services.clock, services.limits);
  }

  get deviceId(): Bytes {
    return (this.#sender as Sender).deviceId;
  }

  get authenticated(): boolean {
    return this.#state === "ready";
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount;
  }

  drained(): Promise<void> {
    return this.#socket.drained();
  }

  /** Sends the challenge and waits for the answer. */
  start(): void {
    const { clock, limits } = this.#services;
    this.#cancelTimeout = clock.after(limits.authenticationTimeout, () => {
      this.close(CloseCode.authenticationTimeout, "not authenticated in time");
    });
    this.#sendFrame({ type: "challenge", challenge: { relayName: this.#relayName, nonce: this.#nonce } });
  }

  /** Takes one message off the connection. */
  receive(bytes: Bytes): void {
    if (this.#state === "closed") return;
    try {
      if (!this.#services.permits("in", this.#sender?.userId, bytes)) {
        this.close(CloseCode.forbidden, "vetoed by the operator");
        return;
      }
      if (this.#state !== "ready" && bytes.length > this.#services.limits.maxAuthenticateBytes) {
        this.close(CloseCode.tooLarge, "the frame is too large");
        return;
      }
      this.#gate.read(bytes.length);
      this.#dispatch(decodeClientFrame(bytes));
    } catch (error) {
      if (SubrosaError.is(error) && error.code === "malformed")
        this.close(CloseCode.malformed, error.message);
      else this.fail(error);
    }
  }

  /** Called when the connection is gone. */
  disconnected(): void {
    this.#state = "closed";
    this.#cancelTimeout();
    this.#gate.stop();
    for (const subscription of this.#subscriptions.values()) this.#drop(subscription);
    this.#services.left(this, this.#sender);
  }

  close(code: number, reason: string): void {
    if (this.#state === "closed") return;
    this.#socket.close(code, reason);
    this.disconnected();
  }

  /** Ends the session for a failure of the relay's own. */
  fail(error: unknown): void {
    if (this.#state === "closed") return;
    this.#services.report(error);
    this.close(CloseCode.internal, "internal error");
  }

  send(bytes: Bytes): void {
    if (this.#state === "closed") return;
    try {
      if (!this.#services.permits("out", this.#sender?.userId, bytes)) {
        this.close(CloseCode.forbidden, "vetoed by the operator");
        return;
      }
      this.#socket.send(bytes);
      if (this.#socket.bufferedAmount > this.#services.limits.maxQueuedBytes) {
        this.close(CloseCode.slowReader, "too many bytes wait for this reader");
      }
    } catch (error) {
      // Whoever sends here may be sending to others as well.
      this.fail(error);
    }
  }

  claimOwn(log: LogId, entryId: Bytes): boolean {
    return this.#own.take(log, entryId);
  }

  subscriptionEnded(subscription: Subscription): void {
    this.#drop(subscription);
  }

  #sendFrame(frame: RelayFrame): void {
    this.send(encodeRelayFrame(frame));
  }

  #dispatch(frame: ClientFrame): void {
    if (this.#state === "challenged" && frame.type === "authenticate") {
      checkForm(frame.authentication);
      this.#state = "authenticating";
      void this.#authenticate(frame.authentication);
      return;
    }
    if (this.#state !== "ready" || frame.type === "authenticate") {
      this.close(CloseCode.malformed, "a frame out of its turn");
      return;
    }
    if (frame.type === "ping") this.#sendFrame({ type: "pong", id: frame.id });
    else this.#enqueue(frame);
  }

  async #authenticate(authentication: Authentication): Promise<void> {
    const services = this.#services;
    const sender: Sender = { userId: authentication.account.userId, deviceId: authentication.deviceId };
    try {
      const challenge = { relayName: this.#relayName, nonce: this.#nonce };
      await verifyAuthentication(authentication, challenge, services.authenticate);
      if (this.#state !== "authenticating") return;
      const { account, deviceId, incarnation, incarnationTag } = authentication;
      const now = services.clock.now();
      const admitted = await services.storage.admit({ account, deviceId, incarnation, incarnationTag, now });
      if (this.#state !== "authenticating") return;
      this.#cancelTimeout();
      this.#sender = sender;
      this.#state = "ready";
      services.entered(this, sender);
      this.#sendFrame({
        type: "ready",
        ready: { ...admitted, maxFrameBytes: services.limits.maxFrameBytes, time: services.clock.now() },
      });
    } catch (error) {
      if (this.#state === "closed") return;
      const code = refusalCode(error);
      if (code === undefined) {
        this.fail(error);
        return;
      }
      this.#refuse(0, code, error);
      this.close(code === "store-outdated" ? CloseCode.outdated : CloseCode.unauthorized, code);
    }
  }

  /** Runs requests and acks in their order; appends may be on their way to the disk together. */
  #enqueue(frame: Exclude<ClientFrame, { type: "authenticate" | "ping" }>): void {
    this.#gate.begin();
    const work = frame.type === "ack" ? () => this.#acknowledge(frame) : () => this.#carryOut(frame);
    void this.#requests.run(work).catch((error) => this.fail(error));
  }

  #track(work: Promise<void>): void {
    const tracked = work
      .catch((error) => this.fail(error))
      .finally(() => {
        this.#appends.delete(tracked);
        this.#gate.finish();
      });
    this.#appends.add(tracked);
  }

  async #acknowledge({ log, cursor }: Extract<ClientFrame, { type: "ack" }>): Promise<void> {
    if (this.#state !== "ready") return;
    this.#track(this.#services.storage.ack(log, this.deviceId, cursor));
  }

  async #carryOut(request: Request): Promise<void> {
    if (this.#state !== "ready") return;
    // Who does not read the answers is not asked for more.
    if (this.#socket.bufferedAmount > this.#services.limits.maxQueuedBytes / 2) await this.#socket.drained();
    if (request.name === "append") {
      this.#own.add(request.body.log, request.body.entry.entryId);
      const begun = beginAppend(this.#context(undefined), request.body);
      this.#track(
        this.#answer(
          request,
          begun.then(({ answer }) => answer),
        ),
      );
      await begun.catch(() => {});
      return;
    }
    await Promise.all(this.#appends);
    let started: Subscription | undefined;
    const context = this.#context((subscription) => {
      started = subscription;
    });
    const handler = handlers[request.name] as (context: OperationContext, body: unknown) => Promise<unknown>;
    try {
      if (request.name === "create" && request.body.first !== undefined) {
        this.#own.add({ kind: LogKind.group, id: request.body.groupId }, request.body.first.entryId);
      }
      await this.#answer(request, handler(context, request.body));
      started?.refresh();
    } finally {
      this.#gate.finish();
    }
  }

  async #answer(request: Request, answer: Promise<unknown>): Promise<void> {
    try {
      const result = encodeResult(request.name, (await answer) as ResultOf<typeof request.name>);
      this.#sendFrame({ type: "reply", id: request.id, result });
    } catch (error) {
      const code = refusalCode(error);
      if (code === undefined) throw error;
      this.#refuse(request.id, code, error);
    }
  }

  #context(started: ((subscription: Subscription) => void) | undefined): OperationContext {
    const { storage, limits, clock } = this.#services;
    return {
      storage,
      limits,
      sender: this.#sender as Sender,
      now: () => clock.now(),
      subscribe: (log, position) => {
        if (this.#state !== "ready") return;
        const batchBytes = Math.min(limits.maxFrameBytes, limits.maxQueuedBytes) / 4;
        const subscription = new Subscription(this, storage, log, position, batchBytes);
        this.#stop(log);
        this.#subscriptions.set(logKey(log), subscription);
        this.#services.hub.add(subscription);
        started?.(subscription);
      },
      unsubscribe: (log) => this.#stop(log),
    };
  }

  #stop(log: LogId): void {
    const subscription = this.#subscriptions.get(logKey(log));
    if (subscription !== undefined) this.#drop(subscription);
  }

  #drop(subscription: Subscription): void {
    const key = logKey(subscription.log);
    subscription.stop();
    if (this.#subscriptions.get(key) === subscription) this.#subscriptions.delete(key);
    this.#services.hub.remove(subscription);
  }

  #refuse(id: number, code: RefusalCode, error: unknown): void {
    this.#sendFrame({ type: "refuse", id, code, reason: SubrosaError.is(error) ? error.message : code });
  }
}

/** The code to refuse with; undefined for a failure of the relay's own. */
function refusalCode(error: unknown): RefusalCode | undefined {
  if (!SubrosaError.is(error) || error.code === "internal" || !(error.code in REFUSALS)) return undefined;
  return error.code as RefusalCode;
}
