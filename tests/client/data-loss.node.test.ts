import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { type Clock, systemClock } from "../../src/base/clock.js";
import { fromHex, toHex } from "../../src/base/encoding.js";
import { EmbeddedStorage } from "../../src/relay/embedded/embedded-storage.js";
import { after, keys } from "../../src/relay/embedded/keys.js";
import { MemoryKv } from "../../src/relay/embedded/memory-kv.js";
import { memoryStore } from "../../src/stores/memory.js";
import type { Connector } from "../../src/transport/transport.js";
import { webSocketConnector } from "../../src/transport/websocket.js";
import { decodeRelayFrame } from "../../src/wire/frames.js";
import { LogKind } from "../../src/wire/protocol.js";
import {
  type Actor,
  connectAll,
  connected,
  eventually,
  makeGroup,
  settledMembers,
  startRelay,
} from "./harness.js";
import { RawMember } from "./raw-member.js";
import { numbered, relayWithBackups, sent } from "./relay-backup.js";
import { SkipClock } from "./skip-clock.js";
import { TamperedConnector } from "./tamper.js";

/** Connections on which answers come later than what the relay sends by itself. */
const lateAnswers: Connector = {
  connect: async (...args) => {
    const inner = await webSocketConnector().connect(...args);
    return {
      send: (frame) => inner.send(frame),
      close: (code, reason) => inner.close(code, reason),
      get bufferedAmount() {
        return inner.bufferedAmount;
      },
      get onframe() {
        return inner.onframe;
      },
      set onframe(handler) {
        inner.onframe = handler && ((bytes) => void setTimeout(handler, isAnswer(bytes) ? 20 : 0, bytes));
      },
      get onclose() {
        return inner.onclose;
      },
      set onclose(handler) {
        inner.onclose = handler;
      },
    };
  },
};

const isAnswer = (bytes: Bytes) => decodeRelayFrame(bytes).type === "reply";

const once = (actor: Actor, texts: readonly string[]) => {
  for (const text of texts) {
    expect([actor.userId, text, actor.texts.filter((one) => one === text).length]).toEqual([
      actor.userId,
      text,
      1,
    ]);
  }
};

it("yesterday's backup of the relay: handshakes are put back, then messages; nothing is missing, nothing comes twice", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
  const store = memoryStore();
  let carol = await connected(relay, "carol", { store });
  await makeGroup("team", [alice, bob, carol]);
  await alice.client.sendGroupMessage("team", "before");
  await alice.client.sendDirectMessage("bob", "direct before");
  await Promise.all([bob.message("before"), carol.message("before"), bob.message("direct before")]);
  await backUp();

  // All of this the relay will know nothing of: messages, commits, a new user, a new group, a new conversation.
  const late = await connected(relay, "dave");
  await alice.client.invite("team", "dave");
  await (await late.event("invitation")).accept();
  await carol.client.close();
  const toAll = numbered("to all", 5);
  for (const text of toAll) await alice.client.sendGroupMessage("team", text);
  await Promise.all([bob.count(2 + 5), late.count(5)]);
  await late.client.sendGroupMessage("team", "by the late one");
  await bob.client.sendDirectMessage("alice", "direct after");
  await makeGroup("new", [bob, alice]);
  await bob.client.sendGroupMessage("new", "in the new group");
  await alice.message("in the new group");
  await bob.client.sendDirectMessage("carol", "for when you are back");
  await bob.event("receipt", ({ state }) => state === "sent");
  await restore();

  // Everybody comes back, and writes on.
  await alice.client.sendGroupMessage("team", "after");
  carol = await connected(relay, "carol", { store });
  await bob.client.sendGroupMessage("new", "after in the new group");
  await carol.message("after");
  await Promise.all([bob.message("after"), late.message("after"), alice.message("after in the new group")]);
  await carol.message("for when you are back");
  await carol.message("by the late one");
  await carol.client.sendGroupMessage("team", "carol too");
  await Promise.all([alice.message("carol too"), bob.message("carol too"), late.message("carol too")]);
  once(carol, [...toAll, "by the late one", "after", "for when you are back"]);
  once(bob, [...toAll, "before", "direct before", "by the late one", "after", "carol too"]);
  once(late, [...toAll, "after", "carol too"]);
  once(alice, ["by the late one", "direct after", "in the new group", "after in the new group", "carol too"]);
  for (const actor of [alice, bob, carol, late]) {
    expect(actor.all("groupLeave")).toEqual([]);
    expect(actor.all("receipt").filter(({ state }) => state === "failed")).toEqual([]);
    await eventually(async () => (await actor.client.members("team")).length === 4);
  }
});

