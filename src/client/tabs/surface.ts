import type { Clock } from "../../base/clock.js";
import { EXPIRY } from "../signals/presence.js";
import type { ConnectionState, CoreHandler, EventData, EventDataName } from "./core.js";

/** How many answerable events are remembered. The oldest go first. */
const MAX_SHOWN = 4096;
/** How a connection ends whose owner is gone (RFC 6455 §7.1.5). */
const BROKEN = 1006;

/** What the app of this tab is told, whichever tab owns the store: in pairs, and nothing twice. */
export class Surface {
  readonly #handler: CoreHandler;
  readonly #clock: Clock;
  #state: ConnectionState = "idle";
  /** The app was told of a connection and not of its end. */
  #isConnected = false;
  /** What was shown and can be answered: the group of each, by handle. An owner shows again what an earlier one has. */
  readonly #shown = new Map<string, string>();
  /** Who types, as the app was told, and where. */
  readonly #typing = new Map<string, EventData["typing"]>();
  /** Who is there, as the app was told; each with what ends the wait for an owner's word of it. */
  readonly #online = new Map<string, () => void>();

  constructor(handler: CoreHandler, clock: Clock) {
    this.#handler = handler;
    this.#clock = clock;
  }

  /** Whether there is a connection, or one that is to come back. */
  get isOnline(): boolean {
    return this.#state === "connected" || this.#state === "reconnecting";
  }

  state(state: ConnectionState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#handler.state(state);
  }

  /** There is another owner now, at whom the connection stands so. */
  owner(state: ConnectionState): void {
    this.state(state);
    if (state === "connected") this.emit("connect", { registered: false });
    else this.emit("disconnect", { code: BROKEN, reason: "another tab takes over", willReconnect: true });
    this.#doubt();
  }

  /** This owner does not know who was said to type, or to be there: what is not said again is over. */
  #doubt(): void {
    for (const event of this.#typing.values()) this.emit("typing", { ...event, typing: false });
    const at = this.#clock.now();
    for (const [userId, cancel] of this.#online) {
      cancel();
      const end = () => this.emit("presence", { userId, online: false, at });
      this.#online.set(userId, this.#clock.after(EXPIRY, end));
    }
  }

  /** Nothing is waited for any more. */
  end(): void {
    for (const cancel of this.#online.values()) cancel();
  }

  emit<Name extends EventDataName>(name: Name, event: EventData[Name]): void {
    switch (name) {
      case "connect":
      case "disconnect":
        if (this.#isConnected === (name === "connect")) return;
        this.#isConnected = !this.#isConnected;
        break;
      case "joinRequest":
      case "invitation": {
        const { handle, group } = event as EventData["invitation"];
        if (this.#shown.has(handle)) return;
        this.#shown.set(handle, group);
        const [oldest] = this.#shown.keys();
        if (this.#shown.size > MAX_SHOWN && oldest !== undefined) this.#shown.delete(oldest);
        break;
      }
      case "typing": {
        const { userId, group, typing } = event as EventData["typing"];
        const key = `${group === undefined ? "" : `#${group}`} ${userId}`;
        if (this.#typing.has(key) === typing) return;
        if (typing) this.#typing.set(key, event as EventData["typing"]);
        else this.#typing.delete(key);
        break;
      }
      case "presence": {
        const { userId, online } = event as EventData["presence"];
        const cancel = this.#online.get(userId);
        cancel?.();
        if (online) this.#online.set(userId, () => {});
        else this.#online.delete(userId);
        if ((cancel !== undefined) === online) return;
        break;
      }
      case "groupLeave":
      case "groupDeleted":
        this.#forget((event as EventData["groupDeleted"]).group);
    }
    this.#handler.emit(name, event);
  }

  /** Who comes into the group again is shown again what still waits there. */
  #forget(group: string): void {
    for (const [handle, shownOf] of this.#shown) if (shownOf === group) this.#shown.delete(handle);
  }
}
