import { cp } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { Client, memoryStore, SubrosaError } from "../../src/index.js";
import { openStore } from "../../src/node.js";
import { webSocketConnector } from "../../src/transport/websocket.js";
import { atEnd, connectAll, connected, makeActor, startRelay, temporaryFolder } from "./harness.js";

const fails = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error as SubrosaError,
  );

describe("connect()", () => {
  it("shares one session between calls, and tells its states", async () => {
    const relay = await startRelay();
    const alice = makeActor(relay, "alice");
    expect([alice.client.state, alice.client.deviceId]).toEqual(["idle", ""]);
    const calls = [alice.client.connect(), alice.client.connect(), alice.client.connect()];
    await Promise.all(calls);
    await alice.client.connect();
    expect(alice.client.state).toBe("connected");
    expect(alice.client.deviceId).toMatch(/^[0-9a-f]{32}$/);
    expect(alice.all("connect")).toEqual([{ registered: true }]);
    await alice.client.close();
    expect(alice.client.state).toBe("closed");
    expect(await fails(alice.client.connect())).toMatchObject({ code: "closed" });
    expect(await fails(alice.client.sendDirectMessage("bob", "x"))).toMatchObject({ code: "closed" });
  });

  it("tries again while it is pending, until the relay is there", async () => {
    const relay = await startRelay();
    await relay.stop();
    const alice = makeActor(relay, "alice");
    const connecting = alice.client.connect();
    let done = false;
    void connecting.then(() => {
      done = true;
    });
    await alice.client.sendDirectMessage("bob", "offline");
    expect([done, alice.client.state]).toEqual([false, "connecting"]);
    await relay.start();
    await connecting;
    expect(alice.all("disconnect")).toEqual([]);
    expect(alice.errors).toEqual([]);
  });

  it("is given up by its signal, and can be called again", async () => {
    const relay = await startRelay();
    await relay.stop();
    const alice = makeActor(relay, "alice");
    const abort = new AbortController();
    const connecting = fails(alice.client.connect({ signal: abort.signal }));
    await alice.client.sendDirectMessage("bob", "waits");
    abort.abort();
    expect(await connecting).toMatchObject({ code: "aborted" });
    expect(alice.client.state).toBe("idle");
    expect(await fails(alice.client.connect({ signal: AbortSignal.abort() }))).toMatchObject({
      code: "aborted",
    });
    await relay.start();
    await alice.client.connect();
    expect(alice.client.state).toBe("connected");
    expect(alice.errors).toEqual([]);
  });

  it("is not ended for others by one caller's signal", async () => {
    const relay = await startRelay();
    await relay.stop();
    const alice = makeActor(relay, "alice");
    const abort = new AbortController();
    const first = fails(alice.client.connect({ signal: abort.signal }));
    const second = alice.client.connect();
    await alice.client.sendDirectMessage("bob", "waits");
    abort.abort();
    expect(await first).toMatchObject({ code: "aborted" });
    await relay.start();
    await second;
    expect(alice.client.state).toBe("connected");
  });

  it("rejects for good when another has the name", async () => {
    const relay = await startRelay();
    await connected(relay, "alice");
    const impostor = makeActor(relay, "alice");
    expect(await fails(impostor.client.connect())).toMatchObject({ code: "user-id-taken" });
    expect(impostor.client.state).toBe("idle");
    expect(impostor.errors).toEqual([]);
  });

  it("rejects for good when the app's login says no, and asks for a new token each time", async () => {
    const relay = await startRelay({
      authenticate: async ({ userId, token }) => userId === "alice" && token === "right 2",
    });
    let asked = 0;
    const alice = makeActor(relay, "alice", { token: () => `right ${++asked}` });
    expect(await fails(alice.client.connect())).toMatchObject({ code: "unauthorized" });
    expect(alice.client.state).toBe("idle");
    await alice.client.connect();
    expect(asked).toBe(2);
    const bob = makeActor(relay, "bob", { token: "right 2" });
    expect(await fails(bob.client.connect())).toMatchObject({ code: "unauthorized" });
  });

  it("fails with what the token function throws only for that attempt, and says so", async () => {
    const relay = await startRelay({ authenticate: ({ token }) => token === "good" });
    let calls = 0;
    const alice = makeActor(relay, "alice", {
      token: () => (++calls < 3 ? Promise.reject(new Error("login server down")) : Promise.resolve("good")),
    });
    await alice.client.connect();
    expect(calls).toBe(3);
    expect(alice.errors).toEqual(["unauthorized", "unauthorized"]);
    expect(alice.all("error")[0]?.cause).toMatchObject({ message: "login server down" });
  });

  it("rejects when the store is in use, and the first client is not disturbed", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const first = await connected(relay, "alice", { store });
    const second = makeActor(relay, "alice", { store });
    expect(await fails(second.client.connect())).toMatchObject({ code: "store-in-use" });
    expect(await fails(second.client.sendDirectMessage("bob", "x"))).toMatchObject({ code: "store-in-use" });
    expect(first.client.state).toBe("connected");
    await first.client.close();
    await second.client.connect();
  });

  it("refuses what is no relay", async () => {
    const alice = makeActor({ url: "ws://127.0.0.1:9" }, "alice");
    const abort = new AbortController();
    const pending = fails(alice.client.connect({ signal: abort.signal }));
    await alice.client.sendDirectMessage("bob", "x");
    abort.abort();
    expect(await pending).toMatchObject({ code: "aborted" });
    for (const url of ["http://127.0.0.1:1", "nonsense", ""]) {
      expect(() => new Client({ url, userId: "alice" })).toThrow(SubrosaError);
    }
    for (const userId of ["", "a\u0000b", "x".repeat(129), "e\u0301", " a"]) {
      expect(() => new Client({ url: "ws://127.0.0.1:1", userId })).toThrow(SubrosaError);
    }
  });
});

