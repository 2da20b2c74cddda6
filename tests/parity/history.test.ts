import { describe, expect, it } from "vitest";
import { memoryStore } from "../../src/index.js";
import { connectAll, connected, eventually, makeGroup, startRelay } from "../client/harness.js";

const history = { history: true };

describe("deletion", () => {
  it("takes messages out of one's own history, by id, up to a position, or all", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"], history);
    const ids: string[] = [];
    for (let at = 0; at < 5; at++) ids.push(await alice.client.sendDirectMessage("bob", `${at}`));
    await bob.count(5);
    await alice.receipts(ids, "delivered", "bob");
    const texts = async (actor: typeof alice, name: string) =>
      (await actor.client.history(name)).map(({ content }) => content);
    await alice.client.deleteMessages("bob", ids[1] as string);
    expect(await alice.event("messagesDeleted")).toEqual({ user: "bob", ids: [ids[1]] });
    expect(await texts(alice, "bob")).toEqual(["0", "2", "3", "4"]);
    const [, , third] = await alice.client.history("bob");
    await alice.client.deleteMessages("bob", { before: third?.position as number });
    expect(await texts(alice, "bob")).toEqual(["3", "4"]);
    // Again, and what is not there or elsewhere, does nothing.
    await alice.client.deleteMessages("bob", ids.slice(0, 3));
    await alice.client.deleteMessages({ group: "bob" }, "all");
    await alice.client.deleteMessages("carol", ids);
    expect(alice.all("messagesDeleted").flatMap((event) => event.ids)).toEqual([ids[1], ids[0], ids[2]]);
    await alice.client.deleteMessages("bob", "all");
    expect(await texts(alice, "bob")).toEqual([]);
    // The other side has its own.
    expect(await texts(bob, "alice")).toEqual(["0", "1", "2", "3", "4"]);
    const next = await alice.client.sendDirectMessage("bob", "next");
    await alice.receipts([next], "delivered", "bob");
    expect(await texts(alice, "bob")).toEqual(["next"]);
  });

  it("keeps from being sent what waits, and from listeners what they have not taken", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice", history);
    const bob = await connected(relay, "bob", { listen: false });
    const ids = [
      await alice.client.sendDirectMessage("bob", "one"),
      await alice.client.sendDirectMessage("bob", "two"),
    ];
    await alice.receipts(ids, "delivered", "bob");
    await bob.client.deleteMessages("alice", [ids[0] as string]);
    bob.listen();
    await bob.message("two");
    expect(bob.texts).toEqual(["two"]);
    await relay.stop();
    await eventually(() => alice.client.state === "reconnecting");
    const dropped = await alice.client.sendDirectMessage("bob", "three");
    await alice.client.sendDirectMessage("bob", "four");
    await alice.client.deleteMessages("bob", [dropped]);
    await alice.event(
      "receipt",
      (one) => one.state === "failed" && one.code === "aborted" && one.ids[0] === dropped,
    );
    await relay.start();
    await bob.message("four");
    expect(bob.texts).toEqual(["two", "four"]);
    expect((await alice.client.history("bob")).map(({ content }) => content)).toEqual(["one", "two", "four"]);
  });
});

describe("history", () => {
  it("is there after a restart, with its states, and pages by key", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const alice = await connected(relay, "alice", { ...history, store });
    const [bob, carol] = await connectAll(relay, ["bob", "carol"], { ack: { group: true } });
    await makeGroup("team", [alice, bob, carol]);
    const ids: string[] = [];
    for (let at = 0; at < 6; at++) ids.push(await alice.client.sendGroupMessage("team", `${at}`));
    await alice.receipts(ids, "delivered", "bob");
    await alice.receipts(ids, "delivered", "carol");
    await bob.client.markRead(await bob.message("5"));
    await alice.receipts([ids[5] as string], "read", "bob");
    await alice.client.close();
    const back = await connected(relay, "alice", { ...history, store });
    const all = await back.client.history({ group: "team" });
    expect(all.map(({ id }) => id)).toEqual(ids);
    expect(all.at(-1)).toMatchObject({ state: "read", readBy: ["bob"] });
    expect([...(all[0]?.deliveredTo ?? [])].sort()).toEqual(["bob", "carol"]);
    const pages: string[] = [];
    for (let before: number | undefined; ; ) {
      const page = await back.client.history({ group: "team" }, { limit: 4, ...(before && { before }) });
      if (page.length === 0) break;
      pages.unshift(...page.map(({ id }) => id));
      before = page[0]?.position;
    }
    expect(pages).toEqual(ids);
    // A received message can be marked by its id, where the history knows it.
    const asked = await bob.client.sendDirectMessage("alice", "read me");
    await back.message("read me");
    await back.client.markRead(asked);
    await bob.receipts([asked], "read", "alice");
    await expect(back.client.markRead(ids[0] as string)).rejects.toMatchObject({ code: "invalid-argument" });
  });
});
