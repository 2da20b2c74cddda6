import { describe, expect, it } from "vitest";
import { Client, type JoinRequestEvent, memoryStore } from "../../src/index.js";
import { saveAttachment } from "../../src/node.js";
import { codeOf } from "../harness/code-of.js";
import { connectAll, connected, startRelay } from "./harness.js";

describe("arguments that make no sense", () => {
  it.each(["", "a".repeat(63), `${"a".repeat(64)}\n`, "g".repeat(64)])(
    "as the fingerprint %j are refused, and the store can be opened again",
    async (fingerprint) => {
      const relay = await startRelay();
      const store = memoryStore();
      const alice = await connected(relay, "alice", { store });
      expect(await codeOf(alice.client.sendDirectMessage("bob", "x", { fingerprint }))).toBe(
        "invalid-argument",
      );
      expect(await codeOf(alice.client.joinGroup("team", { fingerprint }))).toBe("invalid-argument");
      expect(await codeOf(alice.client.invite("team", "bob", { fingerprint }))).toBe("invalid-argument");
      await alice.client.close();
      await connected(relay, "alice", { store });
    },
  );

  it("are told apart from a connection that was never asked for", async () => {
    const relay = await startRelay();
    const client = new Client({ url: relay.url, userId: "alice", store: memoryStore() });
    await expect(client.createGroup("team", { timeout: 1 })).rejects.toMatchObject({
      code: "timeout",
      message: expect.stringContaining("connect() was not called"),
    });
    await client.close();
  });

  it("are refused with a code: listeners, signals, text without an encoding", async () => {
    const relay = await startRelay();
    const [alice] = await connectAll(relay, ["alice"]);
    const { client } = alice;
    expect(() => client.on("message", undefined as never)).toThrow(
      expect.objectContaining({ code: "invalid-argument" }),
    );
    expect(await codeOf(client.joinGroup("team", { signal: {} as AbortSignal }))).toBe("invalid-argument");
    expect(await codeOf(client.joinGroup("team", { timeout: -1 }))).toBe("invalid-argument");
    expect(await codeOf(client.joinGroup("team", { timeout: Number.POSITIVE_INFINITY }))).toBe(
      "unknown-group",
    );
    expect(await codeOf(client.sendDirectMessage("bob", "a\ud800b"))).toBe("invalid-argument");
    const none = null as never;
    const calls = [
      () => client.connect(none),
      () => client.sendDirectMessage("bob", "x", none),
      () => client.createGroup("team", none),
      () => client.leaveGroup("team", none),
      () => client.history(none),
      () => client.history("bob", none),
      async () => client.on("message", () => {}, none),
      async () => client.on("message", () => {}, { signal: 1 as never }),
      async () => client.messages(none),
    ];
    for (const call of calls) expect(await codeOf(call())).toBe("invalid-argument");
    const { url } = relay;
    const wrongs = [
      ...[{ store: {} }, { store: null }, { ack: null }, { limits: 1 }, { token: 1 }],
      // What is misspelt would be left out.
      ...[{ stores: memoryStore() }, { ack: { groups: true } }, { limits: { outbox: 1 } }],
      ...[{ history: { retention: 1, days: 1 } }, { WebSocket: "ws" }],
      ...[{ ack: { group: "yes" } }, { presence: 1 }, { history: { retention: "5" } }],
      ...[{ limits: { maxOutbox: "10" } }, { limits: { maxOutbox: Number.NaN } }],
    ];
    for (const wrong of wrongs) {
      expect(() => new Client({ url, userId: "carol", ...(wrong as object) })).toThrow(
        expect.objectContaining({ code: "invalid-argument" }),
      );
    }
  });

  it("are refused where an option or an event is misspelt, which would be left out", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    const { client } = alice;
    const [none, pin] = [() => {}, { fingerprnt: "0".repeat(64) } as object];
    const stream = new Blob(["x"]);
    const calls: (() => unknown)[] = [
      () => client.connect({ timeout: 1 } as object),
      () => client.sendDirectMessage("bob", "x", pin),
      () => client.sendDirectMessage("bob", stream, { timeout: 1 } as object),
      () => client.sendGroupMessage("team", "x", { fingerprint: "0".repeat(64) } as object),
      () => client.createGroup("team", { joinMode: "closed" } as object),
      () => client.joinGroup("team", pin),
      () => client.invite("team", "bob", pin),
      () => client.remove("team", "bob", { signals: new AbortController().signal } as object),
      () => client.setJoinMode("team", "open", { timeOut: 1 } as object),
      () => client.block("bob", { timeOut: 1 } as object),
      () => client.history("bob", { after: 1 } as object),
      () => client.messages({ abort: 1 } as object),
      () => client.unencrypted.publish("channel", "x", { timeOut: 1 } as object),
      () => client.unencrypted.on("data", none, { timeout: 1 } as object),
      () => client.on("message", none, { once: true } as object),
      () => client.on("messages" as "message", none),
      () => client.on("toString" as "message", none),
    ];
    for (const call of calls)
      expect(await codeOf((async () => call())()), `${call}`).toBe("invalid-argument");

    await client.createGroup("team");
    const asked = new Promise<JoinRequestEvent>((resolve) => client.on("joinRequest", resolve));
    const joined = bob.client.joinGroup("team");
    const request = await asked;
    expect(await codeOf(request.approve(pin))).toBe("invalid-argument");
    await request.approve();
    await joined;

    const saved = saveAttachment("x" as never, "./y");
    expect(await codeOf(saved)).toBe("invalid-argument");
  });

  it("do not reach what was sent: a buffer that is used again", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    const buffer = Buffer.from("for bob");
    const sent = alice.client.sendDirectMessage("bob", buffer);
    buffer.fill("X");
    await sent;
    await bob.count(1);
    expect(new TextDecoder().decode(bob.messages[0]?.content as Uint8Array)).toBe("for bob");
  });
});
