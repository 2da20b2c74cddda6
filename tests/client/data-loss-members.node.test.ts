import { expect, it } from "vitest";
import { toHex } from "../../src/base/encoding.js";
import { decodeConversationRecord } from "../../src/client/conversation/record.js";
import { layout } from "../../src/client/layout.js";
import { decode } from "../../src/codec/reader.js";
import { randomBytes } from "../../src/crypto/random.js";
import { Client, memoryStore, type Store } from "../../src/index.js";
import { EntryKind, LogKind } from "../../src/wire/protocol.js";
import { codeOf } from "../harness/code-of.js";
import { RawClient } from "../relay/raw-client.js";
import {
  type Actor,
  type ActorOptions,
  connected,
  eventually,
  makeGroup,
  settledMembers,
} from "./harness.js";
import { RawMember } from "./raw-member.js";
import { numbered, relayWithBackups, sent } from "./relay-backup.js";
import { SkipClock, settle } from "./skip-clock.js";
import { TamperedConnector, withheldWelcomes } from "./tamper.js";

/** A relay with backups, and actors that come and go with what they have stored. */
async function world() {
  const { relay, backUp, restore } = await relayWithBackups();
  const stores = new Map<string, ReturnType<typeof memoryStore>>();
  const come = (userId: string, seams?: ActorOptions["seams"]) => {
    const store = stores.get(userId) ?? memoryStore();
    stores.set(userId, store);
    return connected(relay, userId, { store, ...(seams && { seams }) });
  };
  return { relay, stores, backUp, restore, come };
}

/** Comes again with what is stored until that says that all conversations are over. */
async function untilEnded(
  relay: { url: string },
  actor: Actor,
  store: ReturnType<typeof memoryStore>,
): Promise<Actor> {
  let last = actor;
  await eventually(async () => {
    await last.client.close();
    const session = await store.open(`${new URL(relay.url).href} ${actor.userId}`);
    const records = await session.list(layout.conversations);
    await session.close();
    last = await connected(relay, actor.userId, { store });
    return records.every(([, record]) => decode(decodeConversationRecord, record).status === "ended");
  }, `all is over for ${actor.userId}`);
  return last;
}

it("who has left, and finds that the others went on before the relay had it, leaves once more", async () => {
  const { backUp, restore, come } = await world();
  let [alice, bob] = [await come("alice"), await come("bob")];
  await makeGroup("team", [alice, bob]);
  await backUp();
  await alice.client.close();
  await bob.client.leaveGroup("team");
  await bob.client.close();
  await restore();
  alice = await come("alice");
  await alice.client.setJoinMode("team", "closed");
  await alice.client.sendGroupMessage("team", "not for bob");
  await sent(alice, 1);
  bob = await come("bob");
  await settledMembers("team", [alice]);
  expect(bob.texts).toEqual([]);
  expect(bob.all("groupLeave")).toEqual([]);
  await alice.event("memberLeave", ({ by }) => by === "bob");
});

it("who was invited can still accept where the relay has lost that, and it was put back at another place", async () => {
  const { backUp, restore, come } = await world();
  let [alice, bob] = [await come("alice"), await come("bob")];
  await alice.client.createGroup("team");
  await alice.client.sendGroupMessage("team", "to oneself");
  await sent(alice, 1);
  await alice.client.setJoinMode("team", "closed");
  await backUp();
  await alice.client.sendGroupMessage("team", "lost");
  await alice.client.invite("team", "bob");
  await bob.event("invitation");
  for (const { client } of [alice, bob]) await client.close();
  await restore();
  bob = await come("bob");
  alice = await come("alice");
  await alice.client.sendGroupMessage("team", "after");
  await (await bob.event("invitation")).accept();
  // It is asked for now and then, or with the next session.
  await bob.client.close();
  bob = await come("bob");
  await bob.message("after");
  await bob.client.sendGroupMessage("team", "here I am");
  await alice.message("here I am");
  expect(bob.all("groupLeave")).toEqual([]);
  expect(bob.all("undecryptable")).toEqual([]);
});

