import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { heading, median, progress, quantile, short, spread, table, whole } from "../table.js";
import { Child } from "./child.js";
import type { Competitor, RunResult, ServerStats } from "./protocol.js";

const quick = process.argv.includes("--quick");
const ROUNDS = quick ? 3 : 7;
const ROUND_MS = quick ? 700 : 2000;
const IDLE = 10_000;
const IDLE_LIMIT_MIB = 400;
const MIB = 1024 * 1024;
const COMPETITORS: readonly Competitor[] = ["subrosa", "ws", "socket.io"];
const NAMES = {
  subrosa: "Subrosa, durable (LMDB, fsync)",
  ws: "ws 8, `send` to each, nothing kept",
  "socket.io": "socket.io 4.8, nothing kept",
};

interface Scenario {
  readonly readers: number;
  readonly window: number;
  /** What Subrosa should reach, as multiples of the others. */
  readonly targets?: { readonly ws: number; readonly "socket.io": number };
}

const SCENARIOS: readonly Scenario[] = [
  { readers: 100, window: 64, targets: { ws: 1, "socket.io": 2 } },
  { readers: 1000, window: 16 },
  { readers: 100, window: 1 },
];

// In the project's folder: /tmp may be memory, where a sync costs nothing.
const data = mkdtempSync(fileURLToPath(new URL("./data-", import.meta.url)));
const children: Child[] = [];
const start = (name: string, ...args: string[]) => {
  const child = new Child(name, args);
  children.push(child);
  return child;
};

interface Round extends RunResult {
  readonly cpu: number;
  readonly entriesPerCommit: number;
  /** Milliseconds that one commit to the disk takes. */
  readonly commitMs: number;
}

async function fanOut(): Promise<boolean> {
  const servers: Record<Competitor, Child> = {
    subrosa: start("subrosa-server", `${data}/relay`),
    ws: start("ws-server"),
    "socket.io": start("socketio-server"),
  };
  const load = start("load");
  for (const readers of new Set(SCENARIOS.map((scenario) => scenario.readers))) {
    for (const competitor of COMPETITORS) {
      progress(`connecting ${readers} readers to ${competitor} …`);
      const url = await servers[competitor].ask<string>({ type: "url" });
      await load.ask({ type: "connect", competitor, url, readers });
    }
  }
  const run = async (competitor: Competitor, { readers, window }: Scenario, ms: number): Promise<Round> => {
    const stats = () => servers[competitor].ask<ServerStats>({ type: "stats" });
    const before = await stats();
    const started = performance.now();
    const result = await load.ask<RunResult>({ type: "run", competitor, readers, window, ms });
    const after = await stats();
    return {
      ...result,
      cpu: (after.cpuMicros - before.cpuMicros) / 1000 / (performance.now() - started),
      entriesPerCommit: (after.entries - before.entries) / (after.commits - before.commits),
      commitMs: (after.commitMs - before.commitMs) / (after.commits - before.commits),
    };
  };
  let met = true;
  for (const scenario of SCENARIOS) {
    const rounds = new Map<Competitor, Round[]>(COMPETITORS.map((competitor) => [competitor, []]));
    // The first round warms up and is not counted.
    for (let round = 0; round <= ROUNDS; round++) {
      for (const competitor of COMPETITORS) {
        progress(`${scenario.readers} readers, round ${round} of ${ROUNDS}: ${competitor} …`);
        const result = await run(competitor, scenario, round === 0 ? ROUND_MS / 2 : ROUND_MS);
        if (round > 0) rounds.get(competitor)?.push(result);
      }
    }
    const reached = report(scenario, rounds);
    if (!reached) {
      met = false;
      await servers.subrosa.ask({ type: "profile", on: true });
      const { cpu, commitMs } = await run("subrosa", scenario, ROUND_MS);
      const profile = await servers.subrosa.ask<[string, number][]>({ type: "profile", on: false });
      heading(
        `A target was not met. The relay was busy for ${whole(100 * cpu)} % of the time, a commit took ${short(commitMs)} ms: where it is\n` +
          "not busy it waits, for the disk or for a share of the machine. Where its busy time goes:",
      );
      console.log(
        table(
          ["function", "share"],
          profile.map(([name, share]) => [name, `${(share * 100).toFixed(1)} %`]),
        ),
      );
    }
  }
  await Promise.all([load, ...Object.values(servers)].map((child) => child.end()));
  return met;
}

