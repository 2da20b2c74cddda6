import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { memoryStore, type Store } from "../../src/index.js";
import { openStore } from "../../src/node.js";
import type { ResultOf } from "../../src/wire/requests.js";
import { makeUser, RawClient } from "../relay/raw-client.js";
import { type Actor, connected, makeActor, makeGroup, startRelay, type TestRelay } from "./harness.js";
import { copied, exchange } from "./older-copy.js";
import { TamperedConnector } from "./tamper.js";

type Groups = ResultOf<"listGroups">["groups"];

/** Of what both write to each other the sender knows that it has arrived. */
async function acknowledged(a: Actor, b: Actor, text: string): Promise<void> {
  await exchange(a, b, text);
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    const [sent] = to.messages.filter(({ content }) => content === `${text} from ${from.userId}`);
    await from.receipts([sent?.id as string], "delivered", to.userId);
  }
}

/** The folder with alice's store as it was before she had spoken to anybody of whom `meanwhile` tells. */
async function copyBefore(relay: TestRelay, meanwhile: (alice: Actor) => Promise<void>): Promise<Store> {
  const { copy } = await copied(relay, async () => {}, meanwhile);
  return openStore(copy);
}

describe("a direct conversation that began after a copy of the store was made", () => {
  it.each(["alice", "bob"])("begins anew by itself, whoever began it: %s", async (who) => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    const store = await copyBefore(relay, (alice) =>
      who === "alice" ? acknowledged(alice, bob, "one") : acknowledged(bob, alice, "one"),
    );
    await bob.client.sendDirectMessage("alice", "written to nobody");
    const alice = makeActor(relay, "alice", { store });
    await alice.client.connect();
    await alice.message("written to nobody");
    const last = await bob.client.sendDirectMessage("alice", "written since");
    await alice.message("written since");
    await bob.receipts([last], "delivered", "alice");
    expect(await alice.client.conversations()).toEqual([{ user: "bob" }]);
    await exchange(alice, bob, "two");
    expect(alice.texts).toEqual(["written to nobody", "written since", "two from bob"]);
    expect(bob.texts).toEqual(["one from alice", "two from alice"]);
    expect([...alice.errors, ...bob.errors, ...bob.all("identityChanged")]).toEqual([]);
  });

  it("begins anew for a user who comes back later, and each of several, beside those that the copy knows", async () => {
    const relay = await startRelay();
    const bobs = memoryStore();
    const [bob, carol, dave] = [
      await connected(relay, "bob", { store: bobs }),
      await connected(relay, "carol"),
      await connected(relay, "dave"),
    ];
    const { copy } = await copied(
      relay,
      (alice) => acknowledged(alice, dave, "one"),
      async (alice) => {
        await acknowledged(alice, dave, "two");
        await acknowledged(bob, alice, "two");
        await acknowledged(alice, carol, "two");
      },
    );
    for (const one of [bob, carol, dave])
      await one.client.sendDirectMessage("alice", `nobody reads ${one.userId}`);
    await bob.client.close();
    const alice = makeActor(relay, "alice", { store: await openStore(copy) });
    await alice.client.connect();
    await Promise.all([alice.message("nobody reads carol"), alice.message("nobody reads dave")]);
    const back = await connected(relay, "bob", { store: bobs });
    await alice.message("nobody reads bob");
    for (const one of [back, carol, dave]) await exchange(one, alice, "three");
    const texts = ["nobody reads bob", "nobody reads carol", "nobody reads dave"];
    const replies = ["three from bob", "three from carol", "three from dave"];
    expect([...alice.texts].sort()).toEqual([...texts, ...replies]);
    expect([bob, back, carol, dave].map((one) => one.texts.length)).toEqual([1, 1, 2, 3]);
    expect([alice, bob, back, carol, dave].flatMap(({ errors }) => errors)).toEqual([]);
  });

  it("is asked for again where the relay does not say, until it does", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    const store = await copyBefore(relay, (alice) => acknowledged(alice, bob, "one"));
    await bob.client.sendDirectMessage("alice", "written to nobody");
    const connector = new TamperedConnector({
      fromRelay: (frame) => (frame.type === "reply" && frame.id === asked ? [] : undefined),
      fromClient: (frame) => {
        if (frame.type === "request" && frame.name === "listGroups" && frame.body.of) asked = frame.id;
        return undefined;
      },
    });
    let asked: number | undefined;
    const deaf = makeActor(relay, "alice", { store, seams: { connector, random: () => 0.1 } });
    await deaf.client.connect();
    await exchange(deaf, await connected(relay, "carol"), "one");
    expect(asked).toBeDefined();
    await deaf.client.close();
    expect(deaf.texts).toEqual(["one from carol"]);
    const alice = makeActor(relay, "alice", { store });
    await alice.client.connect();
    await alice.message("written to nobody");
    expect(alice.errors).toEqual([]);
  });

  it("by the word of a relay begins with nobody who is not there, and with strangers in silence", async () => {
    const relay = await startRelay();
    const [bob, eve] = [await connected(relay, "bob"), await connected(relay, "eve")];
    const store = await copyBefore(relay, (alice) => acknowledged(alice, bob, "one"));
    const invented = ["alice", "nobody", " a space", "\u202eevil", "bob", "eve", "eve"];
    let asked = 0;
    const looked = new Set<string>();
    const connector = new TamperedConnector({
      fromClient(frame) {
        if (frame.type === "request" && frame.name === "resolveDirect") looked.add(frame.body.userId);
        return undefined;
      },
      replies: {
        listGroups({ groups }, { of }): { groups: Groups } {
          if (of === undefined) return { groups };
          asked++;
          const [one] = groups as [Groups[number]];
          const made = invented.map((peer, at) => ({ ...one, groupId: new Uint8Array(32).fill(at), peer }));
          const { peer: _, ...named } = { ...one, groupId: new Uint8Array(32).fill(99) };
          return { groups: [named, ...made] };
        },
      },
    });
    const alice = makeActor(relay, "alice", { store, seams: { connector, random: () => 0.1 } });
    await alice.client.connect();
    await eve.event("userCreated", ({ userId }) => userId === "alice");
    await exchange(bob, alice, "two");
    await exchange(eve, alice, "two");
    const conversations = await alice.client.conversations();
    expect(conversations).toEqual(expect.arrayContaining([{ user: "bob" }, { user: "eve" }]));
    expect(conversations).toHaveLength(2);
    expect([...looked].sort()).toEqual(["bob", "eve", "nobody"]);
    // Nobody was told anything, and nothing is asked for twice.
    expect([bob.texts, eve.texts]).toEqual([["one from alice", "two from alice"], ["two from alice"]]);
    await alice.client.close();
    const again = makeActor(relay, "alice", { store, seams: { connector, random: () => 0.1 } });
    await again.client.connect();
    await exchange(bob, again, "three");
    expect(asked).toBe(1);
    expect([alice, again, bob, eve].flatMap(({ errors }) => errors)).toEqual([]);
  });

  it("does not begin by itself with a user whom this one has blocked", async () => {
    const relay = await startRelay();
    const [bob, eve] = [await connected(relay, "bob"), await connected(relay, "eve")];
    const store = await copyBefore(relay, async (alice) => {
      await acknowledged(alice, bob, "one");
      await acknowledged(alice, eve, "one");
      await alice.client.block("eve");
    });
    await eve.client.sendDirectMessage("alice", "unwanted");
    await bob.client.sendDirectMessage("alice", "wanted");
    const alice = makeActor(relay, "alice", { store });
    await alice.client.connect();
    await alice.message("wanted");
    await exchange(alice, bob, "two");
    expect(await alice.client.conversations()).toEqual([{ user: "bob" }]);
    // Only where this one writes.
    await alice.client.unblock("eve");
    await alice.client.sendDirectMessage("eve", "I may write");
    await Promise.all([alice.message("unwanted"), eve.message("I may write")]);
  });
});

it("lets no stranger, and nobody who has taken a freed user id, learn with whom somebody's devices speak", async () => {
  const relay = await startRelay();
  const [alice, bob] = [await connected(relay, "alice"), await connected(relay, "bob")];
  await makeGroup("team", [alice, bob]);
  await exchange(alice, bob, "one");
  const mallory = await RawClient.connect(relay.url, await makeUser("mallory"));
  const of: Bytes[] = [];
  for (const userId of ["alice", "bob"]) {
    const { deviceList } = await mallory.request("fetchAccount", { userId });
    of.push(...deviceList.list.devices.map(({ deviceId }) => deviceId));
  }
  expect(of).toHaveLength(2);
  for (const asked of of) expect(await mallory.request("listGroups", { of: asked })).toEqual({ groups: [] });
  await alice.client.close();
  await relay.running.removeUser("alice");
  const heir = await RawClient.connect(relay.url, await makeUser("alice"));
  for (const asked of of) expect(await heir.request("listGroups", { of: asked })).toEqual({ groups: [] });
});
