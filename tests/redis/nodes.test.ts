import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { sha256 } from "../../src/crypto/hash.js";
import { randomBytes } from "../../src/crypto/random.js";
import { CloseCode } from "../../src/wire/protocol.js";
import { eventually } from "../client/harness.js";
import {
  add,
  chain,
  commit,
  groupLog,
  inboxOf,
  joinRequest,
  makeUser,
  message,
  RawClient,
  requestBox,
  setRole,
  type TestUser,
  textOf,
} from "../relay/raw-client.js";
import { type Node, startNodes } from "./nodes.js";
import { RedisServer, startCluster } from "./redis-server.js";

let server: RedisServer;
let cluster: RedisServer[];

beforeAll(async () => {
  server = await RedisServer.start();
  cluster = await startCluster();
});
afterAll(() => Promise.all([server, ...cluster].map((one) => one.dispose())));

const connect = (node: Node | undefined, user: TestUser, incarnation = 1) =>
  RawClient.connect((node as Node).url, user, { incarnation });

/** Three users, each at a node of its own, and a group of them. */
async function threesome(nodes: readonly Node[]) {
  const users = await Promise.all(["alice", "bob", "carol"].map((name) => makeUser(name)));
  const clients = await Promise.all(users.map((user, i) => connect(nodes[i], user)));
  const [alice, ...others] = clients as [RawClient, RawClient, RawClient];
  for (const one of others) await one.subscribe(inboxOf(one.user));
  const groupId = randomBytes(32);
  const log = groupLog(groupId);
  const first = commit(others.map(({ user }) => add(user)));
  const at = await alice.request("create", { groupId, first });
  for (const one of others) await one.untilEntries(inboxOf(one.user), 1);
  for (const one of clients) await one.subscribe(log, at);
  return { clients, groupId, log, at };
}

