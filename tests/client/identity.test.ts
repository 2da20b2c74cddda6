import { describe, expect, it } from "vitest";
import { memoryStore } from "../../src/index.js";
import { openMemoryStorage } from "../../src/relay.js";
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
  type TestRelay,
} from "./harness.js";

async function fingerprint(by: Actor, of: string): Promise<string> {
  return (await by.client.safetyNumber(of)).fingerprint;
}

const WRONG = "0".repeat(64);

/** Bob with a new account under his old name, after an operator removed the old one. */
async function reRegistered(relay: TestRelay, storage: ReturnType<typeof openMemoryStorage>): Promise<Actor> {
  await storage.removeUser("bob");
  return connected(relay, "bob");
}

describe("safety numbers", () => {
  it("are the same on both sides, sixty digits, and differ between pairs", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    const [ab, ba, ac] = await Promise.all([
      alice.client.safetyNumber("bob"),
      bob.client.safetyNumber("alice"),
      alice.client.safetyNumber("carol"),
    ]);
    expect(ab.digits).toMatch(/^[0-9]{60}$/);
    expect([ab.digits, ab.qr]).toEqual([ba.digits, ba.qr]);
    expect(ac.digits).not.toBe(ab.digits);
    expect(ab.fingerprint).toMatch(/^[0-9a-f]{64}$/);
    expect(ab.fingerprint).not.toBe(ba.fingerprint);
    expect(await fingerprint(carol, "bob")).toBe(ab.fingerprint);
    expect(await codeOf(alice.client.safetyNumber("nobody"))).toBe("unknown-user");
  });

  it("are marked as compared, for good", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    await connected(relay, "bob");
    const alice = await connected(relay, "alice", { store });
    expect(await codeOf(alice.client.markVerified("bob"))).toBe("unknown-user");
    expect((await alice.client.safetyNumber("bob")).verified).toBe(false);
    await alice.client.markVerified("bob");
    await alice.client.close();
    const back = makeActor(relay, "alice", { store });
    // Known without the relay.
    expect((await back.client.safetyNumber("bob")).verified).toBe(true);
  });
});

describe("another key for a known name", () => {
  it("holds messages back until it is accepted: a relay that lost its data, a user who lost its state", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.sendDirectMessage("bob", "to the first bob");
    await bob.message("to the first bob");
    await alice.client.markVerified("bob");
    const pinned = await fingerprint(alice, "bob");
    await bob.client.close();
    await relay.restartEmpty();
    const second = await connected(relay, "bob");
    const ids: string[] = [];
    for (const text of ["1", "2"]) ids.push(await alice.client.sendDirectMessage("bob", text));
    const changed = await alice.event("identityChanged");
    expect(changed).toEqual({
      userId: "bob",
      pinned,
      offered: await fingerprint(second, "alice").then(async () => {
        return (await (await connected(relay, "carol")).client.safetyNumber("bob")).fingerprint;
      }),
    });
    expect(await fingerprint(alice, "bob")).toBe(pinned);
    expect(alice.all("receipt").filter((one) => one.ids.some((id) => ids.includes(id)))).toEqual([]);
    expect(await codeOf(alice.client.acceptIdentity("bob", WRONG))).toBe("identity-mismatch");
    expect(await codeOf(alice.client.acceptIdentity("carol", changed.offered))).toBe("identity-mismatch");
    await alice.client.acceptIdentity("bob", changed.offered.toUpperCase());
    await second.count(2);
    expect(second.texts).toEqual(["1", "2"]);
    const number = await alice.client.safetyNumber("bob");
    expect([number.fingerprint, number.verified]).toEqual([changed.offered, false]);
    expect(alice.all("identityChanged")).toHaveLength(1);
  });

  it("does not speak in the old conversation, and starts another only once accepted", async () => {
    const storage = openMemoryStorage();
    const relay = await startRelay({ storage });
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.sendDirectMessage("bob", "to the first bob");
    await bob.message("to the first bob");
    await bob.client.close();
    const second = await reRegistered(relay, storage);
    const id = await second.client.sendDirectMessage("alice", "it is me, bob");
    const changed = await alice.event("identityChanged");
    await second.receipts([id], "sent");
    expect(alice.texts).toEqual([]);
    // Alice writes on in the conversation with the account that she knows; the new one cannot read it.
    await alice.client.sendDirectMessage("bob", "for the first bob");
    await alice.client.acceptIdentity("bob", changed.offered);
    await alice.message("it is me, bob");
    await alice.client.sendDirectMessage("bob", "welcome back");
    await second.message("welcome back");
    expect(second.texts).toEqual(["welcome back"]);
  });

  it("is refused in groups: invitations, requests and admissions wait for acceptance", async () => {
    const storage = openMemoryStorage();
    const relay = await startRelay({ storage });
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await fingerprint(alice, "bob");
    await bob.client.close();
    const second = await reRegistered(relay, storage);
    await alice.client.createGroup("team");
    expect(await codeOf(alice.client.invite("team", "bob"))).toBe("identity-changed");
    const asked = second.client.joinGroup("team");
    const request = await alice.event("joinRequest");
    const changed = await alice.event("identityChanged");
    expect(request.fingerprint).toBe(changed.offered);
    expect(await codeOf(request.approve())).toBe("identity-changed");
    await alice.client.acceptIdentity("bob", changed.offered);
    await request.approve();
    await asked;
    expect(alice.all("identityChanged")).toHaveLength(1);
  });

  it("an invitation by a changed inviter is shown only after it was accepted", async () => {
    const storage = openMemoryStorage();
    const relay = await startRelay({ storage });
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await fingerprint(alice, "bob");
    await bob.client.close();
    const second = await reRegistered(relay, storage);
    await second.client.createGroup("trap");
    await second.client.invite("trap", "alice");
    const changed = await alice.event("identityChanged");
    expect(alice.all("invitation")).toEqual([]);
    expect(await alice.client.conversations()).toEqual([]);
    await alice.client.acceptIdentity("bob", changed.offered);
    await (await alice.event("invitation")).accept();
    await second.client.sendGroupMessage("trap", "hello");
    await alice.message("hello");
  });
});