it("a pointer to a commit that the relay has lost ends no request to join", async () => {
  const { relay, backUp, restore, come } = await world();
  let alice = await come("alice");
  await alice.client.createGroup("team", { join: "open" });
  let [followed, lost] = [0, false];
  const connector = new TamperedConnector({
    fromClient(frame) {
      if (frame.type !== "request" || frame.name !== "fetchBundle") return undefined;
      // The relay loses it before it has answered.
      return ++followed === 1 ? [] : undefined;
    },
    fromRelay(frame) {
      lost ||= frame.type === "refuse" && frame.code === "not-a-member";
      return undefined;
    },
  });
  const bob = await connected(relay, "bob", { seams: { connector, random: () => 0.1 } });
  await backUp();
  const joined = bob.client.joinGroup("team", { timeout: 60_000 });
  await eventually(() => followed === 1);
  await alice.client.close();
  await restore();
  await eventually(() => lost);
  alice = await come("alice");
  await joined;
  await settledMembers("team", [alice, bob]);
  expect(bob.errors.filter((code) => code !== "cursor-mismatch")).toEqual([]);
});

it.each(["", ", also where that stands before the first of them"])(
  "who knows commits that the relay has lost is told how much was sent meanwhile by who knows none of them%s",
  async (where) => {
    const { backUp, restore, come } = await world();
    let [alice, bob, carol] = [await come("alice"), await come("bob"), await come("carol")];
    await makeGroup("team", [alice, bob, carol]);
    await alice.client.promote("team", "bob");
    await eventually(async () => (await bob.client.groups())[0]?.admin === true);
    // With their first word members renew their keys.
    for (const { client, userId } of [alice, bob, carol]) {
      await client.sendGroupMessage("team", `by ${userId}`);
      for (const one of [alice, bob, carol]) if (one.userId !== userId) await one.message(`by ${userId}`);
    }
    await backUp();
    for (const { client } of [alice, carol]) await client.close();
    const before = where === "" ? [] : numbered("lost before the first of them", 4);
    for (const text of before) await bob.client.sendGroupMessage("team", text);
    await sent(bob, 1 + before.length);
    await bob.client.setJoinMode("team", "closed");
    await bob.client.close();
    await restore();
    carol = await come("carol");
    for (const text of numbered("meanwhile", 3)) await carol.client.sendGroupMessage("team", text);
    await sent(carol, 3);
    await carol.client.close();
    bob = await come("bob");
    await bob.event("undecryptable");
    alice = await come("alice");
    carol = await come("carol");
    await bob.client.sendGroupMessage("team", "once more, please");
    await Promise.all([alice.message("once more, please"), carol.message("once more, please")]);
    expect(bob.all("undecryptable")).toEqual([{ group: "team", reason: "data-lost", missed: 3 }]);
    expect(alice.all("undecryptable").concat(carol.all("undecryptable"))).toEqual([]);
    await alice.message("meanwhile 2");
  },
);

it.each(["gets", "has other keys by then, and is told of,"])(
  "who is removed while its way in is put back at another place %s what was sent before that",
  async (what) => {
    const hasOtherKeys = what !== "gets";
    const { backUp, restore, come } = await world();
    let [alice, bob] = [await come("alice"), await come("bob")];
    const carol = await come("carol");
    await makeGroup("team", [alice, carol]);
    await backUp();
    // It comes back behind the commit.
    await alice.client.sendGroupMessage("team", "was before it");
    await carol.message("was before it");
    await alice.client.invite("team", "bob");
    await (await bob.event("invitation")).accept();
    await settledMembers("team", [alice, carol, bob]);
    for (const { client } of [alice, carol]) await client.close();
    if (hasOtherKeys) {
      // Its first word renews its keys, which nobody else has seen.
      await bob.client.sendGroupMessage("team", "for nobody");
      await sent(bob, 1);
    }
    await bob.client.close();
    await restore();
    alice = await come("alice");
    for (const text of numbered("meanwhile", 3)) await alice.client.sendGroupMessage("team", text);
    await sent(alice, 3);
    await alice.client.remove("team", "bob");
    bob = await come("bob");
    expect(await bob.event("groupLeave")).toMatchObject({ group: "team" });
    if (!hasOtherKeys) await bob.message("meanwhile 2");
    expect(bob.texts).toEqual(hasOtherKeys ? [] : numbered("meanwhile", 3));
    const missed = hasOtherKeys ? [{ group: "team", reason: "cursor-mismatch", missed: 3 }] : [];
    expect(bob.all("undecryptable")).toEqual(missed);
  },
);

