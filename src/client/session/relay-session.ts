import { type Bytes, copyBytes } from "../../base/bytes.js";
import type { Clock } from "../../base/clock.js";
import { SubrosaError, withPayload } from "../../base/errors.js";
import { sign } from "../../crypto/signature.js";
import { Link, type LinkEnd } from "../../transport/link.js";
import type { Connector } from "../../transport/transport.js";
import type { ChannelData } from "../../wire/channels.js";
import type { LogEntry } from "../../wire/entries.js";
import {
  type ClientFrame,
  decodeRelayFrame,
  decodeResult,
  type EndReason,
  encodeClientFrame,
  type Ready,
  type RelayFrame,
  type Request,
} from "../../wire/frames.js";
import type { Cursor, LogId } from "../../wire/identifiers.js";
import { type Challenge, sessionToBeSigned } from "../../wire/identity.js";
import type { DirectoryNews, Notice } from "../../wire/operator.js";
import { CloseCode, DEFAULT_MAX_FRAME_BYTES } from "../../wire/protocol.js";
import type { BodyOf, OperationName, ResultOf } from "../../wire/requests.js";
import type { OwnIdentity } from "../identity/own-identity.js";
import { isUnasked } from "../own-trouble.js";
import type { Incarnation } from "./incarnation.js";
import { DEFAULT_MAX_UNPROCESSED_BYTES, Inflow } from "./inflow.js";
import { refusalError } from "./refusal.js";

type LogBody = BodyOf<"subscribe">;

/** The code of a connection that ended without one (RFC 6455 §7.1.5). */
const BROKEN = 1006;
/**
 * How long a request may go unanswered, in milliseconds, before it is looked at whether later ones are answered; twice as
 * long each time that nothing comes of it, so that a lie costs less and less.
 */
const ANSWERED_WITHIN = 30_000;
const MAX_ANSWERED_WITHIN = 480_000;

export interface RelaySessionOptions {
  readonly url: string;
  readonly connector: Connector;
  readonly clock: Clock;
  readonly random: () => number;
  readonly identity: OwnIdentity;
  readonly incarnation: Pick<Incarnation, "claim" | "refused">;
  readonly token: () => Promise<string>;
  readonly handler: RelaySessionHandler;
  readonly maxUnprocessedBytes?: number | undefined;
}

/** Told what happens on the session; calls come in the order of the frames. */
export interface RelaySessionHandler {
  ready(ready: Ready): void;
  /** `error` says why a session came to no good: a refusal or a failed attempt. */
  ended(end: LinkEnd, error: SubrosaError | undefined): void;
  /** The relay keeps back an answer. */
  unanswered(error: SubrosaError): void;
  /** Both: the result settles, and never rejects, when it is done with. */
  entries(log: LogId, entries: readonly LogEntry[]): Promise<void> | undefined;
  logEnded(log: LogId, reason: EndReason): Promise<void> | undefined;
  /** What the operator says. */
  notice(notice: Notice): void;
  directory(news: DirectoryNews): void;
  /** A log that was cut off because too much of it came can be followed again. */
  resume(log: LogId): void;
  /** Something of the moment, said to be by a member of the group. */
  signal(groupId: Bytes, payload: Bytes): void;
  /** What is not encrypted. */
  data(data: ChannelData): void;
}

interface Waiting {
  readonly name: OperationName;
  /** Milliseconds since 1970. */
  readonly since: number;
  readonly resolve: (result: never) => void;
  readonly reject: (error: SubrosaError) => void;
  readonly answered: (() => void) | undefined;
}

/** One authenticated session after the other with the relay: requests with their answers, and what it sends. */
export class RelaySession {
  readonly #options: RelaySessionOptions;
  #link: Link;
  readonly #waiting = new Map<number, Waiting>();
  readonly #inflow: Inflow;
  /** The largest frame the relay has said to accept, in bytes. */
  maxFrameBytes = DEFAULT_MAX_FRAME_BYTES;
  #nextId = 1;
  #cancelWatch: (() => void) | undefined;
  #answeredWithin = ANSWERED_WITHIN;
  /** Counts connections: what was begun on an earlier one must not go on with the next. */
  #connection = 0;
  /** Whether the relay has sent its challenge on the present connection. */
  #challenged = false;
  #over = false;
  #refusal: SubrosaError | undefined;

