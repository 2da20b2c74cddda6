import { describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../src/base/clock.js";
import { memoryStore } from "../../src/index.js";
import { decodeClientFrame } from "../../src/wire/frames.js";
import { EntryKind } from "../../src/wire/protocol.js";
import {
  type Actor,
  connectAll,
  connected,
  eventually,
  settledMembers,
  startRelay,
} from "../client/harness.js";
import { TamperedConnector } from "../client/tamper.js";

const direct = { ack: { direct: true } };

/** What an actor was told of messages, in the order in which it came. */
const told = (actor: Actor) => actor.all("receipt").map(({ ids, by, state }) => ({ ids, by, state }));

describe("receipts", () => {
  it("say of a direct message that it was sent, delivered and read, once each", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"], { ...direct, history: true });
    const id = await alice.client.sendDirectMessage("bob", "hello");
    const message = await bob.message("hello");
    await alice.receipts([id], "delivered", "bob");
    expect(await alice.client.history("bob")).toMatchObject([
      { state: "delivered", deliveredTo: ["bob"], readBy: [] },
    ]);
    await bob.client.markRead(message);
    await bob.client.markRead([message, message]);
    await alice.receipts([id], "read", "bob");
    expect(told(alice)).toEqual([
      { ids: [id], by: "alice", state: "sent" },
      { ids: [id], by: "bob", state: "delivered" },
      { ids: [id], by: "bob", state: "read" },
    ]);
    expect(await alice.client.history("bob")).toMatchObject([
      { id, state: "read", deliveredTo: ["bob"], readBy: ["bob"] },
    ]);
    // As the history gives it, it is the same message.
    const [again] = await bob.client.history("alice");
    await bob.client.markRead(again as NonNullable<typeof again>);
    await bob.client.sendDirectMessage("alice", "done");
    await alice.message("done");
    expect(told(alice)).toHaveLength(3);
  });

  it("of a read message imply that it was delivered, also after a restart of either side", async () => {
    const relay = await startRelay();
    const stores = [memoryStore(), memoryStore()] as const;
    const alice = await connected(relay, "alice", { ...direct, store: stores[0] });
    const bob = await connected(relay, "bob", { ack: { direct: false }, store: stores[1] });
    const id = await alice.client.sendDirectMessage("bob", "hello");
    const message = await bob.message("hello");
    // Where the app wants no receipts, there are none.
    await bob.client.markRead(message);
    await Promise.all([alice.client.close(), bob.client.close()]);
    await relay.restart();
    const alice2 = await connected(relay, "alice", { ...direct, store: stores[0] });
    const bob2 = await connected(relay, "bob", { ...direct, store: stores[1] });
    await bob2.client.markRead(message);
    await alice2.receipts([id], "read", "bob");
    expect([...told(alice), ...told(alice2)]).toEqual([
      { ids: [id], by: "alice", state: "sent" },
      { ids: [id], by: "bob", state: "delivered" },
      { ids: [id], by: "bob", state: "read" },
    ]);
  });

  it("reach the sender though it was away, and what was marked offline is kept", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const alice = await connected(relay, "alice", direct);
    const bob = await connected(relay, "bob", { ...direct, store });
    const id = await alice.client.sendDirectMessage("bob", "hello");
    const message = await bob.message("hello");
    await relay.stop();
    await bob.client.markRead(message);
    await bob.client.close();
    await relay.start();
    await connected(relay, "bob", { ...direct, store });
    await alice.receipts([id], "read", "bob");
  });

  it("count though they come in one go with the message that they are for", async () => {
    const relay = await startRelay();
    const connector = new TamperedConnector();
    const alice = await connected(relay, "alice", {
      ...direct,
      history: true,
      seams: { connector, random: () => 0.1 },
    });
    const bob = await connected(relay, "bob", direct);
    await alice.receipts([await alice.client.sendDirectMessage("bob", "first")], "delivered", "bob");
    // Of the log alice sees nothing any more until she connects again.
    connector.tamper = { fromRelay: (frame) => (frame.type === "entries" ? [] : undefined) };
    const id = await alice.client.sendDirectMessage("bob", "hello");
    await bob.client.markRead(await bob.message("hello"));
    expect(await bob.client.close()).toBe(0);
    expect(told(alice).some(({ ids }) => ids.includes(id))).toBe(false);
    connector.tamper = {};
    await relay.restart();
    await alice.receipts([id], "read", "bob");
    expect(told(alice).filter(({ ids }) => ids.includes(id))).toEqual([
      { ids: [id], by: "alice", state: "sent" },
      { ids: [id], by: "bob", state: "delivered" },
      { ids: [id], by: "bob", state: "read" },
    ]);
    expect((await alice.client.history("bob"))[1]).toMatchObject({ id, state: "read", readBy: ["bob"] });
  });

  it("are not put off by what is written after they were owed", async () => {
    const relay = await startRelay();
    const turns: (() => void)[] = [];
    const clock: Clock = {
      now: systemClock.now,
      // What is gathered goes when the test says so.
      after: (ms, callback, keepAlive) => {
        if (ms !== 250) return systemClock.after(ms, callback, keepAlive);
        turns.push(callback);
        return () => {};
      },
    };
    const gathered = async () => {
      await eventually(() => turns.length > 0);
      for (const turn of turns.splice(0)) turn();
    };
    // How much of what bob appends gets through.
    let allowed = Number.POSITIVE_INFINITY;
    let kept = 0;
    const connector = new TamperedConnector({
      fromClient: (frame) => {
        if (frame.type !== "request" || frame.name !== "append" || allowed-- > 0) return undefined;
        kept++;
        return [];
      },
    });
    const alice = await connected(relay, "alice", direct);
    const bob = await connected(relay, "bob", { ...direct, seams: { connector, clock, random: () => 0.1 } });
    const hello = await alice.client.sendDirectMessage("bob", "hello");
    await bob.message("hello");
    await gathered();
    await alice.receipts([hello], "delivered", "bob");
    allowed = 0;
    const texts = Array.from({ length: 32 }, (_, i) => `under way ${i}`);
    for (const text of texts) await bob.client.sendDirectMessage("alice", text);
    await eventually(() => kept === texts.length);
    const ids: string[] = [];
    for (const text of ["one", "two", "three"]) {
      ids.push(await alice.client.sendDirectMessage("bob", text));
      await bob.message(text);
      if (text === "one") await gathered();
      await bob.client.sendDirectMessage("alice", `after ${text}`);
    }
    allowed = texts.length + 1;
    await relay.restart();
    await alice.receipts(ids, "delivered", "bob");
    await alice.count(texts.length);
    expect(alice.texts).toEqual(texts);
    allowed = Number.POSITIVE_INFINITY;
    await relay.restart();
    await alice.message("after three");
  });

  it("are refused for what was not received, and for groups that one is not in", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"], direct);
    const id = await alice.client.sendDirectMessage("bob", "hello");
    const message = await bob.message("hello");
    const refused = (call: Promise<void>) =>
      call.then(
        () => "done",
        ({ code }) => code,
      );
    const markRead = bob.client.markRead.bind(bob.client);
    expect(await refused(markRead({ ...message, id: "0".repeat(32) }))).toBe("invalid-argument");
    expect(await refused(markRead({ ...message, from: "carol" }))).toBe("invalid-argument");
    expect(await refused(markRead({ ...message, group: "team" }))).toBe("not-a-member");
    expect(await refused(markRead([message, { ...message, id: "x" }]))).toBe("invalid-argument");
    expect(await refused(alice.client.markRead({ ...message, id, from: "bob" }))).toBe("invalid-argument");
    expect(told(alice).some(({ state }) => state === "read")).toBe(false);
    await expect(markRead(id)).rejects.toThrow("history, which is off");
    await markRead([]);
  });
});

