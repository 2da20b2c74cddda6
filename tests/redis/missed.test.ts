import { createClient } from "redis";
import { beforeEach, describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { toHex } from "../../src/base/encoding.js";
import { randomBytes } from "../../src/crypto/random.js";
import { accountOf } from "../../src/relay/conformance/world.js";
import { openRedisStorage, type RedisOptions, type RelayStorage, type Sender } from "../../src/relay.js";
import { type LogId, START } from "../../src/wire/identifiers.js";
import { EntryKind } from "../../src/wire/protocol.js";
import { ManualClock } from "../relay/manual-clock.js";
import { groupLog } from "../relay/raw-client.js";
import { atEnd, newPrefix } from "./nodes.js";
import { RedisServer } from "./redis-server.js";

const NOW = 1_700_000_000_000;
const quotas = { maxInboxEntries: 5, maxInboxBytes: 10_000, maxRequests: 3, maxGroups: 4 };
const alice: Sender = { userId: "alice", deviceId: randomBytes(16) };

let server: RedisServer;
let prefix: string;

beforeEach(async () => {
  server = await RedisServer.start();
  atEnd(() => server.dispose());
  prefix = newPrefix();
});

async function open(options: RedisOptions = {}): Promise<RelayStorage> {
  const storage = await openRedisStorage(server.url, { prefix, ...options });
  atEnd(() => storage.close());
  return storage;
}

/** Takes from all nodes the connections on which messages come; the result lets them have new ones. */
async function silence(): Promise<() => Promise<unknown>> {
  const control = createClient({ url: server.url, RESP: 2 });
  await control.connect();
  atEnd(async () => control.destroy());
  await control.sendCommand(["CONFIG", "SET", "maxclients", "1"]);
  await control.sendCommand(["CLIENT", "KILL", "TYPE", "pubsub"]);
  return () => control.sendCommand(["CONFIG", "SET", "maxclients", "1000"]);
}

describe("entries whose news are lost", () => {
  const newEntry = () => ({
    content: { kind: EntryKind.application, entryId: randomBytes(16), payload: randomBytes(9) },
    contentDigest: randomBytes(32),
    welcome: new Uint8Array(0),
  });
  const append = (storage: RelayStorage, log: LogId, entry = newEntry()) =>
    storage.append({ log, sender: alice, after: START, entry, now: NOW, quotas });

  /** A group whose log the storage follows; with one entry, which was told of. */
  async function followed(storage: RelayStorage) {
    const groupId = randomBytes(32);
    const log = groupLog(groupId);
    await storage.create({ groupId, sender: alice, bodyDigest: groupId, now: NOW, quotas });
    const told: number[] = [];
    storage.watch(({ seq }) => told.push(seq));
    storage.follow?.(log);
    const channel = `${prefix}news{g:${toHex(groupId)}}`;
    await expect
      .poll(async () => String(await server.command("PUBSUB", "SHARDNUMSUB", channel)))
      .toMatch(/,1$/);
    await append(storage, log);
    await expect.poll(() => told).toContain(1);
    return { log, told };
  }

  it("are told of at once where their replicas are late", async () => {
    const replica = await server.replica();
    atEnd(() => replica.dispose());
    // It stands still, so that no regular look finds them.
    const storage = await open({ clock: new ManualClock(), waitReplicas: 1, waitTimeout: 3000 });
    const { log, told } = await followed(storage);
    await replica.signal("SIGSTOP");
    await expect(append(storage, log)).rejects.toMatchObject({ code: "store-failed" });
    await expect.poll(() => told, { timeout: 10_000 }).toContain(2);
    await replica.signal("SIGCONT");
  });

  it("are told of when they are appended again here", async () => {
    const [here, there] = [await open({ clock: new ManualClock() }), await open()];
    const { log, told } = await followed(here);
    await silence();
    const entry = newEntry();
    const cursor = await append(there, log, entry);
    expect(told).not.toContain(2);
    expect(await append(here, log, entry)).toEqual(cursor);
    await expect.poll(() => told, { timeout: 10_000 }).toContain(2);
  });
});

describe("a session of a device that its user's list lost", () => {
  async function admitted(storage: RelayStorage, devices: readonly Bytes[], version: number) {
    const [deviceId] = devices as [Bytes];
    const account = accountOf("alice", [...devices], version);
    await storage.admit({ account, deviceId, incarnation: 1, incarnationTag: randomBytes(16), now: NOW });
  }

  it("ends although the message of it is lost", async () => {
    const [here, there] = [await open(), await open()];
    const [old, next] = [randomBytes(16), randomBytes(16)];
    await admitted(here, [old, next], 1);
    const ended: string[] = [];
    here.enter?.(old, (why) => ended.push(why));
    here.enter?.(next, (why) => ended.push(`the other: ${why}`));
    const channel = `${prefix}session{d:${toHex(old)}}`;
    await expect
      .poll(async () => String(await server.command("PUBSUB", "SHARDNUMSUB", channel)))
      .toMatch(/,1$/);
    await expect.poll(() => server.command("EXISTS", `${prefix}newest{d:${toHex(old)}}`)).toBe(1);
    const speak = await silence();
    await admitted(there, [next], 2);
    expect(ended).toEqual([]);
    await speak();
    await expect.poll(() => ended, { timeout: 10_000 }).toEqual(["revoked"]);
  });

  it("ends if that happens just before it listens", async () => {
    const storage = await open({ clock: new ManualClock() });
    const [old, next] = [randomBytes(16), randomBytes(16)];
    await admitted(storage, [old, next], 1);
    await admitted(storage, [next], 2);
    const ended = await new Promise((resolve) => storage.enter?.(old, resolve));
    expect(ended).toBe("revoked");
  });
});
