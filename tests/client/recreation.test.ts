import { describe, expect, it } from "vitest";
import { authenticate, type Leaf, leavesOf } from "../../src/client/conversation/membership/leaves.js";
import {
  type GroupPolicy,
  POLICY_EXTENSION,
  policyExtension,
} from "../../src/client/conversation/membership/policy.js";
import { isSuccessor } from "../../src/client/conversation/repair/recreation.js";
import type { ConversationState } from "../../src/client/conversation/state.js";
import { randomBytes } from "../../src/crypto/random.js";
import { memoryStore } from "../../src/index.js";
import {
  createCommit,
  createGroup,
  type GroupState,
  makeCapabilities,
  merge,
  readKeyPackage,
} from "../../src/mls/group/index.js";
import { EntryKind } from "../../src/wire/protocol.js";
import { makeUser, type TestUser } from "../relay/raw-client.js";
import { connected, eventually, settledMembers } from "./harness.js";
import { keyPackageOf } from "./raw-member.js";
import { garble, stranded, world } from "./recreation-world.js";
import { relayWithBackups } from "./relay-backup.js";

describe("a group in which only the maker of a commit can read it", () => {
  it("is begun anew by an admin, without anybody doing anything; what was written meanwhile comes once", async () => {
    const { clock, actors, alice, mallory } = await world();
    const before = actors.map((actor) => [
      actor.all("groupJoin").length,
      actor.all("invitation").length,
      actor.all("groupCreated").length,
    ]);
    await mallory.publish([await keyPackageOf(mallory.user)]);
    await garble(mallory);
    await Promise.all(actors.map(stranded));
    for (const { client, userId } of actors) await client.sendGroupMessage("team", `${userId} meanwhile`);
    await clock.forward(100_000);
    expect(alice.texts).toEqual([]);
    await clock.forward(30_000);
    for (const actor of actors) await actor.count(2);
    for (const { client, userId } of actors) {
      const members = (await client.members("team")).map((member) => member.userId);
      expect(members.sort()).toEqual(["alice", "bob", "carol", "mallory"]);
      await client.sendGroupMessage("team", `${userId} afterwards`);
    }
    for (const actor of actors) await actor.count(4);
    await clock.forward(600_000);
    for (const [index, actor] of actors.entries()) {
      const others = ["alice", "bob", "carol"].filter((userId) => userId !== actor.userId);
      const expected = others.flatMap((userId) => [`${userId} meanwhile`, `${userId} afterwards`]);
      expect([...actor.texts].sort()).toEqual(expected.sort());
      expect(actor.all("groupLeave")).toEqual([]);
      expect(actor.all("groupDeleted")).toEqual([]);
      expect(actor.all("undecryptable")).toEqual([]);
      expect(await actor.client.groups()).toMatchObject([{ name: "team", admin: actor === alice }]);
      expect([
        actor.all("groupJoin").length,
        actor.all("invitation").length,
        actor.all("groupCreated").length,
      ]).toEqual(before[index]);
    }
  });

  it("is there for a stranded member that was away when it was begun", async () => {
    const store = memoryStore();
    const { clock, relay, actors, alice, bob, carol, mallory } = await world(store);
    await garble(mallory);
    await Promise.all(actors.map(stranded));
    await carol.client.sendGroupMessage("team", "carol meanwhile");
    await clock.forward(20_000);
    await carol.client.close();
    await clock.forward(110_000);
    await alice.client.sendGroupMessage("team", "alice while carol is away");
    await bob.message("alice while carol is away");
    const again = await connected(relay, "carol", { store });
    await again.message("alice while carol is away");
    for (const actor of [alice, bob]) await actor.message("carol meanwhile");
    await again.client.sendGroupMessage("team", "carol is back");
    for (const actor of [alice, bob]) await actor.message("carol is back");
    expect(again.all("groupLeave").concat(again.all("invitation") as never[])).toEqual([]);
    expect(alice.texts).toEqual(["carol meanwhile", "carol is back"]);
    await settledMembers("team", [alice, bob, again]);
  });

  it("leaves out who has no key package, and says so", async () => {
    const { clock, actors, alice, mallory } = await world();
    await garble(mallory);
    await Promise.all(actors.map(stranded));
    await clock.forward(130_000);
    await alice.event("error", ({ code }) => code === "no-key-package");
    await settledMembers("team", actors);
    for (const actor of actors)
      expect(await actor.event("memberLeave")).toEqual({ group: "team", userId: "mallory", by: "alice" });
    expect(alice.all("memberJoin").map(({ userId }) => userId)).toEqual(["bob", "carol", "mallory"]);
  });

  it("waits for members who may only be away: one who is back repairs it", async () => {
    const store = memoryStore();
    const { clock, relay, alice, bob, carol, mallory } = await world(store);
    await bob.client.close();
    await carol.client.close();
    // Carol's leaf stands beside mallory's: hers is the one secret on the lowest level.
    await garble(mallory, (level) => level > 0);
    await stranded(alice);
    await alice.client.sendGroupMessage("team", "is anybody there?");
    await clock.forward(600_000);
    const again = await connected(relay, "carol", { store });
    await again.message("is anybody there?");
    await again.client.sendGroupMessage("team", "I am");
    await alice.message("I am");
    expect((await alice.client.members("team")).length).toBe(4);
  });

  it("is begun anew after a day even if several members say nothing", async () => {
    const { clock, alice, bob, carol, mallory } = await world();
    for (const { client } of [bob, carol]) await client.close();
    await garble(mallory);
    await stranded(alice);
    await alice.client.sendGroupMessage("team", "is anybody there?");
    await clock.forward(23 * 3_600_000, 600_000);
    expect((await alice.client.members("team")).length).toBe(4);
    expect(alice.errors).not.toContain("no-key-package");
    await clock.forward(2 * 3_600_000, 300_000);
    await alice.event("error", ({ code }) => code === "no-key-package");
    const members = async () => (await alice.client.members("team")).map(({ userId }) => userId);
    await eventually(async () => (await members()).sort().join() === "alice,bob,carol");
  });
});

