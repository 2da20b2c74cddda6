import { afterAll, beforeAll, expect, it } from "vitest";
import { toHex } from "../../src/base/encoding.js";
import { randomBytes } from "../../src/crypto/random.js";
import { openRedisStorage, type Sender } from "../../src/relay.js";
import { atEnd, newPrefix } from "./nodes.js";
import { type RedisServer, startCluster } from "./redis-server.js";

let cluster: RedisServer[];
beforeAll(async () => {
  cluster = await startCluster();
});
afterAll(() => Promise.all(cluster.map((one) => one.dispose())));

const quotas = { maxInboxEntries: 5, maxInboxBytes: 10_000, maxRequests: 3, maxGroups: 4 };

it("asks for what is in a moving slot where it has gone, and waits for the replicas there", async () => {
  const prefix = newPrefix();
  const open = async (waitReplicas: number) => {
    const urls = cluster.map(({ url }) => url);
    const storage = await openRedisStorage(urls, { prefix, waitReplicas, waitTimeout: 100 });
    atEnd(() => storage.close());
    return storage;
  };
  const [storage, waiting] = [await open(0), await open(1)];
  const [groupId, nameHash] = [randomBytes(32), randomBytes(32)];
  const sender: Sender = { userId: "alice", deviceId: randomBytes(16) };
  await storage.create({ groupId, nameHash, sender, bodyDigest: groupId, now: 0, quotas });

  // Whoever looks the name up next has to write that the claim has its group.
  const tag = `{n:${toHex(nameHash)}}`;
  const slot = String(await cluster[0]?.command("CLUSTER", "KEYSLOT", tag));
  const keysAt = async (server: RedisServer) =>
    (await server.command("CLUSTER", "GETKEYSINSLOT", slot, "100")) as string[];
  const held = await Promise.all(cluster.map(keysAt));
  const from = cluster[held.findIndex((keys) => keys.length > 0)] as RedisServer;
  const to = cluster.find((server) => server !== from) as RedisServer;
  await from.command("HSET", `${prefix}n${tag}`, "since", "0", "before", "");
  const [fromId, toId] = await Promise.all([from, to].map((one) => one.command("CLUSTER", "MYID")));
  await to.command("CLUSTER", "SETSLOT", slot, "IMPORTING", String(fromId));
  await from.command("CLUSTER", "SETSLOT", slot, "MIGRATING", String(toId));
  const keys = await keysAt(from);
  await from.command("MIGRATE", "127.0.0.1", String(to.port), "", "0", "5000", "KEYS", ...keys);

  // There is no replica: whoever needs one must not take the claim for kept.
  await expect(waiting.resolveName(nameHash)).rejects.toThrow("only 0 of 1 replicas");
  expect(await storage.resolveName(nameHash)).toEqual(groupId);
  for (const server of [to, from]) await server.command("CLUSTER", "SETSLOT", slot, "NODE", String(toId));
  expect(await storage.resolveName(nameHash)).toEqual(groupId);
});