describe("close()", () => {
  it("sends what waits first, and says how much is left", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    for (let i = 0; i < 50; i++) await alice.client.sendDirectMessage("bob", `m${i}`);
    const closing = alice.client.close();
    expect(alice.client.close()).toBe(closing);
    expect(await closing).toBe(0);
    expect(await alice.client.close()).toBe(0);
    await bob.count(50);
    const offline = makeActor(relay, "dave");
    await offline.client.sendDirectMessage("bob", "1");
    await offline.client.sendDirectMessage("bob", "2");
    expect(await offline.client.close()).toBe(2);
    expect(await makeActor(relay, "erin").client.close()).toBe(0);
  });

  it("ends calls, iterators and pending connects", async () => {
    const relay = await startRelay();
    await relay.stop();
    const alice = makeActor(relay, "alice", { listen: false });
    const connecting = fails(alice.client.connect());
    const joining = fails(alice.client.joinGroup("team"));
    const creating = fails(alice.client.createGroup("mine"));
    const reading = (async () => {
      for await (const message of alice.client.messages()) return message;
      return "ended";
    })();
    await alice.client.close();
    expect(await connecting).toMatchObject({ code: "closed" });
    expect(await joining).toMatchObject({ code: "closed" });
    expect(await creating).toMatchObject({ code: "closed" });
    expect(await reading).toBe("ended");
    expect((await alice.client.messages().next()).done).toBe(true);
  });

  it("is what `await using` does", async () => {
    const relay = await startRelay();
    let kept: Client;
    {
      await using alice = new Client({ url: relay.url, userId: "alice", store: memoryStore() });
      await alice.connect();
      kept = alice;
    }
    expect(kept.state).toBe("closed");
  });

  it("does not wait for ever for the relay", async () => {
    const relay = await startRelay();
    let deaf = false;
    const connector = webSocketConnector({});
    const alice = makeActor(relay, "alice", {
      seams: {
        random: () => 0.1,
        connector: {
          async connect(url, options) {
            const connection = await connector.connect(url, options);
            const send = connection.send.bind(connection);
            connection.send = (frame) => {
              if (!deaf) send(frame);
            };
            return connection;
          },
        },
        clock: {
          now: () => Date.now(),
          // The flush is cut short; nothing else here takes that long.
          after(ms, callback) {
            const timer = setTimeout(callback, ms === 5_000 ? 20 : ms);
            return () => clearTimeout(timer);
          },
        },
      },
    });
    await alice.client.connect();
    deaf = true;
    await alice.client.sendDirectMessage("bob", "never answered");
    expect(await alice.client.close()).toBe(1);
  });
});

describe("errors", () => {
  it("without a listener crash nothing", async () => {
    const relay = await startRelay();
    await connected(relay, "alice");
    const unheard: unknown[] = [];
    const note = (error: unknown) => unheard.push(error);
    process.on("unhandledRejection", note);
    process.on("uncaughtException", note);
    const impostor = new Client({ url: relay.url, userId: "alice", store: memoryStore() });
    atEnd(() => impostor.close());
    expect(await fails(impostor.connect())).toMatchObject({ code: "user-id-taken" });
    await new Promise((resolve) => setImmediate(resolve));
    process.off("unhandledRejection", note);
    process.off("uncaughtException", note);
    expect(unheard).toEqual([]);
  });

  it("a copy of a store in use elsewhere never acts as the same device", async () => {
    const relay = await startRelay();
    const [original, copy] = [await temporaryFolder(), await temporaryFolder()];
    const store = await openStore(original);
    const alice = await connected(relay, "alice", { store });
    await alice.client.close();
    await cp(original, copy, { recursive: true });
    const first = await connected(relay, "alice", { store: await openStore(original) });
    const second = makeActor(relay, "alice", { store: await openStore(copy) });
    const { deviceId } = first.client;
    await second.client.connect();
    expect(second.client.deviceId).not.toBe(deviceId);
    expect(await second.event("storeRecovered")).toMatchObject({ reason: "outdated", newDevice: true });
    await first.event("error", ({ code }) => code === "revoked");
  });
});