const still = new SkipClock();

describe("messages of several runs of one client all come back, in their order,", () => {
  it.each<[string, (run: number) => Clock]>([
    ["where time goes by", () => systemClock],
    ["where the clock shows the same at the start of each", () => still],
    ["where the clock is set back", (run) => ({ ...systemClock, now: () => Date.now() - run * 60_000 })],
  ])("%s", async (_, clockOf) => {
    const { relay, backUp, restore } = await relayWithBackups();
    const stores = { alice: memoryStore(), bob: memoryStore() };
    let run = 0;
    const alice = () => {
      const seams = { clock: clockOf(run++), random: () => 0.1 };
      return connected(relay, "alice", { store: stores.alice, seams });
    };
    const first = await alice();
    let bob = await connected(relay, "bob", { store: stores.bob });
    await makeGroup("team", [first, bob]);
    await first.client.close();
    await backUp();
    await bob.client.close();
    const texts = ["m", "n", "o"].map((run) => numbered(run, 2));
    for (const both of texts) {
      const sender = await alice();
      for (const text of both) await sender.client.sendGroupMessage("team", text);
      await sent(sender, 2);
      await sender.client.close();
    }
    await restore();
    await alice();
    bob = await connected(relay, "bob", { store: stores.bob });
    await bob.count(6);
    expect(bob.texts).toEqual(texts.flat());
  });
});

it("what was sent before somebody joined does not come to them by it", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const stores = { alice: memoryStore(), bob: memoryStore() };
  let alice = await connected(relay, "alice", { store: stores.alice });
  let bob = await connected(relay, "bob", { store: stores.bob });
  await alice.client.createGroup("team", { join: "open" });
  await bob.client.joinGroup("team");
  await backUp();
  await bob.client.close();
  for (const text of numbered("secret", 8)) await alice.client.sendGroupMessage("team", text);
  await sent(alice, 8);
  await alice.client.close();
  await restore();
  bob = await connected(relay, "bob", { store: stores.bob });
  const eve = await connected(relay, "eve");
  await eve.client.joinGroup("team");
  await bob.client.sendGroupMessage("team", "welcome eve");
  await eve.message("welcome eve");
  alice = await connected(relay, "alice", { store: stores.alice });
  await alice.client.sendGroupMessage("team", "hello all");
  await eve.message("hello all");
  // The sender is told, and may say it again to whoever is there now.
  await alice.until(() => {
    const failed = alice.all("receipt").filter(({ code }) => code === "data-lost");
    return failed.flatMap(({ ids }) => ids).length === 8 || undefined;
  });
  expect(eve.texts).toEqual(["welcome eve", "hello all"]);
});

it("who comes back to a group that was deleted before its log was what it had been is told what that lost", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const stores = { alice: memoryStore(), bob: memoryStore() };
  let alice = await connected(relay, "alice", { store: stores.alice });
  let bob = await connected(relay, "bob", { store: stores.bob });
  await makeGroup("team", [alice, bob]);
  await bob.client.sendGroupMessage("team", "kept");
  await alice.message("kept");
  await sent(bob, 1);
  await backUp();
  await alice.client.close();
  const lost = await bob.client.sendGroupMessage("team", "lost");
  await bob.receipts([lost], "sent");
  await bob.client.close();
  await restore();
  alice = await connected(relay, "alice", { store: stores.alice });
  await alice.client.deleteGroup("team");
  bob = await connected(relay, "bob", { store: stores.bob });
  await bob.event("groupDeleted");
  await bob.event("receipt", ({ state }) => state === "failed");
  const failed = bob.all("receipt").filter(({ state }) => state === "failed");
  expect(failed.map(({ ids, code }) => [ids, code])).toEqual([[[lost], "data-lost"]]);
  expect(alice.texts).toEqual([]);
});

