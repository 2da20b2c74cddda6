import { createClient } from "redis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { toHex } from "../../src/base/encoding.js";
import { encode } from "../../src/codec/writer.js";
import { randomBytes } from "../../src/crypto/random.js";
import { accountOf } from "../../src/relay/conformance/world.js";
import { directSlot } from "../../src/relay/direct-slot.js";
import { directRecord, groupIdRecord } from "../../src/relay/embedded/records.js";
import { encodeErrand } from "../../src/relay/redis/outbox.js";
import { openRedisStorage, type RelayStorage, type Sender } from "../../src/relay.js";
import { encodePointer } from "../../src/wire/entries.js";
import { START } from "../../src/wire/identifiers.js";
import { CloseCode, EntryKind } from "../../src/wire/protocol.js";
import { ManualClock } from "../relay/manual-clock.js";
import { groupLog, inboxOf, makeUser, message, RawClient } from "../relay/raw-client.js";
import { atEnd, newPrefix, startNodes } from "./nodes.js";
import { RedisServer } from "./redis-server.js";

let server: RedisServer;
const raw = () => createClient({ url: server.url, RESP: 2 });
let redis: ReturnType<typeof raw>;

beforeAll(async () => {
  server = await RedisServer.start();
  redis = raw();
  await redis.connect();
});
afterAll(async () => {
  redis.destroy();
  await server.dispose();
});

const quotas = { maxInboxEntries: 5, maxInboxBytes: 10_000, maxRequests: 3, maxGroups: 4 };
const NOW = 1_700_000_000_000;

async function open(prefix: string, clock?: ManualClock): Promise<RelayStorage> {
  const options = { prefix, ...(clock && { clock }) };
  const storage = await openRedisStorage(server.url, options);
  atEnd(() => storage.close());
  return storage;
}

const sender = (): Sender => ({ userId: "alice", deviceId: randomBytes(16) });

function create(storage: RelayStorage, groupId: Bytes, nameHash?: Bytes, by = sender()) {
  const command = { groupId, sender: by, bodyDigest: groupId, now: NOW, quotas };
  return storage.create({ ...command, ...(nameHash && { nameHash }) });
}

const application = (storage: RelayStorage, by: Sender, groupId: Bytes) => {
  const content = { kind: EntryKind.application, entryId: randomBytes(16), payload: randomBytes(9) };
  const entry = { content, contentDigest: randomBytes(32), welcome: new Uint8Array(0) };
  return storage.append({ log: groupLog(groupId), sender: by, after: START, entry, now: NOW, quotas });
};

describe("a name that was claimed for a group that never came", () => {
  async function claim(prefix: string, nameHash: Bytes, groupId: Bytes, since: number) {
    const key = `${prefix}n{n:${toHex(nameHash)}}`;
    await redis.hSet(key, {
      "": Buffer.from(groupIdRecord.encode(groupId)),
      since: String(since),
      before: "",
    });
  }

  it("is free again after a while, and the group cannot come any more", async () => {
    const [prefix, clock] = [newPrefix(), new ManualClock()];
    const storage = await open(prefix, clock);
    const [nameHash, lost, group] = [randomBytes(32), randomBytes(32), randomBytes(32)];
    await claim(prefix, nameHash, lost, clock.now());
    expect(await storage.resolveName(nameHash)).toBeUndefined();
    await expect(create(storage, group, nameHash)).rejects.toMatchObject({ code: "name-taken" });
    clock.advance(10_000);
    await create(storage, group, nameHash);
    expect(await storage.resolveName(nameHash)).toEqual(group);
    // Its creator was merely slow.
    await expect(create(storage, lost, nameHash)).rejects.toMatchObject({ code: "conflict" });
    expect(await storage.groupExists(lost)).toBe(false);
  });

  it("is its creator's when it asks again", async () => {
    const prefix = newPrefix();
    const storage = await open(prefix);
    const [nameHash, group] = [randomBytes(32), randomBytes(32)];
    await claim(prefix, nameHash, group, Date.now());
    expect(await create(storage, group, nameHash)).toEqual(START);
    expect(await storage.resolveName(nameHash)).toEqual(group);
    expect(await redis.hKeys(`${prefix}n{n:${toHex(nameHash)}}`)).toEqual([""]);
  });

  it("is free again after a while if the group was made with another name, or with none", async () => {
    const prefix = newPrefix();
    const clock = new ManualClock();
    const storage = await open(prefix, clock);
    const [own, other] = [randomBytes(32), randomBytes(32)];
    const [named, nameless] = [randomBytes(32), randomBytes(32)];
    await create(storage, named, own);
    await create(storage, nameless);
    for (const group of [named, nameless]) {
      await claim(prefix, other, group, clock.now());
      expect(await storage.resolveName(other)).toBeUndefined();
      clock.advance(10_000);
      expect(await storage.resolveName(other)).toBeUndefined();
      expect(await redis.exists(`${prefix}n{n:${toHex(other)}}`)).toBe(0);
    }
    await claim(prefix, other, named, clock.now());
    const next = randomBytes(32);
    // It may just be taking it.
    await expect(create(storage, next, other)).rejects.toMatchObject({ code: "name-taken" });
    clock.advance(10_000);
    await create(storage, next, other);
    expect(await storage.resolveName(other)).toEqual(next);
    expect(await storage.resolveName(own)).toEqual(named);
  });
});

