import { describe, expect, it } from "vitest";
import { type Bytes, EMPTY } from "../../src/base/bytes.js";
import { toHex } from "../../src/base/encoding.js";
import { randomBytes } from "../../src/crypto/random.js";
import { memoryStore } from "../../src/index.js";
import { makeCapabilities } from "../../src/mls/group/index.js";
import { EntryKind } from "../../src/wire/protocol.js";
import { type Actor, connected, eventually, settledMembers } from "./harness.js";
import { keyPackageOf, type RawMember } from "./raw-member.js";
import { garble, stranded, world } from "./recreation-world.js";
import { relayWithBackups } from "./relay-backup.js";
import type { Tamper, TamperedConnector } from "./tamper.js";

/** Everyone but mallory is stranded, with a message of each that waits. */
async function strand(actors: readonly Actor[], mallory: RawMember): Promise<void> {
  await garble(mallory);
  await Promise.all(actors.map(stranded));
  for (const { client, userId } of actors) await client.sendGroupMessage("team", `${userId} meanwhile`);
}

async function strandedWorld() {
  const all = await world();
  await strand(all.actors, all.mallory);
  return all;
}

/** The relay refuses groups with devices that it does not like, and does not say which. */
function refusedCreations(connector: TamperedConnector, isRefused: (added: string[]) => boolean): Tamper {
  return {
    fromClient(frame) {
      if (frame.type !== "request" || frame.name !== "create") return undefined;
      const added = frame.body.first?.bundle?.access.map(({ deviceId }) => toHex(deviceId)) ?? [];
      if (!isRefused(added)) return undefined;
      const refusal = { type: "refuse", id: frame.id, code: "quota-exceeded", reason: "full" } as const;
      queueMicrotask(() => connector.inject(refusal));
      return [];
    },
  };
}

/** Each has what the others wrote, once, and has been told of no end. */
async function goesOn(actors: readonly Actor[]): Promise<void> {
  await settledMembers("team", actors);
  for (const actor of actors) {
    await actor.count(2);
    const others = actors.filter(({ userId }) => userId !== actor.userId);
    expect([...actor.texts].sort()).toEqual(others.map(({ userId }) => `${userId} meanwhile`).sort());
    expect(actor.all("groupLeave")).toEqual([]);
  }
}

describe("an admin that begins a group anew", () => {
  it("and does not hear that the old one is closed goes on with it in the next session", async () => {
    const { clock, relay, connector, actors } = await strandedWorld();
    let closings = 0;
    connector.tamper = {
      fromClient(frame) {
        if (frame.type !== "request" || frame.name !== "append") return undefined;
        if (frame.body.entry.kind !== EntryKind.close) return undefined;
        closings++;
        connector.tamper = { fromRelay: () => [] };
        return undefined;
      },
    };
    await clock.forward(130_000);
    await eventually(() => closings > 0);
    // The relay has it; the others learn of it, and wait.
    await clock.forward(10_000);
    connector.tamper = {};
    await relay.restart();
    await eventually(async () => {
      await clock.forward(5_000);
      return (await actors[1].client.members("team")).length === 3;
    });
    await goesOn(actors);
    expect(closings).toBe(1);
  });

  it("and is not allowed to just now does so later; the others wait for it", async () => {
    const { clock, connector, actors } = await strandedWorld();
    let refused = 0;
    let isRefusing = true;
    connector.tamper = {
      fromClient(frame) {
        if (frame.type !== "request" || frame.name !== "create" || !isRefusing) return undefined;
        refused++;
        const refusal = { type: "refuse", id: frame.id, code: "rate-limited", reason: "too many" } as const;
        queueMicrotask(() => connector.inject(refusal));
        return [];
      },
    };
    await clock.forward(130_000);
    await eventually(() => refused > 0);
    await clock.forward(600_000);
    expect(refused).toBeGreaterThan(5);
    isRefusing = false;
    await clock.forward(60_000);
    await goesOn(actors);
  });

  it("and never comes to it leaves it to the next", async () => {
    const { clock, connector, actors, alice, bob, mallory } = await world();
    await alice.client.promote("team", "bob");
    for (const actor of actors) await actor.event("groupUpdated");
    await strand(actors, mallory);
    connector.tamper = {
      fromClient: (frame) => (frame.type === "request" && frame.name === "create" ? [] : undefined),
    };
    await clock.forward(130_000);
    expect(bob.texts).toEqual([]);
    await clock.forward(70_000);
    await goesOn(actors);
  });

  it("does not where another has deleted it", async () => {
    const { clock, actors, alice, bob, carol, mallory } = await world();
    await alice.client.promote("team", "mallory");
    for (const actor of actors) await actor.event("groupUpdated");
    await garble(mallory);
    await Promise.all(actors.map(stranded));
    await mallory.follow();
    const content = { type: "close", id: randomBytes(16), sentAt: Date.now() } as const;
    await mallory.append({ kind: EntryKind.close, payload: await mallory.message(content) });
    await clock.forward(90_000);
    for (const actor of [alice, bob, carol])
      expect(await actor.event("groupLeave")).toEqual({ group: "team", reason: "lost" });
    await clock.forward(120_000);
    expect(await alice.client.groups()).toEqual([]);
  });
});