it("who has left goes on leaving where the relay has lost that, and gets nothing more of the group", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const stores = { alice: memoryStore(), bob: memoryStore() };
  let alice = await connected(relay, "alice", { store: stores.alice });
  let bob = await connected(relay, "bob", { store: stores.bob });
  await makeGroup("team", [alice, bob]);
  await backUp();
  await alice.client.close();
  const lost = await bob.client.sendGroupMessage("team", "lost");
  await bob.receipts([lost], "sent");
  await bob.client.leaveGroup("team");
  await bob.client.close();
  await restore();
  alice = await connected(relay, "alice", { store: stores.alice });
  await alice.client.sendGroupMessage("team", "not for bob");
  await sent(alice, 1);
  bob = await connected(relay, "bob", { store: stores.bob });
  await settledMembers("team", [alice]);
  await bob.event("receipt", ({ code }) => code === "data-lost");
  expect(bob.texts).toEqual([]);
  expect(bob.all("groupLeave")).toEqual([]);
});

it("a group goes on where the relay has lost that somebody left it, who is gone for good", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
  const store = memoryStore();
  let dave = await connected(relay, "dave", { store });
  await makeGroup("team", [alice, bob, carol, dave]);
  await backUp();
  // Dave has never seen the proposal, which the commit that is put back names.
  await dave.client.close();
  await bob.client.leaveGroup("team");
  await bob.event("groupLeave");
  await alice.event("memberLeave");
  await carol.event("memberLeave");
  await restore();
  await alice.client.sendGroupMessage("team", "on we go");
  await carol.message("on we go");
  await carol.client.sendGroupMessage("team", "yes");
  await alice.message("yes");
  dave = await connected(relay, "dave", { store });
  await dave.message("yes");
  expect(dave.texts).toEqual(["on we go", "yes"]);
  expect(dave.errors).toEqual([]);
  expect(bob.texts).toEqual([]);
  await settledMembers("team", [alice, carol, dave]);
});

it("messages follow a handshake that is put back, also if the log shows it before the relay has answered", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const stores = { alice: memoryStore(), bob: memoryStore() };
  let alice = await connected(relay, "alice", { store: stores.alice });
  let bob = await connected(relay, "bob", { store: stores.bob });
  await makeGroup("team", [alice, bob]);
  await backUp();
  await bob.client.close();
  await alice.client.setJoinMode("team", "closed");
  const id = await alice.client.sendGroupMessage("team", "lost");
  await alice.receipts([id], "sent");
  await alice.client.close();
  await restore();

  let [asked, shown, read] = [-1, 0, 0];
  let answer: Uint8Array<ArrayBuffer> | undefined;
  const connector = new TamperedConnector({
    fromClient(frame) {
      if (frame.type === "request" && frame.name === "append" && asked < 0) asked = frame.id;
      if (frame.type === "ack" && frame.log.kind === LogKind.group) read = frame.cursor.seq;
      return undefined;
    },
    fromRelay(frame, bytes) {
      if (frame.type === "entries" && asked >= 0) shown ||= frame.entries.at(-1)?.seq ?? 0;
      if (frame.type !== "reply" || frame.id !== asked || answer !== undefined) return undefined;
      answer = bytes.slice();
      return [];
    },
  });
  alice = await connected(relay, "alice", { store: stores.alice, seams: { connector, random: () => 0.1 } });
  await eventually(() => answer !== undefined && shown > 0 && read >= shown);
  connector.inject(answer as unknown as Uint8Array<ArrayBuffer>);
  await alice.receipts([id], "sent");
  bob = await connected(relay, "bob", { store: stores.bob });
  await bob.message("lost");
});

