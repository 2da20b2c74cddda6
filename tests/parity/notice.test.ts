import { describe, expect, it } from "vitest";
import { memoryStore } from "../../src/index.js";
import { Relay } from "../../src/relay.js";
import { connectAll, connected, startRelay } from "../client/harness.js";

describe("a notice from the operator", () => {
  it("to all is shown to whoever is connected, and is nobody's message", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    const before = Date.now();
    await relay.running.notify("Down for repair at noon: 12 → 13 h, sorry 👩🏽‍🚀");
    for (const actor of [alice, bob]) {
      const { text, sentAt } = await actor.event("notice");
      expect(text).toBe("Down for repair at noon: 12 → 13 h, sorry 👩🏽‍🚀");
      expect(sentAt).toBeGreaterThanOrEqual(before);
    }
    const carol = await connected(relay, "carol");
    await alice.client.sendDirectMessage("carol", "hello");
    await carol.message("hello");
    expect(carol.all("notice")).toEqual([]);
    expect([...alice.messages, ...bob.messages]).toEqual([]);
    expect(carol.texts).toEqual(["hello"]);
  });

  it("to a user is for that user alone, waits for it, and comes once", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const [alice, bob] = [await connected(relay, "alice", { store }), await connected(relay, "bob")];
    await relay.running.notify("one", { userId: "alice" });
    await alice.event("notice", ({ text }) => text === "one");
    await alice.client.close();
    await relay.running.notify("two", { userId: "alice" });
    const later = await connected(relay, "alice", { store });
    await later.event("notice", ({ text }) => text === "two");
    await relay.running.notify("three", { userId: "alice" });
    await later.event("notice", ({ text }) => text === "three");
    expect(later.all("notice").map(({ text }) => text)).toEqual(["two", "three"]);
    expect(bob.all("notice")).toEqual([]);
  });

  it("is one line of some length, to somebody who is there", async () => {
    const relay = await startRelay({ limits: { maxInboxEntries: 1 } });
    const [alice] = await connectAll(relay, ["alice"]);
    const bad = [
      "",
      "  ",
      "a\nb",
      "a\u0000",
      "a\u202eb",
      "a\u2028b",
      "\ud800",
      "x".repeat(4097),
      "é".repeat(2049),
    ];
    for (const text of [...bad, 7 as never]) {
      await expect(relay.running.notify(text)).rejects.toMatchObject({ code: "invalid-argument" });
      const one = relay.running.notify(text, { userId: "alice" });
      await expect(one).rejects.toMatchObject({ code: "invalid-argument" });
    }
    // What is for one must not go to all.
    for (const options of [{ userID: "alice" }, { userId: undefined }, { userId: "" }, null]) {
      const missed = relay.running.notify("x", options as never);
      await expect(missed).rejects.toMatchObject({ code: "invalid-argument" });
    }
    await expect(relay.running.notify("x", { userId: "nobody" })).rejects.toMatchObject({
      code: "unknown-user",
    });
    await relay.running.notify("x".repeat(4096));
    await alice.event("notice", ({ text }) => text.length === 4096);
    await alice.client.close();
    await relay.running.notify("x", { userId: "alice" });
    await expect(relay.running.notify("x", { userId: "alice" })).rejects.toMatchObject({
      code: "quota-exceeded",
    });
    await expect(new Relay().notify("x")).rejects.toMatchObject({ code: "closed" });
  });
});
