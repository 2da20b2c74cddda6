import { toHex } from "../../src/base/encoding.js";
import { nameHash } from "../../src/client/conversation/membership/directory-names.js";
import { decodeConversationRecord } from "../../src/client/conversation/record.js";
import { layout } from "../../src/client/layout.js";
import { decode } from "../../src/codec/reader.js";
import type { ADMINISTRATION } from "./administration.js";
import { NEWCOMER, USERS, worldOf } from "./base.js";
import type { Device, Life } from "./device.js";
import { FAULTS, type FaultKind, Faults } from "./faults.js";
import { History, type Manner } from "./history.js";
import { markRead } from "./keeping.js";
import { problemsOf } from "./oracle.js";
import { Random } from "./random.js";
import type { Pace, Planted, World } from "./world.js";

export interface RunResult {
  readonly seed: number;
  readonly problems: readonly string[];
  readonly clients: number;
  readonly operations: number;
  readonly messages: number;
  readonly steps: number;
  readonly faults: ReadonlyMap<FaultKind, number>;
  readonly milliseconds: number;
  readonly trace: readonly string[];
  /** The relay's logs at the end, in words. */
  readonly logs: readonly string[];
}

export interface RunOptions {
  readonly planted?: Planted;
  /** Whether the relay is backed up now and then, and comes back with an old backup; else the seed says. */
  readonly backups?: boolean;
  /** Whether devices are set back to older copies of themselves; else the seed says. */
  readonly oldDisks?: boolean;
  /** Faults that are to happen as often as this, whatever the seed says. */
  readonly rates?: Partial<Record<FaultKind, number>>;
}

const GROUPS = ["reds", "blues", "greens"];
/** What a group can be called that is renamed, beside the names of others. */
const OTHER_NAME = "greys";
/** Longer than any delay of a client but the longest between two attempts to connect. */
const HEALING = 15_000;
/** As long as it takes a member to give up waiting for others, several times over. */
const HEALING_LIMIT = 600_000;

/** One history of many clients, all of which follows from the seed. */
export async function runSeed(seed: number, options: RunOptions = {}): Promise<RunResult> {
  const started = performance.now();
  const random = new Random(seed, 1);
  const count = random.chance(0.7)
    ? 2 + random.below(4)
    : random.chance(0.7)
      ? 6 + random.below(3)
      : 9 + random.below(4);
  const users = shuffled(random, USERS).slice(0, Math.min(count, 12));
  if (random.chance(0.15)) users[0] = NEWCOMER;
  const rates = { ...ratesOf(random), ...options.rates };
  const budget = random.chance(1 / 3) && options.rates === undefined ? 0 : random.below(24);
  const faults = new Faults(random, rates, budget);
  const world = await worldOf(users, {
    random,
    ids: new Random(seed, 2),
    faults,
    ...(options.planted && { planted: options.planted }),
  });
  const groups = GROUPS.slice(0, 1 + random.below(3));
  const names = [...groups, OTHER_NAME];
  for (const name of names) world.truth.names.set(toHex(await nameHash(name)), name);
  world.options = { history: random.chance(0.85), ack: { direct: true, group: random.chance(0.5) } };
  const history = new History(world, users, groups, names, mannerOf(random));
  for (const user of users) if (random.chance(0.9)) world.start(user);
  if (random.chance(0.6)) await assemble(world, users, groups);
  faults.enabled = true;
  const loss = random.weighted({ none: 7, backups: 2, oldDisks: 1 });
  const { backups = loss === "backups", oldDisks = loss === "oldDisks" } = options;
  await play(world, users, history, paceOf(random), 8 + random.below(40), { backups, oldDisks });
  await heal(world, users, history);
  const problems = await problemsOf(world, history);
  for (const { life } of world.devices.values()) if (life !== undefined) world.kill(life);
  world.killRelay();
  return {
    seed,
    problems,
    clients: users.length,
    operations: [...history.done.values()].reduce((sum, times) => sum + times, 0),
    messages: history.messages,
    steps: world.steps,
    faults: faults.counts,
    milliseconds: performance.now() - started,
    trace: world.trace,
    logs: world.truth.inWords(),
  };
}