it("what the log has of one's own messages is known after a restart in the middle of putting it back", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const stores = { alice: memoryStore(), bob: memoryStore(), dave: memoryStore() };
  let alice = await connected(relay, "alice", { store: stores.alice });
  let bob = await connected(relay, "bob", { store: stores.bob });
  await makeGroup("team", [alice, bob]);
  const id = await alice.client.sendGroupMessage("team", "there all the time");
  await bob.message("there all the time");
  await alice.receipts([id], "sent");
  await backUp();
  await alice.client.promote("team", "bob");
  await eventually(async () => (await bob.client.groups())[0]?.admin === true);
  const dave = await connected(relay, "dave", { store: stores.dave });
  await bob.client.invite("team", "dave");
  await (await dave.event("invitation")).accept();
  await settledMembers("team", [alice, bob, dave]);
  for (const { client } of [alice, bob, dave]) await client.close();
  await restore();

  // Bob's commit, of whose welcome she knows only the hash, she leaves to him at first.
  let read = 0;
  const connector = new TamperedConnector({
    fromClient(frame) {
      if (frame.type === "ack" && frame.log.kind === LogKind.group) read = frame.cursor.seq;
      return undefined;
    },
  });
  alice = await connected(relay, "alice", { store: stores.alice, seams: { connector, random: () => 0.1 } });
  await eventually(() => read > 1);
  await alice.client.close();
  alice = await connected(relay, "alice", { store: stores.alice });
  await connected(relay, "dave", { store: stores.dave });
  bob = await connected(relay, "bob", { store: stores.bob });
  await bob.client.sendGroupMessage("team", "all is as it was");
  await alice.message("all is as it was");
  const again = await alice.client.sendGroupMessage("team", "indeed");
  await alice.receipts([again], "sent");
  expect(alice.all("receipt").filter(({ state }) => state === "failed")).toEqual([]);
});

it("two users find each other again when the relay hands out key packages of both that were used before", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const stores = { alice: memoryStore(), bob: memoryStore() };
  let alice = await connected(relay, "alice", { store: stores.alice });
  let bob = await connected(relay, "bob", { store: stores.bob });
  const carol = await connected(relay, "carol");
  // So that neither sees by their number that the relay has packages again that were used.
  const mallory = await RawMember.connect(relay, "mallory");
  for (const userId of ["alice", "bob"]) await mallory.client.request("fetchKeyPackages", { userId });
  await backUp();
  await carol.client.sendDirectMessage("alice", "uses a key package of alice");
  await alice.message("uses a key package of alice");
  await alice.client.sendDirectMessage("bob", "uses one of bob");
  await bob.message("uses one of bob");
  for (const { client } of [alice, bob, carol]) await client.close();
  await restore();

  // Each begins a conversation whose welcome the other cannot open.
  alice = await connected(relay, "alice", { store: stores.alice });
  await alice.client.sendDirectMessage("bob", "one");
  await alice.event("receipt", ({ state }) => state === "sent");
  bob = await connected(relay, "bob", { store: stores.bob });
  await bob.client.sendDirectMessage("alice", "two");
  await bob.event("receipt", ({ state }) => state === "sent");
  await Promise.all([bob.message("one"), alice.message("two")]);
  once(bob, ["one"]);
  once(alice, ["two"]);
});

it("a group goes on though the backup's log begins after everything that its members could name a place by", async () => {
  const kv = new MemoryKv();
  const relay = await startRelay({
    storage: new EmbeddedStorage(kv),
    limits: { maintenanceInterval: 20 },
  });
  const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
  await makeGroup("team", [alice, bob]);
  for (const text of numbered("old", 3)) await alice.client.sendGroupMessage("team", text);
  await bob.count(3);
  const [group] = (await relay.running.groups()).items;
  const id = Uint8Array.from(Buffer.from(group?.groupId ?? "", "hex"));
  // All of it is acknowledged, and dropped.
  const prefix = keys.entries({ kind: LogKind.group, id });
  await eventually(async () => [...kv.range(prefix, after(prefix))].length === 0);
  const backup = new MemoryKv();
  await backup.write(new Map(kv.range("", "\u{ffff}")));
  await alice.client.promote("team", "bob");
  await alice.client.sendGroupMessage("team", "lost");
  await bob.message("lost");
  await relay.restart({ storage: new EmbeddedStorage(backup) });
  await alice.client.sendGroupMessage("team", "after");
  await bob.message("after");
  await bob.client.sendGroupMessage("team", "bob too");
  await alice.message("bob too");
  once(bob, ["lost", "after"]);
  await eventually(async () => (await alice.client.members("team")).every(({ admin }) => admin));
  for (const actor of [alice, bob]) {
    expect(actor.all("groupLeave")).toEqual([]);
    expect(actor.all("undecryptable")).toEqual([]);
    expect(new Set(actor.errors)).toEqual(new Set(["data-lost"]));
  }
});

