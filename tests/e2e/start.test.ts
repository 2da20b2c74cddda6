import { rmSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import type { Browser } from "playwright";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { listenOnFreePort } from "../../demo/ports.mjs";
import { findPorts, makeFolder, Program } from "./demo.js";
import { launchBrowser, Person } from "./person.js";

const folder = makeFolder();
let browser: Browser;
let ports: number[];
let url: string;
let running: Program | undefined;

async function start(): Promise<Program> {
  const [port, relayPort] = ports;
  const env = { PORT: String(port), RELAY_PORT: String(relayPort), SUBROSA_DEMO_DATA: folder.path };
  running = await Program.demo(env);
  return running;
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

beforeAll(async () => {
  ports = await findPorts(2);
  url = `http://127.0.0.1:${ports[0]}/`;
  browser = await launchBrowser();
});

afterEach(async () => {
  if (running?.isRunning) await running.end();
});

afterAll(async () => {
  await browser?.close();
  folder.remove();
});

describe("npm start", () => {
  it("works twice, and once more when the relay's data were deleted", async () => {
    const first = await start();
    expect(first.output).toContain(`Subrosa is at   ${url}`);
    expect(first.output).toContain(`${url}?name=bob`);
    const alice = await Person.open(browser, url, "alice");
    await alice.online();
    await alice.page.locator("#write-echo").click();
    await alice.say("first");
    await alice.has("echo: first");
    expect(await first.end()).toBe(0);
    for (const port of ports) expect(await isListening(port)).toBe(false);
    await alice.offline();

    const second = await start();
    await alice.online();
    await alice.page.reload();
    await alice.openConversation("echo");
    await alice.say("second");
    await alice.has("echo: second");
    expect(await alice.texts()).toEqual(["first", "echo: first", "second", "echo: second"]);
    expect(await second.end()).toBe(0);
    expect(second.output).not.toContain("lost");

    await alice.page.goto("about:blank");
    rmSync(join(folder.path, `relay-${ports[1]}`), { recursive: true });
    const third = await start();
    await third.says(/echo: .*the relay has lost its data/);
    await alice.visit(url);
    await alice.page.locator(".toast").getByText("relay has lost its data").waitFor();
    await alice.openConversation("echo");
    await alice.say("third");
    await alice.has("echo: third");
    expect(await alice.texts()).toContain("echo: second");
    expect(alice.faults).toEqual([]);
    await alice.close();
    expect(await third.end()).toBe(0);
  });

  it("leaves nothing behind when it is killed", async () => {
    const demo = await start();
    await demo.end("SIGKILL");
    await expect.poll(() => isListening(ports[1] as number), { timeout: 10_000 }).toBe(false);
  });

  it("says so when a port that was asked for is taken", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(ports[0], "127.0.0.1", resolve));
    try {
      await expect(start()).rejects.toThrow(`port ${ports[0]} is in use`);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  it("takes the next port when one is in use and none was asked for", async () => {
    const taken: Server[] = [];
    const listen = (port: number) =>
      new Promise<number>((resolve, reject) => {
        const server = createServer();
        server.once("error", reject);
        server.listen(port, "127.0.0.1", () => {
          taken.push(server);
          resolve(port);
        });
      });
    const [first] = (await findPorts(1)) as [number];
    expect(await listenOnFreePort(undefined, first, listen)).toBe(first);
    expect(await listenOnFreePort("", first, listen)).toBeGreaterThan(first);
    await Promise.all(taken.map((server) => new Promise((resolve) => server.close(resolve))));
  });

  it("serves the page under a strict policy, under one name only", async () => {
    await start();
    const page = await fetch(url);
    expect(page.headers.get("content-security-policy")).toContain("default-src 'self'");
    const elsewhere = await fetch(`http://localhost:${ports[0]}/?name=x`, { redirect: "manual" });
    expect([elsewhere.status, elsewhere.headers.get("location")]).toEqual([308, `${url}?name=x`]);
    for (const path of ["start.mjs", "../package.json", "%2e%2e/package.json", ".subrosa/relay/data.mdb"]) {
      expect((await fetch(url + path)).status).toBe(404);
    }
  });
});
