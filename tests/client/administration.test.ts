import { describe, expect, it } from "vitest";
import { policyIn } from "../../src/client/conversation/state.js";
import { randomBytes } from "../../src/crypto/random.js";
import { memoryStore } from "../../src/index.js";
import type { Proposal } from "../../src/mls/structs/proposal.js";
import { codeOf } from "../harness/code-of.js";
import {
  type Actor,
  connectAll,
  connected,
  eventually,
  makeActor,
  makeGroup,
  settledMembers,
  startRelay,
} from "./harness.js";
import { keyPackageOf, RawMember } from "./raw-member.js";

/** Resolves when all of them list these admins. */
async function settledAdmins(group: string, actors: readonly Actor[], admins: readonly string[]) {
  for (const { client, userId } of actors) {
    await eventually(async () => {
      const members = await client.members(group);
      const found = members.filter(({ admin }) => admin).map((member) => member.userId);
      return JSON.stringify(found.sort()) === JSON.stringify(admins);
    }, `${userId} sees the admins ${admins}`);
  }
}

describe("admins", () => {
  it("are made and unmade by admins, which all members are told of and the relay acts on", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await makeGroup("team", [alice, bob, carol]);
    expect(await codeOf(bob.client.promote("team", "bob"))).toBe("not-an-admin");
    expect(await codeOf(alice.client.promote("team", "nobody"))).toBe("not-a-member");
    expect(await codeOf(alice.client.promote("elsewhere", "bob"))).toBe("not-a-member");
    await alice.client.promote("team", "bob");
    await alice.client.promote("team", "bob");
    for (const actor of [alice, bob, carol])
      expect(await actor.event("groupUpdated")).toEqual({ group: "team", by: "alice", promoted: ["bob"] });
    await settledAdmins("team", [alice, bob, carol], ["alice", "bob"]);
    expect((await bob.client.groups())[0]).toMatchObject({ name: "team", admin: true });
    await bob.client.remove("team", "carol");
    await settledMembers("team", [alice, bob]);
    await bob.client.demote("team", "alice");
    await settledAdmins("team", [alice, bob], ["bob"]);
    expect(await alice.event("groupUpdated", ({ demoted }) => demoted !== undefined)).toEqual({
      group: "team",
      by: "bob",
      demoted: ["alice"],
    });
    expect(await codeOf(alice.client.invite("team", "carol"))).toBe("not-an-admin");
    // Nothing was changed twice.
    expect(alice.all("groupUpdated")).toHaveLength(2);
    for (const actor of [alice, bob, carol]) expect(actor.errors).toEqual([]);
  });

  it("are never none: the last one promotes another before it is none itself", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await makeGroup("team", [alice, bob]);
    expect(await codeOf(alice.client.demote("team", "alice"))).toBe("last-admin");
    expect(await codeOf(alice.client.demote("team", "nobody"))).toBe("not-a-member");
    await alice.client.demote("team", "bob");
    await alice.client.promote("team", "bob");
    await alice.client.demote("team", "alice");
    await settledAdmins("team", [alice, bob], ["bob"]);
    await bob.client.setJoinMode("team", "closed");
    await eventually(async () => (await alice.client.groups())[0]?.join === "closed");
    for (const actor of [alice, bob]) expect(actor.errors).toEqual([]);
  });

  it("change different things at once, and the same thing: all of it comes about", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await makeGroup("team", [alice, bob, carol]);
    await alice.client.promote("team", "bob");
    await settledAdmins("team", [alice, bob, carol], ["alice", "bob"]);
    await Promise.all([
      alice.client.setJoinMode("team", "open"),
      bob.client.setDisappearing({ group: "team" }, 60_000),
      alice.client.ban("team", "mallory"),
      bob.client.ban("team", "eve"),
      alice.client.promote("team", "carol"),
      bob.client.promote("team", "carol"),
    ]);
    for (const actor of [alice, bob, carol]) {
      await eventually(async () => (await actor.client.banned("team")).length === 2);
      await settledAdmins("team", [actor], ["alice", "bob", "carol"]);
      await eventually(async () => (await actor.client.groups())[0]?.disappearAfter === 60_000);
      expect((await actor.client.groups())[0]).toMatchObject({
        join: "open",
        banned: ["eve", "mallory"],
        disappearAfter: 60_000,
      });
      const promoted = actor.all("groupUpdated").flatMap((event) => event.promoted ?? []);
      expect(promoted).toEqual(["bob", "carol"]);
      expect(actor.errors).toEqual([]);
    }
  });

  it("who demote each other at once leave one, who is told nothing is left to do", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await makeGroup("team", [alice, bob]);
    await alice.client.promote("team", "bob");
    await settledAdmins("team", [alice, bob], ["alice", "bob"]);
    const codes = await Promise.all([
      codeOf(alice.client.demote("team", "bob")),
      codeOf(bob.client.demote("team", "alice")),
    ]);
    expect(codes.sort()).toEqual(["done", "not-an-admin"]);
    const members = await alice.client.members("team");
    expect(members.filter(({ admin }) => admin)).toHaveLength(1);
  });

  it("may ask while offline: it is done with the next session, also after a restart", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const [alice, bob] = [await connected(relay, "alice", { store }), await connected(relay, "bob")];
    await makeGroup("team", [alice, bob]);
    await alice.client.close();
    const offline = makeActor(relay, "alice", { store });
    expect(await codeOf(offline.client.promote("team", "bob", { timeout: 50 }))).toBe("timeout");
    await offline.client.close();
    await connected(relay, "alice", { store });
    expect(await bob.event("groupUpdated")).toMatchObject({ promoted: ["bob"] });
  });
});

