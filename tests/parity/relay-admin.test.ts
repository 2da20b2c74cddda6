import { describe, expect, it } from "vitest";
import { memoryStore } from "../../src/index.js";
import type { AccountKeyRequest, FrameInfo, Page } from "../../src/relay.js";
import {
  type Actor,
  connectAll,
  connected,
  eventually,
  makeActor,
  makeGroup,
  startRelay,
} from "../client/harness.js";

/** All of a list, a few at a time. */
async function all<T>(list: (page: { after?: string; limit: number }) => Promise<Page<T>>): Promise<T[]> {
  const found: T[] = [];
  let after: string | undefined;
  do {
    const { items, next } = await list({ limit: 2, ...(after !== undefined && { after }) });
    found.push(...items);
    after = next;
  } while (after !== undefined);
  return found;
}

const fingerprint = async (by: Actor, of: string) => (await by.client.safetyNumber(of)).fingerprint;

describe("an operator", () => {
  it("sees users with what clients show of them, and groups without their names", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await makeGroup("secret name", [alice, bob]);
    await alice.client.sendDirectMessage("carol", "hello");
    await carol.message("hello");
    await carol.client.close();
    const list = () => all((page) => relay.running.users(page));
    await eventually(async () => (await list())[2]?.connected === 0);
    const users = await list();
    expect(users).toEqual([
      {
        userId: "alice",
        fingerprint: await fingerprint(bob, "alice"),
        devices: [alice.client.deviceId],
        connected: 1,
      },
      {
        userId: "bob",
        fingerprint: await fingerprint(alice, "bob"),
        devices: [bob.client.deviceId],
        connected: 1,
      },
      {
        userId: "carol",
        fingerprint: await fingerprint(alice, "carol"),
        devices: [carol.client.deviceId],
        connected: 0,
      },
    ]);
    const groups = await all((page) => relay.running.groups(page));
    expect(groups).toHaveLength(2);
    expect(groups.find(({ direct }) => direct)?.members).toEqual(["alice", "carol"]);
    const team = groups.find(({ direct }) => !direct);
    expect(team).toMatchObject({ members: ["alice", "bob"], closed: false });
    expect(team?.groupId).toMatch(/^[0-9a-f]{64}$/);
    expect(team?.entries).toBeGreaterThan(0);
    expect(team?.bytes).toBeGreaterThan(100);
    expect(JSON.stringify(groups)).not.toContain("secret name");
    await expect(relay.running.users({ limit: 0 })).rejects.toMatchObject({ code: "invalid-argument" });
    const misspelt = relay.running.groups({ afer: "x" } as object);
    await expect(misspelt).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(relay.running.users({ after: "?" })).rejects.toMatchObject({ code: "malformed" });
  });

  it("closes a group: its members learn who did it, also later, and its name is free", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    const carol = await connected(relay, "carol", { store });
    await makeGroup("team", [alice, bob, carol]);
    await carol.client.close();
    await alice.client.sendGroupMessage("team", "before");
    await bob.message("before");
    expect(await relay.running.closeGroup({ name: "team" })).toBe(true);
    for (const actor of [alice, bob]) {
      expect(await actor.event("groupLeave")).toEqual({ group: "team", reason: "closed" });
      await expect(actor.client.sendGroupMessage("team", "after")).rejects.toMatchObject({
        code: "not-a-member",
      });
      expect(await actor.client.groups()).toEqual([]);
    }
    const later = await connected(relay, "carol", { store });
    await later.message("before");
    expect(await later.event("groupLeave")).toEqual({ group: "team", reason: "closed" });
    for (const actor of [alice, bob, later]) {
      expect([actor.all("groupLeave").length, actor.all("groupDeleted"), actor.errors]).toEqual([1, [], []]);
    }
    await makeGroup("team", [bob, alice]);
    await bob.client.sendGroupMessage("team", "anew");
    await alice.message("anew");
  });

  it("closes a group by its id, once, and no direct conversation and none that is not there", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.sendDirectMessage("bob", "hello");
    await bob.message("hello");
    await alice.client.createGroup("mine");
    const groups = await all((page) => relay.running.groups(page));
    const idOf = (direct: boolean) => groups.find((group) => group.direct === direct)?.groupId as string;
    await expect(relay.running.closeGroup(idOf(true))).rejects.toMatchObject({ code: "forbidden" });
    expect(await relay.running.closeGroup(idOf(false))).toBe(true);
    expect(await relay.running.closeGroup(idOf(false))).toBe(false);
    await alice.event("groupLeave", ({ reason }) => reason === "closed");
    for (const group of [{ name: "none" }, { name: "mine" }, "ab".repeat(32)])
      await expect(relay.running.closeGroup(group)).rejects.toMatchObject({ code: "unknown-group" });
    for (const group of ["ab", { name: "a\n" }, undefined as never])
      await expect(relay.running.closeGroup(group)).rejects.toMatchObject({ code: "invalid-argument" });
    await bob.client.sendDirectMessage("alice", "still here");
    await alice.message("still here");
  });

  it("sees each frame in both directions with where it belongs, and can veto one", async () => {
    const frames: FrameInfo[] = [];
    let vetoed: string | undefined;
    const relay = await startRelay({
      onFrame: (frame) => {
        frames.push(frame);
        return frame.userId !== vetoed || frame.userId === undefined || frame.direction === "out";
      },
    });
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    const mine = frames.filter(({ connection }) => connection === frames[0]?.connection);
    // The challenge, the authentication, ready.
    expect(mine.slice(0, 3).map(({ direction, bytes }) => [direction, bytes[0]])).toEqual([
      ["out", 1],
      ["in", 2],
      ["out", 3],
    ]);
    expect(mine.slice(0, 2).every(({ userId, deviceId }) => userId === undefined && !deviceId)).toBe(true);
    const { userId, deviceId } = mine[2] as FrameInfo;
    const owner = [alice, bob].find((actor) => actor.userId === userId);
    expect(deviceId).toBe(owner?.client.deviceId);
    expect(new Set(frames.map(({ connection }) => connection)).size).toBe(2);
    expect(new Set(frames.map(({ address }) => address))).toEqual(new Set(["127.0.0.1"]));
    vetoed = "bob";
    await bob.client.sendDirectMessage("alice", "never sent");
    expect(await bob.event("disconnect")).toMatchObject({ code: 4403, willReconnect: false });
    expect(alice.client.state).toBe("connected");
  });
});