/** Prints one scenario; true if its targets are met. */
function report({ readers, window, targets }: Scenario, rounds: Map<Competitor, Round[]>): boolean {
  const of = <T>(competitor: Competitor, pick: (round: Round) => T): T[] =>
    (rounds.get(competitor) ?? []).map(pick);
  const rate = (competitor: Competitor) => of(competitor, (round) => round.deliveriesPerSecond);
  const inFlight = window === 1 ? "one message at a time" : `${window} messages on their way`;
  heading(`${whole(readers)} readers of one group, 512-byte messages, ${inFlight}`);
  console.log(
    table(
      ["median of rounds", "deliveries/s", "lowest–highest", "server CPU", "… per delivery", "load CPU"],
      COMPETITORS.map((competitor) => [
        NAMES[competitor],
        whole(median(rate(competitor))),
        spread(rate(competitor)),
        `${whole(100 * median(of(competitor, (round) => round.cpu)))} %`,
        `${short(median(of(competitor, (round) => (1e6 * round.cpu) / round.deliveriesPerSecond)))} µs`,
        `${whole(100 * median(of(competitor, (round) => round.loadCpu)))} %`,
      ]),
    ),
  );
  const appendMs = of("subrosa", (round) => round.appendMs).flat();
  console.log(
    `\n  append to durable answer: p50 ${short(quantile(appendMs, 0.5))} ms, p99 ${short(quantile(appendMs, 0.99))} ms;` +
      ` entries per commit: ${short(median(of("subrosa", (round) => round.entriesPerCommit)))},` +
      ` each ${short(median(of("subrosa", (round) => round.commitMs)))} ms`,
  );
  if (window === 1) explainTurns(rounds);
  let met = true;
  for (const peer of ["ws", "socket.io"] as const) {
    // Each round against its neighbour in time: what else the machine did then hit both.
    const theirs = rate(peer);
    const ratios = rate("subrosa").map((mine, round) => mine / (theirs[round] as number));
    const ratio = median(ratios);
    const target = targets?.[peer];
    if (target !== undefined && ratio < target) met = false;
    const verdict =
      target === undefined
        ? ""
        : `   target ≥ ${target.toFixed(1)} ×: ${ratio >= target ? "met" : "NOT MET"}`;
    console.log(
      `  Subrosa ÷ ${peer}: ${ratio.toFixed(2)} × (${spread(ratios, (r) => r.toFixed(2))})${verdict}`,
    );
  }
  return met;
}

/** Why one message at a time is another race: what keeps a message waits for the disk, what forgets it for nothing. */
function explainTurns(rounds: Map<Competitor, Round[]>): void {
  const perMessage = (competitor: Competitor, without = 0) =>
    median((rounds.get(competitor) ?? []).map(({ messagesPerSecond }) => 1000 / messagesPerSecond)) - without;
  const commit = median((rounds.get("subrosa") ?? []).map(({ commitMs }) => commitMs));
  console.log(
    `  One message, from its sender to all readers: Subrosa ${short(perMessage("subrosa"))} ms, of which ${short(commit)} ms until it is on the\n` +
      `  disk (nobody gets it before, and the next is sent after) and ${short(perMessage("subrosa", commit))} ms for the rest; ws ${short(perMessage("ws"))} ms,\n` +
      `  socket.io ${short(perMessage("socket.io"))} ms, which keep nothing and wait for no disk. With more messages on their way\n` +
      "  they share its commits, as above. This has no target: it would be one for the disk.",
  );
}

/** Each connection is an open file on both sides, and beside them a process has a few of its own. */
function connectionsAllowed(): number {
  const limit = spawnSync("sh", ["-c", "ulimit -n"]).stdout.toString().trim();
  return limit === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit) - 100;
}

async function idle(): Promise<boolean> {
  const allowed = connectionsAllowed();
  const count = Math.min(quick ? 2000 : 10_000, allowed);
  const relay = start("subrosa-server", `${data}/idle`);
  const load = start("load");
  const url = await relay.ask<string>({ type: "url" });
  const before = await relay.ask<ServerStats>({ type: "stats" });
  progress(`connecting ${whole(count)} members …`);
  const ms = await load.ask<number>({ type: "idle", url, count });
  const after = await relay.ask<ServerStats>({ type: "stats" });
  const row = (name: string, pick: (stats: ServerStats) => number) => [
    name,
    `${whole(pick(before) / MIB)} MiB`,
    `${whole(pick(after) / MIB)} MiB`,
    `${short((pick(after) - pick(before)) / count / 1024)} KiB`,
  ];
  heading(
    `${whole(count)} idle connections, authenticated, each reading its inbox (${short(ms / 1000)} s to connect)`,
  );
  console.log(
    table(
      ["memory of the relay", "before", "after", "per connection"],
      [
        row("resident (RSS)", ({ rss }) => rss),
        row("JavaScript heap", ({ heapUsed }) => heapUsed),
        row("outside the heap", ({ external }) => external),
      ],
    ),
  );
  const met = quick || (count >= IDLE && after.rss < IDLE_LIMIT_MIB * MIB);
  if (allowed < IDLE)
    console.log(`\n  This machine allows ${whole(allowed)} connections of a process (ulimit -n).`);
  const target = quick ? "" : `   target < ${IDLE_LIMIT_MIB} MiB: ${met ? "met" : "NOT MET"}`;
  console.log(`\n  RSS with ${whole(count)} connections: ${whole(after.rss / MIB)} MiB${target}`);
  await Promise.all([load.end(), relay.end()]);
  return met;
}

try {
  const busy = loadavg()[0] ?? 0;
  console.log(
    `\n  ${cpus().length} × ${cpus()[0]?.model ?? "CPU"}, Node ${process.version}; ` +
      `${busy.toFixed(1)} processes were running or waiting before this began.`,
  );
  const only = process.argv.find((arg) => arg.startsWith("--only="))?.slice(7);
  const results = [only === "idle" || (await fanOut()), only === "fan-out" || (await idle())];
  console.log(`\n  ${results.every(Boolean) ? "All targets met." : "NOT all targets met."}\n`);
} finally {
  await Promise.all(children.map((child) => child.end()));
  rmSync(data, { recursive: true, force: true });
}
