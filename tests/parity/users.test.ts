import { describe, expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { memoryStore } from "../../src/index.js";
import { accountOf } from "../../src/relay/conformance/world.js";
import { openMemoryStorage } from "../../src/relay.js";
import { type Actor, connectAll, connected, eventually, makeGroup, startRelay } from "../client/harness.js";

const created = (actor: Actor) => actor.all("userCreated").map(({ userId }) => userId);
const deleted = (actor: Actor) => actor.all("userDeleted").map(({ userId }) => userId);
const names = async ({ client }: Actor) => (await client.users()).map(({ userId }) => userId);

describe("with the default rule", () => {
  it("one learns of those one shares a conversation with, once, and of nobody else", async () => {
    const relay = await startRelay();
    const [alice, bob, carol, dave] = await connectAll(relay, ["alice", "bob", "carol", "dave"]);
    expect(await alice.client.users()).toEqual([]);
    await alice.client.sendDirectMessage("bob", "hello");
    await bob.message("hello");
    await makeGroup("team", [alice, bob, carol]);
    await bob.event("userCreated", ({ userId }) => userId === "carol");
    await carol.event("userCreated", ({ userId }) => userId === "bob");
    expect(created(alice).sort()).toEqual(["bob", "carol"]);
    expect(created(bob).sort()).toEqual(["alice", "carol"]);
    expect(created(dave)).toEqual([]);
    expect(await alice.client.users()).toEqual([
      { userId: "bob", known: true, verified: false },
      { userId: "carol", known: true, verified: false },
    ]);
    await alice.client.markVerified("bob");
    expect((await alice.client.users())[0]).toEqual({ userId: "bob", known: true, verified: true });
  });

  it("those who share a conversation with a removed user are told, also when they come later, and once", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const [alice, bob, dave] = await connectAll(relay, ["alice", "bob", "dave"]);
    const carol = await connected(relay, "carol", { store });
    await makeGroup("team", [alice, bob, carol]);
    await dave.client.sendDirectMessage("alice", "hi");
    await alice.message("hi");
    await carol.client.close();
    await carol.until(() => carol.client.state === "closed");

    const reading = bob.client.messages().next();
    expect(await relay.running.removeUser("bob")).toBe(true);
    expect(await relay.running.removeUser("bob")).toBe(false);
    await expect(reading).rejects.toMatchObject({ code: "user-removed" });
    await alice.event("userDeleted");
    const ended = await bob.event("disconnect");
    expect(ended).toMatchObject({ code: 4413, willReconnect: false });
    await expect(bob.client.connect()).rejects.toMatchObject({ code: "user-removed" });
    await expect(bob.client.messages().next()).rejects.toMatchObject({ code: "user-removed" });
    // What it took now would never go out.
    await expect(bob.client.sendDirectMessage("alice", "never")).rejects.toMatchObject({
      code: "user-removed",
    });
    const later = await connected(relay, "carol", { store });
    await later.event("userDeleted");
    expect([deleted(alice), deleted(dave), deleted(later)]).toEqual([["bob"], [], ["bob"]]);
    expect(await names(later)).toEqual(["alice"]);
    // It is the relay's word alone: in the group it is still.
    expect((await alice.client.members("team")).map(({ userId }) => userId)).toContain("bob");
    await alice.client.remove("team", "bob");
    await later.event("memberLeave", ({ userId }) => userId === "bob");
    await later.client.close();
    const again = await connected(relay, "carol", { store });
    expect(await names(again)).toEqual(["alice"]);
    expect(again.all("userDeleted")).toEqual([]);
  });

  it("the list of users is refused", async () => {
    const relay = await startRelay();
    const frames: number[] = [];
    await relay.restart({ onFrame: ({ bytes }) => void frames.push(bytes[0] as number) });
    await connectAll(relay, ["alice", "bob"]);
    expect(frames).not.toContain(0x2c);
    expect(frames).not.toContain(0x35);
  });
});

describe("an open directory", () => {
  it("tells everybody who is there, who comes and who was removed, each once", async () => {
    const relay = await startRelay({ directory: "open" });
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.event("userCreated", ({ userId }) => userId === "bob");
    await bob.event("userCreated", ({ userId }) => userId === "alice");
    const carol = await connected(relay, "carol");
    await alice.event("userCreated", ({ userId }) => userId === "carol");
    await carol.until(() => created(carol).length === 2);
    expect(await alice.client.users()).toEqual([
      { userId: "bob", known: false, verified: false },
      { userId: "carol", known: false, verified: false },
    ]);
    await alice.client.sendDirectMessage("bob", "hello");
    await bob.message("hello");

    await relay.running.removeUser("bob");
    await alice.event("userDeleted", ({ userId }) => userId === "bob");
    await carol.event("userDeleted", ({ userId }) => userId === "bob");
    expect(await names(alice)).toEqual(["carol"]);
    // A new session asks again, and says nothing that was said.
    await relay.restart();
    await alice.until(() => alice.all("connect").length === 2);
    await connected(relay, "dave");
    await alice.event("userCreated", ({ userId }) => userId === "dave");
    expect(created(alice).sort()).toEqual(["bob", "carol", "dave"]);
    expect([deleted(alice), deleted(carol)]).toEqual([["bob"], ["bob"]]);
  });

  it("makes up for what happened meanwhile, and follows as many as the limit says", async () => {
    const relay = await startRelay({ directory: "open" });
    const store = memoryStore();
    const alice = await connected(relay, "alice", { store });
    await alice.client.sendDirectMessage("user 0", "waits");
    await alice.client.close();
    const others = Array.from({ length: 5 }, (_, i) => `user ${i}`);
    await connectAll(relay, others);
    const again = await connected(relay, "alice", { store });
    await again.until(() => created(again).length === 5);
    await again.event("userCreated", ({ userId }) => userId === "user 0");
    const few = await connected(relay, "eve", { limits: { maxUsers: 3 } });
    await few.until(() => created(few).length === 3);
    await few.client.sendDirectMessage("alice", "enough");
    await again.message("enough");
    expect(await few.client.users()).toHaveLength(3);
    await again.client.close();
    await relay.running.removeUser("user 0");
    await relay.running.removeUser("user 1");
    const third = await connected(relay, "alice", { store });
    await third.until(() => created(third).length === 4);
    await eventually(async () => !(await names(third)).includes("user 0"));
    expect(await names(third)).toEqual(["eve", "user 2", "user 3", "user 4"]);
  });

  it("is read a part at a time", async () => {
    const storage = openMemoryStorage();
    const session = { incarnation: 1, incarnationTag: randomBytes(16), now: 0 };
    const everybody = Array.from({ length: 450 }, (_, i) => `user ${String(i).padStart(3, "0")}`);
    for (const userId of everybody) {
      const deviceId = randomBytes(16);
      await storage.admit({ account: accountOf(userId, [deviceId]), deviceId, ...session });
    }
    const requests: number[] = [];
    const relay = await startRelay({
      storage,
      directory: "open",
      onFrame: ({ bytes }) => void requests.push(bytes[0] as number),
    });
    const alice = await connected(relay, "alice");
    await alice.until(() => created(alice).length === 450);
    expect(created(alice)).toEqual(everybody);
    expect(requests.filter((type) => type === 0x2c)).toHaveLength(3);
  });
});
