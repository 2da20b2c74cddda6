import { describe, expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { EntryKind } from "../../src/wire/protocol.js";
import { type Actor, eventually, settledMembers } from "./harness.js";
import { garble, stranded, world } from "./recreation-world.js";

/** A group in which everyone but mallory is stranded, with a message of each that waits. */
async function strandedWorld() {
  const all = await world();
  await garble(all.mallory);
  await Promise.all(all.actors.map(stranded));
  for (const { client, userId } of all.actors) await client.sendGroupMessage("team", `${userId} meanwhile`);
  return all;
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
    await garble(mallory);
    await Promise.all(actors.map(stranded));
    for (const { client, userId } of actors) await client.sendGroupMessage("team", `${userId} meanwhile`);
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
