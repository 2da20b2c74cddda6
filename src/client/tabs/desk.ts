import { SubrosaError } from "../../base/errors.js";
import { SerialQueue } from "../../base/serial-queue.js";
import type { Body } from "../attachments/body.js";
import type { MessageData } from "../events.js";
import { Audience } from "./audience.js";
import type { Calls, EventData, EventDataName, Stamp } from "./core.js";
import type { LocalCore } from "./local-core.js";
import { errorToData, type FromOwner, type ToOwner } from "./messages.js";
import type { Locks } from "./platform.js";
import { Pulse } from "./pulse.js";
import { answer, callAgain } from "./repeated.js";
import { SentCalls } from "./sent-calls.js";

/** Errors with which calls end when the store is taken away: the next owner is asked again. */
const LOSSES = ["closed", "store-in-use", "store-failed", "connection-failed"];

export function isLoss(error: unknown): boolean {
  return SubrosaError.is(error) && LOSSES.includes(error.code);
}

export interface DeskOptions {
  /** This tab. */
  readonly tab: string;
  readonly post: (body: FromOwner) => void;
  /** Hands a message to the app of this tab. */
  readonly take: (message: MessageData) => Promise<void>;
  readonly locks: Locks;
  /** The name of the lock that a tab holds as long as it lives. */
  readonly lockOf: (tab: string) => string;
}

export interface CallOptions {
  readonly repeated: boolean;
  /** Ends the waiting for a connection. */
  readonly signal: AbortSignal | undefined;
}

/** Another tab for which something is done, or this one again. */
interface Origin {
  readonly tab: string;
  readonly repeated: boolean;
}

type DirectArguments = [string, Body, Stamp, string | undefined];
type GroupArguments = [string, Body, Stamp];

/** A tab that was seen by this owner. */
interface Visitor {
  /** What ends connects that nobody waits for any more. */
  readonly connects: Map<number, AbortController>;
  readonly watch: AbortController;
}

/** Where the owner serves the other tabs of its user, and its own. */
export class Desk {
  readonly audience: Audience;
  readonly #options: DeskOptions;
  readonly #visitors = new Map<string, Visitor>();
  readonly #pulses = new Map<string, Pulse>();
  readonly #sends = new SerialQueue();
  #core: LocalCore | undefined;
  #sent: SentCalls | undefined;
  /** Events of the opening of the store, until there is somebody to tell. */
  readonly #early: FromOwner[] = [];
  #listensHere = false;
  #muted = false;
  #over = false;

  constructor(options: DeskOptions) {
    this.#options = options;
    const { tab, post } = options;
    this.audience = new Audience({
      post: (to, delivery, message) => {
        if (to.some((one) => one !== tab)) post({ type: "message", to, delivery, message });
        if (to.includes(tab)) void this.#takeHere(delivery, message);
        for (const one of to) if (one !== tab) this.#await(one);
      },
      changed: (isListening) => this.#core?.listen(isListening),
    });
  }

  /** Whether no other tab is there. */
  get isAlone(): boolean {
    return this.#visitors.size === 0;
  }

  /** The store is open: serves from now on. */
  open(core: LocalCore): void {
    this.#core = core;
    this.#sent = new SentCalls(core.running.context.store);
    core.listen(this.audience.isListening);
    void this.#clear().catch(() => {});
  }

