import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import { WebSocketServer } from "ws";
import { SUBPROTOCOL } from "../../src/wire/protocol.js";
import { type Actor, atEnd, connected, eventually, makeActor, startRelay } from "../client/harness.js";
import { SleepingClock } from "../unit/transport/sleeping-clock.js";
import { silentServer, TcpProxy } from "./tcp-proxy.js";

afterEach(() => vi.unstubAllGlobals());

/** Bob behind a proxy, with a clock of his own; alice comes the same way later. */
async function behindProxy() {
  const proxy = await TcpProxy.start();
  const relay = await startRelay({ name: proxy.host });
  atEnd(() => proxy.stop());
  proxy.target = Number(new URL(relay.url).port);
  const via = { url: `ws://${proxy.host}` };
  const clock = new SleepingClock();
  const bob = await connected(via, "bob", { seams: { clock, random: () => 0.1 } });
  return { proxy, via, clock, bob };
}

/** What alice sends while bob's connection is dead comes once there is another. */
async function comesBack(bob: Actor, clock: SleepingClock, via: { url: string }): Promise<void> {
  const alice = await connected(via, "alice");
  await alice.client.sendDirectMessage("bob", "are you there?");
  await clock.run(1_000);
  // Answers travel in real time: the clock must not run ahead of them.
  await eventually(async () => {
    await clock.run(5);
    return bob.texts.length > 0;
  }, "bob gets what he missed");
  expect(bob.texts).toEqual(["are you there?"]);
  expect(bob.client.state).toBe("connected");
}

describe("C25 a socket that is dead and says it is open", () => {
  it("packets vanish: noticed within 25 seconds, and nothing is missing", async () => {
    const { proxy, via, clock, bob } = await behindProxy();
    proxy.freeze();
    await clock.run(24_999);
    expect(bob.all("disconnect")).toEqual([]);
    await clock.run(1);
    expect(bob.all("disconnect")).toMatchObject([{ willReconnect: true, reason: "no answer" }]);
    await comesBack(bob, clock, via);
    expect(proxy.accepted).toBeGreaterThanOrEqual(3);
  });

  it("the machine sleeps for a night: noticed within ten seconds of its end", async () => {
    const { proxy, via, clock, bob } = await behindProxy();
    proxy.freeze();
    clock.jump(8 * 3_600_000);
    await clock.run(10_000);
    expect(bob.all("disconnect")).toHaveLength(1);
    await comesBack(bob, clock, via);
  });

  it("a connection that survived a sleep is kept", async () => {
    const { clock, bob, via } = await behindProxy();
    clock.jump(8 * 3_600_000);
    // Answers travel in real time, so the clock stands still after each tick until they are there.
    for (let tick = 0; tick < 20; tick++) {
      await clock.run(500);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(bob.all("disconnect")).toEqual([]);
    await comesBack(bob, clock, via);
  });

  it.each(["online", "offline", "focus", "pageshow"])(
    "a sign like %s: noticed within five seconds",
    async (type) => {
      const page = new EventTarget();
      vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
      vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
      const { proxy, via, clock, bob } = await behindProxy();
      proxy.freeze();
      page.dispatchEvent(new Event(type));
      await clock.run(4_999);
      expect(bob.all("disconnect")).toEqual([]);
      await clock.run(1);
      expect(bob.all("disconnect")).toHaveLength(1);
      await comesBack(bob, clock, via);
    },
  );

  it("a server that takes the connection and never answers is given up after ten seconds, and tried again", async () => {
    const { url, accepted } = await silentServer();
    const clock = new SleepingClock();
    const bob = makeActor({ url }, "bob", { seams: { clock, random: () => 0.1 } });
    const connecting = bob.client.connect();
    const outcome = expect(connecting).rejects.toMatchObject({ code: "closed" });
    await eventually(() => accepted() === 1, "the first attempt");
    await clock.run(10_000);
    await eventually(async () => {
      await clock.run(100);
      return accepted() === 2;
    }, "the second attempt");
    await bob.client.close();
    await outcome;
  });

  it("a server that opens a WebSocket and no session is given up after twenty", async () => {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => SUBPROTOCOL });
    await once(server, "listening");
    let connections = 0;
    server.on("connection", () => connections++);
    atEnd(async () => {
      for (const client of server.clients) client.terminate();
      await new Promise((resolve) => server.close(resolve));
    });
    const clock = new SleepingClock();
    const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const bob = makeActor({ url }, "bob", { seams: { clock, random: () => 0.1 } });
    const outcome = expect(bob.client.connect()).rejects.toMatchObject({ code: "closed" });
    await eventually(() => connections === 1, "the first session");
    await new Promise((resolve) => setTimeout(resolve, 20));
    await clock.run(20_000);
    await eventually(async () => {
      await clock.run(100);
      return connections === 2;
    }, "the second");
    await bob.client.close();
    await outcome;
  });
});
