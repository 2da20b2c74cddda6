import { afterAll, describe, expect, it } from "vitest";
import { problemsOf } from "./crash-oracle.js";
import type { Scene } from "./crash-scenes.js";
import type { Device, Fault, World } from "./crash-world.js";

/** How far a device has got, by what it can fail at. */
type Progress = Record<Fault["kind"], number>;

/** What a scene comes to, and where its devices can fail. */
interface Outcome {
  /** Undefined without a fault; else whether the script was not over before it came. */
  readonly hit: boolean;
  readonly problems: string[];
  readonly places: ReadonlyMap<string, Places>;
}

interface Places {
  readonly started: Progress;
  readonly over: Progress;
  readonly unnoticed: ReadonlySet<number>;
}

function progressOf({ writes, sent, received }: Device): Progress {
  return { "before-write": writes, "after-write": writes, "after-sent": sent, "after-received": received };
}

function progress(world: World): Map<string, Progress> {
  return new Map([...world.devices.values()].map((device) => [device.userId, progressOf(device)]));
}

/** Runs a scene with a fault. Not hit: the script was over before the fault came. */
export async function run(scene: Scene, fault?: Fault): Promise<Outcome> {
  const world = await scene.base();
  world.fault = fault;
  for (const user of scene.online) world.start(user);
  await recover(world);
  const started = progress(world);
  for (const step of scene.steps) {
    await step(world);
    await recover(world);
  }
  const { hit } = world;
  world.fault = undefined;
  const over = progress(world);
  for (const { group, members } of scene.standing) {
    for (const member of members) {
      const others = members.filter((other) => other !== member);
      world.send(member, others, `last of ${member} in ${group ?? members}`, group);
    }
  }
  await world.settle();
  const problems = await problemsOf(world, scene.standing, scene);
  problems.push(...((await scene.check?.(world)) ?? []));
  await world.close();
  const places = new Map<string, Places>();
  for (const [user, progress] of over) {
    const { unnoticed } = world.device(user);
    places.set(user, { started: started.get(user) as Progress, over: progress, unnoticed });
  }
  return { hit, problems, places };
}

async function recover(world: World): Promise<void> {
  await world.settle();
  while (world.revive()) await world.settle();
}

type Kind = Fault["kind"];
/** Where the process ends. */
export const WRITES: readonly Kind[] = ["before-write", "after-write"];
const KINDS: readonly Kind[] = [...WRITES, "after-sent", "after-received"];

/** What a scene comes to when nothing fails. */
const plain = new Map<Scene, Promise<Outcome>>();

function withoutFault(scene: Scene): Promise<Outcome> {
  const outcome = plain.get(scene) ?? run(scene);
  plain.set(scene, outcome);
  return outcome;
}

/**
 * Lets a scene fail at every point at which it can, one after the other. What is no point of its own is left out: to
 * die before a write when nobody noticed anything since the last one, and, unless `starting`, while all are starting.
 */
async function enumerate(
  scene: Scene,
  kind: Fault["kind"],
  user: string,
  starting: boolean,
): Promise<{ points: number; problems: string[] }> {
  const problems: string[] = [];
  const { started, over, unnoticed } = (await withoutFault(scene)).places.get(user) as Places;
  let points = 0;
  for (let at = starting ? 1 : started[kind] + 1; at <= over[kind]; at++) {
    if (kind === "before-write" && unnoticed.has(at)) continue;
    const result = await run(scene, { kind, user, at });
    problems.push(...result.problems.map((problem) => `${kind} ${at} of ${user}: ${problem}`));
    if (result.hit) points++;
  }
  return { points, problems };
}

/** Lets a process fail at every write, and the one after it at every write of its own. */
export async function enumerateTwice(
  scene: Scene,
  user: string,
): Promise<{ points: number; problems: string[] }> {
  const problems: string[] = [];
  let points = 0;
  const { over } = (await withoutFault(scene)).places.get(user) as Places;
  for (let at = 1; at <= over["after-write"]; at++) {
    for (let again = 1; ; again++) {
      const result = await run(scene, { kind: "after-write", user, at, again });
      problems.push(...result.problems.map((problem) => `${at}, then ${again} of ${user}: ${problem}`));
      if (!result.hit) break;
      points++;
    }
  }
  return { points, problems };
}

/** The tests of some scenes. Of those that begin alike, the first is failed while everybody starts. */
export function failureTests(title: string, scenes: readonly Scene[], kinds = KINDS): void {
  let covered = 0;
  afterAll(() => console.log(`${title}: ${covered} points of failure covered`));
  const begun = new Map<Scene["base"], Set<string>>();
  describe.each(scenes)("$name", (scene) => {
    const starts = begun.get(scene.base) ?? new Set();
    begun.set(scene.base, starts);
    it("goes well when nothing fails", async () => {
      const { problems } = await withoutFault(scene);
      expect(problems).toEqual([]);
    });
    for (const user of scene.victims) {
      const start = `${user} of ${scene.online}`;
      const starting = !starts.has(start);
      starts.add(start);
      it.each(kinds)(`survives every failure %s of ${user}`, { timeout: 120_000 }, async (kind) => {
        const { points, problems } = await enumerate(scene, kind, user, starting);
        covered += points;
        expect(problems).toEqual([]);
        expect(points).toBeGreaterThan(0);
      });
    }
  });
}
