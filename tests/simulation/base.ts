import { MemoryKv } from "../../src/relay/embedded/memory-kv.js";
import type { Place } from "../client/crash-world.js";
import { Faults } from "./faults.js";
import { Random } from "./random.js";
import { contentsOf } from "./relay-process.js";
import { type Planted, World } from "./world.js";

/** Users that every run can take part of: registered, with their keys at the relay. */
export const USERS = [
  "ada",
  "ben",
  "cleo",
  "dan",
  "eve",
  "finn",
  "gus",
  "hana",
  "ivo",
  "jun",
  "kim",
  "lea",
] as const;

/** Takes part for the first time. */
export const NEWCOMER = "newcomer";

const START = 1_700_000_000_000;

interface Base {
  readonly kv: Map<string, Uint8Array<ArrayBuffer>>;
  readonly places: Map<string, Place>;
  readonly now: number;
}

let base: Promise<Base> | undefined;

async function makeBase(): Promise<Base> {
  const world = new World({
    random: new Random(1),
    ids: new Random(2),
    faults: new Faults(new Random(3), {}, 0),
    kv: new MemoryKv(),
    now: START,
  });
  for (const user of USERS) world.start(user);
  const isReady = () => USERS.every((user) => world.device(user).life?.client.state === "connected");
  await world.settle(20_000, 2_000, isReady);
  for (const user of USERS) {
    const { life } = world.device(user);
    if (life !== undefined) world.kill(life);
  }
  await world.settle(0, 0, () => true);
  if (!isReadyOnce(world)) throw new Error(`the simulation's users did not register: ${world.problems}`);
  const places = new Map([...world.devices].map(([user, { place }]) => [user, place.copy()]));
  return { kv: contentsOf(world.kv), places, now: world.clock.now };
}

const isReadyOnce = (world: World) => world.calls.every(({ outcome }) => outcome === "done");

/** A world in which these users are registered and everybody is switched off. */
export async function worldOf(
  users: readonly string[],
  parts: { random: Random; ids: Random; faults: Faults; planted?: Planted },
): Promise<World> {
  base ??= makeBase();
  const { kv, places, now } = await base;
  const copy = new MemoryKv();
  await copy.write(kv);
  const world = new World({ ...parts, kv: copy, now });
  world.truth.noteRelay(kv);
  for (const user of users) {
    const place = places.get(user)?.copy();
    if (place === undefined) continue;
    const device = world.device(user);
    Object.assign(device, { place });
  }
  return world;
}