/** A group of as many, and how many messages each of them has had the relay append. */
async function crowd(size: number, ack: { group: boolean }) {
  const appended = new Map<string, number>();
  const relay = await startRelay({
    onFrame: ({ direction, bytes, userId }) => {
      if (direction !== "in" || userId === undefined) return;
      const frame = decodeClientFrame(bytes);
      const isMessage =
        frame.type === "request" &&
        frame.name === "append" &&
        frame.body.entry.kind === EntryKind.application;
      if (isMessage) appended.set(userId, (appended.get(userId) ?? 0) + 1);
    },
  });
  const names = Array.from({ length: size }, (_, at) => `member ${String(at).padStart(2, "0")}`);
  const all = await connectAll(relay, names, { ack, history: true });
  const [alice, ...others] = all as [Actor, ...Actor[]];
  await alice.client.createGroup("team", { join: "open" });
  await Promise.all(others.map(({ userId }) => alice.client.invite("team", userId, { timeout: 60_000 })));
  await Promise.all(others.map(async (other) => (await other.event("invitation")).accept()));
  await settledMembers("team", all);
  return { relay, alice, others, names: names.slice(1), appended };
}

const BURST = 12;

describe("receipts in a group", () => {
  it("of 50 are counted right for each message, and many come in one frame", {
    timeout: 240_000,
  }, async () => {
    const { alice, others, names, appended } = await crowd(50, { group: true });
    const readers = names.slice(0, 7);
    for (const reader of others.slice(0, 7)) {
      reader.client.on("message", (message) => reader.client.markRead(message));
    }
    alice.patience = 200_000;
    const ids: string[] = [];
    for (let at = 0; at < BURST; at++) ids.push(await alice.client.sendGroupMessage("team", `${at}`));
    for (const name of names) await alice.receipts(ids, "delivered", name);
    for (const name of readers) await alice.receipts(ids, "read", name);
    const history = await alice.client.history({ group: "team" });
    expect(history.map(({ id }) => id)).toEqual(ids);
    for (const { state, deliveredTo, readBy } of history) {
      expect(state).toBe("read");
      expect([...(deliveredTo ?? [])].sort()).toEqual(names);
      expect([...(readBy ?? [])].sort()).toEqual(readers);
    }
    // Each said so once of each message, and no receipt was for what another has sent.
    const said = alice
      .all("receipt")
      .flatMap(({ ids, by, state }) => ids.map((id) => `${id} ${by} ${state}`));
    expect(said).toHaveLength(new Set(said).size);
    expect(said).toHaveLength(BURST * (1 + names.length + readers.length));
    expect(others.every((other) => other.all("receipt").every(({ by }) => by === other.userId))).toBe(true);
    const frames = names.reduce((sum, name) => sum + (appended.get(name) ?? 0), 0);
    console.log(`${BURST} messages to ${names.length}: ${frames} frames with receipts`);
    expect(frames).toBeGreaterThanOrEqual(names.length);
    expect(frames).toBeLessThan((names.length * BURST) / 2);
    await Promise.all([alice, ...others].map(({ client }) => client.close()));
  });

  it("that wants none are not on the wire at all", async () => {
    const { alice, others, names, appended } = await crowd(5, { group: false });
    const id = await alice.client.sendGroupMessage("team", "hello");
    for (const other of others) await other.client.markRead(await other.message("hello"));
    // What everybody sends next would have had a receipt before it.
    for (const other of others) {
      await other.client.sendGroupMessage("team", `from ${other.userId}`);
      await alice.message(`from ${other.userId}`);
    }
    await Promise.all(others.map(({ client }) => client.close()));
    expect(names.map((name) => appended.get(name))).toEqual(names.map(() => 1));
    expect(await alice.client.history({ group: "team" })).toMatchObject([
      { id, state: "sent", deliveredTo: [], readBy: [] },
      ...names.map((from) => ({ from })),
    ]);
  });

  it("come only from those to whom a message went, and from who came in later never", async () => {
    const { relay, alice, others } = await crowd(3, { group: true });
    const id = await alice.client.sendGroupMessage("team", "before");
    for (const { userId } of others) await alice.receipts([id], "delivered", userId);
    const late = await connected(relay, "late", { ack: { group: true } });
    await late.client.joinGroup("team", { timeout: 60_000 });
    await alice.event("memberJoin", ({ userId }) => userId === "late");
    const next = await alice.client.sendGroupMessage("team", "after");
    await late.message("after");
    for (const { userId } of [...others, late]) await alice.receipts([next], "delivered", userId);
    const history = await alice.client.history({ group: "team" });
    expect(history.map(({ deliveredTo }) => deliveredTo?.length)).toEqual([2, 3]);
  });
});
