import type { Clock } from "../../base/clock.js";
import type { ConnectionState, CoreHandler, EventData, EventDataName } from "./core.js";

/** How long after its first session a new owner may show again what an earlier one has shown, in milliseconds. */
const SHOWN_AGAIN = 10_000;
/** How a connection ends whose owner is gone (RFC 6455 §7.1.5). */
const BROKEN = 1006;

/** What the app of this tab is told, whichever tab owns the store: in pairs, and nothing twice. */
export class Surface {
  readonly #handler: CoreHandler;
  readonly #clock: Clock;
  #state: ConnectionState = "idle";
  /** The app was told of a connection and not of its end. */
  #isConnected = false;
  /** Counts owners. */
  #owner = 0;
  /** What was shown, by handle, with the owner that showed it last. */
  readonly #shown = new Map<string, number>();
  #shownAgainUntil = 0;

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
    this.#owner++;
    this.#shownAgainUntil =
      state === "connected" ? this.#clock.now() + SHOWN_AGAIN : Number.POSITIVE_INFINITY;
    this.state(state);
    if (state === "connected") this.emit("connect", { registered: false }, false);
    else
      this.emit("disconnect", { code: BROKEN, reason: "another tab takes over", willReconnect: true }, false);
  }

  /** `replayed`: it happened before this tab was there, as far as the owner knows. */
  emit<Name extends EventDataName>(name: Name, event: EventData[Name], replayed: boolean): void {
    switch (name) {
      case "connect":
      case "disconnect":
        if (this.#isConnected === (name === "connect")) return;
        this.#isConnected = !this.#isConnected;
        if (name === "connect" && this.#shownAgainUntil === Number.POSITIVE_INFINITY) {
          this.#shownAgainUntil = this.#clock.now() + SHOWN_AGAIN;
        }
        break;
      case "joinRequest":
      case "invitation": {
        const { handle } = event as EventData["invitation"];
        const shownBy = this.#shown.get(handle);
        this.#shown.set(handle, this.#owner);
        if (shownBy === undefined) break;
        if (replayed || (shownBy !== this.#owner && this.#clock.now() < this.#shownAgainUntil)) return;
      }
    }
    this.#handler.emit(name, event);
  }
}