describe("a direct slot that was claimed", () => {
  it("is the group's that was made for these two users, and of no other", async () => {
    const prefix = newPrefix();
    const storage = await open(prefix);
    const deviceId = randomBytes(16);
    const account = accountOf("bob", [deviceId], 1);
    const tags = { incarnation: 1, incarnationTag: randomBytes(16), now: NOW };
    await storage.admit({ account, deviceId, ...tags });
    const [bob, carol] = [await directSlot("alice", "bob"), await directSlot("alice", "carol")];
    const groupId = randomBytes(32);
    const direct = { slot: bob, peer: "bob", generation: 1 };
    await storage.create({ groupId, sender: sender(), bodyDigest: groupId, now: NOW, quotas, direct });
    const fields = { since: String(Date.now()), before: "" };
    const value = Buffer.from(directRecord.encode({ generation: 1, groupId }));
    for (const slot of [bob, carol])
      await redis.hSet(`${prefix}s{s:${toHex(slot)}}`, { "": value, ...fields });
    expect(await storage.resolveDirect(carol)).toBeUndefined();
    expect(await redis.exists(`${prefix}s{s:${toHex(carol)}}`)).toBe(0);
    expect(await storage.resolveDirect(bob)).toEqual({ generation: 1, groupId });
    expect(await redis.hKeys(`${prefix}s{s:${toHex(bob)}}`)).toEqual([""]);
  });
});

describe("relays that share a Redis", () => {
  it("do for each other what one that died has left undone", async () => {
    const prefix = newPrefix();
    const storage = await open(prefix);
    const [groupId, deviceId] = [randomBytes(32), randomBytes(16)];
    await create(storage, groupId);
    const payload = encode(encodePointer, { groupId, at: { seq: 1, digest: randomBytes(32) } });
    const content = { kind: EntryKind.pointer, entryId: randomBytes(16), payload };
    const left = encodeErrand({ type: "entry", deviceId, time: NOW, content });
    const outbox = `${prefix}out{g:${toHex(groupId)}}`;
    await redis.rPush(outbox, [left, left]);
    while (
      !(await storage.prune({ now: NOW, retention: 1000, uploadTimeout: 1000, maxLogBytes: 1e9, batch: 100 }))
    ) {}
    const inbox = await storage.read(inboxOf({ deviceId } as never), 0, 10, 1e6);
    expect(inbox.map((entry) => entry.content)).toEqual([content]);
    expect(await redis.lLen(outbox)).toBe(0);
  });

  it("drop old entries at one of them, and at the next when that is gone", async () => {
    const prefix = newPrefix();
    const [one, two] = [await open(prefix), await open(prefix)];
    const [groupId, alice] = [randomBytes(32), sender()];
    await create(one, groupId, undefined, alice);
    await application(one, alice, groupId);
    const prune = (storage: RelayStorage, age: number) =>
      storage.prune({ now: NOW + age, retention: 1000, uploadTimeout: 1000, maxLogBytes: 1e9, batch: 100 });
    const first = async () => (await two.head(groupLog(groupId))).first;
    expect(await prune(one, 500)).toBe(true);
    expect(await prune(two, 2000)).toBe(true);
    expect(await first()).toBe(1);
    await one.close();
    expect(await prune(two, 2000)).toBe(true);
    expect(await first()).toBe(2);
  });

  it("notice what others have changed since they looked last", async () => {
    const prefix = newPrefix();
    const storages = [await open(prefix), await open(prefix), await open(prefix)] as const;
    const [groupId, alice] = [randomBytes(32), sender()];
    await create(storages[0], groupId, undefined, alice);
    for (let i = 0; i < 12; i++) {
      const cursor = await application(storages[i % 3] as RelayStorage, alice, groupId);
      expect(cursor.seq).toBe(i + 1);
    }
  });

  it("append with one call of a script each, and with fewer when many append at once", async () => {
    const prefix = newPrefix();
    const storage = await open(prefix);
    const [groupId, alice] = [randomBytes(32), sender()];
    await create(storage, groupId, undefined, alice);
    await application(storage, alice, groupId);
    const calls = async () => {
      const stats = String(await server.command("INFO", "commandstats"));
      return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1]);
    };
    const before = await calls();
    for (let i = 0; i < 20; i++) await application(storage, alice, groupId);
    expect((await calls()) - before).toBe(20);
    await Promise.all(Array.from({ length: 200 }, () => application(storage, alice, groupId)));
    expect((await calls()) - before).toBeLessThan(40);
  });

  it("send readers away from a log that lost entries, and say so when they come again", async () => {
    const [node] = await startNodes(1, [server.url]);
    const alice = await RawClient.connect(node?.url as string, await makeUser("alice"));
    const groupId = randomBytes(32);
    const log = groupLog(groupId);
    await alice.request("create", { groupId });
    const first = await alice.append(log, START, message("one"));
    const keys = await redis.keys(`*{g:${toHex(groupId)}}`);
    for (const key of keys) await redis.copy(key, `kept${key}`);
    await alice.subscribe(log);
    const second = await alice.append(log, START, message("two"));
    await alice.untilEntries(log, 2);
    // What a replica would hold that did not get the second entry, in the primary's place.
    for (const key of keys) await redis.copy(`kept${key}`, key, { REPLACE: true });
    await server.command("CLIENT", "KILL", "TYPE", "pubsub");
    expect((await alice.closed()).code).toBe(CloseCode.internal);

    const again = await RawClient.connect(node?.url as string, alice.user);
    await expect(again.subscribe(log, second)).rejects.toMatchObject({ code: "cursor-mismatch" });
    await again.subscribe(log, first);
    expect(await again.append(log, START, message("three"))).toMatchObject({ seq: 2 });
  });
});