describe("a banned user", () => {
  it("is out with one commit, and neither admitted nor invited until the ban is lifted", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await makeGroup("team", [alice, bob, carol]);
    await alice.client.promote("team", "carol");
    expect(await codeOf(bob.client.ban("team", "carol"))).toBe("not-an-admin");
    expect(await codeOf(alice.client.ban("team", "alice"))).toBe("invalid-argument");
    await alice.client.ban("team", "carol");
    await alice.client.ban("team", "carol");
    await settledMembers("team", [alice, bob]);
    expect(await carol.event("groupLeave")).toEqual({ group: "team", reason: "removed", by: "alice" });
    for (const actor of [alice, bob]) {
      expect(await actor.event("groupUpdated", ({ banned }) => banned !== undefined)).toEqual({
        group: "team",
        by: "alice",
        banned: ["carol"],
      });
      expect(await actor.event("memberLeave")).toEqual({ group: "team", userId: "carol", by: "alice" });
      expect(await actor.client.banned("team")).toEqual(["carol"]);
    }
    expect(await codeOf(alice.client.invite("team", "carol"))).toBe("banned");
    expect(await codeOf(carol.client.joinGroup("team"))).toBe("banned");
    // Whoever may admit, and however: the ban holds, and no app is asked.
    await alice.client.setJoinMode("team", "open");
    await eventually(async () => (await bob.client.groups())[0]?.join === "open");
    expect(await codeOf(bob.client.invite("team", "carol"))).toBe("banned");
    expect(await codeOf(carol.client.joinGroup("team"))).toBe("banned");
    expect(alice.all("joinRequest")).toEqual([]);
    await alice.client.unban("team", "carol");
    await alice.client.unban("team", "carol");
    expect(await alice.client.banned("team")).toEqual([]);
    expect(await bob.event("groupUpdated", ({ unbanned }) => unbanned !== undefined)).toEqual({
      group: "team",
      by: "alice",
      unbanned: ["carol"],
    });
    await carol.client.joinGroup("team");
    await settledMembers("team", [alice, bob, carol]);
    for (const actor of [alice, bob, carol]) expect(actor.errors).toEqual([]);
  });

  it("whose request was shown before is refused by approving it", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.createGroup("team");
    const asked = codeOf(bob.client.joinGroup("team"));
    const request = await alice.event("joinRequest");
    await alice.client.ban("team", "bob");
    expect(await codeOf(request.approve())).toBe("banned");
    expect(await asked).toBe("banned");
    await request.reject();
    expect(await alice.client.members("team")).toEqual([{ userId: "alice", admin: true }]);
  });
});