describe("the policy for account keys", () => {
  it("refuses another key by default", async () => {
    const relay = await startRelay();
    await connected(relay, "alice");
    const other = makeActor(relay, "alice");
    await expect(other.client.connect()).rejects.toMatchObject({ code: "user-id-taken" });
  });

  it("lets a hook refuse first keys and other ones, and asks again where it failed", async () => {
    const asked: AccountKeyRequest[] = [];
    const answers: (boolean | Error)[] = [false, new Error("no answer"), true, "yes" as never];
    const relay = await startRelay({
      accountKeys: (request) => {
        asked.push(request);
        const answer = answers.shift();
        if (answer instanceof Error) throw answer;
        return answer as boolean;
      },
    });
    await expect(makeActor(relay, "alice").client.connect()).rejects.toMatchObject({ code: "unauthorized" });
    const store = memoryStore();
    const alice = await connected(relay, "alice", { store });
    expect(asked).toHaveLength(3);
    expect(asked.every(({ userId, previous }) => userId === "alice" && previous === undefined)).toBe(true);
    await alice.client.close();
    // A key that is bound is nobody's question.
    await connected(relay, "alice", { store });
    expect(asked).toHaveLength(3);
    const other = makeActor(relay, "alice");
    await expect(other.client.connect()).rejects.toMatchObject({ code: "user-id-taken" });
    expect(asked[3]?.previous).toEqual(asked[2]?.accountKey);
    expect(asked[3]?.accountKey).not.toEqual(asked[2]?.accountKey);
  });

  it("lets somebody who lost everything come back: the others are warned, and go on when they accept", async () => {
    const relay = await startRelay({ accountKeys: () => true });
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.sendDirectMessage("bob", "with the old key");
    await bob.message("with the old key");
    const before = await fingerprint(bob, "alice");

    const back = await connected(relay, "alice");
    expect(await alice.event("disconnect")).toMatchObject({ code: 4412, willReconnect: false });
    await back.client.sendDirectMessage("bob", "with the new key");
    const changed = await bob.event("identityChanged");
    expect(changed).toMatchObject({ userId: "alice", pinned: before });
    expect(changed.offered).toBe(await (async () => (await relay.running.users()).items[0]?.fingerprint)());
    expect(bob.texts).toEqual(["with the old key"]);
    await bob.client.acceptIdentity("alice", changed.offered);
    await bob.message("with the new key");
    await bob.client.sendDirectMessage("alice", "welcome back");
    await back.message("welcome back");
    expect(await fingerprint(bob, "alice")).toBe(changed.offered);
    expect((await bob.client.safetyNumber("alice")).digits).toBe(
      (await back.client.safetyNumber("bob")).digits,
    );
  });

  it("warns those who share a conversation with the user though it writes to nobody, at once or when they come", async () => {
    const relay = await startRelay({ accountKeys: () => true });
    const [alice, bob, dave] = await connectAll(relay, ["alice", "bob", "dave"]);
    const store = memoryStore();
    const carol = await connected(relay, "carol", { store });
    await alice.client.sendDirectMessage("bob", "with the old key");
    await bob.message("with the old key");
    await makeGroup("team", [alice, carol]);
    // Who shares nothing with alice any more is told nothing.
    await dave.client.safetyNumber("alice");
    await carol.client.close();
    const pinned = await fingerprint(bob, "alice");

    const back = await connected(relay, "alice");
    const changed = await bob.event("identityChanged");
    const { items } = await relay.running.users();
    const offered = items.find(({ userId }) => userId === "alice")?.fingerprint as string;
    expect(changed).toEqual({ userId: "alice", pinned, offered });
    const later = await connected(relay, "carol", { store });
    expect(await later.event("identityChanged")).toMatchObject({ userId: "alice", offered });
    expect(back.all("receipt")).toEqual([]);

    await bob.client.acceptIdentity("alice", offered);
    await bob.client.sendDirectMessage("alice", "to the new key");
    await back.message("to the new key");
    await dave.client.sendDirectMessage("bob", "hello");
    await bob.message("hello");
    for (const actor of [dave, bob]) expect(actor.all("identityChanged").length).toBe(actor === bob ? 1 : 0);
  });
});
