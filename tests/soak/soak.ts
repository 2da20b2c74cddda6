import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildCli, buildProgram, RelayProcess } from "../relay/relay-process.js";
import { expectedPerUser, type Plan, type Report, type Result, type Sample } from "./plan.js";

export interface SoakOptions {
  readonly users: number;
  /** Over how many processes the users are spread. */
  readonly processes: number;
  /** How many messages all users send together. */
  readonly messages: number;
  /** Every how many messages one goes to the group. */
  readonly groupEvery: number;
  /** Milliseconds from one start of the relay to its death. */
  readonly killEvery: number;
  readonly log?: (line: string) => void;
}

export interface SoakResult {
  readonly sent: number;
  readonly received: number;
  readonly expected: number;
  readonly kills: number;
  readonly seconds: number;
  readonly violations: readonly string[];
  readonly errors: Readonly<Record<string, number>>;
  readonly disconnects: number;
  /** The mean heap of all processes together, in the first and the last third, and their ratio. */
  readonly heap: Thirds;
  /** What of the heap the compiler has made. */
  readonly code: Thirds;
  readonly external: Thirds;
}

interface Thirds {
  readonly first: number;
  readonly last: number;
  readonly ratio: number;
}

/** A relay that is killed again and again, and started again on its port and its data. */
class MortalRelay {
  kills = 0;
  readonly #cli: string;
  readonly #folder: string;
  #process: RelayProcess | undefined;
  #port = 0;
  #stopped = false;
  #timer: NodeJS.Timeout | undefined;
  #restarting: Promise<unknown> = Promise.resolve();

  constructor(cli: string, folder: string) {
    this.#cli = cli;
    this.#folder = folder;
  }

  async start(): Promise<string> {
    this.#process = new RelayProcess(this.#cli, ["--port", `${this.#port}`, "--data", this.#folder]);
    const url = await this.#process.url();
    this.#port = Number(new URL(url).port);
    return url;
  }

  /** From now on it dies this long after each start. */
  dieEvery(ms: number): void {
    this.#timer = setTimeout(() => {
      this.#restarting = this.#dieAndReturn().then(() => !this.#stopped && this.dieEvery(ms));
      this.#restarting.catch((error: unknown) => console.error(error));
    }, ms);
  }

  async #dieAndReturn(): Promise<void> {
    this.kills++;
    await this.#process?.signal("SIGKILL");
    if (!this.#stopped) await this.start();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#restarting.catch(() => {});
    await this.#process?.signal("SIGKILL");
  }
}

/** Runs clients in processes of their own against a relay that is killed every few seconds. */
export async function runSoak(options: SoakOptions): Promise<SoakResult> {
  const { log = () => {} } = options;
  const [cli, worker] = await Promise.all([buildCli(), buildProgram("tests/soak/worker.ts")]);
  const folder = await mkdtemp(join(tmpdir(), "subrosa-soak-"));
  const relay = new MortalRelay(cli.path, join(folder, "relay"));
  const children: ChildProcess[] = [];
  try {
    const url = await relay.start();
    const users = Array.from({ length: options.users }, (_, i) => `user ${i}`);
    const plans = Array.from(
      { length: options.processes },
      (_, at): Plan => ({
        url,
        folder,
        users,
        own: users.filter((_, i) => i % options.processes === at),
        messagesPerUser: Math.ceil(options.messages / options.users),
        groupEvery: options.groupEvery,
        window: 128,
      }),
    );
    const workers = plans.map((plan) => new Worker(worker.path, plan));
    children.push(...workers.map(({ child }) => child));
    await Promise.all(workers.map((one) => one.ready));
    const begin = Date.now();
    relay.dieEvery(options.killEvery);
    for (const one of workers) one.go();
    const ticker = setInterval(() => {
      const sum = (of: (worker: Worker) => number) => workers.reduce((all, one) => all + of(one), 0);
      const seconds = Math.round((Date.now() - begin) / 1000);
      const [sent, received] = [sum((one) => one.sent), sum((one) => one.received)];
      const [plan] = plans as [Plan, ...Plan[]];
      const underWay = Math.round((sent * expectedPerUser(plan)) / plan.messagesPerUser) - received;
      const line = `${seconds} s: ${sent} sent, ${received} received, ${underWay} under way, ${relay.kills} kills`;
      log(
        seconds % 30 === 0
          ? `${line}; waiting for ${workers
              .map((one) => one.missing)
              .join("; ")
              .slice(0, 300)}`
          : line,
      );
    }, 5_000);
    await Promise.all(workers.map((one) => one.complete)).finally(() => clearInterval(ticker));
    for (const one of workers) one.go();
    const results = await Promise.all(workers.map((one) => one.done));
    return summary(options, plans, results, relay.kills, (Date.now() - begin) / 1000);
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await relay.stop();
    await rm(folder, { recursive: true, force: true });
    await Promise.all([cli.dispose(), worker.dispose()]);
  }
}

