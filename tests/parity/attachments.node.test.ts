import { type ChildProcess, fork } from "node:child_process";
import { once as happens } from "node:events";
import { join } from "node:path";
import { expect, it } from "vitest";
import { atEnd, connected, eventually, temporaryFolder } from "../client/harness.js";
import { buildCli, buildProgram, RelayProcess } from "../relay/relay-process.js";
import {
  type AttachmentPlan,
  type AttachmentReport,
  type AttachmentResult,
  GROUP,
} from "./attachment-plan.js";

const MIB = 1024 * 1024;
/** `npm run soak` sets it to "full". */
const isFull = process.env.ATTACHMENT === "full" || process.env.SOAK === "full";
const SIZE = isFull ? 200 * MIB : 24 * MIB;
/** What a process may need for a transfer of any size. */
const MAX_MEMORY = 96 * MIB;
/** Texts whose way is measured before the transfer. */
const TEXTS = 20;

/** A client in a process of its own. */
class Peer {
  readonly child: ChildProcess;
  readonly done: Promise<AttachmentResult>;
  readonly ready: Promise<void>;
  readonly joined: Promise<void>;
  transferred = 0;

  constructor(program: string, plan: AttachmentPlan) {
    this.child = fork(program, { execArgv: ["--expose-gc"], stdio: ["ignore", "inherit", "inherit", "ipc"] });
    atEnd(async () => void this.child.kill("SIGKILL"));
    const failed = happens(this.child, "exit").then(([code]): never => {
      throw new Error(`the ${plan.role} ended with ${code}`);
    });
    failed.catch(() => {});
    const told = <T>(take: (report: AttachmentReport) => T | undefined): Promise<T> => {
      const heard = new Promise<T>((resolve) => {
        this.child.on("message", (report: AttachmentReport) => {
          const taken = take(report);
          if (taken !== undefined) resolve(taken);
        });
      });
      return Promise.race([failed, heard]);
    };
    const once = (type: AttachmentReport["type"]) =>
      told((report) => (report.type === type ? true : undefined)).then(() => {});
    this.ready = once("ready");
    this.joined = once("joined");
    this.done = told((report) => (report.type === "done" ? report.result : undefined));
    for (const promise of [this.joined, this.done]) promise.catch(() => {});
    this.child.on("message", (report: AttachmentReport) => {
      if (report.type === "progress") this.transferred = report.transferred;
    });
    this.child.send(plan);
  }

  /** Resolves when so much of it has gone, or all is done. */
  async reaches(part: number): Promise<void> {
    await Promise.race([this.done, this.#passes(part)]);
  }

  async #passes(part: number): Promise<void> {
    while (this.transferred < part * SIZE) await happens(this.child, "message");
  }
}

it(`${SIZE / MIB} MiB between two processes, with a relay that is killed in the middle of both ways`, {
  timeout: isFull ? 15 * 60_000 : 240_000,
}, async () => {
  const folder = await temporaryFolder();
  const [cli, worker] = await Promise.all([buildCli(), buildProgram("tests/parity/attachment-worker.ts")]);
  atEnd(() => Promise.all([cli.dispose(), worker.dispose()]));
  const startRelay = async (port: string) => {
    const process = new RelayProcess(cli.path, ["--port", port, "--data", join(folder, "relay")]);
    return { process, url: await process.url() };
  };
  let relay = await startRelay("0");
  const { url } = relay;
  atEnd(() => relay.process.signal("SIGKILL"));
  const die = async () => {
    await relay.process.signal("SIGKILL");
    relay = await startRelay(new URL(url).port);
  };

  const plan = { url, folder, size: SIZE };
  const sender = new Peer(worker.path, { ...plan, role: "sender", userId: "alice" });
  const receiver = new Peer(worker.path, { ...plan, role: "receiver", userId: "bob" });
  const carol = await connected({ url }, "carol", { listen: false });
  await Promise.all([sender.ready, receiver.ready]);
  await carol.client.createGroup(GROUP);
  for (const user of ["alice", "bob"]) await carol.client.invite(GROUP, user);
  // They accept by themselves.
  await Promise.all([sender.joined, receiver.joined]);

  const waits: number[] = [];
  carol.client.on("message", ({ content }) => {
    if (typeof content === "string") waits.push(Date.now() - Number(content));
  });
  const say = () => void sender.child.send({ text: "" });
  for (let i = 1; i <= TEXTS; i++) {
    say();
    await eventually(() => waits.length >= i);
  }
  const before = waits.splice(0);

  sender.child.send({});
  const chat = setInterval(say, 50);
  await sender.reaches(0.4);
  const during = waits.splice(0);
  await die();
  const sent = await sender.done;
  await receiver.reaches(0.4);
  await die();
  const got = await receiver.done;
  clearInterval(chat);

  const middle = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1];
  const mib = (bytes: number) => `${(bytes / MIB).toFixed(0)} MiB`;
  const figures = ({ seconds, baseline, peak }: AttachmentResult) =>
    `${seconds.toFixed(1)} s, memory ${mib(baseline)} before and ${mib(peak)} at most`;
  console.log(
    `attachment of ${mib(SIZE)}: sent in ${figures(sent)}; received in ${figures(got)}; ` +
      `chat by the sender in the same group: median ${middle(before)} ms before, ` +
      `${middle(during)} ms during (at most ${Math.max(...during)} of ${during.length})`,
  );
  expect(got.hash).toBe(sent.hash);
  expect(got.messages).toBe(1);
  for (const one of [sent, got]) {
    expect(one.isMonotonic).toBe(true);
    expect(one.disconnects).toBeGreaterThan(0);
    expect(one.errors).toEqual([]);
    expect(one.peak - one.baseline).toBeLessThan(MAX_MEMORY);
  }
});
