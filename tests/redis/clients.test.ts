import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Actor, atEnd, connectAll, makeGroup } from "../client/harness.js";
import { buildCli, RelayProcess } from "../relay/relay-process.js";
import { Balancer } from "./balancer.js";
import { newPrefix } from "./nodes.js";
import { RedisServer, startCluster } from "./redis-server.js";

let cli: Awaited<ReturnType<typeof buildCli>>;
let server: RedisServer;
let cluster: RedisServer[];

beforeAll(async () => {
  cli = await buildCli();
  server = await RedisServer.start();
  cluster = await startCluster();
});
afterAll(() => Promise.all([cli.dispose(), ...[server, ...cluster].map((one) => one.dispose())]));

/** Relays in processes of their own that share one Redis, behind one address. */
async function startRelays(count: number, redis: readonly string[]) {
  const balancer = await Balancer.start();
  atEnd(() => balancer.close());
  const flags = redis.flatMap((url) => ["--redis", url]);
  const environment = { SUBROSA_RELAY_REDIS_PREFIX: newPrefix() };
  const relays = Array.from({ length: count }, () => {
    const name = `127.0.0.1:${balancer.port}`;
    const relay = new RelayProcess(cli.path, ["--port", "0", "--name", name, ...flags], environment);
    atEnd(() => relay.signal("SIGKILL"));
    return relay;
  });
  const urls = await Promise.all(relays.map((relay) => relay.url()));
  balancer.targets = urls.map((url) => Number(new URL(url).port));
  return { url: balancer.url, relays, balancer, environment };
}

describe.each([
  ["one Redis", () => [server.url]],
  ["a Redis cluster", () => cluster.map(({ url }) => url)],
] as const)("clients spread over three relays over %s", (_, redis) => {
  it("lose nothing that was acknowledged and get nothing twice when one relay is killed", async () => {
    const relay = await startRelays(3, redis());
    const names = ["alice", "bob", "carol", "dave", "erin", "frank"] as const;
    const actors = await connectAll(relay, names);
    await makeGroup("team", actors);
    await makeGroup("half", actors.slice(0, 3));
    const rooms: [string, readonly Actor[]][] = [
      ["team", actors],
      ["half", actors.slice(0, 3)],
    ];
    const sent: { text: string; from: Actor; to: readonly Actor[] }[] = [];
    const ids = new Map<Actor, string[]>(actors.map((actor) => [actor, []]));
    const say = async (from: Actor, text: string, to: readonly Actor[], room?: string) => {
      sent.push({ text, from, to: to.filter((one) => one !== from) });
      const [peer] = to as [Actor];
      const id = await (room === undefined
        ? from.client.sendDirectMessage(peer.userId, text)
        : from.client.sendGroupMessage(room, text));
      ids.get(from)?.push(id);
    };
    for (let round = 0; round < 12; round++) {
      await Promise.all([
        ...rooms.flatMap(([room, members]) =>
          members.map((from) => say(from, `${room} ${round} by ${from.userId}`, members, room)),
        ),
        ...actors.map((from, i) => {
          const peer = actors[(i + 1) % actors.length] as Actor;
          return say(from, `direct ${round} by ${from.userId}`, [peer]);
        }),
      ]);
      if (round === 5) await relay.relays[0]?.signal("SIGKILL");
    }
    for (const actor of actors) {
      await actor.receipts(ids.get(actor) as string[], "sent");
      const wanted = sent.filter(({ to }) => to.includes(actor)).map(({ text }) => text);
      await actor.count(wanted.length);
    }
    // Whoever got something twice has it by now: all that was sent has come.
    const due = sent.reduce((sum, { to }) => sum + to.length, 0);
    const got = actors.reduce((sum, { texts }) => sum + texts.length, 0);
    console.log(`three relays, one of them killed: ${due} messages to be received, ${got} received`);
    for (const actor of actors) {
      const wanted = sent.filter(({ to }) => to.includes(actor)).map(({ text }) => text);
      expect([...actor.texts].sort()).toEqual(wanted.sort());
      expect(actor.all("undecryptable")).toEqual([]);
    }
  });
});

it("an operator's commands reach those who are connected to any of the relays", async () => {
  const relay = await startRelays(2, [server.url]);
  const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
  await makeGroup("team", [alice, bob]);
  await makeGroup("other", [alice, carol]);
  const command = async (...args: readonly string[]) => {
    const process = new RelayProcess(cli.path, [...args, "--redis", server.url], relay.environment);
    const code = await process.ended();
    return [code, process.output];
  };
  const [code, users] = await command("users", "--json");
  expect([code, String(users).trim().split("\n").length]).toEqual([0, 3]);
  expect(await command("notice", "Down at noon")).toEqual([0, "sent to everybody who is connected\n"]);
  for (const actor of [alice, bob, carol])
    expect(await actor.event("notice")).toMatchObject({ text: "Down at noon" });
  expect(await command("close-group", "--name", "other")).toEqual([0, "closed other\n"]);
  for (const actor of [alice, carol])
    expect(await actor.event("groupLeave")).toEqual({ group: "other", reason: "closed" });
  expect(await command("remove-user", "bob")).toEqual([0, "removed bob\n"]);
  expect(await bob.event("disconnect")).toMatchObject({ code: 4413, willReconnect: false });
  expect(await alice.event("userDeleted")).toMatchObject({ userId: "bob" });
});
