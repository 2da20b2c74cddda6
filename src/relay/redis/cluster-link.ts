import { SubrosaError } from "../../base/errors.js";
import { type Cluster, type ClusterClient, clientOptions, clusterOf } from "./client.js";
import type { Argument, LinkOptions, RedisLink, ScanPlace, ScriptCall } from "./link.js";
import { ALL_SCRIPTS } from "./scripts.js";
import { askFor, type Connection, ScriptRunner, WriteQueue } from "./writer.js";

/** How often a call follows its slot to another server before it fails. */
const MAX_MOVES = 5;
/** Milliseconds after which subscriptions that moved with their slot are in place again. */
const SETTLING = 1_000;

/** A cluster: each slot at its primary. A read does not wait behind a WAIT. */
export class ClusterLink implements RedisLink {
  readonly #options: LinkOptions;
  readonly #reader: Cluster;
  readonly #writer: Cluster;
  readonly #runner = new ScriptRunner();
  readonly #connections = new WeakMap<ClusterClient, Connection>();
  readonly #queues = new Map<Connection, Promise<WriteQueue>>();
  readonly #gapListeners = new Set<() => void>();

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#reader = clusterOf(options.redis, options.urls);
    this.#writer = clusterOf(options.redis, options.urls);
  }

  async open(): Promise<void> {
    for (const cluster of [this.#reader, this.#writer]) {
      // Commands are rejected with them; the package finds the servers again.
      for (const event of ["error", "node-error", "sharded-channel-moved-error"]) cluster.on(event, () => {});
      await cluster.connect();
    }
    for (const master of this.#writer.masters) {
      const connection = this.#connection(await this.#writer.nodeClient(master));
      await this.#options.inspect(connection, `redis://${master.address}`);
      await this.#runner.load(connection, ALL_SCRIPTS);
      await this.#queueOf(connection);
    }
    this.#reader.on("node-ready", () => {
      this.#tellGap();
      this.#options.clock.after(SETTLING, () => this.#tellGap());
    });
  }

  #tellGap(): void {
    for (const listener of this.#gapListeners) listener();
  }

  /** The cluster's settings for replies do not hold for the connections to its servers. */
  #connection(client: ClusterClient): Connection {
    let connection = this.#connections.get(client);
    if (connection === undefined) {
      const { commandOptions } = clientOptions(this.#options.redis);
      connection = { sendCommand: (args) => client.sendCommand(args, commandOptions) };
      this.#connections.set(client, connection);
    }
    return connection;
  }

  #queueOf(connection: Connection): Promise<WriteQueue> {
    let queue = this.#queues.get(connection);
    if (queue === undefined) {
      const made = new WriteQueue(connection, this.#runner, this.#options);
      queue = made.count().then(() => made);
      queue.catch(() => this.#queues.delete(connection));
      this.#queues.set(connection, queue);
    }
    return queue;
  }

  /** Runs at the slot's primary, wherever the slot has moved to. */
  async #at<T>(cluster: Cluster, tag: string, run: (connection: Connection) => Promise<T>): Promise<T> {
    const key = `{${tag}}`;
    for (let moves = 0; ; moves++) {
      const connection = this.#connection(await cluster.getNodeClientForKey(key));
      try {
        return await run(connection);
      } catch (error) {
        const { message } = error as Error;
        if (moves >= MAX_MOVES || !/^(MOVED|READONLY)/.test(message)) throw error;
        // The package follows a key to its server and remembers where all slots are now.
        await cluster.sendCommand(key, false, ["EXISTS", key]);
      }
    }
  }

  command(tag: string, args: readonly Argument[]): Promise<unknown> {
    return this.#reader.sendCommand(`{${tag}}`, false, [...args]);
  }

  async script({ tag, script, keys, args }: ScriptCall): Promise<unknown> {
    try {
      return await this.#at(this.#reader, tag, (at) => this.#runner.run(at, script, keys, args));
    } catch (error) {
      return askFor(await this.#movedTo(this.#reader, tag, error), script, keys, args);
    }
  }

  async write({ tag, script, keys, args }: ScriptCall): Promise<unknown> {
    try {
      return await this.#at(this.#writer, tag, async (at) =>
        (await this.#queueOf(at)).run(script, keys, args),
      );
    } catch (error) {
      const there = await this.#movedTo(this.#writer, tag, error);
      return (await this.#queueOf(there)).ask(script, keys, args);
    }
  }

  /** The server that the slot is just moving to, which has what is not at the other any more; throws other errors. */
  async #movedTo(cluster: Cluster, tag: string, error: unknown): Promise<Connection> {
    const address = /^ASK \d+ (\S+)/.exec((error as Error).message)?.[1];
    if (address === undefined) throw error;
    const find = () => cluster.masters.find((master) => master.address === address);
    // The package gets to know a server that it has not seen by following a key to it.
    if (find() === undefined) await cluster.sendCommand(`{${tag}}`, false, ["EXISTS", `{${tag}}`]);
    const master = find();
    if (master === undefined) throw error;
    return this.#connection(await cluster.nodeClient(master));
  }

  async subscribe(channel: string, listener: (message: Buffer) => void): Promise<void> {
    await this.#reader.sSubscribe(channel, listener, true);
  }

  async unsubscribe(channel: string): Promise<void> {
    await this.#reader.sUnsubscribe(channel);
  }

  onGap(listener: () => void): void {
    this.#gapListeners.add(listener);
  }

  async scan(
    pattern: string,
    from: ScanPlace | undefined,
    count = 1000,
  ): Promise<{ keys: string[]; next?: ScanPlace }> {
    const { server, cursor } = from ?? { server: 0, cursor: "0" };
    const master = this.#reader.masters[server];
    if (master === undefined) return { keys: [] };
    const connection = this.#connection(await this.#reader.nodeClient(master));
    const reply = await connection.sendCommand(["SCAN", cursor, "MATCH", pattern, "COUNT", String(count)]);
    const [then, keys] = reply as [Buffer, Buffer[]];
    const next =
      then.toString() === "0" ? { server: server + 1, cursor: "0" } : { server, cursor: String(then) };
    return { keys: keys.map(String), ...(next.server < this.#reader.masters.length && { next }) };
  }

  async maintain(): Promise<void> {
    for (const [connection, queue] of this.#queues) {
      // A server that is gone is not asked again.
      await queue.then((known) => known.count()).catch(() => this.#queues.delete(connection));
    }
  }

  async #everywhere(args: readonly string[]): Promise<unknown[]> {
    return Promise.all(
      this.#reader.masters.map(async (master) =>
        this.#connection(await this.#reader.nodeClient(master)).sendCommand(args),
      ),
    );
  }

  async ping(): Promise<void> {
    const replies = await this.#everywhere(["CLUSTER", "INFO"]);
    if (!replies.every((reply) => String(reply).includes("cluster_state:ok")))
      throw new SubrosaError("store-failed", "the Redis cluster does not serve all slots");
  }

  async size(): Promise<number> {
    const sizes = await this.#everywhere(["DBSIZE"]);
    return sizes.reduce<number>((sum, size) => sum + Number(size), 0);
  }

  async close(): Promise<void> {
    this.#gapListeners.clear();
    this.#reader.destroy();
    this.#writer.destroy();
  }
}
