import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, it } from "vitest";
import { toHex } from "../../src/base/encoding.js";
import { randomBytes } from "../../src/crypto/random.js";
import { CloseCode } from "../../src/wire/protocol.js";
import { add, chain, commit, groupLog, inboxOf, makeUser, message, RawClient, textOf } from "./raw-client.js";
import { buildCli, buildProgram, RelayProcess } from "./relay-process.js";

const LIMITS = {
  upgradeTimeout: 4000,
  authenticationTimeout: 6000,
  maxUnauthenticatedPerAddress: 50,
  addressFramesPerSecond: 2000,
  addressFrameBurst: 4000,
  nameClaimsPerHour: 5,
  oneTimePackagesPerPair: 3,
  failedAuthenticationsPerHour: 20,
};
/** Messages whose way is measured, before the attack and at least so many during it. */
const MEASURED = 300;

let programs: { path: string; dispose: () => Promise<void> }[];
beforeAll(async () => {
  programs = await Promise.all([buildCli(), buildProgram("tests/relay/attacker-process.ts")]);
});
afterAll(() => Promise.all(programs.map(({ dispose }) => dispose())));

const p99 = (times: readonly number[]) =>
  [...times].sort((a, b) => a - b)[Math.floor(times.length * 0.99)] as number;

/** The attacker's reports as they come. */
function attack(path: string, args: readonly string[]) {
  const child: ChildProcess = spawn(process.execPath, [path, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const outcomes: Record<string, unknown> = {};
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  const over = new Promise<void>((resolve) => {
    lines.on("line", (line) => {
      const { attack, outcome } = JSON.parse(line) as { attack: string; outcome: unknown };
      outcomes[attack] = outcome;
      if (attack === "over") resolve();
    });
    child.once("exit", () => resolve());
  });
  const ended = new Promise((resolve) => child.once("close", resolve));
  const kill = () => {
    child.kill("SIGKILL");
    return ended;
  };
  return { outcomes, over, kill };
}

// The attacker comes from other addresses of the loopback network, which only Linux has.
it.runIf(process.platform === "linux")(
  "refuses an attacker everything by its code, while honest people go on",
  { timeout: 120_000 },
  async () => {
    const flags = Object.entries(LIMITS).flatMap(([name, value]) => ["--limit", `${name}=${value}`]);
    const relay = new RelayProcess(programs[0]?.path as string, [
      "--port",
      "0",
      "--metrics-port",
      "0",
      ...flags,
    ]);
    const url = await relay.url();
    const [, metricsUrl] = await relay.says(/metrics on (\S+)/);
    const [alice, bob] = await Promise.all([makeUser("alice"), makeUser("bob")]);
    const [a, b] = await Promise.all([RawClient.connect(url, alice), RawClient.connect(url, bob)]);
    const upload = (length: number) => ({ notAfter: 1e10, keyPackage: randomBytes(length) });
    const oneTime = Array.from({ length: 50 }, () => upload(10));
    await a.request("publishKeyPackages", { oneTime, lastResort: upload(9) });
    const log = groupLog(randomBytes(32));
    const at = await a.request("create", { groupId: log.id, first: commit([add(alice), add(bob)]) });
    await b.subscribe(log, at);

    let sent = 0;
    /** How long one message takes from alice to bob, in milliseconds. */
    const measure = async (): Promise<number> => {
      const began = performance.now();
      const appended = a.append(log, at, message(`message ${sent++}`));
      await b.untilEntries(log, sent);
      await appended;
      return performance.now() - began;
    };
    const before: number[] = [];
    for (let i = 0; i < MEASURED; i++) before.push(await measure());
    const attacker = attack(programs[1]?.path as string, [
      url,
      "alice",
      toHex(log.id),
      toHex(alice.deviceId),
    ]);
    const during: number[] = [];
    let over = false;
    void attacker.over.then(() => {
      over = true;
    });
    while (!over || during.length < MEASURED) during.push(await measure());
    await attacker.kill();
    console.log(
      `honest p99: ${p99(before).toFixed(1)} ms before, ${p99(during).toFixed(1)} ms during the attack ` +
        `(${before.length} and ${during.length} messages)`,
    );

    const { outcomes } = attacker;
    const { silentSockets, ...others } = outcomes;
    expect(others).toEqual({
      over: true,
      slowHandshakes: { dropped: 150 },
      giantFrames: { [CloseCode.tooLarge]: 3, 1008: 1 },
      trespasses: {
        "read an inbox": "forbidden",
        "write into an inbox": "forbidden",
        "read a group": "not-a-member",
        "write into a group": "not-a-member",
        "let oneself in": "not-a-member",
        "take over a group": "conflict",
        "read with another's cursor": "cursor-mismatch",
        "read on from what was not": "cursor-mismatch",
        "add another's device as one's own": "unknown-user",
        "change access on an old state": "stale",
        "raise oneself": "not-an-admin",
        "an entry id for other bytes": "conflict",
      },
      replays: { "invalid-signature": 1, [CloseCode.unauthorized]: 1, [CloseCode.malformed]: 1 },
      oddNames: {
        "zero width": CloseCode.malformed,
        bidi: CloseCode.malformed,
        "not NFC": CloseCode.malformed,
        "line separator": CloseCode.malformed,
        "outer space": CloseCode.malformed,
        control: CloseCode.malformed,
        empty: CloseCode.malformed,
        long: CloseCode.malformed,
        homoglyph: "registered",
        "the victim's own": "user-id-taken",
      },
      squatting: { done: 5, "rate-limited": 15 },
      draining: { "one-time": 3, "last resort": 57 },
      guessing: { [CloseCode.unauthorized]: 20, [CloseCode.rateLimited]: 20 },
    });
    const silent = silentSockets as Record<string, number>;
    expect(Object.keys(silent).sort()).toEqual([
      `${CloseCode.authenticationTimeout}`,
      `${CloseCode.rateLimited}`,
    ]);
    const all = Object.values(silent).reduce((sum, one) => sum + one, 0);
    expect(all).toBe(120);

    // Nothing is missing, nothing came twice or from anybody else.
    const entries = await b.untilEntries(log, sent);
    expect(entries.map(textOf)).toEqual(Array.from({ length: sent }, (_, i) => `message ${i}`));
    await chain(log, entries, at);
    const inbox = await b.subscribe(inboxOf(bob));
    expect(inbox.head.seq).toBe(1);
    expect((await a.request("listGroups", {})).groups).toHaveLength(1);
    const text = await (await fetch(metricsUrl as string)).text();
    expect(text).toContain("failures_total 0\n");
    expect(text).toMatch(/handshakes_dropped_total\{reason="limit"\} \d+/);
    await Promise.all([a.close(), b.close()]);
    expect(await relay.signal("SIGTERM")).toBe(0);
  },
);
