import { expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { memoryStore } from "../../src/index.js";
import type { Store } from "../../src/stores/store.js";
import { EntryKind } from "../../src/wire/protocol.js";
import { RawClient } from "../relay/raw-client.js";
import { type Actor, connected, eventually, makeGroup, type TestRelay } from "./harness.js";
import { RawMember } from "./raw-member.js";
import { numbered, relayWithBackups, sent } from "./relay-backup.js";

/** What a closed client has left in its store under keys that begin so. */
async function records(store: Store, relay: TestRelay, userId: string, prefix: string) {
  const session = await store.open(`${new URL(relay.url).href} ${userId}`);
  const found = await session.list(prefix);
  await session.close();
  return found;
}

const bytesOf = (found: readonly [string, Uint8Array][]) =>
  found.reduce((sum, [, { length }]) => sum + length, 0);

/** Alice writes to a group that bob is in, and is away from; then the relay forgets all of it. */
async function lostMessages(
  limits: { maxKeptMessages?: number; maxKeptBytes?: number },
  texts: readonly string[],
) {
  const { relay, backUp, restore } = await relayWithBackups();
  const stores = { alice: memoryStore(), bob: memoryStore() };
  const alice = await connected(relay, "alice", { store: stores.alice, limits });
  const bob = await connected(relay, "bob", { store: stores.bob });
  await makeGroup("team", [alice, bob]);
  await backUp();
  await bob.client.close();
  const ids: string[] = [];
  for (const text of texts) ids.push(await alice.client.sendGroupMessage("team", text));
  await sent(alice, texts.length);
  await alice.client.close();
  const kept = await records(stores.alice, relay, "alice", "kept/");
  await restore();
  const again = await connected(relay, "alice", { store: stores.alice, limits });
  const reader = await connected(relay, "bob", { store: stores.bob });
  await again.client.sendGroupMessage("team", "and on");
  await reader.message("and on");
  return { kept, got: reader.texts, again };
}

it("of the messages sent to a group only so many are kept; a relay that lost them gets the newest", async () => {
  const texts = numbered("message", 60);
  const { kept, got, again } = await lostMessages({ maxKeptMessages: 12 }, texts);
  expect(kept.length).toBeLessThanOrEqual(12);
  expect(kept.length).toBeGreaterThanOrEqual(9);
  expect(got).toEqual([...texts.slice(-kept.length), "and on"]);
  expect(again.all("receipt").filter(({ state }) => state === "failed")).toEqual([]);
});

it("only so many bytes of them are kept", async () => {
  const texts = numbered("x".repeat(4_000), 40);
  const { kept, got } = await lostMessages({ maxKeptBytes: 40_000 }, texts);
  expect(bytesOf(kept)).toBeLessThanOrEqual(40_000);
  expect(bytesOf(kept)).toBeGreaterThan(20_000);
  expect(got).toEqual([...texts.slice(-kept.length), "and on"]);
});

it("a message is not kept any more once every member has said that it has it", async () => {
  const { relay } = await relayWithBackups();
  const store = memoryStore();
  const alice = await connected(relay, "alice", { store });
  const others: Actor[] = [];
  for (const name of ["bob", "carol"]) others.push(await connected(relay, name, { ack: { group: true } }));
  await makeGroup("team", [alice, ...others]);
  const ids = [];
  for (const text of numbered("m", 3)) ids.push(await alice.client.sendGroupMessage("team", text));
  for (const { userId } of others) await alice.receipts(ids, "delivered", userId);
  await others[1]?.client.close();
  const last = await alice.client.sendGroupMessage("team", "carol is away");
  await alice.receipts([last], "delivered", "bob");
  await alice.client.close();
  const left = await records(store, relay, "alice", "kept/");
  expect(left.map(([key]) => key.split("/")[2])).toEqual([last]);
});

it("of what changed in a group only so many bytes are kept, the newest always, and a lost end is put back", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const limits = { maxKeptBytes: 20_000 };
  const stores = { alice: memoryStore(), bob: memoryStore() };
  const alice = await connected(relay, "alice", { store: stores.alice, limits });
  const bob = await connected(relay, "bob", { store: stores.bob, limits });
  await makeGroup("team", [alice, bob]);
  const change = async (count: number) => {
    for (let at = 0; at < count; at++) await alice.client.setJoinMode("team", at % 2 ? "approval" : "open");
    await eventually(
      async () => (await bob.client.groups())[0]?.join === (await alice.client.groups())[0]?.join,
    );
  };
  await change(30);
  await backUp();
  await change(4);
  await restore();
  await alice.client.sendGroupMessage("team", "after");
  await bob.message("after");
  for (const actor of [alice, bob]) {
    expect(actor.errors).not.toContain("cursor-mismatch");
    expect(actor.all("undecryptable")).toEqual([]);
    await actor.client.close();
    const left = await records(stores[actor.userId as "alice"], relay, actor.userId, "handshake/");
    expect(bytesOf(left)).toBeLessThanOrEqual(limits.maxKeptBytes);
    expect(left.length).toBeGreaterThan(4);
  }
});

it("what a member fills one group with makes nobody forget what another group is put back with", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const limits = { maxKeptBytes: 100_000 };
  const alice = await connected(relay, "alice", { limits });
  const bob = await connected(relay, "bob", { limits });
  await makeGroup("team", [alice, bob]);
  await makeGroup("noise", [alice, bob]);
  const mallory = await RawMember.connect(relay, "mallory");
  await alice.client.invite("noise", "mallory");
  await mallory.join();
  await backUp();
  for (const join of ["open", "closed"] as const) await alice.client.setJoinMode("team", join);
  await alice.client.sendGroupMessage("team", "before");
  await bob.message("before");
  // Commits that are none: void, and entries of the log all the same.
  const client = await RawClient.connect(relay.url, mallory.user);
  let after = mallory.handshake;
  for (let at = 0; at < 12; at++) {
    const bundle = { access: [], welcome: new Uint8Array(0) };
    const entry = { kind: EntryKind.commit, entryId: randomBytes(16), payload: randomBytes(20_000), bundle };
    after = await client.append(mallory.log, after, entry);
  }
  await alice.client.sendGroupMessage("noise", "what was that?");
  await bob.message("what was that?");
  await client.close();
  await restore();
  await alice.client.sendGroupMessage("team", "once restored");
  await bob.message("once restored");
});
