import { assertOptions } from "../../base/arguments.js";
import { toHex } from "../../base/encoding.js";
import { assertArgument } from "../../base/errors.js";
import { randomBytes } from "../../crypto/random.js";
import { assertName } from "../../wire/identifiers.js";
import { assertSignal, ownCopy } from "../arguments.js";
import type { Emitter } from "../emitter.js";
import type { UnencryptedData } from "../events.js";
import type { Core } from "../tabs/core.js";
import { SIGNAL_NAMES, type WaitOptions } from "../waiting.js";

/** What the calls need of their client. */
export interface UnencryptedHost {
  readonly emitter: Emitter;
  wait(call: (core: Core) => Promise<void>, options: WaitOptions): Promise<void>;
}

/**
 * Messages beside the encrypted ones. **The relay, and whoever runs it, reads all of this, and could change it or make
 * it up.** It is kept nowhere and comes at most once: who is not there does not get it.
 */
export class Unencrypted {
  readonly #host: UnencryptedHost;
  readonly #channels = new Set<string>();
  #holder = "";

  constructor(host: UnencryptedHost) {
    this.#host = host;
  }

  /**
   * Hands data to the relay's operator, whose program may answer with a `data` event without a channel. Throws
   * `connection-failed` where there is no connection (it is not kept for later), `forbidden` where the operator takes
   * none, `too-large` above the relay's limit (16 KiB by default), `rate-limited`.
   */
  async write(data: string | Uint8Array, options: WaitOptions = {}): Promise<void> {
    const own = ownCopy(data);
    await this.#host.wait((core) => core.call("writeData", own), options);
  }

  /** Sends data to all others who subscribe to the channel at this moment. Throws what {@link write} throws. */
  async publish(channel: string, data: string | Uint8Array, options: WaitOptions = {}): Promise<void> {
    assertName(channel, "channel");
    const own = ownCopy(data);
    await this.#host.wait((core) => core.call("publish", channel, own), options);
  }

  /**
   * Has `data` events of a channel come, also after the client has connected again. Without a connection it waits for
   * one. Channel names are like user ids in form. Throws `forbidden`, `quota-exceeded` (50 by default), `rate-limited`,
   * `timeout`.
   */
  async subscribe(channel: string, options: WaitOptions = {}): Promise<void> {
    assertName(channel, "channel");
    if (this.#holder === "") {
      this.#holder = toHex(randomBytes(16));
      this.#host.emitter.on("connect", () => this.#restore());
    }
    await this.#follow(channel, true, options);
    this.#channels.add(channel);
  }

  async unsubscribe(channel: string, options: WaitOptions = {}): Promise<void> {
    assertName(channel, "channel");
    if (this.#channels.delete(channel)) await this.#follow(channel, false, options);
  }

  /** The channels whose `data` comes here, in the order in which they were subscribed to. */
  get subscriptions(): readonly string[] {
    return [...this.#channels];
  }

  /** Listens to `data`: `{ channel?, from?, data }`. The result, or `signal`, ends it. */
  on(
    name: "data",
    listener: (event: UnencryptedData) => unknown,
    options: { readonly signal?: AbortSignal } = {},
  ): () => void {
    assertArgument(name === "data" && typeof listener === "function", 'on: "data" and a function');
    assertOptions(options, SIGNAL_NAMES);
    assertSignal(options.signal);
    if (options.signal?.aborted) return () => {};
    const off = this.#host.emitter.on("unencryptedData", (event) => {
      // All tabs of a user are one device: what another one has subscribed to comes here too.
      if (event.channel === undefined || this.#channels.has(event.channel)) return listener(event);
    });
    options.signal?.addEventListener("abort", off, { once: true });
    return off;
  }

  #follow(channel: string, on: boolean, options: WaitOptions): Promise<void> {
    return this.#host.wait((core) => core.call("followChannel", this.#holder, channel, on), options);
  }

  /** There is another session, maybe in another tab, which knows nothing of this yet. */
  #restore(): void {
    for (const channel of this.#channels) {
      this.#follow(channel, true, {}).catch((error) => {
        if (["connection-failed", "timeout", "closed"].includes(error.code)) return;
        this.#channels.delete(channel);
        this.#host.emitter.emit("error", error);
      });
    }
  }
}
