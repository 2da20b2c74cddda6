/**
 * Attacks a relay from a process and addresses of its own: `node … URL VICTIM GROUP INBOX`. Prints one line of JSON
 * for each attack, with how it ended and how often, then floods until it is killed.
 */
import { connect as connectTcp } from "node:net";
import { asBytes } from "../../src/base/bytes.js";
import { fromHex } from "../../src/base/encoding.js";
import { SubrosaError } from "../../src/base/errors.js";
import { randomBytes } from "../../src/crypto/random.js";
import { encodeClientFrame } from "../../src/wire/frames.js";
import { START } from "../../src/wire/identifiers.js";
import { EntryKind } from "../../src/wire/protocol.js";
import {
  type AuthenticateOptions,
  add,
  commit,
  groupLog,
  makeUser,
  message,
  RawClient,
  setRole,
  type TestUser,
} from "./raw-client.js";

const [url, victim, groupHex, inboxHex] = process.argv.slice(2) as [string, string, string, string];
const group = groupLog(asBytes(fromHex(groupHex)));
const victimInbox = { kind: 1 as const, id: asBytes(fromHex(inboxHex)) };
const port = Number(new URL(url).port);

/** Outcomes and how often each came. */
type Tally = Record<string, number>;
const count = (tally: Tally, outcome: string | number) => {
  tally[outcome] = (tally[outcome] ?? 0) + 1;
};

function tallyOf(outcomes: readonly (string | number)[]): Tally {
  const tally: Tally = {};
  for (const outcome of outcomes) count(tally, outcome);
  return tally;
}

const open = (user: TestUser, localAddress: string) => new RawClient(url, user, {}, { localAddress });

async function enter(user: TestUser, localAddress = "127.0.0.2", options: AuthenticateOptions = {}) {
  const client = open(user, localAddress);
  await client.authenticate(options);
  await client.ready();
  return client;
}

/** What a request ends with: its refusal's code, or "done". */
const outcomeOf = (answer: Promise<unknown>): Promise<string> =>
  answer.then(
    () => "done",
    (error: unknown) => (SubrosaError.is(error) ? error.code : String(error)),
  );

const closeOf = async (client: RawClient): Promise<number> => (await client.closed()).code;

/** TCP connections that send one byte of a handshake now and then, for as long as they are let. */
async function slowHandshakes(): Promise<Tally> {
  const lasted = await Promise.all(
    Array.from({ length: 150 }, async () => {
      const socket = connectTcp({ port, host: "127.0.0.1", localAddress: "127.0.0.4" });
      socket.on("error", () => {});
      let received = "";
      socket.on("data", (data) => {
        received += data;
      });
      const request = "GET / HTTP/1.1\r\nHost: relay\r\nX-Slow: ";
      let at = 0;
      const timer = setInterval(() => socket.write(request[at++] ?? "a"), 50);
      await new Promise((resolve) => socket.once("close", resolve));
      clearInterval(timer);
      return received === "" ? "dropped" : "answered";
    }),
  );
  return tallyOf(lasted);
}

async function silentSockets(): Promise<Tally> {
  const user = await makeUser("silent");
  const ends: Promise<number>[] = [];
  for (let i = 0; i < 120; i++) {
    const client = open(user, "127.0.0.5");
    ends.push(closeOf(client));
    await new Promise((resolve) => client.socket.once("open", resolve));
  }
  return tallyOf(await Promise.all(ends));
}

async function giantFrames(mallory: TestUser): Promise<Tally> {
  const before = open(mallory, "127.0.0.2");
  await before.frame("challenge");
  before.sendBytes(new Uint8Array(200_000));
  const never = open(mallory, "127.0.0.2");
  await never.frame("challenge");
  never.socket.on("error", () => {});
  // No fragment is the last one.
  for (let i = 0; i < 20; i++) never.socket.send(new Uint8Array(10_000), { fin: false });
  const first = [await closeOf(before), await closeOf(never)];
  const after = await enter(mallory);
  after.sendBytes(new Uint8Array(2 * 1024 * 1024));
  const split = await closeOf(after);
  const pieces = await enter(mallory);
  for (let i = 0; i < 30_000 && pieces.socket.readyState === pieces.socket.OPEN; i++) {
    pieces.socket.send(new Uint8Array(1), { fin: false });
    if (i % 500 === 499) await new Promise((resolve) => setImmediate(resolve));
  }
  return tallyOf([...first, split, await closeOf(pieces)]);
}

/** Requests for what is somebody else's; each in words and what came of it. */
async function trespasses(mallory: TestUser): Promise<Record<string, string>> {
  const m = await enter(mallory);
  const mine = randomBytes(32);
  const log = groupLog(mine);
  const at = await m.request("create", { groupId: mine, first: commit([add(mallory, 2)]) });
  const accomplice = await enter(await makeUser("accomplice"));
  const joined = await m.append(log, at, commit([add(accomplice.user)]));
  const stolen = { type: "add" as const, userId: "mallory", deviceId: victimInbox.id, role: 2 as const };
  const reused = message("one");
  await m.append(log, joined, reused);
  const pointer = { kind: EntryKind.pointer, entryId: randomBytes(16), payload: randomBytes(9) };
  // Someone else's cursor in someone else's inbox: ignored, the owner sees to it that nothing is missing.
  m.send({ type: "ack", log: victimInbox, cursor: { seq: 1, digest: randomBytes(32) } });
  return {
    "read an inbox": await outcomeOf(m.subscribe(victimInbox)),
    "write into an inbox": await outcomeOf(m.append(victimInbox, START, pointer)),
    "read a group": await outcomeOf(m.subscribe(group)),
    "write into a group": await outcomeOf(m.append(group, START, message("x"))),
    "let oneself in": await outcomeOf(m.append(group, START, commit([add(mallory, 2)]))),
    "take over a group": await outcomeOf(m.request("create", { groupId: group.id })),
    "read with another's cursor": await outcomeOf(m.subscribe(log, { seq: 2, digest: randomBytes(32) })),
    "read on from what was not": await outcomeOf(m.subscribe(log, { seq: 99, digest: randomBytes(32) })),
    "add another's device as one's own": await outcomeOf(m.append(log, joined, commit([stolen]))),
    "change access on an old state": await outcomeOf(m.append(log, at, commit([add(accomplice.user, 2)]))),
    "raise oneself": await outcomeOf(accomplice.append(log, joined, commit([setRole(accomplice.user, 2)]))),
    "an entry id for other bytes": await outcomeOf(
      m.append(log, joined, { ...message("two"), entryId: reused.entryId }),
    ),
  };
}

