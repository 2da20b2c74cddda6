import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { SerialQueue } from "../../src/base/serial-queue.js";
import { decodeIntent } from "../../src/client/conversation/sending/intent.js";
import { layout } from "../../src/client/layout.js";
import { decode } from "../../src/codec/reader.js";
import { memoryStore, type Store } from "../../src/index.js";
import type { Change, StoreSession } from "../../src/stores/store.js";
import { LogKind } from "../../src/wire/protocol.js";
import { connectAll, connected, eventually, makeActor, startRelay } from "./harness.js";
import { TamperedConnector } from "./tamper.js";

describe("direct messages", () => {
  it("carry text and bytes as they are, from nothing to 256 KiB", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    const large = Uint8Array.from({ length: 256 * 1024 }, (_, i) => (i * 31) >> 3);
    const contents = [
      "",
      new Uint8Array(0),
      "grüße 👋\u0000\n",
      large,
      Uint8Array.of(0),
      "x".repeat(262_144),
    ];
    const ids = [];
    for (const content of contents) ids.push(await alice.client.sendDirectMessage("bob", content));
    const messages = await bob.count(contents.length);
    expect(messages.map(({ content }) => content)).toEqual(contents);
    expect(messages.map(({ id }) => id)).toEqual(ids);
    expect(messages.every(({ from, group }) => from === "alice" && group === undefined)).toBe(true);
    await alice.receipts(ids, "delivered", "bob");
    expect(alice.errors.concat(bob.errors)).toEqual([]);
  });

  it("refuses at once what can never be sent", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice", { limits: { maxMessageBytes: 10, maxOutbox: 2 } });
    const send = (to: string, content: unknown) => alice.client.sendDirectMessage(to, content as string);
    await expect(send("bob", "12345678901")).rejects.toMatchObject({ code: "too-large" });
    await expect(send("alice", "x")).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(send("", "x")).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(send("bob", 7)).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(alice.client.sendGroupMessage("nowhere", "x")).rejects.toMatchObject({
      code: "not-a-member",
    });
    const offline = makeActor(relay, "dave", { limits: { maxOutbox: 2 } });
    await offline.client.sendDirectMessage("alice", "1");
    await offline.client.sendDirectMessage("alice", "2");
    await expect(offline.client.sendDirectMessage("alice", "3")).rejects.toMatchObject({
      code: "outbox-full",
    });
  });

  it("fails a message to someone whom the relay does not know, and says so", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice", { history: true });
    const id = await alice.client.sendDirectMessage("nobody", "hello?");
    const receipt = await alice.event("receipt", ({ ids }) => ids.includes(id));
    expect(receipt).toMatchObject({ state: "failed", code: "unknown-user", by: "alice" });
    expect(await alice.client.history("nobody")).toMatchObject([{ id, state: "failed" }]);
  });

  it("are not overtaken while they are written to wait for a conversation that others have found meanwhile", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    const inner = memoryStore();
    const order = new SerialQueue();
    /** What a write says of a message, or that an intent has come to its end. */
    const label = (change: Change): string | undefined => {
      if ("delete" in change && change.delete.startsWith(layout.intents)) return "an end";
      if (!("put" in change) || !change.put.startsWith(layout.intents)) return undefined;
      const { target, action, sealed } = decode(decodeIntent, change.value);
      if (action.type !== "send" || action.content.type !== "text") return undefined;
      const where = "userId" in target ? "waits" : sealed === undefined ? "has its place" : "is sealed";
      return `${action.content.text} ${where}`;
    };
    const asked = new Set<string | undefined>();
    // Which write is held up until the test says so.
    let held: string | undefined;
    let reached = () => {};
    let release = () => {};
    const holding = (what: string) => {
      held = what;
      return new Promise<void>((resolve) => {
        reached = resolve;
      });
    };
    const store: Store = {
      open: async (name, options) => {
        const session = await inner.open(name, options);
        const write: StoreSession["write"] = (changes) => {
          const labels = changes.map(label);
          for (const one of labels) asked.add(one);
          return order.run(async () => {
            if (held !== undefined && labels.includes(held)) {
              held = undefined;
              reached();
              await new Promise<void>((resolve) => {
                release = resolve;
              });
            }
            await session.write(changes);
          });
        };
        return {
          owner: session.owner,
          firstUse: session.firstUse,
          get: (key) => session.get(key),
          getKey: (key) => session.getKey(key),
          list: (prefix, listed) => session.list(prefix, listed),
          write,
          close: () => session.close(),
          onLost: (listener) => session.onLost(listener),
        };
      },
    };
    const alice = await connected(relay, "alice", { store });
    const found = holding("first has its place");
    const sends = [alice.client.sendDirectMessage("bob", "first")];
    await found;
    await eventually(() => asked.has("an end"), "the conversation has begun");
    sends.push(alice.client.sendDirectMessage("bob", "second"));
    const writing = holding("second waits");
    release();
    await writing;
    await eventually(() => asked.has("first is sealed"));
    sends.push(alice.client.sendDirectMessage("bob", "third"));
    const moving = holding("second has its place");
    release();
    await moving;
    await alice.client.blocked();
    release();
    await Promise.all(sends);
    await bob.count(3);
    expect(bob.texts).toEqual(["first", "second", "third"]);
  });

  it("keeps each sender's order under bursts from both sides", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    const texts = Array.from({ length: 200 }, (_, i) => `message ${i}`);
    const sent = await Promise.all([
      Promise.all(texts.map((text) => alice.client.sendDirectMessage("bob", text))),
      Promise.all(texts.map((text) => bob.client.sendDirectMessage("alice", text))),
    ]);
    await Promise.all([alice.count(200), bob.count(200)]);
    expect(bob.texts).toEqual(texts);
    expect(alice.texts).toEqual(texts);
    await alice.receipts(sent[0], "delivered", "bob");
    await bob.receipts(sent[1], "delivered", "alice");
    expect(alice.errors.concat(bob.errors)).toEqual([]);
  });

  it("renews keys while it sends, without losing anything", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    const texts = Array.from({ length: 450 }, (_, i) => `message ${i}`);
    for (const text of texts) void alice.client.sendDirectMessage("bob", text);
    await bob.client.sendDirectMessage("alice", "in between");
    await bob.count(450);
    expect(bob.texts).toEqual(texts);
    await alice.message("in between");
    expect(alice.errors.concat(bob.errors)).toEqual([]);
  });

  it("come into one conversation when both write first at the same moment", async () => {
    const relay = await startRelay();
    for (let round = 0; round < 12; round++) {
      const [left, right] = [`left ${round}`, `right ${round}`];
      const [a, b] = await connectAll(relay, [left, right]);
      // Another interleaving each time: some turns of the event loop between the two.
      const turns = round % 6;
      const later = async (count: number) => {
        for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
      };
      const first = (async () => {
        await later(round % 2 === 0 ? turns * 2 : 0);
        for (const n of [1, 2, 3]) await a.client.sendDirectMessage(right, `a${n}`);
      })();
      const second = (async () => {
        await later(round % 2 === 0 ? 0 : turns * 2);
        for (const n of [1, 2, 3]) await b.client.sendDirectMessage(left, `b${n}`);
      })();
      await Promise.all([first, second]);
      await Promise.all([a.count(3), b.count(3)]);
      expect(b.texts).toEqual(["a1", "a2", "a3"]);
      expect(a.texts).toEqual(["b1", "b2", "b3"]);
      // And it goes on.
      await a.client.sendDirectMessage(right, "later");
      await b.message("later");
      expect(a.errors.concat(b.errors)).toEqual([]);
      await Promise.all([a.client.close(), b.client.close()]);
    }
  });

  it("finds the other's conversation when its welcome comes while one looks for it", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const held: Bytes[] = [];
    let looking = false;
    let question: number | undefined;
    let answer: Bytes | undefined;
    const connector = new TamperedConnector({
      fromClient(frame) {
        if (looking && frame.type === "request" && frame.name === "listGroups") question = frame.id;
        return undefined;
      },
      fromRelay(frame, bytes) {
        if (frame.type === "entries" && frame.log.kind === LogKind.inbox && question === undefined) {
          held.push(bytes.slice());
          return [];
        }
        if (frame.type !== "reply" || frame.id !== question || answer !== undefined) return undefined;
        answer = bytes.slice();
        return [];
      },
    });
    const bob = await connected(relay, "bob", { seams: { random: () => 0.1, connector } });
    await alice.receipts([await alice.client.sendDirectMessage("bob", "from alice")], "sent");
    looking = true;
    await bob.client.sendDirectMessage("alice", "from bob");
    await eventually(() => answer !== undefined && held.length > 0);
    for (const frame of held) connector.inject(frame);
    await bob.message("from alice");
    connector.inject(answer as unknown as Bytes);
    await alice.message("from bob");
    expect(alice.errors.concat(bob.errors)).toEqual([]);
  });

  it("works while both are offline, and both come online at once", async () => {
    const relay = await startRelay();
    const stores = { alice: memoryStore(), bob: memoryStore() };
    for (const userId of ["alice", "bob"] as const) {
      await (await connected(relay, userId, { store: stores[userId] })).client.close();
    }
    const alice = makeActor(relay, "alice", { store: stores.alice });
    const bob = makeActor(relay, "bob", { store: stores.bob });
    await alice.client.sendDirectMessage("bob", "from alice");
    await bob.client.sendDirectMessage("alice", "from bob");
    expect(alice.client.state).toBe("idle");
    await Promise.all([alice.client.connect(), bob.client.connect()]);
    await Promise.all([alice.message("from bob"), bob.message("from alice")]);
  });

  it("sends no receipt where the options say so", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { ack: { direct: false } });
    const id = await alice.client.sendDirectMessage("bob", "no answer");
    await alice.receipts([id], "sent", "alice");
    await bob.message("no answer");
    // What bob sends next comes after anything that he would have sent for the message.
    await bob.client.sendDirectMessage("alice", "but this");
    await alice.message("but this");
    expect(alice.all("receipt").map(({ state }) => state)).toEqual(["sent"]);
  });
});
