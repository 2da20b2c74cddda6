import type { Actor } from "../../interop/actor.js";
import { progress, whole } from "../table.js";
import { clientMessages } from "./client.js";
import { inTurns, Report, type Samples, type Work } from "./compare.js";
import { privateMessageFloor } from "./floor.js";
import { addAndRemove, type Group, makeGroup, OWN, PEER, speedUpPeer } from "./groups.js";

const quick = process.argv.includes("--quick");
const SIZE = quick ? 128 : 512;
const BOTH = [OWN, PEER];
const FLOOR = "the floor";
const TEXT = "x".repeat(256);
const perSecond = (ms: number) => `${whole(1000 / ms)}/s`;
const many = quick ? { rounds: 3, iterations: 20 } : { rounds: 5, iterations: 60 };

/** Sealing by one, opening by the other. */
const exchange = (from: Actor, to: Actor) => async () => void (await to.receive(await from.send(TEXT)));

async function messages(pairs: Map<string, Group>, big: Map<string, Group>): Promise<boolean> {
  const report = new Report("A 256-byte message: sealed by one, opened by another", [OWN, FLOOR, PEER]);
  const floor = await privateMessageFloor(256);
  const floorOnce = async () => floor.open(await floor.seal());
  const work = (groups: Map<string, Group>, of: (group: Group) => () => Promise<void>) =>
    Object.fromEntries([...groups].map(([name, group]): [string, Work] => [name, { run: of(group) }]));

  // Ping-pong: each message answers the one before.
  const pingPong = (group: Group) => {
    const there = exchange(group.admin, group.member);
    const back = exchange(group.member, group.admin);
    let isBack = false;
    return async () => {
      isBack = !isBack;
      await (isBack ? there() : back());
    };
  };
  const two = await inTurns("ping-pong", { ...work(pairs, pingPong), [FLOOR]: { run: floorOnce } }, many);
  report.add("ping-pong", two, { atLeast: { of: FLOOR, times: 0.85 } }, perSecond);

  // A burst: all sealed in turn, then all opened in turn.
  const BURST = 50;
  const burst = (group: Group) => async () => {
    const sealed: Uint8Array[] = [];
    for (let n = 0; n < BURST; n++) sealed.push(await group.admin.send(TEXT));
    for (const one of sealed) await group.member.receive(one);
  };
  const floorBurst = async () => {
    const sealed: Awaited<ReturnType<typeof floor.seal>>[] = [];
    for (let n = 0; n < BURST; n++) sealed.push(await floor.seal());
    for (const one of sealed) await floor.open(one);
  };
  const once = (samples: Samples): Samples =>
    new Map([...samples].map(([name, times]) => [name, times.map((ms) => ms / BURST)]));
  const bursts = await inTurns(
    "burst",
    { ...work(pairs, burst), [FLOOR]: { run: floorBurst } },
    { rounds: many.rounds, iterations: 2 },
  );
  report.add(`burst of ${BURST}`, once(bursts), { atLeast: { of: FLOOR, times: 0.85 } }, perSecond);

  // In a large group next to a pair, in turns, as two competitors of one comparison.
  const large = await inTurns(
    `in a group of ${SIZE}`,
    {
      ...work(big, pingPong),
      "a pair": { run: pingPong(pairs.get(OWN) as Group) },
    },
    many,
  );
  report.add(`ping-pong in a group of ${SIZE}`, large, { atLeast: { of: "a pair", times: 0.9 } }, perSecond);
  report.print();
  return report.met;
}

/** Milliseconds at most with {@link SIZE} members, by the step's name. */
const GOALS: Record<string, number> = {
  "join from the welcome": 260,
  "add: adder": 14,
  "add: a member takes it in": 6,
  "remove: remover": 18,
  "remove: a member takes it in": 9,
};
const COLD_GOAL = 330;

async function changes(warm: Map<string, Group>, cold: Map<string, Group>): Promise<boolean> {
  const report = new Report(`A group of ${SIZE}: one member more, one less`, BOTH);
  const steps = new Map(Object.keys(GOALS).map((step): [string, Samples] => [step, new Map()]));
  const rounds = quick ? 2 : 8;
  for (let round = 0; round <= rounds; round++) {
    for (const [competitor, group] of warm) {
      progress(`add and remove, round ${round} of ${rounds}: ${competitor} …`);
      const times = await addAndRemove(group);
      if (round === 0) continue;
      for (const [step, samples] of steps) {
        samples.set(competitor, [...(samples.get(competitor) ?? []), times[step] as number]);
      }
    }
  }
  const goal = (atMostMs: number | undefined) => (quick || atMostMs === undefined ? {} : { atMostMs });
  for (const [step, samples] of steps) report.add(step, samples, goal(GOALS[step]));
  const removal = (group: Group): Work => ({
    // Never in force: the tree stays cold.
    run: () => group.admin.commit({ changes: [{ kind: "remove", leaf: SIZE >> 1 }] }),
  });
  const works = Object.fromEntries([...cold].map(([name, group]) => [name, removal(group)]));
  const samples = await inTurns("remove from a cold tree", works, { rounds: quick ? 1 : 3, iterations: 1 });
  report.add("remove, cold tree: remover", samples, goal(COLD_GOAL));
  report.print();
  return report.met;
}

speedUpPeer();
const groupsOf = async (size: number, isWarm: boolean) => {
  const groups = new Map<string, Group>();
  for (const competitor of BOTH) groups.set(competitor, await makeGroup(competitor, size, isWarm));
  return groups;
};
console.log(
  "\n  ts-mls is measured with signatures by Web Crypto: as shipped, in plain JavaScript, it is slower.",
);
const warm = await groupsOf(SIZE, true);
const met = [await messages(await groupsOf(2, false), warm)];
met.push(await changes(warm, await groupsOf(SIZE, false)));
await clientMessages(quick);
console.log(`\n  ${met.every(Boolean) ? "All goals met." : "NOT all goals met."}\n`);
process.exit();