describe("the time after which messages disappear", () => {
  it("is set by either user of a direct conversation, also before its first message", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.setDisappearing("bob", 5_000);
    expect(await alice.event("groupUpdated")).toEqual({ user: "bob", by: "alice", disappearAfter: 5_000 });
    await alice.client.sendDirectMessage("bob", "hello");
    await bob.message("hello");
    expect(await bob.event("groupUpdated")).toEqual({ user: "alice", by: "alice", disappearAfter: 5_000 });
    await bob.client.setDisappearing("alice", 0);
    expect(await alice.event("groupUpdated", ({ by }) => by === "bob")).toEqual({
      user: "bob",
      by: "bob",
      disappearAfter: 0,
    });
    for (const actor of [alice, bob]) expect(actor.errors).toEqual([]);
  });

  it("is an admin's to set in a group, and within bounds", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await makeGroup("team", [alice, bob]);
    expect(await codeOf(bob.client.setDisappearing({ group: "team" }, 5_000))).toBe("not-an-admin");
    expect(await codeOf(alice.client.setDisappearing("alice", 5_000))).toBe("invalid-argument");
    expect(await codeOf(alice.client.setDisappearing("nobody", 5_000))).toBe("unknown-user");
    for (const time of [-1, 0.5, 4_999, Number.NaN, 366 * 24 * 3600 * 1000])
      expect(await codeOf(alice.client.setDisappearing({ group: "team" }, time))).toBe("invalid-argument");
    await alice.client.setDisappearing({ group: "team" }, 3_600_000);
    expect(await bob.event("groupUpdated")).toEqual({
      group: "team",
      by: "alice",
      disappearAfter: 3_600_000,
    });
    expect((await bob.client.groups())[0]?.disappearAfter).toBe(3_600_000);
  });
});