it("handshakes are put back one after the other, also where the relay shows each before it answers", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const seams = { connector: lateAnswers };
  const [alice, bob] = [await connected(relay, "alice", { seams }), await connected(relay, "bob")];
  await makeGroup("team", [alice, bob]);
  await backUp();
  await alice.client.promote("team", "bob");
  await alice.client.setJoinMode("team", "closed");
  await bob.event("groupUpdated", ({ join }) => join === "closed");
  // There is nobody else to put them back.
  await bob.client.close();
  await restore();
  await alice.receipts([await alice.client.sendGroupMessage("team", "after")], "sent");
  expect(new Set(alice.errors)).toEqual(new Set(["data-lost"]));
});

it("who was invited before the relay lost what came after can still accept", async () => {
  const kv = new MemoryKv();
  const relay = await startRelay({
    storage: new EmbeddedStorage(kv),
    limits: { maintenanceInterval: 20 },
  });
  const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
  await alice.client.createGroup("team");
  await alice.client.invite("team", "bob");
  const invitation = await bob.event("invitation");
  const [group] = (await relay.running.groups()).items;
  const prefix = keys.entries({ kind: LogKind.group, id: fromHex(group?.groupId ?? "") });
  const backup = new MemoryKv();
  await backup.write(new Map(kv.range("", "\u{ffff}")));
  await alice.client.setJoinMode("team", "closed");
  await alice.client.sendGroupMessage("team", "lost");
  // Both have processed what was acknowledged by both, and dropped.
  await eventually(async () => [...kv.range(prefix, after(prefix))].length === 0);
  await relay.restart({ storage: new EmbeddedStorage(backup) });
  await alice.client.sendGroupMessage("team", "after");
  await bob.event("error", ({ code }) => code === "data-lost");
  await invitation.accept();
  await bob.message("after");
  once(bob, ["lost", "after"]);
  expect(bob.all("groupLeave")).toEqual([]);
});

it("what comes a second time, byte for byte, of who never heard that the relay had it alarms nobody who has read it", async () => {
  const kv = new MemoryKv();
  const relay = await startRelay({ storage: new EmbeddedStorage(kv) });
  const appended: string[] = [];
  const connector: TamperedConnector = new TamperedConnector({
    fromRelay: (frame) => (!connector.isReachable && frame.type !== "pong" ? [] : undefined),
    fromClient: (frame) => {
      if (frame.type === "request" && frame.name === "append") appended.push(toHex(frame.body.entry.payload));
      return undefined;
    },
  });
  const bob = await connected(relay, "bob");
  const alice = await connected(relay, "alice", { seams: { connector, random: () => 0.1 } });
  await makeGroup("team", [bob, alice]);
  await alice.receipts([await alice.client.sendGroupMessage("team", "one")], "sent");
  await bob.message("one");
  const before = new MemoryKv();
  await before.write(new Map(kv.range("", "\u{ffff}")));
  connector.isReachable = false;
  appended.length = 0;
  const two = await alice.client.sendGroupMessage("team", "two");
  await bob.message("two");
  await relay.restart({ storage: new EmbeddedStorage(before) });
  // Bob is where the log is now before it comes.
  await bob.event("error", ({ code }) => code === "data-lost");
  await bob.receipts([await bob.client.sendGroupMessage("team", "from bob")], "sent");
  connector.isReachable = true;
  await alice.receipts([two], "sent");
  expect(appended).toHaveLength(2);
  expect(new Set(appended).size).toBe(1);
  await alice.client.sendGroupMessage("team", "three");
  await bob.message("three");
  expect(bob.texts).toEqual(["one", "two", "three"]);
  expect(bob.all("undecryptable")).toEqual([]);
});