it("who asked to be added anew before its way in was put back, and is removed behind that, asks no more", async () => {
  const { relay, stores, backUp, restore, come } = await world();
  let [alice, bob] = [await come("alice"), await come("bob")];
  await makeGroup("team", [alice]);
  await backUp();
  await alice.client.invite("team", "bob");
  await (await bob.event("invitation")).accept();
  await settledMembers("team", [alice, bob]);
  for (const { client } of [alice, bob]) await client.close();
  await restore();
  const { connector, held, counts, release } = withheldWelcomes();
  bob = await come("bob", { connector, random: () => 0.1 });
  await eventually(() => counts.asked > 0);
  alice = await come("alice");
  await eventually(() => held.length > 0);
  await alice.client.remove("team", "bob");
  release();
  await bob.event("groupLeave");
  await bob.client.close();
  const session = await (stores.get("bob") as Store).open(`${new URL(relay.url).href} bob`);
  expect(await session.list(layout.joins)).toEqual([]);
  await session.close();
});

it("who was removed is not left with a way in that others put back without its welcome", async () => {
  const { relay, stores, backUp, restore, come } = await world();
  const [alice, bob, carol] = [await come("alice"), await come("bob"), await come("carol")];
  await makeGroup("team", [alice, carol]);
  await alice.client.promote("team", "carol");
  await carol.event("groupUpdated");
  await backUp();
  await alice.client.invite("team", "bob");
  await (await bob.event("invitation")).accept();
  await alice.client.remove("team", "bob");
  await bob.event("groupLeave");
  await settledMembers("team", [alice, carol]);
  for (const { client } of [alice, bob, carol]) await client.close();
  await restore();
  const clock = new SkipClock();
  let isPointed = false;
  const connector = new TamperedConnector({
    fromRelay(frame) {
      isPointed ||= frame.type === "entries" && frame.log.kind === LogKind.inbox;
      return undefined;
    },
  });
  const again = await come("bob", { connector, clock, random: () => 0.1 });
  const admin = await come("carol");
  await eventually(() => isPointed);
  await admin.client.sendGroupMessage("team", "all is there again");
  await sent(admin, 1);
  await clock.skip(70_000, () => settle(again));
  await again.client.close();
  const session = await (stores.get("bob") as Store).open(`${new URL(relay.url).href} bob`);
  expect(await session.list(layout.pointers)).toEqual([]);
  await session.close();
});

it("who has left, and is in again because the relay and all others know nothing of it, leaves by itself", async () => {
  const { backUp, restore, come } = await world();
  const alice = await come("alice");
  let [bob, carol] = [await come("bob"), await come("carol")];
  await makeGroup("team", [alice, bob, carol]);
  await backUp();
  await carol.client.close();
  await bob.client.leaveGroup("team");
  await eventually(async () => (await alice.client.members("team")).length === 2);
  await bob.event("groupLeave");
  await bob.client.close();
  await alice.client.close();
  await restore();
  carol = await come("carol");
  await carol.client.sendGroupMessage("team", "who is there?");
  await sent(carol, 1);
  bob = await come("bob");
  await eventually(async () => !(await carol.client.members("team")).some(({ userId }) => userId === "bob"));
  expect(bob.all("invitation")).toEqual([]);
  expect(bob.all("groupJoin")).toEqual([]);
  expect(bob.texts).toEqual([]);
});

