import type { ErrorCode } from "../../src/base/errors.js";
import { SubrosaError } from "../../src/base/errors.js";
import type { Standing } from "./crash-oracle.js";
import { World } from "./crash-world.js";

/** A script: from a world at rest, through steps that each are followed by quiet, to conversations that stand. */
export interface Scene {
  readonly name: string;
  readonly base: () => Promise<World>;
  /** Who is online when the script begins. */
  readonly online: readonly string[];
  readonly steps: readonly ((world: World) => void | Promise<void>)[];
  /** Whose processes and connections fail. */
  readonly victims: readonly string[];
  readonly standing: readonly Standing[];
  /** Who may get to know that a message failed. */
  readonly failing?: readonly string[];
  /** Texts that a user's history must not have any more. */
  readonly gone?: Readonly<Record<string, readonly string[]>>;
  /** What users may be told of that would be trouble elsewhere: names of events and codes, "error gap". */
  readonly troubles?: Readonly<Record<string, readonly string[]>>;
  /** What else must be so in the end: what is not. */
  readonly check?: (world: World) => string[] | Promise<string[]>;
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

export const promote = (world: World, user: string, member: string) =>
  world.call(user, (client) => client.promote("team", member));
export const demote = (world: World, user: string, member: string) =>
  world.call(user, (client) => client.demote("team", member));
export const ban = (world: World, user: string, guest: string) =>
  world.call(user, (client) => client.ban("team", guest));
export const unban = (world: World, user: string, guest: string) =>
  world.call(user, (client) => client.unban("team", guest));
/** Who knows the group by its old name no more has renamed it. */
export const rename = (world: World, user: string, name: string) =>
  world.call(user, (client, again) => client.renameGroup("team", name).catch(done(again, "not-a-member")));

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

type Base = () => Promise<World>;
const named = new Map<string, Base>();

/** Scenes that begin with the same world have the same function for it. */
export function base(name: string, prepare: Base): Base {
  const made = named.get(name) ?? (() => prepared(name, prepare));
  named.set(name, made);
  return made;
}

/** Users that have registered. */
export function registered(...users: string[]): Base {
  return base(users.join(), async () => {
    const world = agreeable(new World());
    for (const user of users) world.start(user);
    await world.settle();
    return world;
  });
}

/** Users in a direct conversation, each with each. */
export function acquainted(...users: string[]): Base {
  return base(`acquainted ${users}`, async () => {
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
export function grouped(members: readonly string[], others: readonly string[] = []): Base {
  return base(`grouped ${members} beside ${others}`, async () => {
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