  /** Forgets what was noted for tabs that are gone. */
  async #clear(): Promise<void> {
    for (const tab of (await this.#sent?.tabs()) ?? []) {
      if (tab !== this.#options.tab && !this.#over) this.#visitor(tab);
    }
  }

  listenHere(on: boolean): void {
    this.#listensHere = on;
    this.audience.seat(this.#options.tab, on);
  }

  async #takeHere(delivery: number, message: MessageData): Promise<void> {
    const { tab, take } = this.#options;
    const took = await take(message).then(
      () => true,
      () => false,
    );
    this.audience.settled(tab, delivery, took);
    // Somebody else may listen by now.
    if (!took && this.#listensHere && !this.#over) this.audience.seat(tab, true);
  }

  /** A call of this tab; `repeated` if an earlier owner may have carried it out. */
  async call(name: string, args: readonly unknown[], options: CallOptions): Promise<unknown> {
    const { repeated, signal } = options;
    if (name === "connect") return this.#core?.connect(signal);
    if (!repeated) return this.#perform(name, args, undefined);
    const { tab } = this.#options;
    const result = await this.#perform(name, args, { tab, repeated });
    if (name === "sendDirect" || name === "sendToGroup") this.#sent?.got(tab, String(result));
    return result;
  }

  /** A tab is there; nothing was heard of it yet, and nothing will be if it is frozen. */
  meet(tab: string, isFrozen: boolean): void {
    if (this.#visitors.has(tab)) return;
    this.#visitor(tab);
    this.audience.seat(tab, true);
    if (isFrozen) this.audience.away(tab);
  }

  receive(tab: string, body: ToOwner): void {
    if (this.#over) return;
    switch (body.type) {
      case "hello":
        this.#visitor(tab);
        this.audience.seat(tab, body.listening);
        this.announce();
        for (const { name, data } of this.#core?.handles.open() ?? []) {
          this.#options.post({ type: "event", name, event: data, to: tab });
        }
        break;
      case "ping":
        this.#pulses.get(tab)?.beat();
        this.audience.back(tab);
        this.announce();
        break;
      case "away":
        this.#rest(tab);
        this.audience.away(tab);
        break;
      case "bye":
        this.#gone(tab);
        this.#sent?.forget(tab).catch(() => {});
        break;
      case "listen":
        this.audience.seat(tab, body.on);
        break;
      case "settled":
        this.audience.settled(tab, body.delivery, body.took);
        if (!this.audience.waitedFor.includes(tab)) this.#rest(tab);
        break;
      case "got":
        this.#sent?.got(tab, body.messageId);
        break;
      case "cancel":
        this.#visitors.get(tab)?.connects.get(body.id)?.abort();
        break;
      case "call":
        void this.#answer(tab, body);
    }
  }

  async #answer(tab: string, body: Extract<ToOwner, { type: "call" }>): Promise<void> {
    const { post } = this.#options;
    try {
      const result = await this.#serve(tab, body);
      post({ type: "answer", to: tab, id: body.id, result });
    } catch (error) {
      // The next owner answers.
      if ((this.#over || this.#muted) && isLoss(error)) return;
      post({ type: "refusal", to: tab, id: body.id, error: errorToData(error) });
    }
  }

  announce(): void {
    const core = this.#core;
    if (core === undefined || this.#muted) this.#options.post({ type: "claim" });
    else {
      this.#options.post({ type: "owner", deviceId: core.deviceId, state: core.connection.state });
      for (const event of this.#early.splice(0)) this.#options.post(event);
    }
  }

  emit<Name extends EventDataName>(name: Name, event: EventData[Name]): void {
    if (this.#muted) return;
    const data = name === "error" ? errorToData(event) : event;
    const body = { type: "event", name, event: data } as const;
    if (this.#core === undefined) this.#early.push(body);
    else this.#options.post(body);
  }

  /** The client is about to end: what becomes of its connection is of no concern to others. */
  mute(): void {
    this.#muted = true;
  }

  /** Serves nobody any more. */
  end(): void {
    this.#over = true;
    for (const tab of [...this.#visitors.keys()]) this.#gone(tab);
    this.audience.end();
  }

  #visitor(tab: string): Visitor {
    const known = this.#visitors.get(tab);
    if (known !== undefined) return known;
    const visitor: Visitor = { connects: new Map(), watch: new AbortController() };
    this.#visitors.set(tab, visitor);
    const { locks, lockOf } = this.#options;
    // The tab holds its lock as long as it lives: whoever gets it knows that it is gone.
    const gone = () => {
      if (this.#over) return;
      this.#gone(tab);
      this.#sent?.forget(tab).catch(() => {});
    };
    locks.request(lockOf(tab), { signal: visitor.watch.signal }, gone).catch(() => {});
    return visitor;
  }

  #gone(tab: string): void {
    this.#rest(tab);
    const visitor = this.#visitors.get(tab);
    this.#visitors.delete(tab);
    visitor?.watch.abort();
    for (const connect of visitor?.connects.values() ?? []) connect.abort();
    this.audience.gone(tab);
  }

  /** The tab owes an answer to a message: a tab that shows no sign of life is not waited for. */
  #await(tab: string): void {
    if (!this.audience.waitedFor.includes(tab)) return;
    const clock = this.#core?.running.context.clock;
    if (clock === undefined || this.#pulses.has(tab)) return;
    const ask = () => this.#options.post({ type: "who" });
    const pulse = new Pulse(clock, ask, () => {
      this.#rest(tab);
      this.audience.away(tab);
    });
    this.#pulses.set(tab, pulse);
    pulse.start();
  }

  #rest(tab: string): void {
    this.#pulses.get(tab)?.stop();
    this.#pulses.delete(tab);
  }

  async #serve(tab: string, body: Extract<ToOwner, { type: "call" }>): Promise<unknown> {
    const { id, name, args, repeated } = body;
    if (name !== "connect") return this.#perform(name, args, { tab, repeated });
    const { connects } = this.#visitor(tab);
    const cancel = new AbortController();
    connects.set(id, cancel);
    try {
      return await this.#core?.connect(cancel.signal);
    } finally {
      connects.delete(id);
    }
  }

  async #perform(name: string, args: readonly unknown[], origin: Origin | undefined): Promise<unknown> {
    const core = this.#core;
    if (core === undefined) throw new SubrosaError("closed", "the store is not open");
    // Of another version of this package, which asks for more than this one can do.
    if (!core.has(name)) {
      throw new SubrosaError("store-in-use", "a tab with another version of this package has it");
    }
    if (name === "sendDirect" || name === "sendToGroup") return this.#send(core, name, args, origin);
    if (name === "answer") return answer(core, ...(args as Parameters<Calls["answer"]>));
    return origin?.repeated ? callAgain(core, name, args as never) : core.call(name, ...(args as never));
  }

  async #send(
    core: LocalCore,
    name: "sendDirect" | "sendToGroup",
    args: readonly unknown[],
    origin: Origin | undefined,
  ): Promise<string> {
    const { conversations } = core;
    const sent = this.#sent as SentCalls;
    // One after the other as they were asked for; only the look at the record is waited for here, not the write.
    const { written } = await this.#sends.run(async () => {
      const { id } = args[2] as Stamp;
      if (origin?.repeated && (await sent.has(origin.tab, id))) return { written: Promise.resolve(id) };
      const also = origin === undefined ? [] : sent.changes(origin.tab, id);
      const written =
        name === "sendDirect"
          ? conversations.sendDirect(...(args as DirectArguments), also)
          : conversations.sendToGroup(...(args as GroupArguments), also);
      return { written };
    });
    return written;
  }
}
