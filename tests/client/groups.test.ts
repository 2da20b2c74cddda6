import { describe, expect, it } from "vitest";
import { memoryStore } from "../../src/index.js";
import { codeOf } from "../harness/code-of.js";
import {
  connectAll,
  connected,
  eventually,
  makeActor,
  makeGroup,
  settledMembers,
  startRelay,
} from "./harness.js";

describe("groups", () => {
  it("are made, joined with approval, written to by everyone", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await alice.client.createGroup("team");
    expect(await alice.event("groupCreated")).toEqual({ group: "team" });
    alice.client.on("joinRequest", (request) => request.approve());
    await bob.client.joinGroup("team");
    expect(await bob.event("groupJoin")).toEqual({ group: "team", members: ["alice", "bob"] });
    await carol.client.joinGroup("team");
    expect(await bob.event("memberJoin")).toEqual({ group: "team", userId: "carol", by: "alice" });
    const ids = await Promise.all(
      [alice, bob, carol].map(({ client, userId }) => client.sendGroupMessage("team", `by ${userId}`)),
    );
    await Promise.all([alice, bob, carol].map((actor) => actor.count(2)));
    expect(bob.messages.map(({ from, group, content }) => [from, group, content]).sort()).toEqual([
      ["alice", "team", "by alice"],
      ["carol", "team", "by carol"],
    ]);
    await alice.receipts([ids[0] as string], "sent");
    expect(await carol.client.members("team")).toEqual([
      { userId: "alice", admin: true },
      { userId: "bob", admin: false },
      { userId: "carol", admin: false },
    ]);
    const members = ["alice", "bob", "carol"];
    expect(await bob.client.groups()).toEqual([
      { name: "team", join: "approval", admin: false, members, banned: [], disappearAfter: 0 },
    ]);
    expect(await bob.client.conversations()).toEqual([{ group: "team" }]);
    // No receipts of delivery in groups unless asked for.
    expect(alice.all("receipt").map(({ state }) => state)).toEqual(["sent"]);
    for (const actor of [alice, bob, carol]) expect(actor.errors).toEqual([]);
  });

  it("tell who has a message where the receivers' options say so", async () => {
    const relay = await startRelay();
    const actors = await connectAll(relay, ["alice", "bob", "carol"], { ack: { group: true } });
    await makeGroup("team", actors);
    const id = await actors[0].client.sendGroupMessage("team", "who has it?");
    await Promise.all(["bob", "carol"].map((by) => actors[0].receipts([id], "delivered", by)));
    expect(actors[0].all("receipt").every(({ group }) => group === "team")).toBe(true);
  });

  it("refuse who is rejected, who may then ask again", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.createGroup("team");
    const asked = codeOf(bob.client.joinGroup("team"));
    const request = await alice.event("joinRequest");
    expect(request).toMatchObject({ group: "team", userId: "bob", identity: "new" });
    expect(request.fingerprint).toBe((await alice.client.safetyNumber("bob")).fingerprint);
    await request.reject();
    expect(await asked).toBe("join-rejected");
    const again = bob.client.joinGroup("team");
    const second = await alice.until(() => alice.all("joinRequest")[1]);
    await second.approve();
    await again;
    await settledMembers("team", [alice, bob]);
  });

  it("let a request stand after the caller's time is up", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.createGroup("team");
    expect(await codeOf(bob.client.joinGroup("team", { timeout: 50 }))).toBe("timeout");
    const abort = new AbortController();
    const aborted = codeOf(bob.client.joinGroup("team", { signal: abort.signal }));
    abort.abort();
    expect(await aborted).toBe("aborted");
    await (await alice.event("joinRequest")).approve().catch(() => {});
    await alice.until(() => alice.all("joinRequest").length >= 1);
    await Promise.all(alice.all("joinRequest").map((request) => request.approve().catch(() => {})));
    expect(await bob.event("groupJoin")).toMatchObject({ group: "team" });
    await alice.client.sendGroupMessage("team", "welcome");
    await bob.message("welcome");
  });

  it("show a request that waited to an admin who comes back, and to one only", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const alice = await connected(relay, "alice", { store });
    await alice.client.createGroup("team");
    await alice.client.close();
    const bob = await connected(relay, "bob");
    const joined = bob.client.joinGroup("team");
    const back = await connected(relay, "alice", { store });
    const request = await back.event("joinRequest");
    await back.client.close();
    // Not answered: it comes again.
    expect(await codeOf(request.approve())).toBe("closed");
    const again = await connected(relay, "alice", { store });
    await (await again.event("joinRequest")).approve();
    await joined;
    await settledMembers("team", [again, bob]);
  });

  it("admit anyone when they are open, also through a member who is no admin", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await alice.client.createGroup("plaza", { join: "open" });
    await bob.client.joinGroup("plaza");
    await settledMembers("plaza", [alice, bob]);
    await alice.client.close();
    await carol.client.joinGroup("plaza");
    await bob.client.sendGroupMessage("plaza", "hi carol");
    await carol.message("hi carol");
    expect(alice.all("joinRequest")).toEqual([]);
  });

  it("refuse requests when they are closed, but not invitations", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.createGroup("board", { join: "closed" });
    expect(await codeOf(bob.client.joinGroup("board"))).toBe("join-rejected");
    expect(alice.all("joinRequest")).toEqual([]);
    await alice.client.invite("board", "bob");
    await (await bob.event("invitation")).accept();
    await settledMembers("board", [alice, bob]);
  });

  it("invite, and keep what was said until the invitation is accepted", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.createGroup("team");
    await alice.client.invite("team", "bob");
    const invitation = await bob.event("invitation");
    expect(invitation).toMatchObject({ group: "team", from: "alice", members: ["alice", "bob"] });
    for (const text of ["1", "2", "3"]) await alice.client.sendGroupMessage("team", text);
    await alice.client.sendDirectMessage("bob", "direct");
    await bob.message("direct");
    expect(bob.texts).toEqual(["direct"]);
    expect(await bob.client.groups()).toEqual([]);
    expect(await codeOf(bob.client.sendGroupMessage("team", "too early"))).toBe("not-a-member");
    await invitation.accept();
    await bob.count(4);
    expect(bob.texts).toEqual(["direct", "1", "2", "3"]);
    await bob.client.sendGroupMessage("team", "thanks");
    await alice.message("thanks");
    expect(alice.errors.concat(bob.errors)).toEqual([]);
  });

  it("accept an invitation by asking to join", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.createGroup("team");
    await alice.client.invite("team", "bob");
    await bob.event("invitation");
    await bob.client.joinGroup("team");
    await settledMembers("team", [alice, bob]);
    expect(alice.all("joinRequest")).toEqual([]);
  });

  it("let an invitation be refused: nothing of it is ever shown", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { store, history: true });
    await alice.client.createGroup("team");
    await alice.client.invite("team", "bob");
    const invitation = await bob.event("invitation");
    await alice.client.sendGroupMessage("team", "unwanted");
    await alice.client.sendDirectMessage("bob", "wanted");
    await bob.message("wanted");
    await invitation.reject();
    await settledMembers("team", [alice]);
    expect(await alice.event("memberLeave")).toMatchObject({ group: "team", userId: "bob" });
    await bob.client.close();
    const back = await connected(relay, "bob", { store, history: true });
    await alice.client.sendDirectMessage("bob", "after");
    await back.message("after");
    expect(back.texts).toEqual(["after"]);
    expect(back.all("invitation")).toEqual([]);
    expect(bob.all("groupLeave").concat(back.all("groupLeave"))).toEqual([]);
  });

  it("take an invitation back by removing: nothing of it is shown, then or after a restart", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { store });
    await alice.client.createGroup("team");
    await alice.client.invite("team", "bob");
    await bob.event("invitation");
    await alice.client.sendGroupMessage("team", "unwanted");
    await alice.client.remove("team", "bob");
    await alice.client.sendDirectMessage("bob", "wanted");
    await bob.message("wanted");
    await eventually(async () => (await bob.client.conversations()).length === 1);
    expect(bob.all("groupLeave")).toEqual([]);
    await bob.client.close();
    const back = await connected(relay, "bob", { store });
    await alice.client.sendDirectMessage("bob", "after");
    await back.message("after");
    expect(back.texts).toEqual(["after"]);
    expect(back.all("invitation")).toEqual([]);
  });

  it("take an invitation back while the invited is offline: what was said with it is not shown either", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { store });
    await alice.client.createGroup("team");
    await alice.client.invite("team", "bob");
    await bob.event("invitation");
    await bob.client.close();
    // All of it reaches bob in one piece.
    await alice.receipts([await alice.client.sendGroupMessage("team", "unwanted")], "sent");
    await alice.client.remove("team", "bob");
    const back = await connected(relay, "bob", { store });
    await alice.client.sendDirectMessage("bob", "wanted");
    await back.message("wanted");
    await eventually(async () => (await back.client.conversations()).length === 1);
    await back.client.close();
    const again = await connected(relay, "bob", { store });
    await alice.client.sendDirectMessage("bob", "after");
    await again.message("after");
    expect(back.texts.concat(again.texts)).toEqual(["wanted", "after"]);
  });

  it("accept invitations of verified users by themselves, where that is asked for", async () => {
    const relay = await startRelay();
    const [alice, carol] = await connectAll(relay, ["alice", "carol"]);
    const bob = await connected(relay, "bob", { acceptFromVerified: true });
    await bob.client.safetyNumber("alice");
    await bob.client.markVerified("alice");
    await alice.client.createGroup("hers");
    await carol.client.createGroup("other");
    await alice.client.invite("hers", "bob");
    await carol.client.invite("other", "bob");
    expect(await bob.event("groupJoin")).toMatchObject({ group: "hers" });
    expect(await bob.event("invitation")).toMatchObject({ group: "other" });
    expect(bob.all("invitation")).toHaveLength(1);
  });

  it("remove a member, who is told and can neither read nor write on", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await makeGroup("team", [alice, bob, carol]);
    await alice.client.sendGroupMessage("team", "before");
    await alice.client.remove("team", "bob");
    await alice.client.sendGroupMessage("team", "after");
    await carol.message("after");
    expect(await bob.event("groupLeave")).toEqual({ group: "team", reason: "removed", by: "alice" });
    expect(await carol.event("memberLeave")).toEqual({ group: "team", userId: "bob", by: "alice" });
    expect(await codeOf(bob.client.sendGroupMessage("team", "x"))).toBe("not-a-member");
    expect(await codeOf(bob.client.members("team"))).toBe("not-a-member");
    expect(await bob.client.groups()).toEqual([]);
    await alice.client.sendDirectMessage("bob", "still friends");
    await bob.message("still friends");
    expect(bob.texts).toEqual(["before", "still friends"]);
    expect(await codeOf(alice.client.remove("team", "bob"))).toBe("not-a-member");
  });

  it("fail a message that was on its way when its sender was removed", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { store });
    await makeGroup("team", [alice, bob]);
    await bob.client.close();
    await alice.client.remove("team", "bob");
    const back = makeActor(relay, "bob", { store });
    const id = await back.client.sendGroupMessage("team", "too late");
    await back.client.connect();
    const receipt = await back.event("receipt", ({ ids }) => ids.includes(id));
    expect(receipt).toMatchObject({ state: "failed", code: "not-a-member", group: "team" });
    await back.event("groupLeave");
    expect(alice.texts).toEqual([]);
  });

  it("hold non-admins to their rights at once", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await makeGroup("team", [alice, bob]);
    expect(await codeOf(bob.client.invite("team", "carol"))).toBe("not-an-admin");
    expect(await codeOf(bob.client.remove("team", "alice"))).toBe("not-an-admin");
    expect(await codeOf(bob.client.deleteGroup("team"))).toBe("not-an-admin");
    expect(await codeOf(alice.client.invite("team", "bob"))).toBe("already-a-member");
    expect(await codeOf(alice.client.invite("team", "nobody"))).toBe("unknown-user");
    expect(await codeOf(carol.client.joinGroup("nowhere"))).toBe("unknown-group");
    expect(await codeOf(bob.client.joinGroup("team"))).toBe("already-a-member");
    expect(await codeOf(carol.client.createGroup("team"))).toBe("name-taken");
    expect(await codeOf(alice.client.createGroup("team"))).toBe("name-taken");
    expect(await carol.client.conversations()).toEqual([]);
  });

  it("are left: at once for the leaver, soon for the others", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await makeGroup("team", [alice, bob, carol]);
    await bob.client.leaveGroup("team");
    expect(bob.all("groupLeave")).toEqual([{ group: "team", reason: "left" }]);
    expect(await bob.client.groups()).toEqual([]);
    await alice.client.sendGroupMessage("team", "without bob");
    await carol.message("without bob");
    await settledMembers("team", [alice, carol]);
    expect(await carol.event("memberLeave")).toMatchObject({ group: "team", userId: "bob" });
    expect(bob.texts).toEqual([]);
    for (const actor of [alice, bob, carol]) expect(actor.errors).toEqual([]);
  });

  it("are left while nobody sends: someone commits it", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await makeGroup("team", [alice, bob, carol]);
    await Promise.all([bob.client.leaveGroup("team"), carol.client.leaveGroup("team")]);
    await settledMembers("team", [alice]);
    for (const actor of [alice, bob, carol]) expect(actor.errors).toEqual([]);
  });

  it("have an heir when the last admin leaves", async () => {
    const relay = await startRelay();
    const [alice, bob, carol, dave] = await connectAll(relay, ["alice", "bob", "carol", "dave"]);
    await makeGroup("team", [alice, bob, carol]);
    await alice.client.leaveGroup("team");
    await settledMembers("team", [bob, carol]);
    const admins = (await bob.client.members("team")).filter(({ admin }) => admin);
    expect(admins).toHaveLength(1);
    const heir = admins[0]?.userId === "bob" ? bob : carol;
    const other = heir === bob ? carol : bob;
    // The heir has an admin's rights, at the relay too.
    await heir.client.invite("team", "dave");
    await (await dave.event("invitation")).accept();
    await heir.client.remove("team", other.userId);
    await other.event("groupLeave");
    await heir.client.sendGroupMessage("team", "mine now");
    await dave.message("mine now");
    for (const actor of [alice, bob, carol]) expect(actor.errors).toEqual([]);
  });

  it("are deleted by an admin, for all, and their name is free", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await makeGroup("team", [alice, bob]);
    await alice.client.sendGroupMessage("team", "last words");
    await alice.client.deleteGroup("team");
    expect(await bob.event("groupDeleted")).toEqual({ group: "team", by: "alice" });
    expect(await alice.event("groupDeleted")).toEqual({ group: "team", by: "alice" });
    expect(bob.texts).toEqual(["last words"]);
    expect(await codeOf(bob.client.sendGroupMessage("team", "x"))).toBe("not-a-member");
    await bob.client.createGroup("team");
    await bob.client.invite("team", "alice");
    await (await alice.event("invitation")).accept();
    await bob.client.sendGroupMessage("team", "a new start");
    await alice.message("a new start");
    for (const actor of [alice, bob]) expect(actor.errors).toEqual([]);
  });

  it("are deleted by the last member's leaving", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await makeGroup("team", [alice, bob]);
    await bob.client.leaveGroup("team");
    await settledMembers("team", [alice]);
    await alice.client.leaveGroup("team");
    expect(await alice.client.groups()).toEqual([]);
    await bob.client.createGroup("team");
    expect(await bob.client.members("team")).toEqual([{ userId: "bob", admin: true }]);
  });

  it.each(["leaveGroup", "deleteGroup"] as const)("end with %s while another's leave waits", async (call) => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await makeGroup("team", [alice, bob]);
    // At once: nobody has committed bob's leave yet.
    await bob.client.leaveGroup("team");
    await alice.client[call]("team");
    expect(await alice.client.groups()).toEqual([]);
    await eventually(async () => (await codeOf(bob.client.createGroup("team"))) === "done");
  });

  it("take back who left or was removed", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const [alice, carol] = await connectAll(relay, ["alice", "carol"]);
    let bob = await connected(relay, "bob", { store });
    await makeGroup("team", [alice, bob, carol]);
    alice.client.on("joinRequest", (request) => request.approve());
    await alice.client.remove("team", "bob");
    await bob.event("groupLeave");
    await alice.client.sendGroupMessage("team", "while away");
    await bob.client.joinGroup("team");
    await alice.client.sendGroupMessage("team", "back");
    await bob.message("back");
    await bob.client.leaveGroup("team");
    // At once, whether or not a commit has removed it yet.
    await bob.client.joinGroup("team");
    await alice.client.sendGroupMessage("team", "again");
    await bob.message("again");
    expect(bob.texts).toEqual(["back", "again"]);
    await settledMembers("team", [alice, bob, carol]);
    await bob.client.close();
    bob = await connected(relay, "bob", { store });
    await bob.client.sendGroupMessage("team", "still here after a restart");
    await carol.message("still here after a restart");
    for (const actor of [alice, bob, carol]) expect(actor.errors).toEqual([]);
  });

  it("take back who was removed and invited again while offline or in the same breath", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const alice = await connected(relay, "alice");
    let bob = await connected(relay, "bob", { store });
    await makeGroup("team", [alice, bob]);
    for (const offline of [true, false, false]) {
      if (offline) await bob.client.close();
      await alice.client.remove("team", "bob");
      await alice.client.invite("team", "bob");
      if (offline) bob = await connected(relay, "bob", { store });
      const invitation = await bob.until(() => bob.all("invitation").at(-1));
      await invitation.accept();
      await eventually(async () => {
        await bob.all("invitation").at(-1)?.accept();
        return (await bob.client.groups()).length === 1;
      });
      await bob.client.sendGroupMessage("team", `back ${alice.messages.length}`);
      await alice.count(alice.messages.length + 1);
    }
    await bob.client.close();
    bob = await connected(relay, "bob", { store });
    await bob.client.sendGroupMessage("team", "after a restart");
    await alice.message("after a restart");
  });
});

