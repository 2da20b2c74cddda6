import { describe, expect, it } from "vitest";
import { Client, memoryStore } from "../../src/index.js";
import { connectAll, connected, startRelay } from "./harness.js";

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "resolved",
    (error: { code: string }) => error.code,
  );

describe("arguments that make no sense", () => {
  it.each(["", "a".repeat(63), `${"a".repeat(64)}\n`, "g".repeat(64)])(
    "as the fingerprint %j are refused, and the store can be opened again",
    async (fingerprint) => {
      const relay = await startRelay();
      const store = memoryStore();
      const alice = await connected(relay, "alice", { store });
      expect(await code(alice.client.sendDirectMessage("bob", "x", { fingerprint }))).toBe(
        "invalid-argument",
      );
      expect(await code(alice.client.joinGroup("team", { fingerprint }))).toBe("invalid-argument");
      expect(await code(alice.client.invite("team", "bob", { fingerprint }))).toBe("invalid-argument");
      await alice.client.close();
      await connected(relay, "alice", { store });
    },
  );

  it("are refused with a code: listeners, signals, text without an encoding", async () => {
    const relay = await startRelay();
    const [alice] = await connectAll(relay, ["alice"]);
    const { client } = alice;
    expect(() => client.on("message", undefined as never)).toThrow(
      expect.objectContaining({ code: "invalid-argument" }),
    );
    expect(await code(client.joinGroup("team", { signal: {} as AbortSignal }))).toBe("invalid-argument");
    expect(await code(client.joinGroup("team", { timeout: -1 }))).toBe("invalid-argument");
    expect(await code(client.joinGroup("team", { timeout: Number.POSITIVE_INFINITY }))).toBe("unknown-group");
    expect(await code(client.sendDirectMessage("bob", "a\ud800b"))).toBe("invalid-argument");
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
    for (const call of calls) expect(await code(call())).toBe("invalid-argument");
    const { url } = relay;
    const wrongs = [
      ...[{ store: {} }, { store: null }, { ack: null }, { limits: 1 }, { token: 1 }],
      // What is misspelt would be left out.
      ...[{ stores: memoryStore() }, { ack: { groups: true } }, { limits: { outbox: 1 } }],
      ...[{ ack: { group: "yes" } }, { presence: 1 }, { history: { retention: "5" } }],
      ...[{ limits: { maxOutbox: "10" } }, { limits: { maxOutbox: Number.NaN } }],
    ];
    for (const wrong of wrongs) {
      expect(() => new Client({ url, userId: "carol", ...(wrong as object) })).toThrow(
        expect.objectContaining({ code: "invalid-argument" }),
      );
    }
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
