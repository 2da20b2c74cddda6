import { expect } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import {
  type ClientFrame,
  decodeClientFrame,
  decodeRelayFrame,
  type RelayFrame,
} from "../../src/wire/frames.js";
import { EntryKind } from "../../src/wire/protocol.js";
import type { BodyOf } from "../../src/wire/requests.js";
import { problemsOf, type Standing } from "../client/crash-oracle.js";
import { agreeable, prepared, registered } from "../client/crash-scenes.js";
import type { World } from "../client/crash-world.js";

/** What a device sent, decoded. */
export function sentBy(world: World, user: string): ClientFrame[] {
  return world.frames
    .filter((frame) => frame.user === user && frame.direction === "out")
    .map(({ bytes }) => decodeClientFrame(bytes as Bytes));
}

/** What came to a device, decoded. */
export function receivedBy(world: World, user: string): RelayFrame[] {
  return world.frames
    .filter((frame) => frame.user === user && frame.direction === "in")
    .map(({ bytes }) => decodeRelayFrame(bytes as Bytes));
}

/** The codes with which the relay refused this device's requests. */
export function refusalsOf(world: World, user: string): string[] {
  return receivedBy(world, user).flatMap((frame) => (frame.type === "refuse" ? [frame.code] : []));
}

/** The append in a frame, if it is one of this kind. */
export function appendIn(frame: ClientFrame, kind: EntryKind): BodyOf<"append"> | undefined {
  if (frame.type !== "request" || frame.name !== "append") return undefined;
  const body = frame.body as BodyOf<"append">;
  return body.entry.kind === kind ? body : undefined;
}

/** The commits that a device sent. */
export function commitsBy(world: World, user: string): BodyOf<"append">[] {
  return sentBy(world, user).flatMap((frame) => appendIn(frame, EntryKind.commit) ?? []);
}

/** Restarts what died until nothing more dies. */
export async function recover(world: World): Promise<void> {
  await world.settle();
  while (world.revive()) await world.settle();
}

/** Users that all came by themselves into an open group of the first, where anyone may admit; all are online. */
export async function openGroup(members: readonly string[], others: readonly string[] = []): Promise<World> {
  const world = await prepared(`open group ${members} beside ${others}`, async () => {
    const base = await registered(...members, ...others)();
    for (const user of members) base.start(user);
    await base.settle();
    const [first, ...rest] = members as [string, ...string[]];
    base.call(first, (client) => client.createGroup("team", { join: "open" }));
    await base.settle();
    for (const user of rest) {
      base.call(user, (client) => client.joinGroup("team"));
      await base.settle();
    }
    return base;
  });
  agreeable(world);
  for (const user of [...members, ...others]) world.start(user);
  await world.settle();
  world.frames.length = 0;
  return world;
}

/** Each of these writes to all the others, and everything is as it must be. */
export async function goesOn(world: World, { group, members }: Standing): Promise<void> {
  for (const member of members) {
    const others = members.filter((other) => other !== member);
    world.send(member, others, `last of ${member} in ${group ?? members}`, group);
  }
  await world.settle();
  expect(await problemsOf(world, [group === undefined ? { members } : { group, members }])).toEqual([]);
}
