import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Client, memoryStore } from "../../src/index.js";
import { Relay } from "../../src/relay.js";
import { Chromium, type ChromiumTab } from "./chromium-tabs.js";

const BUNDLE = fileURLToPath(new URL("../../dist/subrosa.global.js", import.meta.url));
/** Messages that each tab sends. */
const EACH = 100;
/** Messages that bob sends. */
const BOBS = 300;

/** What runs in each page. */
const PAGE = `<!doctype html><script src=/subrosa.js></script><script>
  const seen = { got: [], promised: 0, events: [], failures: [] };
  async function start(name, url) {
    // By this lock it is told which of the browser's clients this page is.
    navigator.locks.request(name, () => new Promise(() => {}));
    globalThis.client = new Subrosa.Client({ url, userId: "alice" });
    client.on("message", ({ content }) => void seen.got.push(content));
    for (const event of ["connect", "disconnect"]) client.on(event, () => void seen.events.push(event));
    client.on("error", ({ code, message }) => void seen.failures.push(code + ": " + message));
    await client.connect();
  }
  async function isOwner(name) {
    const { held } = await navigator.locks.query();
    const clientOf = (test) => held.find((lock) => test(lock.name))?.clientId;
    return clientOf((lock) => lock.startsWith("subrosa-owner:")) === clientOf((lock) => lock === name);
  }
  /** Several are under way at once; the next begins when the oldest is promised. */
  async function send(name, from, to) {
    const under = [];
    for (let n = from; n < to; n++) {
      const text = name + " " + n;
      const sending = client.sendDirectMessage("bob", text).then(
        () => { seen.promised++; tell(text); },
        ({ code, message }) => void seen.failures.push(text + ": " + code + " " + message),
      );
      under.push(sending);
      if (under.length >= 4) await under.shift();
    }
  }
</script>`;

interface Seen {
  readonly got: string[];
  readonly promised: number;
  readonly events: string[];
  readonly failures: string[];
  readonly state: string;
}

/** A tab of alice. */
interface AliceTab {
  readonly name: string;
  readonly tab: ChromiumTab;
  /** Texts whose sending was promised, as they were told outside at once. */
  readonly promised: string[];
}

let server: Server;
let origin: string;
let chromium: Chromium;
let relay: Relay;
let bob: Client;
let bobGot: string[];
let tabs: AliceTab[];
let owner: AliceTab;
let others: AliceTab[];

beforeAll(async () => {
  if (!existsSync(BUNDLE)) throw new Error("these tests need the build: npm run build");
  server = createServer((request, response) => {
    const isScript = request.url === "/subrosa.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? readFileSync(BUNDLE) : PAGE);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});

afterAll(async () => {
  await new Promise((resolve) => server.close(resolve));
});

beforeEach(async () => {
  chromium = await Chromium.start();
  relay = new Relay({ port: 0 });
  const { url } = await relay.listen();
  bob = new Client({ url, userId: "bob", store: memoryStore() });
  bobGot = [];
  bob.on("message", ({ content }) => void bobGot.push(String(content)));
  await bob.connect();
  tabs = [];
  for (const name of ["one", "two", "three"]) {
    const promised: string[] = [];
    const tab = await chromium.open(origin, (text) => void promised.push(text));
    await tab.run(`start("${name}", "${url}")`);
    tabs.push({ name, tab, promised });
  }
  const owns = await Promise.all(tabs.map(isOwner));
  expect(owns.filter(Boolean).length).toBe(1);
  owner = tabs[owns.indexOf(true)] as AliceTab;
  others = tabs.filter((tab) => tab !== owner);
  await others[0]?.tab.show();
});

afterEach(async () => {
  await chromium.end();
  await bob.close();
  await relay.close();
});

const isOwner = ({ name, tab }: AliceTab) => tab.run<boolean>(`isOwner("${name}")`);
const see = ({ tab }: AliceTab) => tab.run<Seen>("({ ...seen, state: client.state })");
const numbered = (name: string, count: number) => Array.from({ length: count }, (_, n) => `${name} ${n}`);
const from = ({ name }: AliceTab) => bobGot.filter((text) => text.startsWith(`${name} `));

async function until(test: () => boolean | Promise<boolean>, what = String(test)): Promise<void> {
  await expect.poll(test, { timeout: 90_000, interval: 50, message: what }).toBe(true);
}

/** All three tabs and bob begin to send. Resolves once a part of it is promised; `sending` when bob has sent all. */
async function begin(): Promise<{ sending: Promise<void> }> {
  for (const { name, tab } of tabs) await tab.run(`void send("${name}", 0, ${EACH})`);
  const sending = bobSends(0, BOBS);
  await until(() => owner.promised.length >= 10, "some are promised");
  return { sending };
}

async function bobSends(first: number, last: number): Promise<void> {
  for (let n = first; n < last; n++) await bob.sendDirectMessage("alice", `bob ${n}`);
}

/** Every message of these tabs is at bob, every one of bob's is in them, once and in order. */
async function expectAll(of: readonly AliceTab[], each: number, bobs: number): Promise<void> {
  for (const one of of) {
    await until(async () => (await see(one)).promised >= each, `all of ${one.name} are promised`);
    await until(async () => (await see(one)).got.length >= bobs, `${one.name} has all of bob's`);
    await until(() => from(one).length >= each, `bob has all of ${one.name}`);
  }
  for (const one of of) {
    const { got, failures, state, events } = await see(one);
    expect(from(one)).toEqual(numbered(one.name, each));
    expect(got).toEqual(numbered("bob", bobs));
    expect(failures).toEqual([]);
    expect(state).toBe("connected");
    expect(events.filter((_, n) => n % 2 === 0)).not.toContain("disconnect");
    expect(events.filter((_, n) => n % 2 === 1)).not.toContain("connect");
  }
}

describe("three tabs of alice in Chromium", () => {
  for (const fate of ["crashes", "closes"] as const) {
    it(`lose nothing and repeat nothing when the owner ${fate} in the middle of sends`, async () => {
      const { sending } = await begin();
      const died = Date.now();
      if (fate === "crashes") owner.tab.crash();
      else await owner.tab.close();
      await sending;
      await expectAll(others, EACH, BOBS);
      await until(() => owner.promised.every((text) => bobGot.includes(text)), "what was promised is there");
      console.log(`${fate}: all there after ${Date.now() - died} ms, of the owner ${from(owner).length}`);
      // What the dead one was not promised may have arrived, but nothing twice and nothing out of order.
      expect(from(owner)).toEqual(numbered(owner.name, from(owner).length));
      expect(owner.promised.length).toBeLessThan(EACH);
    });
  }

  it("lose nothing and repeat nothing when the owner is frozen in the middle of sends, and thawed", async () => {
    const { sending } = await begin();
    const froze = Date.now();
    await owner.tab.freeze();
    await sending;
    await expectAll(others, EACH, BOBS);
    const promised = owner.promised.length;
    console.log(
      `frozen: the others had all after ${Date.now() - froze} ms, of the owner ${from(owner).length}`,
    );
    expect(promised).toBeLessThan(EACH);
    await owner.tab.thaw();
    await expectAll(tabs, EACH, BOBS);
    expect(await isOwner(owner)).toBe(false);
    for (const { name, tab } of tabs) await tab.run(`void send("${name}", ${EACH}, ${EACH + 10})`);
    await bobSends(BOBS, BOBS + 10);
    await expectAll(tabs, EACH + 10, BOBS + 10);
    expect(bobGot.length).toBe(3 * (EACH + 10));
  });
});
