import { createReadStream, readFileSync } from "node:fs";
import { join } from "node:path";
import { Attachment, Client, type Progress } from "../../src/index.js";
import { openStore, saveAttachment } from "../../src/node.js";
import {
  type AttachmentPlan,
  type AttachmentReport,
  type AttachmentResult,
  GROUP,
  hashOf,
  madeUp,
} from "./attachment-plan.js";

const say = (report: AttachmentReport) => process.send?.(report);

/** Pages of its own: what LMDB maps of its file is the system's cache, which takes what is free. */
function memory(): number {
  const own = /RssAnon:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"));
  return own === null ? process.memoryUsage.rss() : Number(own[1]) * 1024;
}

/** Watches one transfer from its beginning. */
class Watch {
  readonly #baseline: number;
  readonly #began = Date.now();
  readonly #timer: NodeJS.Timeout;
  #peak = 0;
  #last = -1;
  #isMonotonic = true;

  constructor() {
    (globalThis as { gc?: () => void }).gc?.();
    this.#baseline = memory();
    this.#timer = setInterval(() => this.#look(), 10);
  }

  #look(): void {
    this.#peak = Math.max(this.#peak, memory());
  }

  readonly onProgress = ({ transferred }: Progress): void => {
    this.#isMonotonic &&= transferred > this.#last;
    this.#last = transferred;
    this.#look();
    say({ type: "progress", transferred });
  };

  end(size: number): Pick<AttachmentResult, "isMonotonic" | "baseline" | "peak" | "seconds"> {
    clearInterval(this.#timer);
    const seconds = (Date.now() - this.#began) / 1000;
    const isMonotonic = this.#isMonotonic && this.#last === size;
    return { isMonotonic, baseline: this.#baseline, peak: this.#peak, seconds };
  }
}

async function run(plan: AttachmentPlan): Promise<void> {
  const { role, url, userId, folder, size } = plan;
  const client = new Client({ url, userId, store: await openStore(join(folder, userId)) });
  const errors: string[] = [];
  let [messages, disconnects] = [0, 0];
  client.on("error", ({ code, message }) => void errors.push(`${code}: ${message}`));
  client.on("disconnect", () => void disconnects++);
  client.on("invitation", (invitation) => invitation.accept());
  client.on("groupJoin", () => say({ type: "joined" }));
  const received = new Promise<Attachment>((resolve) => {
    client.on("message", ({ content }) => {
      if (!(content instanceof Attachment)) return;
      messages++;
      resolve(content);
    });
  });
  await client.connect();
  say({ type: "ready" });
  const finish = async (watch: Watch, hash: () => Promise<string>) => {
    const figures = watch.end(size);
    const result = { ...figures, hash: await hash(), messages, disconnects, errors };
    say({ type: "done", result });
  };
  if (role === "sender") {
    process.on("message", async (order: { readonly text?: string }) => {
      // Chat on the connection that uploads.
      if (order.text !== undefined) return void client.sendGroupMessage(GROUP, `${Date.now()}`);
      const watch = new Watch();
      await client.sendGroupMessage(GROUP, madeUp(size), { name: "film.bin", onProgress: watch.onProgress });
      await finish(watch, () => hashOf(madeUp(size)));
    });
    return;
  }
  const content = await received;
  const watch = new Watch();
  const path = join(folder, content.name as string);
  await saveAttachment(content, path, { onProgress: watch.onProgress });
  await finish(watch, () => hashOf(createReadStream(path)));
}

process.once("message", (plan: AttachmentPlan) => {
  run(plan).catch((error: unknown) => {
    console.error(error);
    process.exit(1);
  });
});
