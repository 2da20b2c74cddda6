import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Browser, CDPSession, Page } from "playwright";
import { afterAll, expect, it } from "vitest";
import { buildCli, RelayProcess } from "../relay/relay-process.js";
import { makeFolder } from "./demo.js";
import { launchBrowser } from "./person.js";

const BUNDLE = fileURLToPath(new URL("../../dist/subrosa.global.js", import.meta.url));
const MIB = 1024 * 1024;
const SIZE = 64 * MIB;
/** What a page may hold more than before, for a file of any size. What is garbage by then, the browser collects when it likes. */
const MAX_HELD = 32 * MIB;

const PAGE = `<!doctype html><script src=/subrosa.js></script><script>
  const seen = { steps: [], messages: 0, errors: [] };
  const received = new Promise((resolve) => { globalThis.receive = resolve; });
  async function start(userId, url) {
    globalThis.client = new Subrosa.Client({ url, userId });
    client.on("error", ({ code, message }) => void seen.errors.push(code + ": " + message));
    client.on("message", ({ content }) => {
      if (!(content instanceof Subrosa.Attachment)) return;
      seen.messages++;
      receive(content);
    });
    await client.connect();
  }
  function file(size) {
    const parts = [];
    for (let at = 0; at < size; at += 65536) parts.push(new Blob([crypto.getRandomValues(new Uint8Array(65536))]));
    return new File(parts, "film.bin", { type: "video/mp4" });
  }
  const onProgress = ({ transferred }) => { seen.steps.push(transferred); tell(transferred); };
  async function send(size) {
    globalThis.whole = file(size);
    await client.sendDirectMessage("bob", whole, { onProgress });
  }
  async function take() {
    const content = await received;
    globalThis.whole = await content.blob({ onProgress });
    return [content.name, content.mimeType, content.size];
  }
  async function hash() {
    const digest = await crypto.subtle.digest("SHA-256", await whole.arrayBuffer());
    return [...new Uint8Array(digest)].join();
  }
</script>`;

const cleanups: (() => unknown)[] = [];
afterAll(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

/** Bytes: `held` that the page's scripts can still reach, with array buffers; `resident` what the process has of its own. */
interface Memory {
  readonly held: number;
  readonly resident: number;
}

/** A page in a browser of its own, so that its memory can be told. */
class Tab {
  readonly page: Page;
  readonly #session: CDPSession;
  readonly #pids: readonly number[];
  transferred = 0;
  #wake: () => void = () => {};

  private constructor(page: Page, session: CDPSession, pids: readonly number[]) {
    this.page = page;
    this.#session = session;
    this.#pids = pids;
  }

  static async open(origin: string): Promise<Tab> {
    const browser: Browser = await launchBrowser();
    cleanups.push(() => browser.close());
    const page = await browser.newPage();
    const ofBrowser = await browser.newBrowserCDPSession();
    const { processInfo } = await ofBrowser.send("SystemInfo.getProcessInfo");
    const tab = new Tab(
      page,
      await page.context().newCDPSession(page),
      processInfo.flatMap(({ type, id }) => (type === "renderer" ? [id] : [])),
    );
    await page.exposeFunction("tell", (transferred: number) => {
      tab.transferred = transferred;
      tab.#wake();
    });
    await page.goto(origin);
    return tab;
  }

  async memory(): Promise<Memory> {
    // The page goes on meanwhile: so both are asked for at once.
    const [, { usedSize, backingStorageSize = 0 }] = await Promise.all([
      this.#session.send("HeapProfiler.collectGarbage"),
      this.#session.send("Runtime.getHeapUsage"),
    ]);
    const resident = this.#pids.reduce((sum, pid) => {
      const own = /RssAnon:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
      return sum + Number(own?.[1]) * 1024;
    }, 0);
    return { held: usedSize + backingStorageSize, resident };
  }

  async passes(part: number): Promise<void> {
    while (this.transferred < part * SIZE) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The most memory while `work` goes on, and what there was before. */
  async watch<T>(work: () => Promise<T>): Promise<{ result: T; before: Memory; most: Memory }> {
    const before = await this.memory();
    let most = before;
    let last = before;
    let isDone = false;
    const result = work().finally(() => {
      isDone = true;
    });
    while (!isDone) {
      const now = await this.memory();
      // What is held is there the next time too; what is not, had yet to be swept.
      const held = Math.min(last.held, now.held);
      most = { held: Math.max(most.held, held), resident: Math.max(most.resident, now.resident) };
      last = now;
    }
    return { result: await result, before, most };
  }
}

it("64 MiB from one page to another, with a relay that is killed in the middle of both ways", {
  timeout: 300_000,
}, async () => {
  if (!existsSync(BUNDLE)) throw new Error("these tests need the build: npm run build");
  const folder = makeFolder();
  const cli = await buildCli();
  const server = createServer((request, response) => {
    const isScript = request.url === "/subrosa.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? readFileSync(BUNDLE) : PAGE);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(
    () => folder.remove(),
    cli.dispose,
    () => server.close(),
  );
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const startRelay = async (port: string) => {
    const process = new RelayProcess(cli.path, ["--port", port, "--data", join(folder.path, "relay")]);
    return { process, url: await process.url() };
  };
  let relay = await startRelay("0");
  const { url } = relay;
  cleanups.push(() => relay.process.signal("SIGKILL"));
  const die = async () => {
    await relay.process.signal("SIGKILL");
    relay = await startRelay(new URL(url).port);
  };

  const [alice, bob] = [await Tab.open(origin), await Tab.open(origin)];
  await alice.page.evaluate(`start("alice", ${JSON.stringify(url)})`);
  await bob.page.evaluate(`start("bob", ${JSON.stringify(url)})`);

  const taking = bob.watch(() => bob.page.evaluate<[string, string, number]>("take()"));
  const sending = alice.watch(() => alice.page.evaluate(`send(${SIZE})`));
  await alice.passes(0.4);
  await die();
  const sent = await sending;
  await bob.passes(0.4);
  await die();
  const got = await taking;

  const mib = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`;
  for (const [who, { before, most }] of [
    ["sender", sent],
    ["receiver", got],
  ] as const) {
    console.log(
      `attachment of ${mib(SIZE)} between two pages: the ${who} held ${mib(before.held)} before and ` +
        `${mib(most.held)} at most, resident ${mib(before.resident)} and ${mib(most.resident)}`,
    );
  }
  expect(got.result).toEqual(["film.bin", "video/mp4", SIZE]);
  expect(await bob.page.evaluate("hash()")).toBe(await alice.page.evaluate("hash()"));
  for (const [tab, messages] of [
    [alice, 0],
    [bob, 1],
  ] as const) {
    const seen = await tab.page.evaluate<{ steps: number[]; messages: number; errors: string[] }>("seen");
    expect(seen.steps).toEqual([...new Set(seen.steps)].sort((a, b) => a - b));
    expect(seen.steps.at(-1)).toBe(SIZE);
    expect(seen.messages).toBe(messages);
    expect(seen.errors).toEqual([]);
  }
  for (const { before, most } of [sent, got]) expect(most.held - before.held).toBeLessThan(MAX_HELD);
});
