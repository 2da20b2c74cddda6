import { afterEach, describe, expect, it } from "vitest";
import { type Actor, atEnd, connected, eventually, makeGroup } from "../client/harness.js";
import { Balancer } from "./balancer.js";
import { startNodes } from "./nodes.js";
import { RedisServer } from "./redis-server.js";

const servers: RedisServer[] = [];

afterEach(() => Promise.all(servers.splice(0).map((server) => server.dispose())));

async function startBalancer(): Promise<Balancer> {
  const balancer = await Balancer.start();
  atEnd(() => balancer.close());
  return balancer;
}

describe("without waiting for replicas, a replica that stood still takes the primary's place", () => {
  it("gets back from the clients what it does not have", async () => {
    const primary = await RedisServer.start();
    servers.push(primary);
    const replica = await primary.replica();
    servers.push(replica);
    const [everyone, dave] = [await startBalancer(), await startBalancer()];
    const names = [everyone, dave].map(({ port }) => `127.0.0.1:${port}`);
    const nodes = await startNodes(2, [primary.url, replica.url], { waitReplicas: 0 }, names);
    const ports = nodes.map(({ url }) => Number(new URL(url).port));
    everyone.targets = ports;
    dave.targets = ports;
    const actors = await Promise.all([
      ...["alice", "bob", "carol"].map((name) => connected(everyone, name)),
      connected(dave, "dave"),
    ]);
    const [alice, bob, carol, away] = actors as [Actor, Actor, Actor, Actor];
    await makeGroup("team", actors);
    await alice.client.sendGroupMessage("team", "before");
    await alice.client.sendDirectMessage("dave", "hello dave");
    for (const actor of [bob, carol, away]) await actor.message("before");
    await away.message("hello dave");

    // From here on the replica gets nothing, and one member is away.
    dave.cut();
    await eventually(() => away.client.state === "reconnecting");
    const offsets = async () =>
      Number(/master_repl_offset:(\d+)/.exec(String(await primary.command("INFO", "replication")))?.[1]);
    await primary.untilInfo("replication", /slave0:.*lag=[01]/);
    await replica.signal("SIGSTOP");
    await primary.command("CLIENT", "KILL", "TYPE", "replica");
    const kept = await offsets();
    const COUNT = 10;
    const ids = new Map<Actor, string[]>();
    for (const actor of [alice, bob, carol]) {
      const own = [];
      for (let i = 0; i < COUNT; i++)
        own.push(await actor.client.sendGroupMessage("team", `${actor.userId} ${i}`));
      ids.set(actor, own);
    }
    ids.get(alice)?.push(await alice.client.sendDirectMessage("dave", "are you there?"));
    for (const [actor, own] of ids) await actor.receipts(own, "sent");
    for (const actor of [alice, bob, carol]) {
      await actor.until(() => actor.texts.filter((text) => /\d$/.test(String(text))).length === 2 * COUNT);
    }
    const lost = (await offsets()) - kept;
    await primary.kill();
    await replica.signal("SIGCONT");
    await replica.command("REPLICAOF", "NO", "ONE");

    dave.targets = ports;
    const wanted = [alice, bob, carol].flatMap(({ userId }) =>
      Array.from({ length: COUNT }, (_, i) => `${userId} ${i}`),
    );
    await away.until(() => wanted.every((text) => away.texts.includes(text)), "what was lost");
    await away.message("are you there?");
    await away.client.sendGroupMessage("team", "back again");
    for (const actor of [alice, bob, carol]) await actor.message("back again");
    for (const actor of actors) expect(new Set(actor.texts).size).toBe(actor.texts.length);
    console.log(`WAIT 0: the replica lacked ${lost} bytes with ${wanted.length + 1} messages; all came back`);
    expect(lost).toBeGreaterThan(0);
  });
});
