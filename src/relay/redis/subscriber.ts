import type { Clock } from "../../base/clock.js";
import { type Client, connectionTo, type Redis } from "./client.js";

/** Milliseconds between two attempts to connect. */
const RETRY = 200;

/** The connection on which one server's messages come; when it breaks only that is made anew. */
export class Subscriber {
  readonly #redis: Redis;
  readonly #clock: Clock;
  readonly #gap: () => void;
  readonly #listeners = new Map<string, (message: Buffer) => void>();
  #client: Client | undefined;
  /** Counts attachments: whatever belongs to an older one is void. */
  #attached = 0;

  /** `gap` is called whenever messages may have been missed. */
  constructor(redis: Redis, clock: Clock, gap: () => void) {
    this.#redis = redis;
    this.#clock = clock;
    this.#gap = gap;
  }

  /** Listens at this server from now on. */
  async attach(url: string): Promise<void> {
    this.detach();
    await this.#connect(url, this.#attached);
  }

  detach(): void {
    this.#attached++;
    const client = this.#client;
    this.#client = undefined;
    if (client?.isOpen) client.destroy();
  }

  async #connect(url: string, attached: number): Promise<void> {
    const client = connectionTo(this.#redis, url);
    client.on("error", () => {
      if (this.#client !== client) return;
      this.#client = undefined;
      void this.#again(url, attached);
    });
    try {
      await client.connect();
      for (const [channel, listener] of this.#listeners) await client.sSubscribe(channel, listener, true);
      if (attached !== this.#attached || !client.isReady) throw new Error("the connection is gone");
    } catch (error) {
      if (client.isOpen) client.destroy();
      throw error;
    }
    this.#client = client;
    // What was added meanwhile.
    for (const [channel, listener] of this.#listeners) await client.sSubscribe(channel, listener, true);
    this.#gap();
  }

  async #again(url: string, attached: number): Promise<void> {
    while (attached === this.#attached) {
      try {
        await this.#connect(url, attached);
        return;
      } catch {
        await new Promise<void>((resolve) => void this.#clock.after(RETRY, resolve));
      }
    }
  }

  /** Resolves once messages come; without a connection, they will with the next one. */
  async subscribe(channel: string, listener: (message: Buffer) => void): Promise<void> {
    this.#listeners.set(channel, listener);
    await this.#try((client) => client.sSubscribe(channel, listener, true));
  }

  async unsubscribe(channel: string): Promise<void> {
    if (this.#listeners.delete(channel)) await this.#try((client) => client.sUnsubscribe(channel));
  }

  async #try(use: (client: Client) => Promise<unknown>): Promise<void> {
    const client = this.#client;
    if (client === undefined) return;
    await use(client).catch((error) => {
      if (this.#client === client) throw error;
    });
  }
}