class Worker {
  readonly child: ChildProcess;
  readonly ready: Promise<void>;
  readonly complete: Promise<void>;
  readonly done: Promise<Result>;
  sent = 0;
  received = 0;
  missing = "";

  constructor(path: string, plan: Plan) {
    this.child = fork(path, { execArgv: ["--expose-gc"], stdio: ["ignore", "inherit", "inherit", "ipc"] });
    const failed = once(this.child, "exit").then(([code]) => {
      throw new Error(`a process of the soak ended with ${code}`);
    });
    failed.catch(() => {});
    const told = <T>(take: (report: Report) => T | undefined): Promise<T> =>
      Promise.race([
        failed,
        new Promise<T>((resolve) => {
          this.child.on("message", (report: Report) => {
            const taken = take(report);
            if (taken !== undefined) resolve(taken);
          });
        }),
      ]);
    const said = (type: Report["type"]) => told((report) => report.type === type || undefined).then(() => {});
    this.ready = said("ready");
    this.complete = said("complete");
    this.done = told((report) => (report.type === "done" ? report.result : undefined));
    // Nobody may be waiting for these when it ends too soon.
    for (const one of [this.ready, this.complete, this.done]) one.catch(() => {});
    this.child.on("message", (report: Report) => {
      if (report.type !== "progress") return;
      this.sent = report.sent;
      this.received = report.received;
      this.missing = report.missing;
    });
    this.child.send(plan);
  }

  go(): void {
    this.child.send("go");
  }
}

function summary(
  options: SoakOptions,
  plans: readonly Plan[],
  results: readonly Result[],
  kills: number,
  seconds: number,
): SoakResult {
  const errors: Record<string, number> = {};
  for (const result of results) {
    for (const [what, times] of Object.entries(result.errors)) errors[what] = (errors[what] ?? 0) + times;
  }
  const [plan] = plans as [Plan, ...Plan[]];
  return {
    sent: plan.messagesPerUser * options.users,
    received: results.reduce((sum, { received }) => sum + received, 0),
    expected: expectedPerUser(plan) * options.users,
    kills,
    seconds,
    violations: results.flatMap(({ violations }) => violations),
    errors,
    disconnects: results.reduce((sum, { disconnects }) => sum + disconnects, 0),
    heap: thirds(results, ({ heapUsed }) => heapUsed),
    code: thirds(results, ({ code }) => code),
    external: thirds(results, ({ external }) => external),
  };
}

/** The mean of a figure over each third of the run, all processes together. */
function thirds(results: readonly Result[], of: (sample: Sample) => number): Thirds {
  const mean = (from: number, to: number) =>
    results.reduce((sum, { heap }) => {
      const samples = heap.filter(({ at }) => at > from && at <= to).map(of);
      return sum + samples.reduce((all, one) => all + one, 0) / Math.max(1, samples.length);
    }, 0);
  const [first, last] = [mean(0, 1 / 3), mean(2 / 3, 1)];
  return { first, last, ratio: last / first };
}
