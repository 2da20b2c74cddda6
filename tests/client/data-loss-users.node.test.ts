import { cp } from "node:fs/promises";
import { expect, it } from "vitest";
import { decodeIntent } from "../../src/client/conversation/sending/intent.js";
import { layout } from "../../src/client/layout.js";
import { decode } from "../../src/codec/reader.js";
import { memoryStore, type Store } from "../../src/index.js";
import { openStore } from "../../src/node.js";
import type { Change } from "../../src/stores/store.js";
import { type Actor, connected, eventually, makeGroup, startRelay, temporaryFolder } from "./harness.js";
import { relayWithBackups, sent } from "./relay-backup.js";
import { SkipClock, settle } from "./skip-clock.js";

const lost = (actor: Actor, userId: string) =>
  actor.all("error").filter(({ code, message }) => code === "data-lost" && message.includes(userId));
const failed = (actor: Actor) =>
  actor.all("receipt").flatMap(({ state, code }) => (state === "failed" ? [code] : []));

/** A relay that loses what it knew of who registers after `before`. */
const relays = {
  "all that it knew": async () => {
    const relay = await startRelay();
    return { relay, before: async () => {}, lose: () => relay.restartEmpty() };
  },
  "all that it knew, and its directory is open": async () => {
    const relay = await startRelay({ directory: "open" });
    return { relay, before: async () => {}, lose: () => relay.restartEmpty() };
  },
  "what came after a backup": async () => {
    const { relay, backUp, restore } = await relayWithBackups();
    return { relay, before: () => backUp(), lose: () => restore() };
  },
};

it.each(Object.entries(relays))(
  "what is for a known user waits, and what was sent too, where the relay has lost %s",
  async (_, make) => {
    const { relay, before, lose } = await make();
    const alice = await connected(relay, "alice");
    await before();
    const store = memoryStore();
    let bob = await connected(relay, "bob", { store });
    const ids = [await alice.client.sendDirectMessage("bob", "first")];
    await bob.message("first");
    await alice.receipts(ids, "delivered", "bob");
    await bob.client.close();
    await alice.client.sendDirectMessage("bob", "was sent");
    await sent(alice, 2);
    await lose();
    await alice.until(() => lost(alice, "bob").length > 0);
    await alice.client.sendDirectMessage("bob", "waits");
    // Also in the next session.
    await relay.restart();
    await alice.until(() => lost(alice, "bob").length > 1 || failed(alice).length > 0);
    bob = await connected(relay, "bob", { store });
    await bob.message("waits");
    expect(bob.texts).toEqual(["was sent", "waits"]);
    expect([failed(alice), alice.all("userDeleted")]).toEqual([[], []]);
  },
);

it("a group is put back, however late those come back whom the relay has lost with it", async () => {
  const relay = await startRelay();
  const clock = new SkipClock();
  const alice = await connected(relay, "alice", { seams: { clock, random: () => 0.1 } });
  const store = memoryStore();
  let bob = await connected(relay, "bob", { store });
  await makeGroup("team", [alice, bob]);
  await bob.client.close();
  await alice.client.sendGroupMessage("team", "was sent");
  await sent(alice, 1);
  await relay.restartEmpty();
  await alice.client.sendGroupMessage("team", "waits");
  await alice.until(() => alice.all("connect").length > 1);
  await clock.skip(600_000, () => settle(alice));
  bob = await connected(relay, "bob", { store });
  await eventually(async () => {
    await clock.skip(4_000, () => settle(alice, bob));
    return bob.texts.length >= 2;
  });
  expect(bob.texts).toEqual(["was sent", "waits"]);
  expect(failed(alice)).toEqual([]);
});

it("what is for a user whom the operator has removed fails at once", async () => {
  const relay = await startRelay();
  const [alice, bob] = [await connected(relay, "alice"), await connected(relay, "bob")];
  await makeGroup("team", [alice, bob]);
  expect(await relay.running.removeUser("bob")).toBe(true);
  await alice.event("userDeleted");
  await alice.client.sendDirectMessage("bob", "nobody gets this");
  await alice.until(() => failed(alice).length > 0);
  expect(failed(alice)).toEqual(["unknown-user"]);
  expect(lost(alice, "bob")).toEqual([]);
});

it("what is for a user whose newer devices the relay has lost waits until it has them again", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const bob = await connected(relay, "bob");
  const [original, copy] = [await temporaryFolder(), await temporaryFolder()];
  const come = async (folder: string) => connected(relay, "alice", { store: await openStore(folder) });
  let alice = await come(original);
  await alice.client.sendDirectMessage("bob", "1");
  await bob.message("1");
  await alice.client.close();
  await cp(original, copy, { recursive: true });
  alice = await come(original);
  await alice.client.sendDirectMessage("bob", "2");
  await bob.message("2");
  await alice.client.close();
  await backUp();
  await bob.until(() => bob.all("connect").length === 2);
  alice = await come(copy);
  await alice.event("storeRecovered", ({ newDevice }) => newDevice);
  await alice.client.sendDirectMessage("bob", "3");
  await bob.message("3");
  await bob.event("deviceRemoved", ({ userId }) => userId === "alice");
  await alice.client.close();
  await restore("yesterday", () => bob.client.sendDirectMessage("alice", "waits"));
  await bob.until(() => lost(bob, "alice").length > 0 || failed(bob).length > 0);
  alice = await come(copy);
  await alice.message("waits");
  await alice.client.sendDirectMessage("bob", "4");
  await bob.message("4");
  expect(failed(bob)).toEqual([]);
  expect(lost(bob, "alice")).toHaveLength(1);
});

/** Whether a change stores that a direct conversation is to begin anew. */
function beginsAnew(change: Change): boolean {
  if (!("put" in change) || !change.put.startsWith(layout.intents)) return false;
  const { action } = decode(decodeIntent, change.value);
  return action.type === "send" && action.content.type === "hello";
}

it("what is written for a conversation while the end of that is being written goes into the next", async () => {
  const relay = await startRelay();
  const inner = memoryStore();
  let reached = () => {};
  let release = () => {};
  const ending = new Promise<void>((resolve) => {
    reached = resolve;
  });
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const store: Store = {
    open: async (...given) =>
      new Proxy(await inner.open(...given), {
        get: (session, name) => {
          const value: unknown = Reflect.get(session, name, session);
          if (name !== "write") return typeof value === "function" ? value.bind(session) : value;
          return async (changes: readonly Change[]) => {
            if (changes.some(beginsAnew)) {
              reached();
              await released;
            }
            await session.write(changes);
          };
        },
      }),
  };
  const alice = await connected(relay, "alice", { store });
  const theirs = memoryStore();
  let bob = await connected(relay, "bob", { store: theirs });
  const ids = [await alice.client.sendDirectMessage("bob", "first")];
  await alice.receipts(ids, "delivered", "bob");
  await bob.client.close();
  await relay.restartEmpty();
  await ending;
  await alice.client.sendDirectMessage("bob", "in between");
  release();
  await alice.until(() => lost(alice, "bob").length > 0);
  bob = await connected(relay, "bob", { store: theirs });
  await alice.client.sendDirectMessage("bob", "last");
  await bob.message("last");
  expect(bob.texts).toEqual(["in between", "last"]);
});
