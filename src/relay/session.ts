import type { Bytes } from "../base/bytes.js";
import { toHex } from "../base/encoding.js";
import { SubrosaError } from "../base/errors.js";
import { type ClientFrame, decodeClientFrame, encodeRelayFrame, type RelayFrame } from "../wire/frames.js";
import { type LogId, logKey } from "../wire/identifiers.js";
import type { Authentication } from "../wire/identity.js";
import { CloseCode, NONCE_LENGTH } from "../wire/protocol.js";
import type { RefusalCode } from "../wire/refusals.js";
import { checkForm, replacedKey, verifyAuthentication } from "./authentication.js";
import type { FrameInfo, RelayServices } from "./core.js";
import { ReadingGate } from "./reading-gate.js";
import { ReadingTurns } from "./reading-turns.js";
import { type RequestHost, RequestRunner, reasonOf, refusalCode } from "./request-runner.js";
import type { RelaySocket } from "./socket.js";
import type { Sender } from "./storage.js";
import { type Reader, Subscription } from "./subscription.js";

type State = "challenged" | "authenticating" | "ready" | "closed";

/** The first byte of a frame with entries (PROTOCOL.md, "A session"). */
const ENTRIES = 0x30;
/** The longest that a timer can wait, nearly: 24 days in milliseconds. */
const MAX_TIMER = 2 ** 31 - 1;

/** How long a session that is to end may take for what it has asked, in milliseconds. */
const FINISH_TIMEOUT = 5000;

/** One connection, from its challenge to its end. Nothing that comes in can make it throw. */
export class Session implements Reader, RequestHost {
  readonly turns: ReadingTurns;
  /** Where the connection comes from, see `addressOf`, and which it is. */
  readonly #connection: { readonly address: string; readonly connection: number };
  readonly #services: RelayServices;
  readonly #socket: RelaySocket;
  readonly #relayName: string;
  readonly #nonce: Bytes;
  readonly #gate: ReadingGate;
  readonly #requests: RequestRunner;
  readonly #subscriptions = new Map<string, Subscription>();
  #state: State = "challenged";
  #sender: Sender | undefined;
  #cancelTimer: () => void = () => {};