describe("the name of a group", () => {
  it("changes for all members; the old one is free, and messages go on under the new one", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await makeGroup("team", [alice, bob]);
    expect(await codeOf(bob.client.renameGroup("team", "crew"))).toBe("not-an-admin");
    await alice.client.renameGroup("team", "crew");
    for (const actor of [alice, bob]) {
      expect(await actor.event("groupUpdated")).toEqual({
        group: "crew",
        by: "alice",
        name: { before: "team", after: "crew" },
      });
      expect((await actor.client.groups()).map(({ name }) => name)).toEqual(["crew"]);
      expect(await actor.client.conversations()).toEqual([{ group: "crew" }]);
    }
    expect(await codeOf(alice.client.sendGroupMessage("team", "gone"))).toBe("not-a-member");
    const id = await bob.client.sendGroupMessage("crew", "hello crew");
    expect(await alice.message("hello crew")).toMatchObject({ group: "crew" });
    await bob.receipts([id], "sent");
    expect(bob.all("receipt")[0]?.group).toBe("crew");
    // The old name goes to whoever asks next, the new one is taken.
    await eventually(async () => (await codeOf(carol.client.createGroup("team"))) === "done");
    expect(await codeOf(carol.client.createGroup("crew"))).toBe("name-taken");
    expect(await codeOf(alice.client.renameGroup("crew", "team"))).toBe("name-taken");
    expect((await bob.client.groups()).map(({ name }) => name)).toEqual(["crew"]);
    const joined = carol.client.joinGroup("crew");
    const request = await alice.event("joinRequest");
    expect(request.group).toBe("crew");
    await request.approve();
    await joined;
    await settledMembers("crew", [alice, bob, carol]);
    for (const actor of [alice, bob, carol]) expect(actor.errors).toEqual([]);
  });

  it("is in the end the last of those that two admins give it at once", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await makeGroup("team", [alice, bob]);
    await alice.client.promote("team", "bob");
    await eventually(async () => (await bob.client.groups())[0]?.admin === true);
    await Promise.all([alice.client.renameGroup("team", "one"), bob.client.renameGroup("team", "two")]);
    const nameOf = async ({ client }: Actor) => (await client.groups())[0]?.name;
    const isCalled = (event: { name?: unknown }) => event.name !== undefined;
    await eventually(async () => (await nameOf(alice)) === (await nameOf(bob)));
    for (const actor of [alice, bob])
      await actor.until(() => actor.all("groupUpdated").filter(isCalled).length === 2);
    const last = (await nameOf(alice)) as string;
    const lost = last === "one" ? "two" : "one";
    for (const name of ["team", lost])
      await eventually(async () => (await codeOf(carol.client.createGroup(name))) === "done");
    expect(await codeOf(carol.client.createGroup(last))).toBe("name-taken");
    for (const actor of [alice, bob, carol]) expect(actor.errors).toEqual([]);
  });

  it("is given though the relay was away in between, and to who joins or was invited before", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const [alice, bob] = [await connected(relay, "alice"), await connected(relay, "bob", { store })];
    await alice.client.createGroup("team");
    await bob.client.close();
    await alice.client.invite("team", "bob");
    await relay.stop();
    expect(await codeOf(alice.client.renameGroup("team", "crew", { timeout: 20 }))).toBe("timeout");
    await relay.start();
    await alice.event("groupUpdated");
    await eventually(async () => (await alice.client.groups())[0]?.name === "crew");
    const back = await connected(relay, "bob", { store });
    await (await back.event("invitation")).accept();
    await eventually(async () => (await back.client.groups())[0]?.name === "crew");
    await alice.client.sendGroupMessage("crew", "welcome");
    expect(await back.message("welcome")).toMatchObject({ group: "crew" });
  });

  it("is told to who asked to join under the old one, as an invitation", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.createGroup("team");
    const joined = codeOf(bob.client.joinGroup("team"));
    const request = await alice.event("joinRequest");
    await alice.client.renameGroup("team", "crew");
    await request.approve();
    expect(await joined).toBe("unknown-group");
    const invitation = await bob.event("invitation");
    expect(invitation).toMatchObject({ group: "crew", from: "alice" });
    expect(await bob.client.groups()).toEqual([]);
    await invitation.accept();
    await settledMembers("crew", [alice, bob]);
    for (const actor of [alice, bob]) expect(actor.errors).toEqual([]);
  });

  it("that another group has by the time one hears of an invitation under it leads nowhere: one is invited anew", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const [alice, bob] = [await connected(relay, "alice"), await connected(relay, "bob", { store })];
    const carol = await connected(relay, "carol");
    await alice.client.createGroup("team");
    await bob.client.close();
    await alice.client.invite("team", "bob");
    await alice.client.renameGroup("team", "crew");
    await eventually(async () => (await codeOf(carol.client.createGroup("team"))) === "done");
    const back = await connected(relay, "bob", { store });
    await back.event("error", ({ code }) => code === "name-taken");
    expect(back.all("invitation")).toEqual([]);
    await alice.client.remove("crew", "bob");
    await alice.client.invite("crew", "bob");
    await (await back.event("invitation", ({ group }) => group === "crew")).accept();
    await settledMembers("crew", [alice, back]);
    expect(back.errors).toEqual(["name-taken"]);
  });

  it("stays what it was for a member who has another group of the new name", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    const mallory = await RawMember.connect(relay, "mallory");
    await bob.client.createGroup("mine");
    await makeGroup("team", [alice, bob]);
    await alice.client.invite("team", "mallory");
    await mallory.join();
    await alice.client.promote("team", "mallory");
    await mallory.follow();
    // A relay would not have let it claim that name: it does not ask.
    await mallory.append(await mallory.commit({ proposals: [mallory.policy({ name: "mine" })] }));
    await bob.event("error", ({ code }) => code === "name-taken");
    expect((await bob.client.groups()).map(({ name }) => name).sort()).toEqual(["mine", "team"]);
    expect((await bob.client.members("mine")).map(({ userId }) => userId)).toEqual(["bob"]);
    await eventually(async () => (await alice.client.groups())[0]?.name === "mine");
    await bob.client.sendGroupMessage("team", "still here");
    expect(await alice.message("still here")).toMatchObject({ group: "mine" });
  });
});