function shuffled(random: Random, from: readonly string[]): string[] {
  const left = [...from];
  return from.map(() => left.splice(random.below(left.length), 1)[0] as string);
}

function ratesOf(random: Random): Partial<Record<FaultKind, number>> {
  const rates: Partial<Record<FaultKind, number>> = {};
  for (const kind of FAULTS) if (random.chance(0.5)) rates[kind] = 0.002 + random.next() * 0.03;
  for (const kind of ["write held up", "app holding a message"] as const) {
    if (random.chance(0.6)) rates[kind] = random.next() * 0.6;
  }
  return rates;
}

function mannerOf(random: Random): Manner {
  const some = (weight: number) => (random.chance(0.85) ? weight * (0.3 + random.next()) : 0);
  return {
    "direct message": some(4),
    "group message": 4,
    "burst of messages": some(3),
    "create group": some(1.5),
    "join group": some(2),
    invite: some(2.5),
    remove: some(1.2),
    leave: some(1),
    "delete group": some(0.4),
    ...administrationOf(random),
    "mark read": some(2),
    "delete messages": random.chance(0.4) ? some(0.8) : 0,
    "limit time of direct": random.chance(0.25) ? 0.5 : 0,
    "close client": some(0.7),
    "start client": some(1),
  };
}

/** In some histories nobody administers anything, in some it is what happens most. */
function administrationOf(random: Random): Pick<Manner, (typeof ADMINISTRATION)[number]> {
  const much = random.chance(0.25) ? 0 : 0.2 + 1.5 * random.next();
  const some = (weight: number) => (random.chance(0.75) ? weight * much * (0.3 + random.next()) : 0);
  return {
    promote: some(1),
    demote: some(0.8),
    ban: some(0.8),
    unban: some(0.6),
    "rename group": some(0.6),
    "change join mode": some(0.6),
    "limit time of group": random.chance(0.4) ? some(0.5) : 0,
  };
}

function paceOf(random: Random): Pace {
  const some = () => 0.2 + 4 * random.next() ** 2;
  return {
    network: 3,
    store: some(),
    app: some(),
    time: 0.02 + 0.3 * random.next() ** 2,
    revival: 0.05,
    history: 0.05 + random.next() ** 2,
  };
}

/** Gathers groups before anything goes wrong, as there would be some in a history that has been going on for long. */
async function assemble(world: World, users: readonly string[], groups: readonly string[]): Promise<void> {
  await assembleOne(world, users, groups[0] as string);
  // People in two groups tell each other of the one in the other.
  for (const group of groups.slice(1)) {
    if (world.random.chance(0.5)) await assembleOne(world, shuffled(world.random, users), group);
  }
}

async function assembleOne(world: World, users: readonly string[], group: string): Promise<void> {
  const { random } = world;
  const join = random.weighted({ approval: 3, open: 2, closed: 1 });
  const settle = () => world.settle(2_000, 0, () => true);
  await settle();
  const founder = users.map((user) => world.device(user).life).find((life) => life !== undefined);
  if (founder === undefined) return;
  world.call(founder, "create", (client) => client.createGroup(group, { join }));
  await settle();
  for (const user of users.slice(0, 1 + random.below(users.length))) {
    if (user === founder.device.user) continue;
    world.call(founder, "invite", (client) => client.invite(group, user));
    if (random.chance(0.5)) await settle();
  }
  await settle();
}

