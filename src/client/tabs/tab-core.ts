import type { Bytes } from "../../base/bytes.js";
import type { Clock } from "../../base/clock.js";
import { toHex } from "../../base/encoding.js";
import { SubrosaError } from "../../base/errors.js";
import type { Store } from "../../stores/store.js";
import { type ClientOptions, FLUSH_TIMEOUT, type Seams } from "../options.js";
import { deferred, within } from "../waiting.js";
import { CallQueue } from "./call-queue.js";
import type { CallName, Calls, Core, CoreHandler } from "./core.js";
import { Intake } from "./intake.js";
import {
  errorFromData,
  type FromOwner,
  isForeignOwner,
  pack,
  type TabMessage,
  type ToOwner,
  unpack,
} from "./messages.js";
import { Ownership } from "./ownership.js";
import type { Channel, TabPlatform } from "./platform.js";
import { Pulse } from "./pulse.js";
import { Reign } from "./reign.js";
import { Surface } from "./surface.js";

const TAB_ID_LENGTH = 16;
/** How much longer than the owner's flush may take its answer is waited for, in milliseconds. */
const ANSWER_MARGIN = 1_000;

export interface TabCoreOptions {
  readonly client: ClientOptions;
  /** Opens also while another tab has it open, which then has no right to write any more. */
  readonly store: Store;
  readonly seams: Seams;
  readonly platform: TabPlatform;
  readonly clock: Clock;
  readonly randomId: (length: number) => Bytes;
  readonly handler: CoreHandler;
}

/**
 * A user's client in one of several tabs. One of them owns the store and serves all; the others carry their calls to
 * it. When it closes, crashes or freezes another becomes the owner, and what was asked and not answered is asked again.
 */
export class TabCore implements Core {
  readonly #options: TabCoreOptions;
  readonly #tab: string;
  readonly #name: string;
  readonly #channel: Channel;
  readonly #ownership: Ownership;
  readonly #pulse: Pulse;
  readonly #intake: Intake;
  readonly #surface: Surface;
  readonly #calls: CallQueue;
  readonly #opened = deferred<void>();
  #isOpened = false;
  #listening = false;
  /** Of the owner that is followed, or was. */
  #tenure = 0;
  #following = false;
  /** The tab of that owner, and of the one that did not answer any more. */
  #owner = "";
  #deposed: string | undefined;
  /** While this tab is the owner, or becomes it. */
  #reign: Reign | undefined;
  /** The store is being opened, or the end of a reign waited for. */
  #changing: Promise<void> | undefined;
  #deviceId = "";
  #releaseTab: () => void = () => {};
  #closing: Promise<number> | undefined;
  #isFrozen = false;
  #stopFreezing: () => void = () => {};
  /** Takes no messages and follows nobody any more. */
  #over = false;
  #ended = false;