describe("an expected fingerprint", () => {
  it("lets a first message go to that account only", async () => {
    const relay = await startRelay();
    const [alice, , carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    const right = await fingerprint(carol, "bob");
    const wrong = await alice.client.sendDirectMessage("bob", "x", { fingerprint: WRONG });
    expect(await alice.event("receipt", ({ ids }) => ids.includes(wrong))).toMatchObject({
      state: "failed",
      code: "identity-mismatch",
    });
    // Nothing was pinned by it, and other messages go on.
    const both = await Promise.all([
      alice.client.sendDirectMessage("bob", "mistaken", { fingerprint: WRONG }),
      alice.client.sendDirectMessage("bob", "right", { fingerprint: right.toUpperCase() }),
      alice.client.sendDirectMessage("bob", "any"),
    ]);
    await alice.receipts([both[1], both[2]], "delivered", "bob");
    await alice.receipts([both[0]], "failed");
    expect(await codeOf(alice.client.sendDirectMessage("bob", "x", { fingerprint: WRONG }))).toBe(
      "identity-mismatch",
    );
  });

  it("holds too when the other side, or who pretends to be it, wrote first", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    await (await connected(relay, "alice", { store })).client.close();
    const impostor = await connected(relay, "bob");
    const alice = makeActor(relay, "alice", { store });
    const id = await alice.client.sendDirectMessage("bob", "secret", { fingerprint: WRONG });
    await impostor.client.sendDirectMessage("alice", "hi, bob here");
    await alice.client.connect();
    await alice.message("hi, bob here");
    expect(await alice.event("receipt", ({ ids }) => ids.includes(id))).toMatchObject({
      code: "identity-mismatch",
    });
    await alice.client.sendDirectMessage("bob", "who are you?");
    await impostor.message("who are you?");
    expect(impostor.texts).toEqual(["who are you?"]);
  });

  it("holds for invitations, admissions and joining", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    const [ofAlice, ofBob, ofCarol] = [
      await fingerprint(carol, "alice"),
      await fingerprint(carol, "bob"),
      await fingerprint(bob, "carol"),
    ];
    await alice.client.createGroup("team");
    expect(await codeOf(alice.client.invite("team", "bob", { fingerprint: WRONG }))).toBe(
      "identity-mismatch",
    );
    expect(bob.all("invitation")).toEqual([]);
    await alice.client.invite("team", "bob", { fingerprint: ofBob });
    await bob.event("invitation");
    expect(await codeOf(bob.client.joinGroup("team", { fingerprint: ofCarol }))).toBe("identity-mismatch");
    expect(await bob.client.groups()).toEqual([]);
    await bob.client.joinGroup("team", { fingerprint: ofAlice });
    const asked = carol.client.joinGroup("team", { fingerprint: ofAlice });
    const request = await alice.event("joinRequest");
    expect(await codeOf(request.approve({ fingerprint: ofBob }))).toBe("identity-mismatch");
    await request.approve({ fingerprint: ofCarol });
    await asked;
    // One who asks for another admin than the group has does not join it, even when admitted.
    const dave = await connected(relay, "dave");
    const mistaken = codeOf(dave.client.joinGroup("team", { fingerprint: ofBob }));
    await (await alice.event("joinRequest", ({ userId }) => userId === "dave")).approve();
    expect(await mistaken).toBe("identity-mismatch");
    expect(await dave.client.groups()).toEqual([]);
  });
});