/** Replays an authentication, its own and word for word. */
async function replays(): Promise<Tally> {
  const replayed = await makeUser("replayed");
  const first = open(replayed, "127.0.0.3");
  const frame = encodeClientFrame({ type: "authenticate", authentication: await first.authentication() });
  first.sendBytes(frame);
  await first.ready();
  const second = open(replayed, "127.0.0.3");
  await second.frame("challenge");
  second.sendBytes(frame);
  const refusal = (await second.frame("refuse")).code;
  const codes = [await closeOf(second)];
  first.sendBytes(frame);
  codes.push(await closeOf(first));
  return tallyOf([refusal, ...codes]);
}

async function oddNames(): Promise<Record<string, string | number>> {
  const names = {
    "zero width": `${victim}\u200b`,
    bidi: `\u202e${victim}`,
    "not NFC": "e\u0301ve",
    "line separator": `${victim}\u2028`,
    "outer space": ` ${victim}`,
    control: `${victim}\u0007`,
    empty: "",
    long: "\u00e9".repeat(65),
    // What only looks like the victim's is a name of its own: fingerprints tell the two apart.
    homoglyph: "\u0430lice",
  };
  const outcomes: Record<string, string | number> = {};
  for (const [what, userId] of Object.entries(names)) {
    const client = open(await makeUser(userId), "127.0.0.3");
    await client.authenticate().catch(() => {});
    outcomes[what] = await Promise.race([client.ready().then(() => "registered"), closeOf(client)]);
  }
  const claimant = open(await makeUser(victim), "127.0.0.3");
  await claimant.authenticate();
  outcomes["the victim's own"] = (await claimant.frame("refuse")).code;
  return outcomes;
}

async function squatting(): Promise<Tally> {
  const squatter = await enter(await makeUser("squatter"));
  const claim = () =>
    outcomeOf(squatter.request("create", { groupId: randomBytes(32), nameHash: randomBytes(32) }));
  const outcomes: string[] = [];
  for (let i = 0; i < 20; i++) outcomes.push(await claim());
  return tallyOf(outcomes);
}

/** Fetches the victim's key packages: [the last resort, one-time ones]. */
async function draining(): Promise<Tally> {
  const thirsty = await enter(await makeUser("thirsty"));
  const outcomes: string[] = [];
  for (let i = 0; i < 60; i++) {
    const { devices } = await thirsty.request("fetchKeyPackages", { userId: victim });
    outcomes.push(devices[0]?.keyPackage.length === 9 ? "last resort" : "one-time");
  }
  return tallyOf(outcomes);
}

async function guessing(): Promise<Tally> {
  const wrong = await makeUser("guesser");
  const outcomes: number[] = [];
  for (let i = 0; i < 40; i++) {
    const client = open(wrong, "127.0.0.6");
    const challenged = await Promise.race([
      client.frame("challenge").then(
        () => true,
        () => false,
      ),
      client.closed().then(() => false),
    ]);
    const alter = <T>(authentication: T): T => ({ ...authentication, signature: randomBytes(70) });
    if (challenged) await client.authenticate({ alter });
    outcomes.push(await closeOf(client));
  }
  return tallyOf(outcomes);
}

/** Sends as fast as the relay takes it, and takes nothing it gets. */
async function flood(name: string): Promise<void> {
  const frame = encodeClientFrame({ type: "request", id: 1, name: "listGroups", body: {} });
  for (;;) {
    try {
      const client = await enter(await makeUser(name), "127.0.0.7");
      while (client.socket.readyState === client.socket.OPEN) {
        for (let i = 0; i < 50; i++) client.sendBytes(frame);
        await new Promise((resolve) => setTimeout(resolve, client.socket.bufferedAmount > 100_000 ? 20 : 0));
        client.frames.length = 0;
      }
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

const report = (attack: string, outcome: unknown) =>
  process.stdout.write(`${JSON.stringify({ attack, outcome })}\n`);

async function main(): Promise<void> {
  for (let i = 0; i < 4; i++) void flood(`flood ${i}`);
  const mallory = await makeUser("mallory");
  const attacks: Record<string, () => Promise<unknown>> = {
    giantFrames: () => giantFrames(mallory),
    trespasses: async () => trespasses(await makeUser("trespasser")),
    replays,
    oddNames,
    squatting,
    draining,
    guessing,
  };
  const run = async (name: string, attack: () => Promise<unknown>) =>
    report(name, await attack().catch((error: Error) => `${error.stack}`));
  // These take their time beside all others.
  const slow = [run("slowHandshakes", slowHandshakes), run("silentSockets", silentSockets)];
  for (const [name, attack] of Object.entries(attacks)) await run(name, attack);
  await Promise.all(slow);
  report("over", true);
  // The flood goes on until this process is killed.
  setInterval(() => {}, 1000);
}

void main();
