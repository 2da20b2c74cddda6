import { describe, expect, it } from "vitest";
import type { Receipt } from "../../src/client/events.js";
import { layout } from "../../src/client/layout.js";
import { grouped, prepared, registered, remove } from "./crash-scenes.js";
import type { Device, Fault, World } from "./crash-world.js";

interface Script {
  readonly base: () => Promise<World>;
  readonly steps: readonly ((world: World) => void)[];
}

const SCRIPTS: Record<string, Script> = {
  "to nobody": {
    base: registered("alice"),
    steps: [
      (world) => {
        world.send("alice", ["zoe"], "one");
        world.send("alice", ["zoe"], "two");
      },
    ],
  },
  "of a member who is removed": {
    base: () =>
      prepared("written before the removal is seen", async () => {
        const world = await grouped(["bob", "alice"])();
        world.start("bob");
        await world.settle();
        world.start("alice");
        await world.settle();
        world.disconnect("alice");
        for (const text of ["one", "two"]) world.send("alice", ["bob"], text, "team");
        await world.settle();
        remove(world, "bob", "alice");
        await world.settle();
        return world;
      }),
    steps: [],
  },
};

/** Each failed message by the code, as often as the app was told. */
function told(device: Device): string[] {
  return device.events.flatMap(({ name, event }) => {
    const { state, ids, code } = event as Receipt;
    return name === "receipt" && state === "failed" ? ids.map((id) => `${id} ${code}`) : [];
  });
}

async function play({ base, steps }: Script, fault?: Fault) {
  const world = await base();
  world.fault = fault;
  world.start("alice");
  await world.settle();
  for (const step of steps) {
    step(world);
    await world.settle();
  }
  while (world.revive()) await world.settle();
  const device = world.device("alice");
  const kept = device.place.under(layout.failures).length;
  const failed = device.place.under(layout.history).length;
  const result = { hit: world.hit, told: told(device), kept, failed, sent: world.sends };
  await world.close();
  return result;
}

describe("messages that are given up", () => {
  for (const [name, script] of Object.entries(SCRIPTS)) {
    it(`${name}: the app is told of each, once`, async () => {
      const { told, kept } = await play(script);
      expect(told).toHaveLength(2);
      expect(new Set(told).size).toBe(2);
      expect(kept).toBe(0);
    });

    it(`${name}: the app is told of each, wherever the process ends`, { timeout: 60_000 }, async () => {
      let cut = 0;
      for (const kind of ["before-write", "after-write"] as const) {
        for (let at = 1; ; at++) {
          const { hit, told, kept, failed, sent } = await play(script, { kind, user: "alice", at });
          if (!hit) break;
          cut++;
          // What was not in the outbox when the process ended was never sent.
          const safe = sent.length === 0 ? 2 : sent.filter(({ id }) => id !== undefined).length;
          expect(new Set(told).size, `${kind} ${at}`).toBeGreaterThanOrEqual(safe);
          expect(new Set(told).size, `${kind} ${at}`).toBe(failed);
          expect(kept, `${kind} ${at}`).toBe(0);
        }
      }
      expect(cut).toBeGreaterThan(6);
    });
  }
});