describe("groups and pins", () => {
  it("a member whose key is not the pinned one raises identityChanged, and is not heard before it is accepted", async () => {
    const storage = openMemoryStorage();
    const relay = await startRelay({ storage });
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    const pinned = await fingerprint(alice, "bob");
    await makeGroup("team", [carol, alice]);
    await bob.client.close();
    const second = await reRegistered(relay, storage);
    // Carol never knew the first bob.
    await carol.client.invite("team", "bob");
    await (await second.event("invitation")).accept();
    expect(await alice.event("identityChanged")).toMatchObject({ userId: "bob", pinned });
    await eventually(async () => (await alice.client.members("team")).length === 3);
    await second.client.sendGroupMessage("team", "hello");
    await carol.message("hello");
    // Whoever it is, it does not speak as the bob that alice knows before she has accepted it.
    const sent = await carol.client.sendGroupMessage("team", "did you hear?");
    await alice.message("did you hear?");
    expect(sent).toBeDefined();
    expect(alice.texts).not.toContain("hello");
    const { offered } = await alice.event("identityChanged");
    await alice.client.acceptIdentity("bob", offered);
    await alice.message("hello");
  });

  it("a member who begins anew takes its own place once an admin invites it, and is none of the admins", async () => {
    const storage = openMemoryStorage();
    const relay = await startRelay({ storage });
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await makeGroup("team", [alice, bob, carol]);
    await alice.client.setJoinMode("team", "open");
    await alice.client.promote("team", "bob");
    for (const one of [alice, carol]) await one.client.sendDirectMessage("bob", "to the first bob");
    await bob.count(2);
    await bob.client.close();
    const second = await reRegistered(relay, storage);
    // Whom a member has not accepted it does not invite; and it puts nobody in the place of another.
    expect(await codeOf(alice.client.invite("team", "bob"))).toBe("identity-changed");
    expect(await codeOf(carol.client.invite("team", "bob"))).toBe("identity-changed");
    const { offered } = await carol.event("identityChanged");
    await carol.client.acceptIdentity("bob", offered);
    expect(await codeOf(carol.client.invite("team", "bob"))).toBe("not-an-admin");
    expect(second.all("invitation")).toEqual([]);
    await alice.client.acceptIdentity("bob", offered);
    await alice.client.invite("team", "bob");
    await (await second.event("invitation")).accept();
    await settledMembers("team", [alice, second, carol]);
    for (const [from, to] of [[alice, second] as const, [second, carol] as const, [carol, alice] as const]) {
      await from.client.sendGroupMessage("team", `from ${from.userId}`);
      await to.message(`from ${from.userId}`);
    }
    const admins = (await carol.client.members("team")).filter(({ admin }) => admin);
    expect(admins.map(({ userId }) => userId)).toEqual(["alice"]);
    expect(await codeOf(alice.client.invite("team", "bob"))).toBe("already-a-member");
    expect([...alice.errors, ...second.errors, ...carol.errors]).toEqual([]);
  });
});
