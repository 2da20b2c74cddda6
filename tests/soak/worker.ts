import { join } from "node:path";
import { getHeapCodeStatistics } from "node:v8";
import { Client, type Message, SubrosaError } from "../../src/index.js";
import { openStore } from "../../src/node.js";
import {
  expectedPerUser,
  GROUP,
  groupMessages,
  nextOf,
  type Plan,
  type Report,
  type Result,
  type Sample,
} from "./plan.js";

/** How many looks at the heap there are in a run. */
const SAMPLES = 48;

const say = (report: Report) => process.send?.(report);

const sayAndWait = (report: Report) =>
  new Promise<void>((resolve) => {
    process.once("message", () => resolve());
    say(report);
  });

/** One user: sends what the plan says, and checks that what comes is what must come next. */
class Soaker {
  readonly client: Client;
  received = 0;
  sent = 0;
  /** Messages of this user that are not under way any more. */
  confirmed = 0;
  disconnects = 0;
  readonly violations: string[] = [];
  readonly errors: Record<string, number> = {};
  readonly #plan: Plan;
  /** The number of the next message, by conversation and sender. */
  readonly #next = new Map<string, number>();
  #wake: () => void = () => {};

  private constructor(plan: Plan, client: Client, onReceived: () => void) {
    this.#plan = plan;
    this.client = client;
    client.on("message", (message) => {
      this.#check(message);
      onReceived();
    });
    client.on("receipt", ({ state, ids, group }) => {
      if (state === "failed") this.#note("failed receipt", ids.length);
      // Where the relay's word sufficed, who reads more slowly than others write would fall behind further and further.
      if (state !== (group === undefined ? "delivered" : "sent")) return;
      this.confirmed += ids.length;
      this.#wake();
    });
    client.on("disconnect", () => this.disconnects++);
    client.on("error", ({ code, rule, message }) =>
      this.#note(`${code}: ${message}${rule ? ` (${rule})` : ""}`),
    );
    client.on("undecryptable", ({ reason }) => this.#note(`undecryptable ${reason}`));
  }

  static async start(plan: Plan, userId: string, onReceived: () => void): Promise<Soaker> {
    const store = await openStore(join(plan.folder, userId));
    const client = new Client({ url: plan.url, userId, store });
    const soaker = new Soaker(plan, client, onReceived);
    await client.connect();
    return soaker;
  }

  #note(what: string, times = 1): void {
    this.errors[what] = (this.errors[what] ?? 0) + times;
  }

  #check({ from, group, content }: Message): void {
    const key = `${group ?? "direct"} from ${from}`;
    const expected = this.#next.get(key) ?? 0;
    this.#next.set(key, expected + 1);
    this.received++;
    if (content !== `${expected}` && this.violations.length < 10) {
      this.violations.push(`${this.client.userId}: ${key}: ${content} instead of ${expected}`);
    }
  }

  /** What has not come yet, in words. */
  missing(): string {
    const { users } = this.#plan;
    const grouped = groupMessages(this.#plan);
    const before = users.find((user) => nextOf(users, user) === this.client.userId);
    const gaps = users
      .filter((user) => user !== this.client.userId)
      .map((user) => [`${GROUP} from ${user}`, grouped] as [string, number])
      .concat([[`direct from ${before}`, this.#plan.messagesPerUser - grouped]])
      .flatMap(([key, count]) =>
        (this.#next.get(key) ?? 0) < count ? [`${key}: ${this.#next.get(key) ?? 0}`] : [],
      );
    return gaps.length === 0 ? "" : `${this.client.userId}: ${gaps.join(", ")}`;
  }

  async send(): Promise<void> {
    const { users, messagesPerUser, groupEvery, window } = this.#plan;
    const peer = nextOf(users, this.client.userId);
    let grouped = 0;
    let direct = 0;
    for (let n = 0; n < messagesPerUser; n++) {
      await this.#underWay(window - 1);
      this.sent++;
      if (n % groupEvery === 0) await this.client.sendGroupMessage(GROUP, `${grouped++}`);
      else await this.client.sendDirectMessage(peer, `${direct++}`);
    }
    await this.#underWay(0);
  }

  /** Resolves when at most so many messages are under way. */
  async #underWay(count: number): Promise<void> {
    while (this.sent - this.confirmed > count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** The heap as it is without what can be collected. */
function measure(at: number): Sample {
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, external } = process.memoryUsage();
  const { code_and_metadata_size: code, bytecode_and_metadata_size: bytecode } = getHeapCodeStatistics();
  return { at, heapUsed, code: code + bytecode, external };
}

async function run(plan: Plan): Promise<void> {
  const total = expectedPerUser(plan) * plan.own.length;
  const heap: Sample[] = [];
  const soakers: Soaker[] = [];
  let finish = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let received = 0;
  const onReceived = () => {
    received++;
    const at = received / total;
    if (at * SAMPLES >= heap.length + 1) heap.push(measure(at));
    if (received >= total) finish();
  };
  for (const userId of plan.own) soakers.push(await Soaker.start(plan, userId, onReceived));
  const [first] = plan.users;
  for (const { client } of soakers) {
    if (client.userId === first) await client.createGroup(GROUP, { join: "open" });
  }
  for (const { client } of soakers) {
    if (client.userId !== first) await joinWhenThere(client);
  }
  await sayAndWait({ type: "ready" });
  const progress = setInterval(() => {
    const sent = soakers.reduce((sum, soaker) => sum + soaker.sent, 0);
    const missing = soakers.flatMap((soaker) => soaker.missing() || []).join("; ");
    say({ type: "progress", sent, received, missing });
  }, 1_000);
  await Promise.all([finished, ...soakers.map((soaker) => soaker.send())]);
  // The others may still be waiting for receipts from here.
  await sayAndWait({ type: "complete" });
  // A message that came once too often would come now.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  clearInterval(progress);
  const errors: Record<string, number> = {};
  for (const soaker of soakers) {
    for (const [what, times] of Object.entries(soaker.errors)) errors[what] = (errors[what] ?? 0) + times;
  }
  const result: Result = {
    received: soakers.reduce((sum, soaker) => sum + soaker.received, 0),
    violations: soakers.flatMap(({ violations }) => violations),
    errors,
    disconnects: soakers.reduce((sum, { disconnects }) => sum + disconnects, 0),
    heap,
  };
  await Promise.all(soakers.map(({ client }) => client.close()));
  say({ type: "done", result });
  process.disconnect();
}

/** The group may not be there yet, or its members busy. */
async function joinWhenThere(client: Client): Promise<void> {
  for (;;) {
    try {
      return await client.joinGroup(GROUP, { timeout: 60_000 });
    } catch (error) {
      if (SubrosaError.is(error) && error.code === "already-a-member") return;
      if (!SubrosaError.is(error) || error.code !== "unknown-group") throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

process.once("message", (plan: Plan) => {
  run(plan).catch((error: unknown) => {
    console.error(error);
    process.exit(1);
  });
});
