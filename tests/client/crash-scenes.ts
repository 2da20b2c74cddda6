import { afterAll, describe, expect, it } from "vitest";
import type { ErrorCode } from "../../src/base/errors.js";
import { SubrosaError } from "../../src/base/errors.js";
import { problemsOf, type Standing } from "./crash-oracle.js";
import { type Fault, World } from "./crash-world.js";

/** A script: from a world at rest, through steps that each are followed by quiet, to conversations that stand. */
export interface Scene {
  readonly name: string;
  readonly base: () => Promise<World>;
  /** Who is online when the script begins. */
  readonly online: readonly string[];
  readonly steps: readonly ((world: World) => void)[];
  /** Whose processes and connections fail. */
  readonly victims: readonly string[];
  readonly standing: readonly Standing[];
  /** Who may get to know that a message failed. */
  readonly failing?: readonly string[];
}

/** For calls that are repeated after a crash: this answer says that the first one was carried out. */
function done(again: boolean, ...codes: ErrorCode[]): (error: unknown) => void {
  return (error) => {
    if (!again || !SubrosaError.is(error) || !codes.includes(error.code)) throw error;
  };
}

export const createGroup = (world: World, user: string) =>
  world.call(user, (client, again) => client.createGroup("team").catch(done(again, "name-taken")));
export const createClosed = (world: World, user: string) =>
  world.call(user, (client, again) =>
    client.createGroup("team", { join: "closed" }).catch(done(again, "name-taken")),
  );
/** Asks to join a group that admits nobody who asks. */
export const askInVain = (world: World, user: string) =>
  world.call(user, (client) =>
    client.joinGroup("team").then(() => Promise.reject(new Error("was let in")), done(true, "join-rejected")),
  );
export const joinGroup = (world: World, user: string) =>
  world.call(user, (client, again) => client.joinGroup("team").catch(done(again, "already-a-member")));
export const invite = (world: World, user: string, guest: string) =>
  world.call(user, (client, again) => client.invite("team", guest).catch(done(again, "already-a-member")));
export const remove = (world: World, user: string, member: string) =>
  world.call(user, (client, again) => client.remove("team", member).catch(done(again, "not-a-member")));
export const leaveGroup = (world: World, user: string) =>
  world.call(user, (client, again) => client.leaveGroup("team").catch(done(again, "not-a-member")));
export const deleteGroup = (world: World, user: string) =>
  world.call(user, (client, again) => client.deleteGroup("team").catch(done(again, "not-a-member")));

/** Apps that approve and accept whatever comes. */
export function agreeable(world: World): World {
  world.app = (client, device) => {
    const life = device.lives;
    const failed = (error: unknown) => {
      if (device.lives === life && device.life !== undefined)
        world.failures.push(`${device.userId}: ${error}`);
    };
    client.on("joinRequest", (request) => request.approve().catch(failed));
    client.on("invitation", (invitation) => invitation.accept().catch(failed));
  };
  return world;
}

const bases = new Map<string, Promise<World>>();

/** A world prepared once, and copied for each use. */
export async function prepared(name: string, prepare: () => Promise<World>): Promise<World> {
  let base = bases.get(name);
  if (base === undefined) {
    base = prepare().then(async (world) => {
      await world.close();
      return world;
    });
    bases.set(name, base);
  }
  return agreeable(await (await base).copy());
}

/** Users that have registered. */
export function registered(...users: string[]): () => Promise<World> {
  return () =>
    prepared(users.join(), async () => {
      const world = agreeable(new World());
      for (const user of users) world.start(user);
      await world.settle();
      return world;
    });
}

/** Users in a direct conversation, each with each. */
export function acquainted(...users: string[]): () => Promise<World> {
  return () =>
    prepared(`acquainted ${users}`, async () => {
      const world = await registered(...users)();
      for (const user of users) world.start(user);
      for (const [at, from] of users.entries()) {
        for (const to of users.slice(at + 1)) {
          world.send(from, [to], `${from} greets ${to}`);
          await world.settle();
          world.send(to, [from], `${to} answers ${from}`);
          await world.settle();
        }
      }
      return world;
    });
}

/** Users in one group; the first is its admin. Others are registered too. */
export function grouped(members: readonly string[], others: readonly string[] = []): () => Promise<World> {
  return () =>
    prepared(`grouped ${members} beside ${others}`, async () => {
      const world = await registered(...members, ...others)();
      for (const user of members) world.start(user);
      const [admin, ...rest] = members as [string, ...string[]];
      await world.settle();
      createGroup(world, admin);
      await world.settle();
      for (const member of rest) {
        joinGroup(world, member);
        await world.settle();
      }
      return world;
    });
}

/** Runs a scene with a fault. Undefined: the script was over before the fault came. */
export async function run(scene: Scene, fault?: Fault): Promise<{ hit: boolean; problems: string[] }> {
  const world = await scene.base();
  world.fault = fault;
  for (const user of scene.online) world.start(user);
  await recover(world);
  for (const step of scene.steps) {
    step(world);
    await recover(world);
  }
  const { hit } = world;
  world.fault = undefined;
  for (const { group, members } of scene.standing) {
    for (const member of members) {
      const others = members.filter((other) => other !== member);
      world.send(member, others, `last of ${member} in ${group ?? members}`, group);
    }
  }
  await world.settle();
  const problems = await problemsOf(world, scene.standing, scene.failing);
  await world.close();
  return { hit, problems };
}

async function recover(world: World): Promise<void> {
  await world.settle();
  while (world.revive()) await world.settle();
}

export const KINDS: readonly Fault["kind"][] = [
  "before-write",
  "after-write",
  "after-sent",
  "after-received",
];

/** Lets a scene fail at every point at which it can, one after the other. */
export async function enumerate(
  scene: Scene,
  kind: Fault["kind"],
  user: string,
): Promise<{ points: number; problems: string[] }> {
  const problems: string[] = [];
  for (let at = 1; ; at++) {
    const result = await run(scene, { kind, user, at });
    problems.push(...result.problems.map((problem) => `${kind} ${at} of ${user}: ${problem}`));
    if (!result.hit) return { points: at - 1, problems };
  }
}

/** Lets a process fail at every write, and the one after it at every write of its own. */
export async function enumerateTwice(
  scene: Scene,
  user: string,
): Promise<{ points: number; problems: string[] }> {
  const problems: string[] = [];
  let points = 0;
  for (let at = 1; ; at++) {
    for (let again = 1; ; again++) {
      const result = await run(scene, { kind: "after-write", user, at, again });
      problems.push(...result.problems.map((problem) => `${at}, then ${again} of ${user}: ${problem}`));
      if (!result.hit) {
        // Not even the first: the script has no more writes.
        if (again === 1) return { points, problems };
        break;
      }
      points++;
    }
  }
}

/** The tests of some scenes. */
export function failureTests(title: string, scenes: readonly Scene[]): void {
  let covered = 0;
  afterAll(() => console.log(`${title}: ${covered} points of failure covered`));
  describe.each(scenes)("$name", (scene) => {
    it("goes well when nothing fails", async () => {
      expect(await run(scene)).toEqual({ hit: false, problems: [] });
    });
    for (const user of scene.victims) {
      it.each(KINDS)(`survives every failure %s of ${user}`, async (kind) => {
        const { points, problems } = await enumerate(scene, kind, user);
        covered += points;
        expect(problems).toEqual([]);
        expect(points).toBeGreaterThan(0);
      });
    }
  });
}