describe("a member that cannot be added to a group that is begun anew", () => {
  it("is left out, and nobody else; what waits reaches the others", async () => {
    const { clock, actors, alice, mallory } = await world();
    const capabilities = makeCapabilities({ extensions: [] });
    await mallory.publish([await keyPackageOf(mallory.user, { capabilities })]);
    await strand(actors, mallory);
    await clock.forward(130_000);
    await alice.event("error", ({ message }) => message.startsWith("mallory is left out"));
    await goesOn(actors);
  });

  it("comes in by itself if the relay takes that; nobody knows why it did not before", async () => {
    const { clock, connector, actors, alice, carol, mallory } = await world();
    const { deviceId } = carol.client;
    await mallory.publish([await keyPackageOf(mallory.user)]);
    await strand(actors, mallory);
    const made: number[] = [];
    connector.tamper = refusedCreations(connector, (added) => {
      made.push(added.length);
      return added.includes(deviceId);
    });
    await clock.forward(130_000);
    // All; all but mallory, of whom nothing is known; then all but one of the others each.
    await eventually(() => made.at(-1) === 2);
    expect(made.length).toBeLessThanOrEqual(4);
    const members = async () => (await alice.client.members("team")).map(({ userId }) => userId);
    await eventually(async () => (await members()).sort().join() === "alice,bob,carol,mallory");
    await carol.message("alice meanwhile");
  });

  it("is added after a crash too; before that, nothing that waits goes to nobody", async () => {
    const { clock, connector, actors, alice, bob, carol, mallory, connect } = await world();
    await strand(actors, mallory);
    const refused = refusedCreations(connector, (added) => added.length > 0);
    connector.tamper = {
      fromClient(frame, bytes) {
        if (frame.type !== "request" || frame.name !== "append") return refused.fromClient?.(frame, bytes);
        return frame.body.entry.kind === EntryKind.commit ? [] : undefined;
      },
    };
    await clock.forward(130_000);
    await eventually(async () => (await alice.client.members("team")).length === 1);
    await clock.forward(20_000);
    expect(alice.all("receipt")).toEqual([]);
    const closed = alice.client.close();
    await clock.forward(10_000);
    await closed;
    connector.tamper = {};
    const again = await connect("alice");
    await settledMembers("team", [again, bob, carol]);
    for (const actor of [bob, carol]) await actor.message("alice meanwhile");
    expect(again.all("receipt").filter(({ state }) => state === "sent").length).toBe(1);
  });
});

it("who comes into a group that is begun anew before all are in it again gets nothing of what the relay had lost before", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const all = await world(memoryStore(), relay);
  const { clock, connector, actors, alice, bob, carol, mallory } = all;
  await mallory.follow();
  await backUp();
  await alice.client.setJoinMode("team", "closed");
  for (const actor of actors) await actor.event("groupUpdated");
  await carol.client.close();
  const id = await alice.client.sendGroupMessage("team", "alice before");
  await bob.message("alice before");
  for (const { client } of [alice, bob]) await client.close();
  await restore();
  await mallory.reconnect(relay);
  const bundle = { access: [], welcome: EMPTY };
  await mallory.append({ kind: EntryKind.commit, payload: randomBytes(200), bundle });
  const again = await all.connectAgain();
  const eve = await connected(relay, "eve");
  const refused = refusedCreations(connector, (added) => added.length > 0);
  const held: Bytes[] = [];
  connector.tamper = {
    fromClient(frame, bytes) {
      if (frame.type !== "request" || frame.name !== "append") return refused.fromClient?.(frame, bytes);
      if (frame.body.entry.kind !== EntryKind.commit) return undefined;
      held.push(bytes);
      return [];
    },
  };
  await clock.forward(150_000, 500);
  await clock.forward(86_400_000, 86_400_000);
  await eventually(async () => {
    await clock.forward(500, 500);
    return held.length > 0;
  });
  expect((await again[0].client.members("team")).length).toBe(1);
  const invited = again[0].client.invite("team", "eve");
  await again[0].client.conversations();
  connector.tamper = {};
  for (const bytes of held) connector.forward(bytes);
  await invited;
  const failed = await again[0].event("receipt", ({ ids }) => ids.includes(id));
  expect(failed).toMatchObject({ state: "failed", code: "data-lost" });
  await (await eve.event("invitation")).accept();
  await settledMembers("team", [...again, eve]);
  await again[0].client.sendGroupMessage("team", "alice afterwards");
  await Promise.all([again[2], eve].map((actor) => actor.message("alice afterwards")));
  for (const { texts } of [again[2], eve]) expect(texts).toEqual(["alice afterwards"]);
});