it("what others put back that its maker had not seen in the log is in it once, and strands nobody", async () => {
  const { relay, backUp, restore, come } = await world();
  const alice = await come("alice");
  const store = memoryStore();
  let cut = false;
  const commits = new Set<string>();
  const connector = new TamperedConnector({
    fromRelay(frame) {
      return cut && (frame.type === "entries" || frame.type === "reply") ? [] : undefined;
    },
    fromClient(frame) {
      if (frame.type !== "request" || frame.name !== "append") return undefined;
      const { kind, entryId } = frame.body.entry;
      if (kind === EntryKind.commit) commits.add(toHex(entryId));
      cut = commits.size > 0;
      return undefined;
    },
  });
  let bob = await connected(relay, "bob", { store });
  await makeGroup("team", [alice, bob]);
  await alice.client.promote("team", "bob");
  for (const { client, userId } of [alice, bob]) {
    await client.sendGroupMessage("team", `by ${userId}`);
    for (const one of [alice, bob]) if (one.userId !== userId) await one.message(`by ${userId}`);
  }
  await bob.client.close();
  await backUp();
  bob = await connected(relay, "bob", { store, seams: { connector, random: () => 0.1 } });
  await alice.client.sendGroupMessage("team", "later");
  await bob.message("later");
  void bob.client.setJoinMode("team", "closed").catch(() => {});
  await alice.event("groupUpdated", ({ join }) => join === "closed");
  await bob.client.close();
  await alice.client.close();
  await restore();
  connector.tamper = { ...connector.tamper, fromRelay: () => undefined };
  bob = await connected(relay, "bob", { store, seams: { connector, random: () => 0.1 } });
  const again = await come("alice");
  await again.client.sendGroupMessage("team", "still there?");
  await bob.message("still there?");
  await bob.client.sendGroupMessage("team", "I am");
  await again.message("I am");
  // What it made was sent again as it was.
  expect(commits.size).toBe(1);
  expect((await again.client.groups())[0]?.join).toBe("closed");
  expect(bob.all("undecryptable").concat(again.all("undecryptable"))).toEqual([]);
});

it("what waits for a group that the relay has lost, and has another of its name by now, fails as it does where one is no member", async () => {
  const { relay, backUp, restore, come } = await world();
  const store = memoryStore();
  const alice = await connected(relay, "alice", { store });
  await backUp();
  await alice.client.createGroup("team");
  await alice.client.close();
  await restore();
  const carol = await come("carol");
  await carol.client.createGroup("team");
  const client = new Client({ url: relay.url, userId: "alice", store });
  const failed: (string | undefined)[] = [];
  const lost = new Promise((resolve) => client.on("groupLeave", resolve));
  client.on("receipt", ({ state, code }) => void (state === "failed" && failed.push(code)));
  await client.sendGroupMessage("team", "nobody gets this");
  const banned = codeOf(client.ban("team", "carol"));
  await client.connect();
  expect(await banned).toBe("not-a-member");
  expect(await lost).toMatchObject({ reason: "lost" });
  await eventually(() => failed.length === 1);
  expect(failed).toEqual(["not-a-member"]);
  await client.close();
});

it("who has made a commit of a leave that the log goes on without makes another, and stays with the others", async () => {
  const { relay, backUp, restore, come } = await world();
  let [alice, bob] = [await come("alice"), await come("bob")];
  const dave = await come("dave");
  await makeGroup("team", [bob, alice, dave]);
  const mallory = await RawMember.connect(relay, "mallory");
  await bob.client.invite("team", "mallory");
  await mallory.join();
  await mallory.follow();
  await Promise.all(
    [alice, dave].map((one) => one.event("memberJoin", ({ userId }) => userId === "mallory")),
  );
  for (const { client } of [alice, bob]) await client.close();
  await backUp();
  await dave.until(() => dave.all("connect").length >= 2);
  await dave.client.leaveGroup("team");
  await dave.client.close();
  const before = mallory.handshake;
  const garbage = {
    kind: EntryKind.leave,
    entryId: randomBytes(16),
    payload: randomBytes(300),
    isOfAnother: true,
  };
  const raw = await RawClient.connect(relay.url, mallory.user);
  await raw.append(mallory.log, (await raw.subscribe(mallory.log, before)).head, garbage);
  let isSwallowed = true;
  let commits = 0;
  const connector = new TamperedConnector({
    fromClient(frame) {
      if (frame.type !== "request" || frame.name !== "append") return undefined;
      if (frame.body.entry.kind !== EntryKind.commit) return undefined;
      commits++;
      return isSwallowed ? [] : undefined;
    },
  });
  bob = await come("bob", { random: () => 0.1, connector });
  await eventually(() => commits > 0, "bob has made a commit that dave leaves");
  connector.isReachable = false;
  await restore();
  // Of what the relay has lost comes back only what stood behind that he does.
  const again = await RawClient.connect(relay.url, mallory.user);
  await again.append(mallory.log, before, garbage);
  isSwallowed = false;
  connector.isReachable = true;
  await bob.event("error", ({ code }) => code === "data-lost");
  await bob.client.sendGroupMessage("team", "from bob");
  await sent(bob, 1);
  alice = await come("alice");
  await alice.message("from bob");
  await alice.client.sendGroupMessage("team", "from alice");
  await bob.message("from alice");
});

