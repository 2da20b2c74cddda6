import { describe, expect, it } from "vitest";
import { memoryStore } from "../../src/index.js";
import { connectAll, connected, makeActor, makeGroup, startRelay, temporaryFolder } from "./harness.js";

const numbered = (name: string, count: number) => Array.from({ length: count }, (_, i) => `${name} ${i}`);

describe("offline and back", () => {
  it("a receiver's messages wait in the relay over its restart, and come once and in order", async () => {
    const relay = await startRelay({ data: await temporaryFolder() });
    const store = memoryStore();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { store });
    await alice.client.sendDirectMessage("bob", "hello");
    await bob.message("hello");
    await bob.client.close();
    const first = numbered("before", 50);
    const ids = await Promise.all(first.map((text) => alice.client.sendDirectMessage("bob", text)));
    await alice.receipts(ids, "sent");
    await relay.restart();
    const second = numbered("after", 50);
    for (const text of second) ids.push(await alice.client.sendDirectMessage("bob", text));
    await alice.receipts(ids, "sent");
    await alice.client.close();
    await relay.restart();
    const back = await connected(relay, "bob", { store });
    await back.count(100);
    expect(back.texts).toEqual([...first, ...second]);
    expect(back.messages.map(({ id }) => id)).toEqual(ids);
    expect(back.errors).toEqual([]);
  });

  it("someone who was never online after registering is written to, in a group too", async () => {
    const relay = await startRelay({ data: await temporaryFolder() });
    const store = memoryStore();
    await (await connected(relay, "bob", { store })).client.close();
    const alice = await connected(relay, "alice");
    await alice.client.createGroup("team");
    await alice.client.invite("team", "bob");
    for (const text of ["g1", "g2"]) await alice.client.sendGroupMessage("team", text);
    const ids = [
      await alice.client.sendDirectMessage("bob", "d1"),
      await alice.client.sendDirectMessage("bob", "d2"),
    ];
    await alice.receipts(ids, "sent");
    await relay.restart();
    const bob = await connected(relay, "bob", { store });
    await bob.count(2);
    expect(bob.texts).toEqual(["d1", "d2"]);
    await (await bob.event("invitation")).accept();
    await bob.count(4);
    expect(bob.texts.slice(2)).toEqual(["g1", "g2"]);
  });

  it("goes on by itself when the relay dies and returns, whatever was under way", async () => {
    const relay = await startRelay({ data: await temporaryFolder() });
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await makeGroup("team", [alice, bob, carol]);
    const sent: string[] = [];
    const send = async (text: string) => {
      sent.push(text);
      await alice.client.sendGroupMessage("team", text);
      await alice.client.sendDirectMessage("bob", text);
    };
    for (let round = 0; round < 4; round++) {
      for (const text of numbered(`round ${round}`, 25)) await send(text);
      await relay.stop();
      expect(["reconnecting", "connected"]).toContain(alice.client.state);
      for (const text of numbered(`offline ${round}`, 5)) await send(text);
      await relay.start();
    }
    await Promise.all([bob.count(sent.length * 2), carol.count(sent.length)]);
    expect(carol.texts).toEqual(sent);
    for (const group of [undefined, "team"]) {
      expect(bob.messages.filter((one) => one.group === group).map(({ content }) => content)).toEqual(sent);
    }
    for (const actor of [alice, bob, carol]) {
      expect(actor.errors).toEqual([]);
      expect(await actor.event("disconnect")).toMatchObject({ code: 1001, willReconnect: true });
      expect(actor.client.state).toBe("connected");
    }
  });

  it("what was asked while offline is done later: send, create, invite, remove, leave", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const [bob, carol] = await connectAll(relay, ["bob", "carol"]);
    const alice = await connected(relay, "alice", { store });
    await makeGroup("team", [alice, bob]);
    await makeGroup("other", [alice, bob]);
    await relay.stop();
    // Long enough for each to be written down, whatever else the machine does.
    const timeout = { timeout: 1_500 };
    const calls = [
      alice.client.invite("team", "carol", timeout),
      alice.client.remove("other", "bob", timeout),
      alice.client.createGroup("new", timeout),
    ];
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: "timeout" });
    const id = await alice.client.sendDirectMessage("carol", "hi");
    await alice.client.sendGroupMessage("team", "hi all");
    expect(await alice.client.close()).toBe(2);
    await relay.start();
    const back = await connected(relay, "alice", { store });
    await (await carol.event("invitation")).accept();
    await carol.message("hi");
    await back.receipts([id], "delivered", "carol");
    // Sent after she was invited, so it is hers too.
    await carol.message("hi all");
    await bob.message("hi all");
    await bob.event("groupLeave", ({ group }) => group === "other");
    await back.event("groupCreated", ({ group }) => group === "new");
    expect(await back.client.members("team")).toHaveLength(3);
  });

  it("asking to join outlives the connection and the process", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const alice = await connected(relay, "alice");
    await alice.client.createGroup("team");
    const bob = await connected(relay, "bob", { store });
    const asked = bob.client.joinGroup("team");
    const request = await alice.event("joinRequest");
    await bob.client.close();
    await expect(asked).rejects.toMatchObject({ code: "closed" });
    await request.approve();
    await alice.client.sendGroupMessage("team", "waiting for you");
    const back = await connected(relay, "bob", { store });
    expect(await back.event("groupJoin")).toEqual({ group: "team", members: ["alice", "bob"] });
    await back.message("waiting for you");
    expect(back.all("invitation")).toEqual([]);
  });

  it("a relay that lost all its data is noticed; groups come back, and direct conversations begin anew", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await makeGroup("team", [alice, bob]);
    await alice.client.sendDirectMessage("bob", "before");
    await bob.message("before");
    await relay.stop();
    await alice.client.sendDirectMessage("bob", "meanwhile");
    await relay.restartEmpty();
    await bob.message("meanwhile");
    await bob.client.sendDirectMessage("alice", "answer");
    await alice.message("answer");
    expect(bob.texts).toEqual(["before", "meanwhile"]);
    for (const actor of [alice, bob]) await actor.event("error", ({ code }) => code === "data-lost");
    // Who created the group creates it again, and puts its log back to where everybody is.
    await bob.client.sendGroupMessage("team", "still here");
    await alice.message("still here");
    for (const actor of [alice, bob]) {
      expect(actor.all("groupLeave")).toEqual([]);
      expect(await actor.client.members("team")).toHaveLength(2);
    }
    await expect(bob.client.createGroup("team")).rejects.toMatchObject({ code: "name-taken" });
  });

  it("a client that is killed without closing goes on from its store", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { store, listen: false });
    const texts = numbered("m", 40);
    for (const text of texts) await alice.client.sendDirectMessage("bob", text);
    const taken: unknown[] = [];
    for await (const message of bob.client.messages()) {
      taken.push(message.content);
      if (taken.length === 7) break;
    }
    await bob.client.close();
    const back = makeActor(relay, "bob", { store });
    await back.client.connect();
    await back.count(34);
    // The seventh was handed over and never finished with.
    expect(back.texts).toEqual(texts.slice(6));
    expect(back.messages[0]?.redelivered).toBe(true);
  });
});
