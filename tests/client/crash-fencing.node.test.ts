import { cp } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { SerialQueue } from "../../src/base/serial-queue.js";
import { memoryStore, SubrosaError } from "../../src/index.js";
import { openStore } from "../../src/node.js";
import { openLmdbStore } from "../../src/stores/node-lmdb.js";
import type { Store } from "../../src/stores/store.js";
import { decodeClientFrame } from "../../src/wire/frames.js";
import { type Actor, connected, makeActor, startRelay, temporaryFolder } from "./harness.js";

async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return SubrosaError.is(error) ? error.code : String(error);
  }
}

/**
 * Opens stores in one folder that look dead to each other, as one does that was stopped for long. They take turns:
 * LMDB's lock is given back in the thread that writes, which is the one that would wait for it.
 */
function stopped(folder: string): () => Promise<Store> {
  const turns = new SerialQueue();
  return async () => {
    const store = await openLmdbStore(folder, {}, { liveness: false });
    return {
      open: (name, options) =>
        turns.run(async () => {
          const session = await store.open(name, options);
          const { write, close } = session;
          session.write = (changes) => turns.run(() => write.call(session, changes));
          session.close = () => turns.run(() => close.call(session));
          return session;
        }),
    };
  };
}

/** A relay that notes who sends what after the login. */
async function watchedRelay() {
  const asked: string[] = [];
  const relay = await startRelay({
    onFrame: ({ direction, userId, bytes }) => {
      if (direction !== "in" || userId === undefined) return;
      const frame = decodeClientFrame(bytes as Uint8Array<ArrayBuffer>);
      asked.push(`${userId} ${frame.type === "request" ? frame.name : frame.type}`);
    },
  });
  return { relay, asked };
}

async function exchange(alice: Actor, bob: Actor, word: string): Promise<void> {
  await alice.client.sendDirectMessage("bob", `${word} from alice`);
  await bob.message(`${word} from alice`);
  await bob.client.sendDirectMessage("alice", `${word} from bob`);
  await alice.message(`${word} from bob`);
}

describe("a second client on one store", () => {
  it("is refused, and the first goes on", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const [alice, bob] = [await connected(relay, "alice", { store }), await connected(relay, "bob")];
    const second = makeActor(relay, "alice", { store });
    expect(await codeOf(second.client.connect())).toBe("store-in-use");
    expect(await codeOf(second.client.createGroup("team"))).toBe("store-in-use");
    await exchange(alice, bob, "hello");
  });

  it("that takes a store over ends the first, whose writes change nothing any more", async () => {
    const relay = await startRelay();
    const folder = await temporaryFolder();
    const open = stopped(folder);
    const first = await connected(relay, "alice", { store: await open() });
    const bob = await connected(relay, "bob");
    await exchange(first, bob, "one");

    const second = makeActor(relay, "alice", { store: await open() });
    await second.client.safetyNumber("bob");
    // The first gets as far as its next write: this one, or one that it still had to do.
    expect(["store-in-use", "closed"]).toContain(await codeOf(first.client.sendDirectMessage("bob", "lost")));
    expect(new Set(first.errors)).toEqual(new Set(["store-in-use"]));
    expect(first.client.state).toBe("closed");
    expect(await codeOf(first.client.sendDirectMessage("bob", "lost too"))).toBe("closed");

    await second.client.connect();
    await exchange(second, bob, "two");
    expect(bob.texts).toEqual(["one from alice", "two from alice"]);
    expect(second.errors).toEqual([]);
  });

  it("that takes a store over stops the first from acknowledging what it receives", async () => {
    const relay = await startRelay();
    const folder = await temporaryFolder();
    const open = stopped(folder);
    const first = await connected(relay, "alice", { store: await open() });
    const bob = await connected(relay, "bob");
    await exchange(first, bob, "one");
    const second = makeActor(relay, "alice", { store: await open() });
    await second.client.safetyNumber("bob");
    await bob.client.sendDirectMessage("alice", "for the owner");
    const reading = codeOf(first.client.messages().next());
    await first.event("error", ({ code }) => code === "store-in-use");
    expect([await reading, await codeOf(first.client.messages().next())]).toEqual([
      "store-in-use",
      "store-in-use",
    ]);
    expect(first.texts).not.toContain("for the owner");
    await second.client.connect();
    await second.message("for the owner");
    expect(second.texts).toEqual(["for the owner"]);
  });
});

describe("an older copy of a store", () => {
  it("does not catch up by being opened without a connection", async () => {
    const { relay, asked } = await watchedRelay();
    const [original, copy] = [await temporaryFolder(), await temporaryFolder()];
    const before = await connected(relay, "alice", { store: await openStore(original) });
    await before.client.close();
    await cp(original, copy, { recursive: true });
    const alice = await connected(relay, "alice", { store: await openStore(original) });

    for (let opened = 0; opened < 4; opened++) {
      const offline = makeActor(relay, "alice", { store: await openStore(copy) });
      await offline.client.sendDirectMessage("bob", "from the past");
      await offline.client.close();
    }
    asked.length = 0;
    const stale = makeActor(relay, "alice", { store: await openStore(copy) });
    await stale.client.connect();
    expect(await stale.event("storeRecovered")).toMatchObject({ reason: "outdated", newDevice: true });
    expect(stale.client.deviceId).not.toBe(alice.client.deviceId);
  });

  it("and the original have one turn between them when both are opened from the same state", async () => {
    const { relay } = await watchedRelay();
    const [original, copy] = [await temporaryFolder(), await temporaryFolder()];
    const before = await connected(relay, "alice", { store: await openStore(original) });
    await before.client.close();
    await cp(original, copy, { recursive: true });
    // Whoever comes first is the one: nothing tells the relay which of two equal states is the copy.
    const first = await connected(relay, "alice", { store: await openStore(copy) });
    expect(first.all("storeRecovered")).toEqual([]);
    const second = makeActor(relay, "alice", { store: await openStore(original) });
    await second.client.connect();
    expect(await second.event("storeRecovered")).toMatchObject({ reason: "outdated", newDevice: true });
    await first.event("error", ({ code }) => code === "revoked");
  });
});
