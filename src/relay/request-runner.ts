import type { Bytes } from "../base/bytes.js";
import { SubrosaError } from "../base/errors.js";
import { SerialQueue } from "../base/serial-queue.js";
import { type ClientFrame, encodeResult, type RelayFrame, type Request } from "../wire/frames.js";
import type { LogId } from "../wire/identifiers.js";
import { LogKind } from "../wire/protocol.js";
import { REFUSALS, type RefusalCode } from "../wire/refusals.js";
import type { ResultOf } from "../wire/requests.js";
import { Acks } from "./acks.js";
import { SessionChannels } from "./channels.js";
import type { RelayServices } from "./core.js";
import { beginAppend, handlers, type OperationContext } from "./operations.js";
import { OwnEntries } from "./own-entries.js";
import type { ReadingGate } from "./reading-gate.js";
import type { Sender } from "./storage.js";
import type { Subscription } from "./subscription.js";

/** What the requests of a session need of it. */
export interface RequestHost {
  readonly ready: boolean;
  readonly sender: Sender;
  readonly address: string;
  readonly bufferedAmount: number;
  drained(): Promise<void>;
  send(frame: Bytes): void;
  sendFrame(frame: RelayFrame): void;
  refused(code: RefusalCode): void;
  fail(error: unknown): void;
  subscribe(log: LogId, position: number): Subscription | undefined;
  unsubscribe(log: LogId): void;
}

const LOG_NAMES = {
  [LogKind.inbox]: "inbox",
  [LogKind.group]: "group",
  [LogKind.requestBox]: "request_box",
} as const;

/** Carries out one session's requests and acks in their order; appends may be on their way to the disk together. */
export class RequestRunner {
  readonly #services: RelayServices;
  readonly #host: RequestHost;
  readonly #gate: ReadingGate;
  readonly #requests = new SerialQueue();
  readonly #writes = new Set<Promise<void>>();
  readonly #acks: Acks;
  readonly #channels: SessionChannels;
  readonly own = new OwnEntries();

  constructor(services: RelayServices, host: RequestHost, gate: ReadingGate) {
    this.#services = services;
    this.#host = host;
    this.#gate = gate;
    this.#channels = new SessionChannels(services, host);
    this.#acks = new Acks(services.clock, (log, cursor) => {
      this.#track(services.storage.ack(log, host.sender.deviceId, cursor));
    });
  }

  enqueue(frame: Exclude<ClientFrame, { type: "authenticate" | "ping" | "signal" }>): void {
    // Acks go their own way: all that have come are written before a request that reads.
    if (frame.type === "ack") {
      this.#acks.take(frame.log, frame.cursor);
      return;
    }
    this.#gate.begin();
    const arrived = performance.now();
    void this.#requests.run(() => this.#carryOut(frame, arrived)).catch((error) => this.#host.fail(error));
  }

  /** The connection is gone. */
  disconnected(): void {
    this.#channels.end();
    this.#acks.flush();
  }

  /** Resolves when everything that was asked is answered, and what was acked is written. */
  async idle(): Promise<void> {
    await this.#requests.idle();
    this.#acks.flush();
    await Promise.all(this.#writes);
  }

  #track(work: Promise<void>): void {
    const tracked = work
      .catch((error) => this.#host.fail(error))
      .finally(() => void this.#writes.delete(tracked));
    this.#writes.add(tracked);
  }

  async #carryOut(request: Request, arrived: number): Promise<void> {
    if (!this.#host.ready) return;
    const { metrics, limits } = this.#services;
    metrics.requests.add(request.name);
    // Who does not read the answers is not asked for more.
    if (this.#host.bufferedAmount > limits.maxQueuedBytes / 2) await this.#host.drained();
    if (request.name === "append") {
      const { log, entry } = request.body;
      this.own.add(log, entry.entryId);
      const begun = beginAppend(this.#context(undefined), request.body);
      const answered = begun.then(async ({ answer }) => {
        const cursor = await answer;
        metrics.appends.add(LOG_NAMES[log.kind]);
        metrics.appendSeconds.observe((performance.now() - arrived) / 1000);
        return cursor;
      });
      this.#track(this.#answer(request, answered).finally(() => this.#gate.finish()));
      await begun.catch(() => {});
      return;
    }
    this.#acks.flush();
    await Promise.all(this.#writes);
    let started: Subscription | undefined;
    const context = this.#context((subscription) => {
      started = subscription;
    });
    const handler = handlers[request.name] as (context: OperationContext, body: unknown) => Promise<unknown>;
    try {
      if (request.name === "create" && request.body.first !== undefined) {
        this.own.add({ kind: LogKind.group, id: request.body.groupId }, request.body.first.entryId);
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
      this.#host.sendFrame({ type: "reply", id: request.id, result });
    } catch (error) {
      const code = refusalCode(error);
      if (code === undefined) throw error;
      this.#host.refused(code);
      this.#host.sendFrame({ type: "refuse", id: request.id, code, reason: reasonOf(error, code) });
    }
  }

  #context(started: ((subscription: Subscription) => void) | undefined): OperationContext {
    const { storage, limits, clock, allowances, isOpen } = this.#services;
    const { sender, address } = this.#host;
    return {
      storage,
      limits,
      sender,
      allowances,
      channels: this.#channels,
      isOpen,
      origin: { userId: sender.userId, address },
      now: () => clock.now(),
      subscribe: (log, position) => {
        const subscription = this.#host.subscribe(log, position);
        if (subscription !== undefined) started?.(subscription);
      },
      unsubscribe: (log) => this.#host.unsubscribe(log),
      charge: (bytes) => this.#gate.charge(bytes),
    };
  }
}

/** The code to refuse with; undefined for a failure of the relay's own. */
export function refusalCode(error: unknown): RefusalCode | undefined {
  if (!SubrosaError.is(error) || error.code === "internal" || !(error.code in REFUSALS)) return undefined;
  return error.code as RefusalCode;
}

export function reasonOf(error: unknown, code: RefusalCode): string {
  return SubrosaError.is(error) ? error.message : code;
}
