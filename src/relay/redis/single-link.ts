import { SubrosaError } from "../../base/errors.js";
import { type Client, connectionTo, findPrimary } from "./client.js";
import type { Argument, LinkOptions, RedisLink, ScanPlace, ScriptCall } from "./link.js";
import { ALL_SCRIPTS } from "./scripts.js";
import { Subscriber } from "./subscriber.js";
import { type Connection, ScriptRunner, WriteQueue } from "./writer.js";

/** Milliseconds a command waits for the connection to come back, and between two attempts to make one. */
const PATIENCE = 5_000;
const RETRY = 200;

/** The connections to one primary. A read does not wait behind a WAIT. */
interface Connections {
  readonly url: string;
  readonly clients: readonly Client[];
  readonly reader: Client;
  readonly writes: WriteQueue;
}

/**
 * One server, or one with replicas: of those named, the one that says it is the primary. When it is gone, or says
 * that it is none any more, all are asked again.
 */
export class SingleLink implements RedisLink {
  readonly #options: LinkOptions;
  readonly #runner = new ScriptRunner();
  readonly #subscriber: Subscriber;
  readonly #gapListeners = new Set<() => void>();
  #connections: Connections | undefined;
  /** Commands that wait for a connection. */
  #waiting = new Set<{ resolve: (connections: Connections) => void; reject: (error: unknown) => void }>();
  #searching = false;
  #closed = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#subscriber = new Subscriber(options.redis, options.clock, () => {
      for (const listener of this.#gapListeners) listener();
    });
  }

  /** Throws what the last server said if none is a primary. */
  async open(): Promise<void> {
    try {
      await this.#use(await this.#find());
    } catch (error) {
      // A connection may have been lost meanwhile, and a search for another begun.
      await this.close();
      throw error;
    }
  }

  async #find(): Promise<Connections> {
    const { redis, urls, inspect } = this.#options;
    const url = await findPrimary(redis, urls);
    const clients: Client[] = [];
    const connect = async () => {
      const client = connectionTo(redis, url);
      clients.push(client);
      // Commands under way are rejected with it; the connection is looked after below.
      client.on("error", () => {});
      await client.connect();
      return client;
    };
    try {
      const reader = await connect();
      const writer = await connect();
      await inspect(reader as Connection, url);
      await this.#runner.load(reader as Connection, ALL_SCRIPTS);
      const writes = new WriteQueue(writer as Connection, this.#runner, this.#options);
      await writes.count();
      return { url, clients, reader, writes };
    } catch (error) {
      for (const client of clients) if (client.isOpen) client.destroy();
      throw error;
    }
  }

  async #use(connections: Connections): Promise<void> {
    for (const client of connections.clients) client.on("error", () => this.#lose(connections));
    this.#connections = connections;
    try {
      await this.#subscriber.attach(connections.url);
      if (this.#closed || connections.clients.some((client) => !client.isReady))
        throw new SubrosaError("store-failed", "the connection to Redis is gone");
    } catch (error) {
      this.#connections = undefined;
      this.#subscriber.detach();
      this.#destroy(connections);
      throw error;
    }
    for (const { resolve } of this.#waiting) resolve(connections);
    this.#waiting.clear();
  }

  #destroy(connections: Connections): void {
    for (const client of connections.clients) if (client.isOpen) client.destroy();
  }

  /** Gives up the connections and looks for a primary again. */
  #lose(connections: Connections): void {
    if (this.#connections !== connections) return;
    this.#connections = undefined;
    this.#subscriber.detach();
    this.#destroy(connections);
    void this.#search();
  }

  async #search(): Promise<void> {
    if (this.#searching || this.#closed) return;
    this.#searching = true;
    while (!this.#closed && this.#connections === undefined) {
      try {
        await this.#use(await this.#find());
      } catch {
        await new Promise<void>((resolve) => void this.#options.clock.after(RETRY, resolve));
      }
    }
    this.#searching = false;
  }

  #connected(): Promise<Connections> {
    if (this.#connections !== undefined) return Promise.resolve(this.#connections);
    return new Promise((resolve, reject) => {
      const entry = { resolve, reject };
      this.#waiting.add(entry);
      this.#options.clock.after(PATIENCE, () => {
        if (this.#waiting.delete(entry)) reject(new SubrosaError("store-failed", "no connection to Redis"));
      });
    });
  }

  async #with<T>(use: (connections: Connections) => Promise<T>): Promise<T> {
    if (this.#closed) throw new SubrosaError("closed", "the storage was closed");
    const connections = await this.#connected();
    try {
      return await use(connections);
    } catch (error) {
      // It was made a replica.
      if (/^(READONLY|MASTERDOWN|LOADING)/.test((error as Error).message)) this.#lose(connections);
      throw error;
    }
  }

  command(_tag: string, args: readonly Argument[]): Promise<unknown> {
    return this.#with(({ reader }) => reader.sendCommand(args));
  }

  script({ script, keys, args }: ScriptCall): Promise<unknown> {
    return this.#with(({ reader }) => this.#runner.run(reader as Connection, script, keys, args));
  }

  write({ script, keys, args }: ScriptCall): Promise<unknown> {
    return this.#with(({ writes }) => writes.run(script, keys, args));
  }

  subscribe(channel: string, listener: (message: Buffer) => void): Promise<void> {
    return this.#subscriber.subscribe(channel, listener);
  }

  unsubscribe(channel: string): Promise<void> {
    return this.#subscriber.unsubscribe(channel);
  }

  onGap(listener: () => void): void {
    this.#gapListeners.add(listener);
  }

  async scan(
    pattern: string,
    from: ScanPlace | undefined,
    count = 1000,
  ): Promise<{ keys: string[]; next?: ScanPlace }> {
    const cursor = from?.cursor ?? "0";
    const reply = await this.command("", ["SCAN", cursor, "MATCH", pattern, "COUNT", String(count)]);
    const [next, keys] = reply as [Buffer, Buffer[]];
    const at = { server: 0, cursor: next.toString() };
    return { keys: keys.map(String), ...(at.cursor !== "0" && { next: at }) };
  }

  async maintain(): Promise<void> {
    await this.#connections?.writes.count();
  }

  async ping(): Promise<void> {
    await this.command("", ["PING"]);
  }

  async size(): Promise<number> {
    return Number(await this.command("", ["DBSIZE"]));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#subscriber.detach();
    if (this.#connections !== undefined) this.#destroy(this.#connections);
    for (const { reject } of this.#waiting) reject(new SubrosaError("closed", "the storage was closed"));
    this.#waiting.clear();
  }
}