  constructor(
    services: RelayServices,
    socket: RelaySocket,
    relayName: string,
    connection: { readonly address: string; readonly connection: number },
  ) {
    this.#services = services;
    this.#nonce = services.randomId(NONCE_LENGTH);
    this.#socket = socket;
    this.#relayName = relayName;
    this.#connection = connection;
    this.#gate = new ReadingGate(
      socket,
      services.clock,
      services.limits,
      services.allowances.ofAddress(connection.address),
    );
    this.turns = new ReadingTurns(socket, services.clock, services.limits, () => {
      this.close(CloseCode.slowReader, "this reader takes nothing of what waits for it");
    });
    this.#requests = new RequestRunner(services, this, this.#gate);
  }

  /** Who the session acts for; only once it is ready. */
  get sender(): Sender {
    return this.#sender as Sender;
  }

  get address(): string {
    return this.#connection.address;
  }

  /** What the operator's hook learns of it. */
  get info(): Omit<FrameInfo, "direction" | "bytes"> {
    const { deviceId, userId } = this.#sender ?? {};
    return {
      ...this.#connection,
      ...(userId !== undefined && { userId, deviceId: toHex(deviceId as Bytes) }),
    };
  }

  get deviceId(): Bytes {
    return this.sender.deviceId;
  }

  get ready(): boolean {
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
    this.#cancelTimer = clock.after(limits.authenticationTimeout, () => {
      this.close(CloseCode.authenticationTimeout, "not authenticated in time");
    });
    this.sendFrame({ type: "challenge", challenge: { relayName: this.#relayName, nonce: this.#nonce } });
  }

  /** Takes one message off the connection. */
  receive(bytes: Bytes): void {
    if (this.#state === "closed") return;
    try {
      this.#services.metrics.bytesIn.add("", bytes.length);
      if (!this.#services.permits("in", bytes, this)) {
        this.close(CloseCode.forbidden, "vetoed by the operator");
        return;
      }
      if (!this.ready && bytes.length > this.#services.limits.maxAuthenticateBytes) {
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

  /** Ends the session for a first frame that is over the limit before it is whole; the rest is not read. */
  floods(): void {
    this.close(CloseCode.tooLarge, "the frame is too large");
    this.#socket.pause();
  }

  /** Called when the connection is gone. */
  disconnected(): void {
    this.#state = "closed";
    this.#cancelTimer();
    this.#gate.stop();
    this.#requests.disconnected();
    for (const subscription of this.#subscriptions.values()) this.#drop(subscription);
    this.#services.left(this, this.#sender);
  }

  close(code: number, reason: string): void {
    if (this.#state === "closed") return;
    const isRude = code === CloseCode.malformed || code === CloseCode.tooLarge;
    if (!this.ready && isRude) this.#services.allowances.failedAuthentication(this.address);
    this.#services.closing(code, this.address);
    this.#socket.close(code, reason);
    this.disconnected();
  }

  /** Ends the session when everything it has asked is answered; reads nothing more meanwhile. */
  async finish(code: number, reason: string): Promise<void> {
    if (this.#state === "closed") return;
    this.#gate.end();
    this.#cancelTimer();
    this.#cancelTimer = this.#services.clock.after(FINISH_TIMEOUT, () => this.close(code, reason));
    if (this.ready) await this.#requests.idle();
    this.close(code, reason);
  }

  /** Ends the session for a failure of the relay's own. */
  fail(error: unknown): void {
    if (this.#state === "closed") return;
    this.#services.report(error);
    this.close(CloseCode.internal, "internal error");
  }

  send(bytes: Bytes): void {
    if (this.#state === "closed") return;
    const { metrics, limits } = this.#services;
    try {
      if (!this.#services.permits("out", bytes, this)) {
        this.close(CloseCode.forbidden, "vetoed by the operator");
        return;
      }
      metrics.bytesOut.add("", bytes.length);
      if (bytes[0] === ENTRIES) metrics.deliveries.add();
      this.#socket.send(bytes);
      if (this.#socket.bufferedAmount > limits.maxQueuedBytes) {
        this.close(CloseCode.slowReader, "too many bytes wait for this reader");
      }
    } catch (error) {
      // Whoever sends here may be sending to others as well.
      this.fail(error);
    }
  }

  sendFrame(frame: RelayFrame): void {
    this.send(encodeRelayFrame(frame));
  }

  refused(code: RefusalCode): void {
    this.#services.refused(code, this.address);
  }

  claimOwn(log: LogId, entryId: Bytes): boolean {
    return this.#requests.own.take(log, entryId);
  }

  subscriptionEnded(subscription: Subscription): void {
    this.#drop(subscription);
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
    if (frame.type === "ping") this.sendFrame({ type: "pong", id: frame.id });
    else if (frame.type === "signal")
      void this.#services.signals.take(this, frame).catch((error) => this.fail(error));
    else this.#requests.enqueue(frame);
  }

  async #authenticate(authentication: Authentication): Promise<void> {
    const { storage, clock, limits, allowances, authenticate, accountKeys, isOpen } = this.#services;
    const sender: Sender = { userId: authentication.account.userId, deviceId: authentication.deviceId };
    try {
      const challenge = { relayName: this.#relayName, nonce: this.#nonce };
      const now = () => clock.now();
      const expiresAt = await verifyAuthentication(authentication, challenge, authenticate, now);
      if (this.#state !== "authenticating") return;
      const { account, deviceId, incarnation, incarnationTag } = authentication;
      const known = await storage.account(sender.userId);
      if (known === undefined) allowances.register(this.address);
      const replaces = await replacedKey(accountKeys, account, known);
      const replaced = replaces && known && (await this.#services.replacing(known));
      const admission = { account, deviceId, incarnation, incarnationTag, now: now() };
      const admitted = await storage.admit({ ...admission, ...(replaces && { replaces }) });
      replaced?.();
      if (this.#state !== "authenticating") return;
      this.#services.entering(sender);
      this.#cancelTimer();
      this.#sender = sender;
      this.#state = "ready";
      this.#gate.share(allowances.ofUser(sender.userId));
      this.#services.entered(this, sender);
      this.#endAt(expiresAt);
      const { maxFrameBytes } = limits;
      this.sendFrame({ type: "ready", ready: { ...admitted, maxFrameBytes, time: now() } });
      // That it comes at all says that there is a directory to ask for.
      if (isOpen) this.sendFrame({ type: "directory", created: [], removed: [] });
      if (admitted.registered) this.#services.registered(sender.userId);
    } catch (error) {
      this.#loginFailed(error);
    }
  }

  #loginFailed(error: unknown): void {
    const code = refusalCode(error);
    if (code === undefined) {
      // Also of a hook that failed only after its client was sent away is the operator told.
      this.#services.report(error);
      this.close(CloseCode.internal, "internal error");
      return;
    }
    if (this.#state === "closed") return;
    this.refused(code);
    this.sendFrame({ type: "refuse", id: 0, code, reason: reasonOf(error, code) });
    if (code === "rate-limited") this.close(CloseCode.rateLimited, code);
    else if (code === "store-outdated") this.close(CloseCode.outdated, code);
    else {
      this.#services.allowances.failedAuthentication(this.address);
      this.close(CloseCode.unauthorized, code);
    }
  }

  /** The session ends when its login expires. */
  #endAt(time: number): void {
    if (time === Number.POSITIVE_INFINITY) return;
    const { clock } = this.#services;
    const left = time - clock.now();
    this.#cancelTimer = clock.after(Math.min(left, MAX_TIMER), () => {
      if (clock.now() < time) this.#endAt(time);
      else void this.finish(CloseCode.expired, "the login expired");
    });
  }

  subscribe(log: LogId, position: number): Subscription | undefined {
    if (!this.ready) return undefined;
    const { storage, hub } = this.#services;
    const subscription = new Subscription(this, storage, log, position);
    this.unsubscribe(log);
    this.#subscriptions.set(logKey(log), subscription);
    hub.add(subscription);
    return subscription;
  }

  unsubscribe(log: LogId): void {
    const subscription = this.#subscriptions.get(logKey(log));
    if (subscription !== undefined) this.#drop(subscription);
  }

  #drop(subscription: Subscription): void {
    const key = logKey(subscription.log);
    subscription.stop();
    if (this.#subscriptions.get(key) === subscription) this.#subscriptions.delete(key);
    this.#services.hub.remove(subscription);
  }
}