describe("races of commits", () => {
  it("end with both commits made, whoever was first", async () => {
    const relay = await startRelay();
    const names = ["alice", "bob", "c1", "c2", "c3", "c4"] as const;
    const [alice, bob, ...others] = await connectAll(relay, names);
    await alice.client.createGroup("team", { join: "open" });
    await alice.client.invite("team", "bob");
    await (await bob.event("invitation")).accept();
    for (const other of others) other.client.on("invitation", (invitation) => invitation.accept());
    await Promise.all([
      alice.client.invite("team", "c1"),
      bob.client.invite("team", "c2"),
      alice.client.invite("team", "c3"),
      bob.client.invite("team", "c4"),
      ...Array.from({ length: 20 }, (_, i) => alice.client.sendGroupMessage("team", `a${i}`)),
      ...Array.from({ length: 20 }, (_, i) => bob.client.sendGroupMessage("team", `b${i}`)),
    ]);
    await settledMembers("team", [alice, bob, ...others]);
    await alice.count(20);
    await bob.count(20);
    expect(alice.texts).toEqual(Array.from({ length: 20 }, (_, i) => `b${i}`));
    expect(bob.texts).toEqual(Array.from({ length: 20 }, (_, i) => `a${i}`));
    await Promise.all(others.map(({ client, userId }) => client.sendGroupMessage("team", `by ${userId}`)));
    await Promise.all(["c1", "c2", "c3", "c4"].map((name) => alice.message(`by ${name}`)));
    for (const actor of [alice, bob, ...others]) expect(actor.errors).toEqual([]);
  });

  it("settle when the same member is invited or removed twice at once", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await alice.client.createGroup("team", { join: "open" });
    await alice.client.invite("team", "bob");
    await (await bob.event("invitation")).accept();
    const results = await Promise.all([
      codeOf(alice.client.invite("team", "carol")),
      codeOf(bob.client.invite("team", "carol")),
    ]);
    expect(results.sort()).toEqual(["already-a-member", "done"]);
    await (await carol.event("invitation")).accept();
    const removals = await Promise.all([
      codeOf(alice.client.remove("team", "carol")),
      codeOf(alice.client.remove("team", "carol")),
      codeOf(carol.client.leaveGroup("team")),
    ]);
    expect(removals).toContain("done");
    await settledMembers("team", [alice, bob]);
    await bob.client.sendGroupMessage("team", "still fine");
    await alice.message("still fine");
    for (const actor of [alice, bob]) expect(actor.errors).toEqual([]);
  });

  it("lose no message sent while members come and go", async () => {
    const relay = await startRelay();
    const [alice, bob, carol, dave] = await connectAll(relay, ["alice", "bob", "carol", "dave"]);
    await makeGroup("team", [alice, bob, carol]);
    dave.client.on("invitation", (invitation) => invitation.accept());
    const sending = (async () => {
      for (let i = 0; i < 60; i++) {
        await bob.client.sendGroupMessage("team", `b${i}`);
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    for (let i = 0; i < 3; i++) {
      await alice.client.invite("team", "dave");
      await alice.client.remove("team", "dave");
    }
    await sending;
    await carol.count(60);
    expect(carol.texts).toEqual(Array.from({ length: 60 }, (_, i) => `b${i}`));
    await alice.count(60);
    for (const actor of [alice, bob, carol]) expect(actor.errors).toEqual([]);
  });
});
