import { expect, it } from "vitest";
import { EntryKind } from "../../src/wire/protocol.js";
import { problemsOf } from "../client/crash-oracle.js";
import { agreeable } from "../client/crash-scenes.js";
import { World } from "../client/crash-world.js";
import { commitsBy, receivedBy, refusalsOf } from "./tools.js";

const SIZE = 50;
const members = Array.from({ length: SIZE }, (_, i) => `member ${String(i).padStart(2, "0")}`);
/** As many members also invite somebody, all at the same moment. */
const INVITERS = 5;

it("C1 in a group of 50 in which all commit and all send at once, nobody starves", {
  timeout: 240_000,
}, async () => {
  const world = agreeable(new World());
  const guests = members.slice(0, INVITERS).map((_, i) => `guest ${i}`);
  for (const user of [...members, ...guests]) world.start(user);
  await world.settle();
  for (const guest of guests) world.call(guest, (client) => client.close());
  await world.settle();
  const [first, ...rest] = members as [string, ...string[]];
  world.call(first, (client) => client.createGroup("team", { join: "open" }));
  await world.settle();
  // Requests of 49 at once are a crowd too.
  for (const user of rest) world.call(user, (client) => client.joinGroup("team", { timeout: 600_000 }));
  await world.settle(60_000);
  world.frames.length = 0;

  // Nobody has renewed its keys yet, so everyone's first message wants a commit before it.
  for (const user of members) {
    const others = members.filter((other) => other !== user);
    world.send(user, others, `from ${user}`, "team");
  }
  for (const [at, guest] of guests.entries()) {
    world.call(members[at * 9] as string, (client) => client.invite("team", guest, { timeout: 600_000 }));
  }
  await world.settle(60_000);
  // Everyone has lost a race, or made others lose theirs; nobody made up for that with commits later.
  const commits = members.map((user) => commitsBy(world, user).length);
  expect(commits.every((count) => count > 0)).toBe(true);
  const accepted = receivedBy(world, first)
    .flatMap((frame) => (frame.type === "entries" ? frame.entries : []))
    .filter((entry) => (entry.form === "full" ? entry.content.kind : entry.kind) === EntryKind.commit);
  expect(new Set(accepted.map(({ seq }) => seq)).size).toBeLessThanOrEqual(SIZE + INVITERS);
  expect(members.flatMap((user) => refusalsOf(world, user))).toContain("stale");
  expect(await problemsOf(world, [{ group: "team", members }])).toEqual([]);
  const seen = await world.device(first).life?.client.members("team");
  expect(seen).toHaveLength(SIZE + INVITERS);
});
