import { expect, it } from "vitest";
import { leafAt } from "../../src/client/conversation/membership/leaves.js";
import { randomBytes } from "../../src/crypto/random.js";
import { memoryStore } from "../../src/index.js";
import type { Proposal } from "../../src/mls/structs/proposal.js";
import { openStore } from "../../src/node.js";
import { openMemoryStorage } from "../../src/relay.js";
import type { AccessChange } from "../../src/wire/entries.js";
import { EntryKind } from "../../src/wire/protocol.js";
import { codeOf } from "../harness/code-of.js";
import { makeUser, RawClient } from "../relay/raw-client.js";
import { type Actor, connectAll, connected, eventually, makeGroup, startRelay } from "./harness.js";
import { copied, exchange } from "./older-copy.js";
import { type RawEntry, RawMember } from "./raw-member.js";

/** Alice and carol, who are admins, bob, dave and the hostile mallory in one group. */
async function world() {
  const relay = await startRelay();
  const stores = { alice: memoryStore(), carol: memoryStore() };
  const comeBack = (userId: "alice" | "carol") => connected(relay, userId, { store: stores[userId] });
  const [alice, carol] = [await comeBack("alice"), await comeBack("carol")];
  const [bob, dave] = await connectAll(relay, ["bob", "dave"]);
  const mallory = await RawMember.connect(relay, "mallory");
  await makeGroup("team", [alice, bob, carol, dave]);
  await alice.client.invite("team", "mallory");
  await mallory.join();
  await alice.client.promote("team", "carol");
  await Promise.all([bob, carol, dave].map((one) => one.event("groupUpdated")));
  await mallory.follow();
  return { relay, comeBack, alice, bob, carol, dave, mallory };
}

/** Each of them says something that all others read. */
async function speak(word: string, actors: readonly Actor[]): Promise<void> {
  for (const { client, userId } of actors) await client.sendGroupMessage("team", `${word}, ${userId}`);
  for (const actor of actors)
    for (const { userId } of actors) if (userId !== actor.userId) await actor.message(`${word}, ${userId}`);
}

/** Members renew their keys when they like: what was made too early is made again. */
async function append(mallory: RawMember, make: () => Promise<RawEntry>): Promise<void> {
  await eventually(async () => {
    await mallory.follow();
    const code = await codeOf(mallory.append(await make()));
    expect(["done", "stale"]).toContain(code);
    return code === "done";
  });
  await mallory.follow();
}

/** Of the relay only: no member takes the commit. */
async function askToRemove(mallory: RawMember, ...users: string[]): Promise<void> {
  const removal = (userId: string): AccessChange => {
    const { deviceId } = leafAt(mallory.group, mallory.leaf(userId) as never);
    return { type: "remove", userId, deviceId };
  };
  await append(mallory, () => mallory.commit({ access: () => users.map(removal), consistent: true }));
}

it("who asks the relay to remove others removes nobody, and members take it back, be an admin there or not", async () => {
  const { comeBack, mallory, bob, dave, ...admins } = await world();
  let { alice, carol } = admins;
  const ask = async (...users: string[]) => {
    await askToRemove(mallory, ...users);
    await eventually(async () => {
      await mallory.follow();
      return mallory.access.size === 5;
    }, `${users} are in the list again`);
  };
  await ask("alice", "bob", "carol", "dave");
  await speak("all are here", [alice, bob, carol, dave]);
  await alice.client.close();
  await carol.client.close();
  await ask("alice", "bob");
  await ask("alice", "carol", "dave");
  await speak("no admin is here", [bob, dave]);
  [alice, carol] = [await comeBack("alice"), await comeBack("carol")];
  await alice.client.setJoinMode("team", "closed");
  await carol.client.setJoinMode("team", "open");
  await speak("all are here again", [alice, bob, carol, dave]);
  for (const one of [alice, bob, carol, dave]) {
    expect(one.all("groupLeave")).toEqual([]);
    expect(one.all("invitation").length).toBeLessThan(2);
    expect(one.all("receipt").filter(({ state }) => state === "failed")).toEqual([]);
  }
  expect(await bob.client.members("team")).toHaveLength(5);
});

it.each(["has blocked the others", "has another device by now", "was removed by the operator"])(
  "nobody is held up by one whom a member asked the relay to remove, and who %s",
  async (how) => {
    const { relay, alice, bob, carol, dave, mallory } = await world();
    const others = [alice, bob, carol, dave];
    const mike = await RawMember.connect(relay, "mike");
    await alice.client.invite("team", "mike");
    await mike.join();
    if (how === "has blocked the others") {
      for (const { userId } of others) await mike.client.request("setBlocked", { userId, blocked: true });
    } else if (how === "was removed by the operator") await relay.running.removeUser("mike");
    else await RawClient.connect(relay.url, await makeUser("mike", mike.user.account), { version: 2 });
    await askToRemove(mallory, "mike");
    // No message may go before this is committed.
    const leave = { kind: "remove", removed: mallory.group.ownLeafIndex } as Proposal;
    await append(mallory, async () => ({ kind: EntryKind.leave, payload: await mallory.proposal(leave) }));
    await speak("we go on", others);
    await alice.client.setJoinMode("team", "closed");
    await carol.client.remove("team", "mike");
    for (const one of others) {
      await eventually(async () => (await one.client.members("team")).length === 4);
      expect(one.all("receipt").filter(({ state }) => state === "failed")).toEqual([]);
    }
  },
);