  private constructor(options: TabCoreOptions) {
    const { clock, client, handler, platform } = options;
    this.#options = options;
    this.#tab = toHex(options.randomId(TAB_ID_LENGTH));
    this.#name = `${new URL(client.url).href} ${client.userId}`;
    this.#surface = new Surface(handler, clock);
    this.#intake = new Intake((message) => handler.deliver(message));
    this.#calls = new CallQueue((body) => this.#say(body));
    this.#channel = platform.channel(`subrosa:${this.#name}`);
    this.#channel.addEventListener("message", ({ data }) => this.#receive(data));
    this.#pulse = new Pulse(
      clock,
      () => this.#say(this.#following ? { type: "ping" } : { type: "hello", listening: this.#listening }),
      () => {
        this.#deposed = this.#owner;
        this.#ownership.steal();
      },
    );
    this.#ownership = new Ownership(platform.locks, `subrosa-owner:${this.#name}`, {
      granted: () => this.#lead(),
      stolen: () => this.#yield(),
    });
  }

  /** This page stands still: another tab is to own the store, and none is to wait for this one. */
  #freeze(): void {
    this.#isFrozen = true;
    this.#pulse.stop();
    this.#ownership.leave();
    if (this.#reign !== undefined) this.#yield();
    else if (this.#following) this.#say({ type: "away" });
  }

  #resume(): void {
    this.#isFrozen = false;
    if (!this.#over && this.#reign === undefined && this.#changing === undefined) this.#follow();
  }

  /** Resolves when there is an owner. Throws what opening the store throws, if it comes to that here. */
  static async open(options: TabCoreOptions): Promise<TabCore> {
    const core = new TabCore(options);
    try {
      await core.#holdTabLock();
      core.#stopFreezing = options.platform.onFreeze(
        () => core.#freeze(),
        () => core.#resume(),
      );
      core.#follow();
      await core.#opened.promise;
      return core;
    } catch (error) {
      core.#end();
      throw error;
    }
  }

  get deviceId(): string {
    return this.#deviceId;
  }

  call<Name extends CallName>(name: Name, ...args: Parameters<Calls[Name]>): ReturnType<Calls[Name]> {
    return this.#calls.add(name, args) as ReturnType<Calls[Name]>;
  }

  async connect(signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) throw new SubrosaError("aborted", "the call was aborted", { cause: signal.reason });
    await this.#calls.add("connect", [], signal);
  }

  listen(on: boolean): void {
    this.#listening = on;
    if (this.#reign !== undefined) this.#reign.desk.listenHere(on);
    else if (this.#following) this.#say({ type: "listen", on });
  }

  close(flush: boolean): Promise<number> {
    this.#closing ??= this.#close(flush).finally(() => this.#end());
    return this.#closing;
  }

  async #close(flush: boolean): Promise<number> {
    const { clock, handler } = this.#options;
    if (this.#reign?.isOpen) return this.#reign.close(flush);
    const unsent = flush
      ? await within(this.call("flush"), clock, FLUSH_TIMEOUT + ANSWER_MARGIN).catch(() => this.#calls.sends)
      : 0;
    this.#over = true;
    handler.stopped();
    if (flush) await within(this.#intake.idle(), clock, FLUSH_TIMEOUT).catch(() => {});
    this.#say({ type: "bye" });
    await this.#changing;
    return unsent;
  }

  /** Leaves nothing behind. */
  #end(): void {
    this.#over = true;
    this.#ended = true;
    this.#pulse.stop();
    this.#surface.end();
    this.#stopFreezing();
    void this.#reign?.abandon();
    this.#reign = undefined;
    this.#ownership.end();
    this.#releaseTab();
    this.#channel.close();
    this.#calls.end(new SubrosaError("closed", "the client was closed"));
  }

  /** The lock that tells the owner whether this tab lives. */
  #holdTabLock(): Promise<void> {
    return new Promise((resolve, reject) => {
      const hold = () =>
        new Promise<void>((release) => {
          this.#releaseTab = release;
          resolve();
        });
      this.#options.platform.locks.request(this.#lockOf(this.#tab), {}, hold).catch(reject);
    });
  }

  #lockOf(tab: string): string {
    return `subrosa-tab:${this.#name}:${tab}`;
  }

  #say(body: ToOwner, tenure = this.#tenure): void {
    this.#post({ from: this.#tab, tenure, side: "tab", body });
  }

  #post(message: TabMessage): void {
    if (!this.#ended) this.#channel.postMessage(pack(message));
  }

  #receive(data: unknown): void {
    const message = unpack(data);
    if (message === undefined) {
      if (isForeignOwner(data)) this.#foreign();
      return;
    }
    const { from, tenure, body } = message;
    if (message.side === "owner") this.#hear(from, tenure, message.body);
    // What is meant for an owner before this one is asked again of this one.
    else if (body.type === "hello" || tenure === this.#reign?.tenure)
      this.#reign?.desk.receive(from, message.body);
  }

  /** Another version of this package runs in the tab that has the store: they cannot talk to each other. */
  #foreign(): void {
    this.#pulse.beat();
    if (!this.#isOpened) {
      this.#opened.reject(
        new SubrosaError("store-in-use", "a tab with another version of this package has it"),
      );
    }
  }

  #hear(from: string, tenure: number, body: FromOwner): void {
    if (body.type === "claim") this.#pulse.beat();
    // Whoever owns the store now or then: a message that was meant for this tab is for its app, once.
    if (body.type === "message" && body.to.includes(this.#tab)) void this.#take(tenure, body);
    if (body.type === "claim" || tenure < this.#tenure) return;
    if (this.#reign !== undefined) {
      if (this.#reign.isOpen && tenure > this.#reign.tenure) this.#yield();
      return;
    }
    // Nothing is asked of the next owner before it is known what has become of it here.
    if (this.#changing !== undefined || this.#over) return;
    this.#pulse.beat();
    if (tenure === this.#tenure && this.#following) this.#heed(body);
    else if (body.type === "owner") this.#followOwner(from, tenure, body);
  }

  /** What the owner says that this tab follows. */
  #heed(body: FromOwner): void {
    switch (body.type) {
      case "owner":
        this.#deviceId = body.deviceId;
        this.#surface.state(body.state);
        break;
      case "who":
        if (!this.#isFrozen) this.#say({ type: "ping" });
        break;
      case "answer":
        if (body.to === this.#tab) this.#calls.answered(body.id, body.result);
        break;
      case "refusal":
        if (body.to === this.#tab) this.#calls.refused(body.id, errorFromData(body.error));
        break;
      case "event": {
        if (body.to !== undefined && body.to !== this.#tab) return;
        const event = body.name === "error" ? errorFromData(body.event as never) : body.event;
        this.#surface.emit(body.name as never, event as never);
      }
    }
  }

  async #take(tenure: number, { delivery, message }: Extract<FromOwner, { type: "message" }>): Promise<void> {
    if (this.#over) return;
    const took = await this.#intake.take(message).then(
      () => true,
      () => false,
    );
    this.#say({ type: "settled", delivery, took }, tenure);
    // Somebody else may listen by now.
    if (!took && this.#listening) this.#say({ type: "listen", on: true }, tenure);
  }

  /** Waits for the owner's place, and for whoever has it. */
  #follow(): void {
    this.#following = false;
    if (this.#isFrozen) return;
    this.#ownership.queue();
    this.#pulse.stop();
    this.#pulse.start();
  }

  #followOwner(
    tab: string,
    tenure: number,
    { deviceId, state }: Extract<FromOwner, { type: "owner" }>,
  ): void {
    this.#owner = tab;
    this.#tenure = tenure;
    this.#following = true;
    this.#deviceId = deviceId;
    this.#say({ type: "hello", listening: this.#listening });
    this.#surface.owner(state);
    this.#calls.ask("owner");
    this.#open();
  }

  #open(): void {
    this.#isOpened = true;
    this.#opened.resolve();
  }

  /** This tab has the right to own the store. */
  #lead(): void {
    if (this.#over || this.#isFrozen || this.#reign !== undefined) {
      this.#ownership.release();
      return;
    }
    this.#following = false;
    this.#pulse.stop();
    this.#calls.hold();
    const reign = new Reign(
      {
        ...this.#options,
        tab: this.#tab,
        intake: this.#intake,
        surface: this.#surface,
        lockOf: (tab) => this.#lockOf(tab),
        post: (tenure, body) => this.#post({ from: this.#tab, tenure, side: "owner", body }),
        lost: () => this.#yield(),
        deposed: this.#deposed,
        renewed: (deviceId) => {
          this.#deviceId = deviceId;
        },
      },
      this.#listening,
    );
    this.#reign = reign;
    this.#deposed = undefined;
    this.#change(() => this.#begin(reign));
  }

  async #begin(reign: Reign): Promise<void> {
    if (this.#reign !== reign) return;
    try {
      this.#deviceId = await reign.open();
      this.#tenure = reign.tenure;
      if (this.#reign !== reign) return;
      this.#calls.ask(reign.desk);
      this.#open();
    } catch (error) {
      if (this.#reign !== reign) return;
      const failure = error as SubrosaError;
      if (failure.code === "store-in-use") return this.#yield();
      this.#reign = undefined;
      await reign.abandon();
      this.#ownership.release();
      if (this.#isOpened) this.#options.handler.fatal(failure);
      else this.#opened.reject(failure);
    }
  }

  /** Another tab owns the store, or will: this one follows it by itself. */
  #yield(): void {
    const reign = this.#reign;
    if (reign === undefined) return;
    this.#reign = undefined;
    this.#calls.hold();
    this.#ownership.release();
    // What was being written is written or refused before anything of it is asked of another.
    const ended = reign.abandon();
    this.#change(async () => {
      await ended;
      if (!this.#over && this.#reign === undefined) this.#follow();
    });
  }

  /** One change of the owner after the other. */
  #change(change: () => Promise<void>): void {
    const changing = (this.#changing ?? Promise.resolve()).then(change).finally(() => {
      if (this.#changing === changing) this.#changing = undefined;
    });
    this.#changing = changing;
  }
}