it("who was leaving, and is removed where others put back that it does, has left, though the log is another before it", async () => {
  const { relay, backUp, restore, come } = await world();
  let [alice, carol] = [await come("alice"), await come("carol")];
  const store = memoryStore();
  let bob = await connected(relay, "bob", { store });
  await makeGroup("team", [alice, carol]);
  await backUp();
  // It comes back behind the commits.
  await alice.client.sendGroupMessage("team", "was before them");
  await carol.message("was before them");
  await alice.client.invite("team", "bob");
  await (await bob.event("invitation")).accept();
  await settledMembers("team", [alice, carol, bob]);
  for (const { client } of [alice, carol]) await client.close();
  await bob.client.leaveGroup("team");
  await bob.client.close();
  [alice, carol] = [await come("alice"), await come("carol")];
  await settledMembers("team", [alice, carol]);
  await restore();
  await alice.client.sendGroupMessage("team", "on we go");
  await carol.message("on we go");
  bob = await connected(relay, "bob", { store });
  await bob.event("error", ({ code }) => code === "data-lost");
  await untilEnded(relay, bob, store);
  await settledMembers("team", [alice, carol]);
});

it.each([true, false])(
  "a leave that the relay has lost (its commit too: %s) is put back and committed while who left and all admins are away",
  async (isCommitted) => {
    const { relay, backUp, restore, come } = await world();
    let isLost = false;
    const tried = new Set<string>();
    const member = (userId: string) => {
      const connector = new TamperedConnector({
        fromClient(frame) {
          if (frame.type !== "request" || frame.name !== "append") return undefined;
          if (frame.body.entry.kind !== EntryKind.commit) return undefined;
          tried.add(userId);
          return isCommitted || isLost ? undefined : [];
        },
      });
      return come(userId, { random: () => 0.1, connector });
    };
    let alice = await come("alice");
    const store = memoryStore();
    let dave = await connected(relay, "dave", { store });
    let [bob, carol] = [await come("bob"), await come("carol")];
    await makeGroup("team", [alice, bob, carol, dave]);
    for (const { client } of [alice, bob, carol, dave]) await client.close();
    await backUp();
    dave = await connected(relay, "dave", { store });
    await dave.client.leaveGroup("team");
    await dave.client.close();
    [bob, carol] = [await member("bob"), await member("carol")];
    if (isCommitted) await Promise.all([bob.event("memberLeave"), carol.event("memberLeave")]);
    else await eventually(() => tried.size === 2);
    isLost = true;
    await restore();
    await bob.client.sendGroupMessage("team", "on we go");
    await carol.message("on we go");
    await carol.client.sendGroupMessage("team", "so we do");
    await bob.message("so we do");
    // Who left learns how it ended, and asks for nothing.
    dave = await untilEnded(relay, await connected(relay, "dave", { store }), store);
    alice = await come("alice");
    await Promise.all([alice.message("on we go"), alice.message("so we do")]);
    await settledMembers("team", [alice, bob, carol]);
    await alice.client.setJoinMode("team", "closed");
    await alice.client.sendGroupMessage("team", "back again");
    await Promise.all([bob.message("back again"), carol.message("back again")]);
    for (const one of [alice, bob, carol]) {
      expect(one.all("undecryptable")).toEqual([]);
      expect(one.all("groupLeave")).toEqual([]);
      expect(one.all("joinRequest")).toEqual([]);
      expect(one.all("receipt").filter(({ state }) => state === "failed")).toEqual([]);
    }
    expect(dave.all("invitation")).toEqual([]);
    expect(dave.all("groupJoin")).toEqual([]);
  },
);
