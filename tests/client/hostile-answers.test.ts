import { describe, expect, it } from "vitest";
import { systemClock } from "../../src/base/clock.js";
import { memoryStore } from "../../src/index.js";
import { encodeResult } from "../../src/wire/frames.js";
import { connected, makeActor, startRelay } from "./harness.js";
import { TamperedConnector } from "./tamper.js";

describe("a relay that answers falsely", () => {
  it("about key packages it was given does not get them without end", async () => {
    const relay = await startRelay();
    let uploads = 0;
    const connector: TamperedConnector = new TamperedConnector({
      fromClient(frame) {
        if (frame.type !== "request" || frame.name !== "publishKeyPackages") return undefined;
        uploads++;
        const result = encodeResult("publishKeyPackages", { oneTime: 0 });
        setImmediate(() => connector.inject({ type: "reply", id: frame.id, result }));
        return [];
      },
    });
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { seams: { connector } });
    // Two conversations' worth of other requests have come and gone meanwhile.
    await bob.client.createGroup("team");
    await bob.client.sendDirectMessage("alice", "hello");
    await alice.message("hello");
    expect(uploads).toBe(1);
  });

  it("with a second challenge ends the connection, and with a second ready changes nothing", async () => {
    const relay = await startRelay();
    const connector = new TamperedConnector();
    const bob = await connected(relay, "bob", { seams: { random: () => 0, connector } });
    const ready = { registered: false, keyPackages: 0, maxFrameBytes: 1 << 20, time: 0 };
    connector.inject({ type: "ready", ready });
    await bob.client.createGroup("team");
    expect(bob.all("connect")).toHaveLength(1);
    connector.inject({ type: "challenge", challenge: { relayName: "x", nonce: new Uint8Array(32) } });
    expect(await bob.event("disconnect")).toMatchObject({ code: 1002, willReconnect: true });
  });

  it("that a state is outdated, in the middle of a session, does not outlaw it", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const connector = new TamperedConnector();
    const bob = await connected(relay, "bob", { store, seams: { connector } });
    connector.inject({ type: "refuse", id: 0, code: "store-outdated", reason: "" });
    await bob.client.createGroup("team");
    await bob.client.close();
    const again = await connected(relay, "bob", { store });
    expect(again.client.state).toBe("connected");
  });
});

it("a clock that was ahead for one session costs no keys that others use", async () => {
  const relay = await startRelay();
  const store = memoryStore();
  let ahead = 0;
  const seams = { clock: { ...systemClock, now: () => Date.now() + ahead } };
  const first = await connected(relay, "bob", { store, seams });
  await first.client.close();
  ahead = 120 * 24 * 3600 * 1000;
  const second = await connected(relay, "bob", { store, seams });
  await second.client.close();
  ahead = 0;
  const bob = makeActor(relay, "bob", { store, seams });
  await bob.client.connect();
  const alice = await connected(relay, "alice");
  await alice.client.sendDirectMessage("bob", "hello");
  await bob.message("hello");
  await bob.client.sendDirectMessage("alice", "from bob");
  await alice.message("from bob");
});