it("who leaves as if another put it back stalls no group, and loses its access to the next commit of an admin", async () => {
  const { comeBack, alice, bob, carol, dave, mallory } = await world();
  await alice.client.close();
  await carol.client.close();
  const leave = { kind: "remove", removed: mallory.group.ownLeafIndex } as Proposal;
  const kind = EntryKind.leave;
  await append(mallory, async () => ({
    kind,
    payload: await mallory.proposal(leave),
    isOfAnother: true,
  }));
  await Promise.all([bob.event("memberLeave"), dave.event("memberLeave")]);
  await speak("mallory has left", [bob, dave]);
  const garbage = { kind: EntryKind.application, payload: randomBytes(300) };
  await append(mallory, async () => garbage);
  const again = await comeBack("alice");
  await again.client.setJoinMode("team", "closed");
  await eventually(async () => (await codeOf(mallory.append(garbage))) === "not-a-member");
  await speak("alice is back", [again, bob, dave]);
});

it("no member takes the access of an admin whose new device members let in, nor anybody's then", async () => {
  const storage = openMemoryStorage();
  const relay = await startRelay({ storage });
  const [bob, carol] = await connectAll(relay, ["bob", "carol"]);
  const mallory = await RawMember.connect(relay, "mallory");
  const { copy } = await copied(
    relay,
    async (alice) => {
      await makeGroup("team", [alice, bob, carol]);
      await alice.client.invite("team", "mallory");
      await mallory.join();
    },
    (alice) => exchange(alice, bob, "two"),
  );
  const alice = await connected(relay, "alice", { store: await openStore(copy) });
  await alice.event("storeRecovered");
  // What is said before she is in again is nothing to her keys.
  await alice.client.sendGroupMessage("team", "alice is back");
  await Promise.all([bob, carol].map((one) => one.message("alice is back")));
  await mallory.follow();
  const { deviceId } = leafAt(mallory.group, mallory.leaf("alice") as never);
  await askToRemove(mallory, "alice");
  expect((await storage.access(mallory.log.id, deviceId))?.until).toBeUndefined();
  await askToRemove(mallory, "bob", "carol");
  await alice.client.ban("team", "mallory");
  await speak("mallory is gone", [alice, bob, carol]);
  for (const one of [alice, bob, carol]) expect(one.all("groupLeave")).toEqual([]);
});

it.each(["at once", "once they are back"])(
  "whom a member let in, and another has the relay remove, the members let in again %s",
  async (when) => {
    const storage = openMemoryStorage();
    const relay = await startRelay({ storage });
    const store = memoryStore();
    let alice = await connected(relay, "alice", { store });
    const [dave, bob] = await connectAll(relay, ["dave", "bob"]);
    const mallory = await RawMember.connect(relay, "mallory");
    await makeGroup("team", [alice, dave]);
    await alice.client.setJoinMode("team", "open");
    await dave.event("groupUpdated");
    await dave.client.invite("team", "bob");
    await (await bob.event("invitation")).accept();
    await alice.client.invite("team", "mallory");
    await mallory.join();
    await speak("all are here", [alice, bob, dave]);
    if (when === "once they are back") {
      await alice.client.close();
      await dave.client.close();
    }
    const { deviceId } = leafAt(mallory.group, mallory.leaf("bob") as never);
    await askToRemove(mallory, "bob");
    if (when === "once they are back") {
      expect((await storage.access(mallory.log.id, deviceId))?.until).toBeDefined();
      await eventually(
        async () => await storage.hasRequest(mallory.log.id, deviceId),
        "bob asks to be let in",
      );
      alice = await connected(relay, "alice", { store });
    }
    // What is said before he is in again is nothing to his keys.
    await bob.client.sendGroupMessage("team", "bob is in");
    await alice.message("bob is in");
    await speak("all can speak", [alice, bob]);
    expect(bob.all("groupLeave")).toEqual([]);
  },
);

it("who was removed behind what the relay lets it read learns that from the members", async () => {
  const storage = openMemoryStorage();
  const relay = await startRelay({ storage });
  const stores = { alice: memoryStore(), bob: memoryStore() };
  const [alice, bob] = await Promise.all([
    connected(relay, "alice", { store: stores.alice }),
    connected(relay, "bob", { store: stores.bob }),
  ]);
  const mallory = await RawMember.connect(relay, "mallory");
  await makeGroup("team", [alice, bob]);
  await alice.client.invite("team", "mallory");
  await mallory.join();
  await alice.client.promote("team", "mallory");
  await bob.event("groupUpdated");
  await alice.client.close();
  await bob.client.close();
  await mallory.follow();
  const { deviceId } = leafAt(mallory.group, mallory.leaf("bob") as never);
  await askToRemove(mallory, "bob");
  const removal = { kind: "remove", removed: mallory.leaf("bob") } as Proposal;
  await append(mallory, () => mallory.commit({ proposals: [removal], merge: true }));
  const again = await connected(relay, "bob", { store: stores.bob });
  await eventually(() => storage.hasRequest(mallory.log.id, deviceId), "bob asks to be let in");
  expect(again.all("groupLeave")).toEqual([]);
  await connected(relay, "alice", { store: stores.alice });
  await again.event("groupLeave");
  expect(await again.client.groups()).toEqual([]);
});
