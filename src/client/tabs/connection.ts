import type { Clock } from "../../base/clock.js";
import { SubrosaError } from "../../base/errors.js";
import type { LinkEnd } from "../../transport/link.js";
import type { RelaySession } from "../session/relay-session.js";
import { type Deferred, deferred, within } from "../waiting.js";
import type { ConnectionState, CoreHandler } from "./core.js";

/** Where the connection stands, who waits for it, and what the app is told of it. */
export class Connection {
  #relay: RelaySession;
  readonly #clock: Clock;
  readonly #handler: Pick<CoreHandler, "emit" | "state">;
  #state: ConnectionState = "idle";
  #stopped = false;
  #connecting: (Deferred<void> & { callers: number }) | undefined;

  constructor(relay: RelaySession, clock: Clock, handler: Pick<CoreHandler, "emit" | "state">) {
    this.#relay = relay;
    this.#clock = clock;
    this.#handler = handler;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  #set(state: ConnectionState): void {
    this.#state = state;
    this.#handler.state(state);
  }

  async connect(signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) throw new SubrosaError("aborted", "the call was aborted", { cause: signal.reason });
    if (this.#state === "connected") return;
    this.#connecting ??= { ...deferred<void>(), callers: 0 };
    const connecting = this.#connecting;
    connecting.callers++;
    if (this.#state === "idle") this.#set("connecting");
    this.#relay.open();
    try {
      await within(connecting.promise, this.#clock, undefined, signal);
    } finally {
      connecting.callers--;
      // Everyone who waited has given up before there was a session.
      if (this.#connecting === connecting && connecting.callers === 0 && this.#state === "connecting") {
        this.#connecting = undefined;
        this.#set("idle");
        this.#relay.close();
      }
    }
  }

  /** There was a connection before this client had the store. */
  resume(): void {
    if (this.#state !== "idle") return;
    this.#set("reconnecting");
    this.#relay.open();
  }

  /** Goes on with the sessions of another device. */
  renew(relay: RelaySession): void {
    this.#relay = relay;
    if (this.#state !== "idle" && !this.#stopped) relay.open();
  }

  ready(registered: boolean): void {
    if (this.#stopped) return;
    this.#set("connected");
    this.#connecting?.resolve();
    this.#connecting = undefined;
    this.#handler.emit("connect", { registered });
  }

  ended(end: LinkEnd, error: SubrosaError | undefined): void {
    const wasConnected = this.#state === "connected";
    const isAwaited = this.#connecting !== undefined;
    if (!end.willReconnect) this.#set("idle");
    else if (!isAwaited) this.#set("reconnecting");
    if (!end.willReconnect) {
      this.#connecting?.reject(
        error ?? new SubrosaError("connection-failed", `the relay ended the session (${end.code})`),
      );
      this.#connecting = undefined;
    }
    if (wasConnected || end.wasReady) {
      const { code, reason, willReconnect } = end;
      this.#handler.emit("disconnect", { code, reason, willReconnect });
    }
    if (!end.willReconnect && error !== undefined && !isAwaited) this.#handler.emit("error", error);
  }

  /** Ends the waiting of all callers. */
  stop(error: SubrosaError): void {
    this.#stopped = true;
    this.#connecting?.reject(error);
    this.#connecting = undefined;
  }
}