  constructor(options: RelaySessionOptions) {
    this.#options = options;
    this.#inflow = new Inflow({
      maxBytes: options.maxUnprocessedBytes ?? DEFAULT_MAX_UNPROCESSED_BYTES,
      unsubscribe: (log) => void this.request("unsubscribe", { log }).catch(() => {}),
      resume: (log) => options.handler.resume(log),
    });
    this.#link = this.#newLink();
  }

  #newLink(): Link {
    const options = this.#options;
    return new Link({
      url: options.url,
      connector: options.connector,
      clock: options.clock,
      random: options.random,
      handler: {
        opened: () => {
          this.#connection++;
          this.#challenged = false;
          this.#refusal = undefined;
        },
        frame: (frame) => this.#frame(frame),
        ended: (end) => this.#ended(end),
        ping: () => encodeClientFrame({ type: "ping", id: 0 }),
      },
    });
  }

  /** Whether requests can be made now. */
  get isReady(): boolean {
    return this.#link.isReady;
  }

  /** Connects, and stays connected until a permanent failure or {@link close}; then it can be called again. */
  open(): void {
    if (this.#over) {
      this.#over = false;
      this.#link = this.#newLink();
    }
    this.#link.open();
  }

  wake(): void {
    this.#link.wake();
  }

  close(): void {
    this.#over = true;
    this.#link.close();
  }

  /** Looks at the oldest request when its answer is overdue, as long as there is one. */
  #watch(): void {
    const [oldest] = this.#waiting;
    if (oldest === undefined || this.#cancelWatch !== undefined) return;
    const [id, { since }] = oldest;
    const left = since + this.#answeredWithin - this.#options.clock.now();
    this.#lookAfter(Math.min(Math.max(0, left), this.#answeredWithin), id);
  }

  #lookAfter(delay: number, id: number): void {
    this.#cancelWatch = this.#options.clock.after(delay, () => {
      // Nothing else is looked at before this is settled.
      if (this.#waiting.has(id)) return this.#doubt(id);
      this.#cancelWatch = undefined;
      if (this.#waiting.size === 0) this.#answeredWithin = ANSWERED_WITHIN;
      this.#watch();
    });
  }

  /** A relay that answers what it was asked after a request, and not that, never will: the next session may do better. */
  #doubt(id: number): void {
    const connection = this.#connection;
    void this.isAnswering().then((isAnswering) => {
      if (connection !== this.#connection) return;
      this.#cancelWatch = undefined;
      if (!this.#waiting.has(id)) return this.#watch();
      if (!isAnswering) return this.#lookAfter(this.#answeredWithin, id);
      this.#answeredWithin = Math.min(2 * this.#answeredWithin, MAX_ANSWERED_WITHIN);
      this.#options.handler.unanswered(new SubrosaError("timeout", "the relay does not answer a request"));
    });
  }

  /**
   * Resolves once the relay has answered something that it is asked now, or the session has ended; to false where it could
   * not be asked, so that its silence says nothing. Where nothing comes any more, the connection is found to be dead.
   */
  async isAnswering(): Promise<boolean> {
    try {
      // What has the shortest answer.
      await this.request("listBlocked", {});
    } catch (error) {
      return !isUnasked(error);
    }
    return true;
  }

  /** Ends the session, and takes it up again after a while: what it was about could not be done. */
  interrupt(error: SubrosaError): void {
    this.#link.drop(BROKEN, "nothing comes of it now", error);
  }

  /** Whether a log was cut off because too much of it came. */
  isCut(log: LogId): boolean {
    return this.#inflow.isCut(log);
  }

  /**
   * Asks the relay. Throws the refusal's code, `connection-failed` when the session ends before the answer
   * (it may have been carried out), `queue-full` when too much waits to be sent.
   */
  request<Name extends OperationName>(name: Name, body: BodyOf<Name>): Promise<ResultOf<Name>> {
    return new Promise((resolve, reject) => {
      if (!this.isReady) {
        reject(new SubrosaError("connection-failed", "there is no session with the relay"));
        return;
      }
      const id = this.#nextId;
      this.#nextId = id === 0xffffffff ? 1 : id + 1;
      this.#link.send(encodeClientFrame({ type: "request", id, name, body } as Request));
      const answered = name === "subscribe" ? this.#inflow.subscribing((body as LogBody).log) : undefined;
      const since = this.#options.clock.now();
      this.#waiting.set(id, { name, since, resolve, reject, answered });
      this.#watch();
    });
  }

  /** Tells the relay that everything up to the cursor is durable here; lost acks are made good by later ones. */
  ack(log: LogId, cursor: Cursor): void {
    this.#sendLossy({ type: "ack", log, cursor });
  }

  /** Sends what is of the moment; lost where there is no session, or too much waits to be sent. */
  signal(groupId: Bytes, payload: Bytes): void {
    this.#sendLossy({ type: "signal", groupId, payload });
  }

  #sendLossy(frame: ClientFrame): void {
    if (!this.isReady) return;
    try {
      this.#link.send(encodeClientFrame(frame));
    } catch (error) {
      if (!SubrosaError.is(error) || error.code !== "queue-full") throw error;
    }
  }

  #frame(bytes: Bytes): void {
    const { handler } = this.#options;
    const frame = decodeFrame(bytes);
    switch (frame.type) {
      case "challenge":
        // One each: a relay that asks again and again would have tokens and signatures without end.
        if (this.#challenged) throw new SubrosaError("protocol-error", "a second challenge");
        this.#challenged = true;
        void this.#authenticate(frame.challenge);
        return;
      case "ready":
        // Once for each connection.
        if (!this.#challenged || this.isReady) return;
        this.#link.ready();
        this.maxFrameBytes = frame.ready.maxFrameBytes;
        handler.ready(frame.ready);
        return;
      case "pong":
        return;
      case "reply": {
        const waiting = this.#waiting.get(frame.id);
        if (waiting === undefined) return;
        // Decoded first: what does not decode ends the session, and with it this request.
        const result = decodeResult(waiting.name, frame.result);
        this.#waiting.delete(frame.id);
        waiting.answered?.();
        waiting.resolve(result as never);
        return;
      }
      case "refuse": {
        const waiting = this.#waiting.get(frame.id);
        this.#waiting.delete(frame.id);
        const error = refusalError(frame.code);
        // It belongs to the login; later it would be about nothing.
        if (frame.id === 0 && !this.isReady) this.#refusal = error;
        if (frame.id === 0 && frame.code === "store-outdated" && !this.isReady) {
          // Its failure ends the client, which is all that is left to do with a state like this.
          this.#options.incarnation.refused().catch(() => {});
        }
        waiting?.reject(error);
        return;
      }
      case "signal":
        handler.signal(frame.groupId, frame.payload);
        return;
      case "data": {
        const { type: _, data, ...rest } = frame;
        // On its own: the frame is not to go to other tabs with it.
        handler.data({ ...rest, data: typeof data === "string" ? data : copyBytes(data) });
        return;
      }
      case "entries":
        this.#inflow.push(frame.log, bytes.length, () => handler.entries(frame.log, frame.entries));
        return;
      case "ended":
        this.#inflow.push(frame.log, bytes.length, () => handler.logEnded(frame.log, frame.reason));
        return;
      case "notice":
        handler.notice(frame);
        return;
      case "directory":
        handler.directory(frame);
        return;
    }
  }

  async #authenticate(challenge: Challenge): Promise<void> {
    const { identity } = this.#options;
    const connection = this.#connection;
    try {
      // A relay in the middle could pass on another's challenge; the signature must be of no use to it.
      if (challenge.relayName !== new URL(this.#options.url).host) {
        throw new SubrosaError("protocol-error", "the relay names itself otherwise than its address");
      }
      const { incarnation, incarnationTag } = await this.#options.incarnation.claim();
      const claim = {
        relayName: challenge.relayName,
        nonce: challenge.nonce,
        userId: identity.userId,
        deviceId: identity.deviceId,
        incarnation,
        incarnationTag,
      };
      const [token, signature] = await Promise.all([
        this.#options.token(),
        sign(identity.device.privateKey, sessionToBeSigned(claim)),
      ]);
      if (connection !== this.#connection || this.#link.state !== "open") return;
      this.#link.sendNow(
        encodeClientFrame({
          type: "authenticate",
          authentication: {
            account: identity.account,
            deviceId: identity.deviceId,
            certificate: identity.certificate,
            incarnation,
            incarnationTag,
            token,
            signature,
          },
        }),
      );
    } catch (error) {
      if (connection !== this.#connection) return;
      const outdated = SubrosaError.is(error) && error.code === "store-outdated";
      // Without a code of the relay's the error itself says whether to try again.
      this.#link.drop(outdated ? CloseCode.outdated : BROKEN, "could not authenticate", error);
    }
  }

  #ended(end: LinkEnd): void {
    this.#over ||= !end.willReconnect;
    this.#cancelWatch?.();
    this.#cancelWatch = undefined;
    const lost = new SubrosaError("connection-failed", "the session with the relay ended");
    for (const waiting of this.#waiting.values()) waiting.reject(lost);
    this.#waiting.clear();
    this.#inflow.reset();
    const error = this.#refusal ?? (SubrosaError.is(end.error) ? end.error : closeError(end.code));
    this.#options.handler.ended(end, error);
  }
}

/** Throws `malformed` with the frame for what is none. */
function decodeFrame(bytes: Bytes): RelayFrame {
  try {
    return decodeRelayFrame(bytes);
  } catch (error) {
    throw SubrosaError.is(error) ? withPayload(error, bytes) : error;
  }
}

/** What a close code says by itself. */
function closeError(code: number): SubrosaError | undefined {
  switch (code) {
    case CloseCode.replaced:
      return new SubrosaError("replaced", "a newer session of this device took over");
    case CloseCode.forbidden:
      return new SubrosaError("forbidden", "the relay does not want this connection");
    case CloseCode.unauthorized:
      return new SubrosaError("unauthorized", "the relay did not accept the login");
    case CloseCode.revoked:
      return refusalError("revoked");
    case CloseCode.userRemoved:
      return refusalError("user-removed");
    case CloseCode.outdated:
      return new SubrosaError("store-outdated", "the store is an older copy of this device's state");
    default:
      return undefined;
  }
}
