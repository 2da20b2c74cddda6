import { afterEach, describe, expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { openRedisStorage } from "../../src/relay.js";
import { type Cursor, START } from "../../src/wire/identifiers.js";
import {
  add,
  chain,
  commit,
  groupLog,
  makeUser,
  message,
  RawClient,
  type TestUser,
} from "../relay/raw-client.js";
import { type Node, startNodes } from "./nodes.js";
import { RedisServer } from "./redis-server.js";

const servers: RedisServer[] = [];

afterEach(() => Promise.all(servers.splice(0).map((server) => server.dispose())));

async function startPair(): Promise<[RedisServer, RedisServer]> {
  const primary = await RedisServer.start();
  servers.push(primary);
  const replica = await primary.replica();
  servers.push(replica);
  return [primary, replica];
}

/** A client that appends, comes again when its session ends, and repeats what was not acknowledged. */
class Writer {
  readonly acknowledged = new Map<string, Cursor>();
  readonly #user: TestUser;
  readonly #log;
  readonly #urls: readonly string[];
  #turn: number;
  #client: Promise<RawClient> | undefined;
  #stopped = false;

  constructor(user: TestUser, groupId: Uint8Array<ArrayBuffer>, nodes: readonly Node[], turn: number) {
    this.#user = user;
    this.#log = groupLog(groupId);
    this.#urls = nodes.map(({ url }) => url);
    this.#turn = turn;
  }

  client(): Promise<RawClient> {
    this.#client ??= this.#connect();
    return this.#client;
  }

  async #connect(): Promise<RawClient> {
    for (;;) {
      const url = this.#urls[this.#turn++ % this.#urls.length] as string;
      try {
        return await RawClient.connect(url, this.#user);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  /** Appends until it is told to stop, so many entries at a time. */
  async run(inFlight: number): Promise<void> {
    const one = async () => {
      while (!this.#stopped) {
        const entry = message(`${this.#user.userId} ${this.acknowledged.size}`);
        const text = Buffer.from(entry.entryId).toString("hex");
        while (!this.acknowledged.has(text)) {
          const connecting = this.client();
          const client = await connecting;
          try {
            this.acknowledged.set(text, await client.append(this.#log, START, entry));
          } catch {
            if (this.#client === connecting) this.#client = undefined;
          }
        }
      }
    };
    await Promise.all(Array.from({ length: inFlight }, one));
  }

  stop(): void {
    this.#stopped = true;
  }
}

/** How many acknowledged entries the log does not hold where they were acknowledged; throws if any is there twice. */
async function missing(reader: RawClient, groupId: Uint8Array<ArrayBuffer>, writer: Writer): Promise<number> {
  const log = groupLog(groupId);
  const { head } = await reader.subscribe(log);
  const entries = await reader.untilEntries(log, head.seq);
  expect(await chain(log, entries)).toEqual(head);
  const ids = entries.map((entry) => {
    const { entryId } = entry.form === "full" ? entry.content : entry;
    return Buffer.from(entryId).toString("hex");
  });
  expect(new Set(ids).size).toBe(ids.length);
  return [...writer.acknowledged].filter(([id, { seq }]) => ids[seq - 1] !== id).length;
}

describe("a primary that dies under load, and its replica in its place", () => {
  it("loses no acknowledged entry where a replica must have each", async () => {
    const [primary, replica] = await startPair();
    const nodes = await startNodes(2, [primary.url, replica.url]);
    const users = await Promise.all(["alice", "bob"].map((name) => makeUser(name)));
    const groupIds = users.map(() => randomBytes(32));
    const writers = users.map((user, i) => new Writer(user, groupIds[i] as never, nodes, i));
    for (const [i, writer] of writers.entries()) {
      await (await writer.client()).request("create", { groupId: groupIds[i] as never });
    }
    const running = Promise.all(writers.map((writer) => writer.run(16)));
    const total = () => writers.reduce((sum, { acknowledged }) => sum + acknowledged.size, 0);
    const until = async (count: number) => {
      while (total() < count) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    await until(600);
    await primary.kill();
    const before = total();
    await replica.command("REPLICAOF", "NO", "ONE");
    await until(before + 400);
    for (const writer of writers) writer.stop();
    await running;
    let lost = 0;
    for (const [i, writer] of writers.entries()) {
      lost += await missing(await writer.client(), groupIds[i] as never, writer);
    }
    console.log(`failover with WAIT 1: ${before} acknowledged before it, ${total()} in all, ${lost} lost`);
    expect(lost).toBe(0);
  });

  it("does not choose between two servers that both say they are the primary", async () => {
    const [primary, replica] = await startPair();
    await replica.command("REPLICAOF", "NO", "ONE");
    await expect(openRedisStorage([primary.url, replica.url])).rejects.toThrow(/several Redis servers/);
    await replica.command("REPLICAOF", "127.0.0.1", String(primary.port));
    await (await openRedisStorage([replica.url, primary.url])).close();
  });

  it("warns of settings under which what was acknowledged can be lost, and of nothing else", async () => {
    const [primary] = await startPair();
    const warnings: string[] = [];
    const open = async () =>
      (await openRedisStorage(primary.url, { onWarning: (warning) => warnings.push(warning) })).close();
    await open();
    expect(warnings).toEqual([]);
    await primary.command("CONFIG", "SET", "appendfsync", "everysec", "maxmemory-policy", "allkeys-lru");
    await open();
    expect(warnings).toEqual([
      expect.stringMatching(/appendfsync everysec, not always/),
      expect.stringMatching(/maxmemory-policy allkeys-lru, not noeviction/),
    ]);
  });

  it("answers nothing that the replica has not, whoever asks again, and then what it was", async () => {
    const [primary, replica] = await startPair();
    const nodes = await startNodes(2, [primary.url, replica.url], { waitTimeout: 2000 });
    const users = [await makeUser("alice"), await makeUser("bob")] as const;
    const connect = () =>
      Promise.all(users.map((user, i) => RawClient.connect((nodes[i] as Node).url, user)));
    let clients = await connect();
    const groupId = randomBytes(32);
    const log = groupLog(groupId);
    const at = await clients[0]?.request("create", { groupId, first: commit([add(users[1])]) });
    const entry = message("one");
    const append = (client: RawClient) => client.append(log, at as Cursor, entry);

    await replica.signal("SIGSTOP");
    // The second finds the entry in the log, at another relay: that is no reason to say that it is safe.
    for (const client of clients) await expect(append(client)).rejects.toThrow("closed with 1011");
    await replica.signal("SIGCONT");
    clients = await connect();
    for (const client of clients) expect((await append(client)).seq).toBe(2);
    const [alice] = clients as [RawClient];
    expect(await alice.append(log, at as Cursor, message("two"))).toMatchObject({ seq: 3 });
    await alice.subscribe(log, at);
    expect(await alice.untilEntries(log, 2)).toHaveLength(2);
  });
});