/** Lets the apps do what they do while everything fails that can. */
async function play(
  world: World,
  users: readonly string[],
  history: History,
  pace: Pace,
  operations: number,
  losses: { readonly backups: boolean; readonly oldDisks: boolean },
): Promise<void> {
  const { random, faults } = world;
  // Each at most once in a run: what is lost while the loss before is being mended, nobody promises.
  let { backups, oldDisks } = losses;
  for (let left = operations, idle = 0; left > 0 && idle < 50; ) {
    const extra = [
      () => {
        left--;
        history.operate();
      },
    ];
    idle = (await world.step(pace, extra)) ? 0 : idle + 1;
    for (const user of users) {
      const device = world.device(user);
      const { life } = device;
      if (life === undefined || isRefused(life)) {
        if (life !== undefined) world.kill(life);
        if (random.chance(0.03)) world.start(user);
      } else if (faults.strikes("client killed at rest")) world.kill(life);
      else if (
        !life.closing &&
        life.client.deviceId !== "" &&
        faults.strikes("process frozen and replaced")
      ) {
        world.freeze(life);
      }
      for (const ghost of device.ghosts) if (random.chance(0.05)) world.thaw(ghost);
      // A disk from before there was an account is that of somebody else.
      if (oldDisks && random.chance(0.004) && device.place.keys.size > 0) device.copy = device.place.copy();
      if (oldDisks && random.chance(0.002) && world.setBack(device)) {
        faults.count("device's disk set back");
        oldDisks = false;
      }
    }
    if (losses.backups && random.chance(0.01)) world.backUp();
    if (backups && random.chance(0.005) && world.restore()) {
      faults.count("relay's old backup restored");
      backups = false;
    }
    if (world.relay === undefined) {
      if (random.chance(0.1)) world.startRelay();
    } else if (faults.strikes("relay killed at rest")) world.killRelay();
  }
}

/** Whether a process found its store in use by another. */
function isRefused({ client, calls, closing }: Life): boolean {
  return client.state === "idle" && !closing && ![...calls].some(({ name }) => name === "connect");
}

/** Everything works again, everybody comes back, and everybody has a last word. */
async function heal(world: World, users: readonly string[], history: History): Promise<void> {
  world.note("heal");
  world.faults.enabled = false;
  history.healing = true;
  world.startRelay();
  for (const cable of world.cables) if (cable.stalled) world.cut(cable);
  for (const user of users) for (const ghost of world.device(user).ghosts) world.thaw(ghost);
  await world.settle(6_000, 6_000, () => true);
  for (const user of users) {
    const device = world.device(user);
    // Who was never taken over ends here; who found the store taken tries again.
    for (const ghost of device.ghosts) if (ghost.attached) world.kill(ghost);
    if (device.life?.client.state === "idle") world.kill(device.life);
    world.start(user);
  }
  await world.settle(HEALING_LIMIT, HEALING, () => isSettled(world, users));
  for (const user of users) {
    const { life } = world.device(user);
    if (life !== undefined) markRead(world, life);
  }
  // Some answers come with a new session only.
  for (const cable of world.cables) world.cut(cable);
  await world.settle(HEALING_LIMIT, HEALING, () => isSettled(world, users));
  for (const user of users) for (const ghost of world.device(user).ghosts) world.kill(ghost);
  for (const log of world.truth.logs.values()) {
    if (log.isClosed) continue;
    for (const { user, end } of log.memberships(world.truth.creatorOf(log))) {
      const { life } = world.device(user);
      if (end !== undefined || life === undefined) continue;
      const to = log.group.direct?.find((other) => other !== user);
      const group = calledBy(world.device(user), log.groupId);
      // Who was set back gets what is for it without writing first.
      if (to !== undefined) {
        if (!world.device(user).setBack) history.send(life, { to });
      } else if (group !== undefined) history.send(life, { group });
    }
  }
  await world.settle(HEALING_LIMIT, HEALING, () => isSettled(world, users));
}

/** What a device calls a group; undefined if its app does not see it. */
function calledBy({ place }: Device, groupId: string): string | undefined {
  const stored = place.values.get(`${layout.conversations}${groupId}`) as Uint8Array | undefined;
  const record = stored && decode(decodeConversationRecord, stored);
  return record?.status === "active" && record.subject.kind === "group" ? record.subject.name : undefined;
}

function isSettled(world: World, users: readonly string[]): boolean {
  return users.every((user) => {
    const { life, place } = world.device(user);
    const left = [layout.intents, layout.pointers, layout.pending];
    const asking = place.under(layout.joins).some(([key]) => {
      return !world.truth.logs.get(key.slice(layout.joins.length))?.isClosed;
    });
    const repairing = place
      .under(layout.conversations)
      .some(([, stored]) => decode(decodeConversationRecord, stored).status === "repairing");
    const waiting = asking || repairing || left.some((prefix) => place.under(prefix).length > 0);
    return life?.client.state === "connected" && !waiting;
  });
}