describe("rules that a member breaks", () => {
  it("change nothing: name, admins, bans, join mode and time are the admins'", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    const mallory = await RawMember.connect(relay, "mallory");
    await makeGroup("team", [alice, bob]);
    await alice.client.invite("team", "mallory");
    await mallory.join();
    await eventually(async () => (await bob.client.members("team")).length === 3);
    const before = (await bob.client.groups())[0];
    const breaks = [
      { name: "stolen" },
      { join: "open" as const },
      { admins: ["alice", "mallory"] },
      { admins: ["mallory"] },
      { banned: ["zoe"] },
      { disappearAfter: 5_000 },
    ];
    const rule = "only admins change the policy, and admins are members";
    for (const [at, change] of breaks.entries()) {
      const proposals = [mallory.policy(change)];
      await mallory.append(await mallory.commit({ proposals, access: () => [] }));
      for (const actor of [alice, bob])
        await actor.until(() => actor.all("error").filter((error) => error.rule === rule).length > at);
      await mallory.follow();
    }
    expect((await bob.client.groups())[0]).toEqual(before);
    expect(bob.all("groupUpdated")).toEqual([]);
    await mallory.say("goes on");
    await Promise.all([alice.message("goes on"), bob.message("goes on")]);
  });

  it("bind admins too: who is banned is no member and no admin, whoever adds it", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    const [mallory, eve] = [await RawMember.connect(relay, "mallory"), await RawMember.connect(relay, "eve")];
    await makeGroup("team", [alice, bob]);
    await alice.client.invite("team", "mallory");
    await mallory.join();
    await alice.client.promote("team", "mallory");
    await alice.client.ban("team", "eve");
    await mallory.follow();
    const banned = "a banned user is no member";
    const errors = (rule: string) => bob.all("error").filter((error) => error.rule === rule).length;
    const bundle = await keyPackageOf(eve.user);
    const add = { kind: "add", keyPackage: bundle.keyPackage } as Proposal;
    await mallory.append(await mallory.commit({ proposals: [add] }));
    await bob.until(() => errors(banned) === 1);
    await mallory.follow();
    // Banning a member leaves it no member: not one who stays.
    await mallory.append(await mallory.commit({ proposals: [mallory.policy({ banned: ["bob", "eve"] })] }));
    await bob.until(() => errors(banned) === 2);
    await mallory.follow();
    const outsiders = mallory.policy({ admins: ["alice", "mallory", "eve"] });
    await mallory.append(await mallory.commit({ proposals: [outsiders], access: () => [] }));
    await bob.until(() => errors("only admins change the policy, and admins are members") === 1);
    await mallory.follow();
    const none = mallory.policy({ admins: [] });
    await mallory.append(await mallory.commit({ proposals: [none], access: () => [] }));
    await bob.until(() => errors("only admins change the policy, and admins are members") === 2);
    expect(await bob.client.members("team")).toEqual([
      { userId: "alice", admin: true },
      { userId: "bob", admin: false },
      { userId: "mallory", admin: true },
    ]);
    expect((await eve.client.request("listGroups", {})).groups).toHaveLength(0);
  });

  it("hold in a direct conversation: nothing but the time changes", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const mallory = await RawMember.connect(relay, "mallory");
    await alice.client.sendDirectMessage("mallory", "hello");
    await mallory.join();
    await mallory.hears("hello");
    await mallory.append(
      await mallory.commit({ proposals: [mallory.policy({ disappearAfter: 9_000 })], merge: true }),
    );
    expect(await alice.event("groupUpdated")).toEqual({
      user: "mallory",
      by: "mallory",
      disappearAfter: 9_000,
    });
    await mallory.follow();
    const key = randomBytes(65);
    const policy = policyIn(mallory.group);
    if (policy.kind !== "direct") throw new Error("no direct conversation");
    const users = policy.users.map((user) => (user.userId === "alice" ? user : { ...user, accountKey: key }));
    await mallory.append(await mallory.commit({ proposals: [mallory.policy({ users })], access: () => [] }));
    await alice.until(() => alice.all("error").length === 1);
    expect(alice.all("error")[0]?.code).toBe("invalid-message");
  });
});