describe.each([
  ["one Redis", () => [server.url]],
  ["a Redis cluster", () => cluster.map(({ url }) => url)],
] as const)("three relays over %s", (_, urls) => {
  it("pass on signals and what is published, to sessions at all of them but the sender's", async () => {
    const nodes = await startNodes(3, urls());
    const { clients, groupId } = await threesome(nodes);
    const [alice, ...others] = clients as [RawClient, RawClient, RawClient];
    for (const one of clients) await one.request("subscribeChannel", { channel: "news" });
    // Until the nodes listen to each other things may be lost: what gets through is said again and again until then.
    const heard = (one: RawClient, type: string) => one.frames.filter((frame) => frame.type === type);
    await eventually(async () => {
      alice.send({ type: "signal", groupId, payload: Uint8Array.of(1, 2, 3) });
      await alice.request("publish", { channel: "news", data: "hello" });
      return others.every((one) => heard(one, "signal").length > 0 && heard(one, "data").length > 0);
    });
    for (const one of others) {
      expect(heard(one, "signal")[0]).toEqual({ type: "signal", groupId, payload: Uint8Array.of(1, 2, 3) });
      expect(heard(one, "data")[0]).toEqual({ type: "data", channel: "news", from: "alice", data: "hello" });
    }
    await alice.request("listGroups", {});
    expect([heard(alice, "signal"), heard(alice, "data")]).toEqual([[], []]);
    const [bob, carol] = others as [RawClient, RawClient];
    await bob.request("unsubscribeChannel", { channel: "news" });
    const count = heard(bob, "data").length;
    const before = heard(carol, "data").length;
    await alice.request("publish", { channel: "news", data: "more" });
    await carol.until(() => heard(carol, "data").length > before);
    expect(heard(bob, "data")).toHaveLength(count);
    expect(nodes.flatMap(({ errors }) => errors)).toEqual([]);
  });

  it("pass on what is appended at any of them, in one order and once", async () => {
    const nodes = await startNodes(3, urls());
    const { clients, log, at } = await threesome(nodes);
    const COUNT = 40;
    const cursors = await Promise.all(
      clients.flatMap((one) =>
        Array.from({ length: COUNT }, (_, i) => one.append(log, at, message(`${one.user.userId} ${i}`))),
      ),
    );
    expect(new Set(cursors.map(({ seq }) => seq)).size).toBe(3 * COUNT);
    const ends = [];
    for (const one of clients) {
      const entries = await one.untilEntries(log, 3 * COUNT);
      expect(entries).toHaveLength(3 * COUNT);
      // Own entries come in the short form, where the text is not.
      const mine = entries.flatMap((entry) => textOf(entry) ?? []);
      expect(new Set(mine).size).toBe(mine.length);
      for (const other of clients) {
        const theirs = mine.filter((text) => text.startsWith(`${other.user.userId} `));
        if (other !== one)
          expect(theirs).toEqual(Array.from({ length: COUNT }, (_, i) => `${other.user.userId} ${i}`));
      }
      ends.push(await chain(log, entries, at));
    }
    expect(ends[1]).toEqual(ends[0]);
    expect(ends[2]).toEqual(ends[0]);
    expect(nodes.flatMap(({ errors }) => errors)).toEqual([]);
  });

  it("let one of the commits win that are made at all of them at once, and tell the others", async () => {
    const nodes = await startNodes(3, urls());
    const { clients, log, at } = await threesome(nodes);
    const [alice, bob, carol] = clients as [RawClient, RawClient, RawClient];
    const admins = commit([setRole(bob.user, 2), setRole(carol.user, 2)]);
    let last = await alice.append(log, at, admins);
    for (let round = 0; round < 5; round++) {
      const after = last;
      const results = await Promise.allSettled(clients.map((one) => one.append(log, after, commit([]))));
      const won = results.filter(({ status }) => status === "fulfilled");
      expect(won).toHaveLength(1);
      for (const result of results) {
        if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "stale" });
        else last = result.value;
      }
    }
    for (const one of clients) {
      const entries = await one.untilEntries(log, 6);
      expect(await chain(log, entries, at)).toEqual(last);
    }
  });

  it("show join requests and access changes made at another one", async () => {
    const nodes = await startNodes(3, urls());
    const { clients, groupId, log, at } = await threesome(nodes);
    const [alice, bob] = clients as [RawClient, RawClient, RawClient];
    const dave = await connect(nodes[2], await makeUser("dave"));
    const box = requestBox(groupId);
    await bob.subscribe(box);
    const request = await joinRequest(dave.user, groupId);
    await dave.append(box, { seq: 0, digest: new Uint8Array(32) }, request);
    const [shown] = await bob.untilEntries(box, 1);
    expect(shown).toMatchObject({ content: { entryId: request.entryId } });
    await dave.subscribe(inboxOf(dave.user));
    const added = await alice.append(log, at, commit([add(dave.user)]));
    await dave.untilEntries(inboxOf(dave.user), 1);
    const removed = await alice.append(log, added, commit([{ ...add(bob.user), type: "remove" }]));
    await bob.until(() => bob.frames.filter(({ type }) => type === "ended").length === 2);
    expect((await chain(log, bob.entriesOf(log), at)).seq).toBe(removed.seq);
    expect((await dave.request("listGroups", {})).groups).toMatchObject([{ groupId, since: added }]);
    expect((await bob.request("listGroups", {})).groups).toEqual([]);
  });

  it("end a session when its device comes to another one", async () => {
    const nodes = await startNodes(3, urls());
    const user = await makeUser("alice");
    let before = await connect(nodes[0], user);
    for (const [i, node] of [nodes[1], nodes[2], nodes[0]].entries()) {
      const next = await connect(node, user, i + 2);
      expect((await before.closed()).code).toBe(CloseCode.replaced);
      await next.request("listGroups", {});
      before = next;
    }
  });

  it("hand out each key package once", async () => {
    const nodes = await startNodes(3, urls());
    const alice = await connect(nodes[0], await makeUser("alice"));
    const uploads = Array.from({ length: 30 }, (_, i) => ({ notAfter: 1e10, keyPackage: Uint8Array.of(i) }));
    await alice.request("publishKeyPackages", { oneTime: uploads });
    const now = Date.now();
    const taken = await Promise.all(
      uploads.map((_, i) => (nodes[i % 3] as Node).storage.takeKeyPackages("alice", now)),
    );
    const packages = taken.map(({ devices }) => devices[0]?.keyPackage[0]);
    expect(new Set(packages).size).toBe(30);
    await expect(nodes[1]?.storage.takeKeyPackages("alice", now)).rejects.toMatchObject({
      code: "no-key-package",
    });
  });

  it("give a name and a direct slot to one of those who ask at once", async () => {
    const nodes = await startNodes(3, urls());
    const users = await Promise.all(["alice", "bob", "carol"].map((name) => makeUser(name)));
    const clients = await Promise.all(users.map((user, i) => connect(nodes[i], user)));
    for (let round = 0; round < 5; round++) {
      const nameHash = await sha256(randomBytes(9));
      const groupIds = clients.map(() => randomBytes(32));
      const named = await Promise.allSettled(
        clients.map((one, i) => one.request("create", { groupId: groupIds[i] as Bytes, nameHash })),
      );
      const winner = named.findIndex(({ status }) => status === "fulfilled");
      expect(named.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      for (const one of clients) {
        expect(await one.request("resolveName", { nameHash })).toEqual({ groupId: groupIds[winner] });
      }
      const [alice, bob] = clients as [RawClient, RawClient, RawClient];
      const generation = round + 1;
      const direct = await Promise.allSettled(
        [
          [alice, bob],
          [bob, alice],
        ].map(([one, peer]) =>
          (one as RawClient).request("create", {
            groupId: randomBytes(32),
            direct: { peer: (peer as RawClient).user.userId, generation },
            first: commit([add((peer as RawClient).user)]),
          }),
        ),
      );
      expect(direct.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      const bindings = [
        await alice.request("resolveDirect", { userId: "bob" }),
        await bob.request("resolveDirect", { userId: "alice" }),
      ];
      expect(bindings[0]).toMatchObject({ binding: { generation } });
      expect(bindings[1]).toEqual(bindings[0]);
    }
  });

  it("lose no entry with the news of it", async () => {
    const nodes = await startNodes(3, urls());
    const { clients, log, at } = await threesome(nodes);
    const [alice, bob, carol] = clients as [RawClient, RawClient, RawClient];
    const servers = urls().length === 1 ? [server] : cluster;
    for (let i = 0; i < 60; i++) {
      await alice.append(log, at, message(`note ${i}`));
      if (i % 20 === 10) for (const one of servers) await one.command("CLIENT", "KILL", "TYPE", "pubsub");
    }
    for (const one of [bob, carol]) {
      const entries = await one.untilEntries(log, 60);
      expect(entries.map(textOf)).toEqual(Array.from({ length: 60 }, (_, i) => `note ${i}`));
    }
  });
});
