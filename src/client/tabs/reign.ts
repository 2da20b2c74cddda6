import { SubrosaError } from "../../base/errors.js";
import type { RunningClient } from "../running-client.js";
import type { CoreHandler } from "./core.js";
import { Desk } from "./desk.js";
import type { Intake } from "./intake.js";
import { LocalCore } from "./local-core.js";
import type { FromOwner } from "./messages.js";
import { repeat } from "./pulse.js";
import type { Surface } from "./surface.js";
import type { TabCoreOptions } from "./tab-core.js";

export interface ReignOptions extends TabCoreOptions {
  readonly tab: string;
  readonly intake: Intake;
  readonly surface: Surface;
  readonly lockOf: (tab: string) => string;
  /** Says it to all tabs; the tenure is 0 until the store is open. */
  readonly post: (tenure: number, body: FromOwner) => void;
  /** The tab of the owner before, if it did not answer any more. */
  readonly deposed: string | undefined;
  /** Another device of the user goes on in the place of this one. */
  readonly renewed: (deviceId: string) => void;
  /** Another owner has the store. */
  readonly lost: () => void;
}

/** The time during which this tab owns the store. */
export class Reign {
  readonly desk: Desk;
  readonly #options: ReignOptions;
  readonly #stopClaiming: () => void;
  #local: LocalCore | undefined;
  #over = false;

  constructor(options: ReignOptions, isListening: boolean) {
    this.#options = options;
    const { tab, lockOf, platform, intake } = options;
    this.desk = new Desk({
      tab,
      lockOf,
      locks: platform.locks,
      post: (body) => options.post(this.tenure, body),
      take: (message) => intake.take(message),
    });
    this.desk.listenHere(isListening);
    // Until the store is open nobody else is to try.
    this.#stopClaiming = repeat(options.clock, () => this.desk.announce());
  }

  /** This owner's number; 0 until the store is open. */
  get tenure(): number {
    return this.#local?.running.context.store.owner ?? 0;
  }

  get isOpen(): boolean {
    return this.#local !== undefined;
  }

  /** Opens the store and serves all tabs; resolves to the device's id. Throws what the store throws. */
  async open(): Promise<string> {
    const { client, store, seams, surface, renewed } = this.#options;
    try {
      const local = await LocalCore.open(client, store, seams, this.#handler(), {
        isOwner,
        isAlone: () => this.desk.isAlone,
        renewed: (deviceId) => {
          if (this.#over) return;
          renewed(deviceId);
          this.desk.announce();
        },
      });
      if (this.#over) {
        await local.close(false);
        throw new SubrosaError("store-in-use", "another tab has this store open");
      }
      this.#local = local;
      await this.#meet();
      this.desk.open(local);
      const wasOnline = surface.isOnline;
      surface.owner(wasOnline ? "reconnecting" : "idle");
      this.desk.announce();
      if (wasOnline) local.connection.resume();
      return local.deviceId;
    } finally {
      this.#stopClaiming();
    }
  }

  /** Finds the tabs that live: what one of them has not taken must not be handed over before it has said hello. */
  async #meet(): Promise<void> {
    const { platform, lockOf, tab, deposed } = this.#options;
    const { held = [] } = await platform.locks.query();
    const prefix = lockOf("");
    for (const { name = "" } of held) {
      const other = name.slice(prefix.length);
      if (name.startsWith(prefix) && other !== tab) this.desk.meet(other, other === deposed);
    }
  }

  /** Ends it by itself; resolves to the number of unsent messages. */
  async close(flush: boolean): Promise<number> {
    try {
      return (await this.#local?.close(flush)) ?? 0;
    } finally {
      this.#over = true;
      this.desk.end();
    }
  }

  /** Another owner has the store: nothing that happens here counts any more. Resolves when nothing happens any more. */
  async abandon(): Promise<void> {
    this.#over = true;
    this.#stopClaiming();
    this.desk.end();
    await this.#local?.close(false).catch(() => {});
  }

  #handler(): CoreHandler {
    const { handler, surface, lost } = this.#options;
    return {
      emit: (name, event) => {
        if (this.#over) return;
        this.desk.emit(name, event);
        surface.emit(name, event);
      },
      state: (state) => {
        if (this.#over) return;
        this.desk.announce();
        surface.state(state);
      },
      deliver: (message) => this.desk.audience.deliver(message),
      stopped: () => {
        if (this.#over) return;
        this.desk.mute();
        handler.stopped();
      },
      fatal: (error) => {
        if (this.#over) return;
        if (error.code === "store-in-use") lost();
        else handler.fatal(error);
      },
    };
  }
}

/** Asked of the store: a relay that sees two sessions of one device does not say which is the one that counts. */
function isOwner(running: RunningClient): Promise<boolean> {
  return running.context.store.write([]).then(
    () => true,
    (error: unknown) => !SubrosaError.is(error) || error.code !== "store-in-use",
  );
}