describe("a group whose log a relay has lost the end of", () => {
  it("is begun anew after a day, where a member has put what nobody can read in its place, with what was lost", async () => {
    const { relay, backUp, restore } = await relayWithBackups();
    const { clock, actors, alice, bob, carol, mallory, connectAgain } = await world(memoryStore(), relay);
    await mallory.follow();
    await backUp();
    await alice.client.setJoinMode("team", "closed");
    for (const actor of actors) await actor.event("groupUpdated");
    await carol.client.close();
    await alice.client.sendGroupMessage("team", "alice before");
    await bob.message("alice before");
    for (const { client } of [alice, bob]) await client.close();
    await restore();
    await mallory.reconnect(relay);
    const bundle = { access: [], welcome: new Uint8Array(0) };
    await mallory.append({ kind: EntryKind.commit, payload: randomBytes(200), bundle });
    const again = await connectAgain();
    for (const { client, userId } of again) await client.sendGroupMessage("team", `${userId} meanwhile`);
    await clock.forward(150_000, 500);
    for (const { texts } of again) expect(texts).toEqual([]);
    await clock.forward(86_400_000, 86_400_000);
    const areMembers = async () => (await again[0].client.members("team")).length === 3;
    await eventually(async () => {
      await clock.forward(500, 500);
      return areMembers();
    });
    for (const [index, actor] of again.entries()) {
      await actor.count(index === 2 ? 3 : 2);
      const others = ["alice", "bob", "carol"].filter((userId) => userId !== actor.userId);
      const meanwhile = others.map((userId) => `${userId} meanwhile`);
      expect([...actor.texts].sort()).toEqual([...(index === 2 ? ["alice before"] : []), ...meanwhile]);
    }
    await settledMembers("team", again);
    for (const actor of again)
      expect(actor.all("groupLeave").concat(actor.all("invitation") as never)).toEqual([]);
  });
});

/** A group by its first member. */
async function groupOf(users: readonly TestUser[], change: Partial<GroupPolicy> = {}): Promise<GroupState> {
  const [maker, ...others] = users as [TestUser, ...TestUser[]];
  const own = await keyPackageOf(maker);
  const rules = { name: "team", join: "approval", admins: ["alice"], banned: [], disappearAfter: 0 } as const;
  const policy = { kind: "group", ...rules, ...change } as const;
  const created = await createGroup({
    groupId: randomBytes(32),
    credential: readKeyPackage(own.bytes).leafNode.credential,
    signer: maker.device,
    extensions: [policyExtension(policy)],
    capabilities: makeCapabilities({ extensions: [POLICY_EXTENSION] }),
  });
  const bundles = await Promise.all(others.map((other) => keyPackageOf(other)));
  const { staged } = await createCommit(created, {
    proposals: bundles.map(({ bytes }) => ({ kind: "add", keyPackage: readKeyPackage(bytes) })),
    authenticatedData: new Uint8Array(0),
    signer: maker.device,
    authenticate,
    now: BigInt(Math.floor(Date.now() / 1000)),
  });
  return merge(staged);
}

describe("what takes the place of a group", () => {
  it("is made by an admin of it, of its members and rules, for somebody whom a commit has stranded", async () => {
    const names = ["alice", "bob", "mallory", "eve", "alice", "bob"] as const;
    const users = await Promise.all(names.map((name) => makeUser(name)));
    const [alice, bob, mallory, eve, falseAlice, falseBob] = users as [
      TestUser,
      TestUser,
      TestUser,
      TestUser,
      TestUser,
      TestUser,
    ];
    const before = await groupOf([alice, bob, mallory]);
    const repair = { reason: "decryption-failed", missed: 0, readded: false, refused: false };
    const record = { status: "repairing", repair };
    const takesPlace = (group: GroupState, state: object = { record, group: before }) =>
      isSuccessor(state as ConversationState, leavesOf(group)[0] as Leaf, group);

    const next = await groupOf([alice, bob, mallory]);
    expect(takesPlace(next)).toBe(true);
    expect(takesPlace(await groupOf([alice, bob]))).toBe(true);
    const wrong: Record<string, GroupState> = {
      "made by a member that is no admin": await groupOf([mallory, alice, bob]),
      "made by one who calls himself as the admin": await groupOf([falseAlice, bob, mallory]),
      "with somebody new": await groupOf([alice, bob, eve]),
      "with another account of a member's name": await groupOf([alice, falseBob]),
      "with another admin": await groupOf([alice, bob], { admins: ["alice", "bob"] }),
      "with another rule to join": await groupOf([alice, bob], { join: "open" }),
      "of another name": await groupOf([alice, bob], { name: "other" }),
    };
    expect(Object.keys(wrong).filter((what) => takesPlace(wrong[what] as GroupState))).toEqual([]);
    // What the relay alone can bring about, or what is not over.
    const states: Record<string, object> = {
      "a group that goes on": { record: { status: "active" }, group: before },
      "a log with a gap": {
        record: { status: "repairing", repair: { ...repair, reason: "gap" } },
        group: before,
      },
      "a denied access": {
        record: { status: "repairing", repair: { ...repair, reason: "not-a-member" } },
        group: before,
      },
      "a device that is added anew": {
        record: { status: "repairing", repair: { ...repair, readded: true } },
        group: before,
      },
      "keys that are gone": { record, group: undefined },
    };
    expect(Object.keys(states).filter((what) => takesPlace(next, states[what]))).toEqual([]);
  });
});
