import { afterEach, describe, expect, it, vi } from "vitest";
import { type Message, memoryStore } from "../../src/index.js";
import { connectAll, connected, makeGroup, startRelay } from "./harness.js";

afterEach(() => vi.restoreAllMocks());

/** A promise and what fulfils it. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

describe("delivery", () => {
  it("waits for every listener's promise before the next message of a conversation", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { listen: false });
    const log: string[] = [];
    const gates = [gate(), gate()];
    const started = gate();
    bob.client.on("message", async ({ content }) => {
      log.push(`slow begins ${content}`);
      started.open();
      await gates[content === "1" ? 0 : 1]?.opened;
      log.push(`slow ends ${content}`);
    });
    bob.client.on("message", ({ content }) => log.push(`quick ${content}`));
    await alice.client.sendDirectMessage("bob", "1");
    await alice.client.sendDirectMessage("bob", "2");
    await started.opened;
    // Messages of another conversation do not wait.
    const carol = await connected(relay, "carol");
    const heard = gate();
    bob.client.on("message", ({ from }) => {
      if (from === "carol") heard.open();
    });
    await carol.client.sendDirectMessage("bob", "x");
    await heard.opened;
    expect(log.slice(0, 2)).toEqual(["slow begins 1", "quick 1"]);
    expect(log).not.toContain("slow begins 2");
    for (const { open } of gates) open();
    const both = gate();
    bob.client.on("message", ({ content }) => {
      if (content === "3") both.open();
    });
    await alice.client.sendDirectMessage("bob", "3");
    await both.opened;
    expect(log.indexOf("slow ends 1")).toBeLessThan(log.indexOf("slow begins 2"));
    expect(log.indexOf("slow ends 2")).toBeLessThan(log.indexOf("slow begins 3"));
  });

  it("hands over again what a listener had not finished with when the client went away", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", {
      store,
      listen: false,
      // The listener below never ends: close() must not wait for it for seconds.
      seams: {
        random: () => 0.1,
        clock: {
          now: () => Date.now(),
          after(ms, callback) {
            const timer = setTimeout(callback, ms === 5_000 ? 20 : ms);
            return () => clearTimeout(timer);
          },
        },
      },
    });
    const started = gate();
    bob.client.on("message", () => {
      started.open();
      return new Promise(() => {});
    });
    const ids = [
      await alice.client.sendDirectMessage("bob", "1"),
      await alice.client.sendDirectMessage("bob", "2"),
    ];
    await started.opened;
    await alice.receipts(ids, "delivered", "bob");
    await bob.client.close();
    const back = await connected(relay, "bob", { store });
    await back.count(2);
    expect(back.messages).toMatchObject([
      { id: ids[0], content: "1", redelivered: true },
      { id: ids[1], content: "2", redelivered: true },
    ]);
    await back.client.close();
    const again = await connected(relay, "bob", { store });
    await alice.client.sendDirectMessage("bob", "3");
    await again.message("3");
    expect(again.messages).toMatchObject([{ content: "3", redelivered: false }]);
  });

  it("consumes nothing while nobody listens", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { listen: false });
    const ids = [];
    for (const text of ["1", "2", "3"]) ids.push(await alice.client.sendDirectMessage("bob", text));
    await alice.receipts(ids, "delivered", "bob");
    const off = bob.listen();
    await bob.count(3);
    expect(bob.texts).toEqual(["1", "2", "3"]);
    expect(bob.messages.every(({ redelivered }) => !redelivered)).toBe(true);
    off();
    const id = await alice.client.sendDirectMessage("bob", "4");
    await alice.receipts([id], "delivered", "bob");
    expect(bob.texts).toHaveLength(3);
    const controller = new AbortController();
    bob.client.on("message", (message) => bob.messages.push(message), { signal: controller.signal });
    const again = bob.listen();
    await bob.message("4");
    controller.abort();
    again();
    bob.client.on("message", () => bob.messages.push({} as Message), { signal: AbortSignal.abort() });
    const last = await alice.client.sendDirectMessage("bob", "5");
    await alice.receipts([last], "delivered", "bob");
    expect(bob.texts).not.toContain("5");
  });

  it("gives a message again that an iterator was left with, by break or by an exception", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { listen: false });
    for (const text of ["1", "2", "3", "4"]) await alice.client.sendDirectMessage("bob", text);
    const seen: unknown[] = [];
    for await (const { content } of bob.client.messages()) {
      seen.push(content);
      if (content === "2") break;
    }
    await expect(
      (async () => {
        for await (const { content } of bob.client.messages()) {
          seen.push(content);
          throw new Error("the bot failed");
        }
      })(),
    ).rejects.toThrow("the bot failed");
    const abort = new AbortController();
    for await (const { content } of bob.client.messages({ signal: abort.signal })) {
      seen.push(content);
      if (content === "4") abort.abort();
    }
    expect(seen).toEqual(["1", "2", "2", "2", "3", "4"]);
  });

  it("reports what a listener throws, and goes on", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { listen: false });
    const reported = vi.spyOn(console, "error").mockImplementation(() => {});
    bob.client.on("message", () => {
      throw new Error("sync");
    });
    bob.client.on("message", () => Promise.reject(new Error("async")));
    bob.client.on("connect", () => {
      throw new Error("not a message");
    });
    bob.listen();
    await alice.client.sendDirectMessage("bob", "1");
    await alice.client.sendDirectMessage("bob", "2");
    await bob.count(2);
    expect(bob.texts).toEqual(["1", "2"]);
    expect(reported.mock.calls.map(([error]) => (error as Error).message).sort()).toEqual([
      "async",
      "async",
      "sync",
      "sync",
    ]);
    expect(bob.client.state).toBe("connected");
  });

  it("may be used from inside a listener: answer, send on, close", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await makeGroup("team", [alice, bob]);
    bob.client.on("message", async ({ from, group, content }) => {
      if (content === "ping") await bob.client.sendDirectMessage(from, `pong in ${group}`);
    });
    await alice.client.sendGroupMessage("team", "ping");
    await alice.message("pong in team");
  });

  it("gives each listener bytes of its own", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { listen: false, history: true });
    const seen: number[] = [];
    const done = gate();
    const spoil = ({ content }: Message) => {
      seen.push((content as Uint8Array)[0] as number);
      (content as Uint8Array).fill(9);
      if (seen.length === 2) done.open();
    };
    bob.client.on("message", spoil);
    bob.client.on("message", spoil);
    const bytes = Uint8Array.of(1, 2, 3);
    const sent = alice.client.sendDirectMessage("bob", bytes);
    bytes.fill(7);
    await sent;
    await done.opened;
    expect(seen).toEqual([1, 1]);
    expect(await bob.client.history("alice")).toMatchObject([{ content: Uint8Array.of(1, 2, 3) }]);
  });
});

describe("history", () => {
  it("keeps both sides of direct and group conversations, with states and pages", async () => {
    const relay = await startRelay();
    const stores = [memoryStore(), memoryStore()] as const;
    const alice = await connected(relay, "alice", { history: true, store: stores[0] });
    const bob = await connected(relay, "bob", { history: true, store: stores[1] });
    await makeGroup("team", [alice, bob]);
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push(await alice.client.sendDirectMessage("bob", `a${i}`));
    await alice.receipts(ids, "delivered", "bob");
    await bob.client.sendDirectMessage("alice", Uint8Array.of(1, 2));
    const inGroup = await alice.client.sendGroupMessage("team", "to all");
    await bob.message("to all");
    await alice.until(() => alice.messages.length === 1);
    await alice.receipts([inGroup], "sent");
    const direct = await alice.client.history("bob");
    expect(direct.map(({ from, content, state }) => [from, content, state])).toEqual([
      ...[0, 1, 2, 3, 4].map((i) => ["alice", `a${i}`, "delivered"]),
      ["bob", Uint8Array.of(1, 2), undefined],
    ]);
    expect(direct.slice(0, 5).map(({ id }) => id)).toEqual(ids);
    expect(await alice.client.history({ group: "team" })).toMatchObject([
      { id: inGroup, from: "alice", group: "team", content: "to all", state: "sent" },
    ]);
    // Bob sees the same messages, in his order.
    expect((await bob.client.history("alice")).map(({ content }) => content)).toEqual(
      direct.map(({ content }) => content),
    );
    // Pages from the end.
    const last = await alice.client.history("bob", { limit: 2 });
    expect(last.map(({ content }) => content)).toEqual(["a4", Uint8Array.of(1, 2)]);
    const before = await alice.client.history("bob", { limit: 2, before: last[0]?.position as number });
    expect(before.map(({ content }) => content)).toEqual(["a2", "a3"]);
    expect(await alice.client.history("carol")).toEqual([]);
    expect(await alice.client.history({ group: "bob" })).toEqual([]);
    await alice.client.close();
    const back = await connected(relay, "alice", { history: true, store: stores[0] });
    expect(await back.client.history("bob")).toEqual(direct);
    expect((await back.client.conversations()).map((one) => JSON.stringify(one)).sort()).toEqual([
      '{"group":"team"}',
      '{"user":"bob"}',
    ]);
  });

  it("shows what waits as pending, and is empty unless asked for", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await relay.stop();
    const carol = await (async () => {
      await relay.start();
      const made = await connected(relay, "carol", { history: true });
      await relay.stop();
      return made;
    })();
    await carol.client.sendDirectMessage("bob", "waits");
    expect(await carol.client.history("bob")).toMatchObject([{ content: "waits", state: "pending" }]);
    expect(await carol.client.conversations()).toEqual([{ user: "bob" }]);
    await alice.client.sendDirectMessage("bob", "no history");
    expect(await alice.client.history("bob")).toEqual([]);
    await relay.start();
    await bob.count(2);
    expect((await carol.client.history("bob"))[0]?.state).not.toBe("pending");
  });
});
