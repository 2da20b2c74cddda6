import { connect } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import WebSocket from "ws";
import { SubrosaError } from "../../src/base/errors.js";
import { randomBytes } from "../../src/crypto/random.js";
import { type LogRecord, openMemoryStorage, Relay, type RelayOptions } from "../../src/relay.js";
import { START } from "../../src/wire/identifiers.js";
import { CloseCode, SUBPROTOCOL } from "../../src/wire/protocol.js";
import { ManualClock } from "./manual-clock.js";
import { commit, groupLog, makeUser, message, RawClient } from "./raw-client.js";

const relays: Relay[] = [];
afterEach(async () => {
  await Promise.all(relays.splice(0).map((relay) => relay.close()));
});

async function start(options: RelayOptions = {}) {
  const relay = new Relay(options);
  relays.push(relay);
  const { url, metricsUrl } = await relay.listen();
  return { relay, url, http: url.replace("ws:", "http:"), metricsUrl: metricsUrl as string };
}

/** The value of one line of Prometheus' text format. */
function sample(text: string, name: string): number | undefined {
  const line = text.split("\n").find((one) => one.startsWith(`subrosa_relay_${name} `));
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(" ")));
}

describe("/healthz and /readyz", () => {
  it("say that the relay lives and serves, and nothing else is said there", async () => {
    const { http } = await start();
    for (const path of ["/healthz", "/readyz", "/healthz?x=1"])
      expect((await fetch(http + path)).status).toBe(200);
    for (const path of ["/metrics", "/", "/healthz/x"]) expect((await fetch(http + path)).status).toBe(426);
    expect((await fetch(`${http}/healthz`, { method: "POST" })).status).toBe(405);
    expect((await fetch(`${http}/healthz`, { method: "HEAD" })).status).toBe(200);
  });

  it("say 503 while the storage cannot serve, or does not say so in time", async () => {
    let answer: () => Promise<void> = async () => {};
    const clock = new ManualClock();
    const storage = Object.assign(openMemoryStorage(), { check: () => answer() });
    const { http, relay } = await start({ storage, clock });
    expect((await fetch(`${http}/readyz`)).status).toBe(200);
    answer = () => Promise.reject(new Error("not connected"));
    expect((await fetch(`${http}/readyz`)).status).toBe(503);
    expect((await fetch(`${http}/healthz`)).status).toBe(200);
    answer = () => new Promise(() => {});
    const ready = relay.ready();
    clock.advance(2000);
    expect(await ready).toBe(false);
  });
});

describe("/metrics", () => {
  it("tells what happened, on a port of its own", async () => {
    const { url, metricsUrl, relay } = await start({ metricsPort: 0, limits: { maxFrameBytes: 10_000 } });
    expect(metricsUrl).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/);
    const read = async () => (await fetch(metricsUrl)).text();
    const [alice, bob] = await Promise.all([makeUser("alice"), makeUser("bob")]);
    const a = await RawClient.connect(url, alice);
    const groupId = randomBytes(32);
    const log = groupLog(groupId);
    await a.request("create", { groupId });
    await a.subscribe(log);
    for (let i = 0; i < 3; i++) await a.append(log, START, message("x"));
    await a.untilEntries(log, 3);
    await expect(a.append(log, { seq: 9, digest: randomBytes(32) }, message("x"))).rejects.toThrow();
    const b = new RawClient(url, bob);
    await b.frame("challenge");
    const rude = new RawClient(url, bob);
    await rude.frame("challenge");
    rude.sendBytes(new Uint8Array([0]));
    await rude.closed();
    const response = await fetch(metricsUrl);
    expect(response.headers.get("content-type")).toContain("text/plain; version=0.0.4");
    const text = await response.text();
    expect({
      open: sample(text, 'connections{state="authenticated"}'),
      waiting: sample(text, 'connections{state="waiting"}'),
      connections: sample(text, "connections_total"),
      sessions: sample(text, "sessions_total"),
      appends: sample(text, 'appends_total{log="group"}'),
      counted: sample(text, "append_seconds_count"),
      all: sample(text, 'append_seconds_bucket{le="+Inf"}'),
      mismatches: sample(text, 'refusals_total{code="cursor-mismatch"}'),
      malformed: sample(text, 'closes_total{code="4400"}'),
      creates: sample(text, 'requests_total{operation="create"}'),
      deliveries: sample(text, "deliveries_total"),
      queued: sample(text, "queued_bytes"),
      failures: sample(text, "failures_total"),
    }).toEqual({
      open: 1,
      waiting: 1,
      connections: 3,
      sessions: 1,
      appends: 3,
      counted: 3,
      all: 3,
      mismatches: 1,
      malformed: 1,
      creates: 1,
      deliveries: 3,
      queued: 0,
      failures: 0,
    });
    expect(sample(text, 'storage_size{what="records"}')).toBeGreaterThan(5);
    expect(sample(text, "resident_memory_bytes")).toBeGreaterThan(1e6);
    // Each line is a comment or a sample, each sample's name was announced.
    const announced = [...text.matchAll(/^# TYPE (\S+) (counter|gauge|histogram)$/gm)].map(
      ([, name]) => name,
    );
    for (const line of text
      .trim()
      .split("\n")
      .filter((one) => !one.startsWith("#"))) {
      expect(line).toMatch(/^[a-z_]+(\{[a-z_]+="[^"\\\n]*"\})? [0-9.e+-]+$/);
      expect(announced.some((name) => line.startsWith(name as string))).toBe(true);
    }
    // No user is in it.
    expect(text).not.toContain("alice");
    const base = metricsUrl.replace("/metrics", "");
    expect((await fetch(`${base}/readyz`)).status).toBe(200);
    expect((await fetch(`${base}/other`)).status).toBe(404);
    await a.close();
    expect(sample(await read(), 'connections{state="authenticated"}')).toBe(0);
    expect(await relay.metrics()).toContain("subrosa_relay_connections_total 3");
    await relay.close();
    await expect(fetch(metricsUrl)).rejects.toThrow();
  });
});

describe("the log", () => {
  it("gathers limits that are hit, names addresses only when asked to, and users never", async () => {
    for (const logAddresses of [false, true]) {
      const clock = new ManualClock();
      const records: LogRecord[] = [];
      const { url } = await start({
        clock,
        logAddresses,
        onLog: (record) => records.push(record),
        limits: { groupCreationsPerHour: 0 },
        authenticate: async ({ token }) => token !== "bad",
      });
      // Nobody hits a limit by a login that is refused.
      const refused = RawClient.connect(url, await makeUser("bob"), { token: "bad" });
      await expect(refused).rejects.toThrow();
      const secret = await makeUser("a secret name");
      const client = await RawClient.connect(url, secret);
      for (let i = 0; i < 3; i++)
        await expect(client.request("create", { groupId: randomBytes(32) })).rejects.toThrow("hour");
      client.sendBytes(new Uint8Array([0]));
      await client.closed();
      expect(records.map(({ event }) => event)).toEqual(["listening"]);
      clock.advance(10_000);
      const shown = logAddresses ? { address: "127.0.0.1" } : {};
      expect(records.slice(1)).toEqual([
        {
          time: "2023-11-14T22:13:30.000Z",
          level: "warn",
          event: "limited",
          what: "rate-limited",
          count: 3,
          ...shown,
        },
        {
          time: "2023-11-14T22:13:30.000Z",
          level: "warn",
          event: "limited",
          what: "close 4400",
          count: 1,
          ...shown,
        },
      ]);
      expect(JSON.stringify(records)).not.toContain("secret");
    }
  });

  it("tells of failures inside, to a hook that may itself fail", async () => {
    const records: LogRecord[] = [];
    const storage = Object.assign(openMemoryStorage(), {
      listGroups: () => Promise.reject(new SubrosaError("store-failed", "the disk is full")),
    });
    const { url, relay } = await start({
      storage,
      onLog: (record) => {
        records.push(record);
        throw new Error("no more paper");
      },
    });
    const client = await RawClient.connect(url, await makeUser("alice"));
    await expect(client.request("listGroups", {})).rejects.toThrow();
    expect((await client.closed()).code).toBe(CloseCode.internal);
    expect(records.at(-1)).toMatchObject({ level: "error", event: "failure" });
    expect(records.at(-1)?.detail).toContain("the disk is full");
    expect(sample(await relay.metrics(), "failures_total")).toBe(1);
  });
});

describe("draining", () => {
  it("takes no more, answers what was asked, and spreads the ends over the time it has", async () => {
    const clock = new ManualClock();
    const records: string[] = [];
    const { url, http, relay } = await start({ clock, onLog: ({ event }) => records.push(event) });
    const users = await Promise.all(["a", "b", "c", "d"].map((name) => makeUser(name)));
    const clients = await Promise.all(users.map((user) => RawClient.connect(url, user)));
    const [first] = clients as [RawClient];
    const groupId = randomBytes(32);
    await first.request("create", { groupId });
    const gone = clients.map((client) => client.closed());
    const drained = relay.drain(4000);
    expect((await gone[0])?.code).toBe(CloseCode.goingAway);
    expect((await fetch(`${http}/readyz`)).status).toBe(503);
    expect((await fetch(`${http}/healthz`)).status).toBe(200);
    const late = new WebSocket(url, SUBPROTOCOL);
    const status = await new Promise((resolve) => {
      late.on("unexpected-response", (_request, response) => resolve(response.statusCode));
      late.on("error", () => {});
    });
    expect(status).toBe(503);
    for (const [i, client] of clients.entries()) {
      if (i === 0) continue;
      // The others go on until it is their turn.
      const at = await client.request("create", { groupId: randomBytes(32), first: commit([]) });
      expect(at.seq).toBe(1);
      clock.advance(1000);
      expect((await gone[i])?.code).toBe(CloseCode.goingAway);
    }
    await drained;
    expect(records).toEqual(["listening", "draining", "closed"]);
    await expect(fetch(`${http}/healthz`)).rejects.toThrow();
  });

  it("answers every append that it has taken before it ends a session", async () => {
    const storage = openMemoryStorage();
    const { url, relay } = await start({ storage });
    const client = await RawClient.connect(url, await makeUser("alice"));
    const log = groupLog(randomBytes(32));
    await client.request("create", { groupId: log.id });
    const appends = Array.from({ length: 50 }, (_, i) => client.append(log, START, message(`${i}`)));
    await appends[0];
    const drained = relay.drain(0);
    const outcomes = await Promise.allSettled(appends);
    await drained;
    expect((await client.closed()).code).toBe(CloseCode.goingAway);
    const answered = outcomes.filter(({ status }) => status === "fulfilled").length;
    expect((await storage.head(log)).seq).toBe(answered);
  });

  it("ends at once when it is closed meanwhile, and waits for nobody who does not read", async () => {
    const clock = new ManualClock();
    const { url, relay } = await start({ clock });
    // One after the other: sessions are ended in the order in which they began.
    const first = await RawClient.connect(url, await makeUser("a"));
    const second = await RawClient.connect(url, await makeUser("b"));
    const drained = relay.drain(60_000);
    await first.closed();
    await relay.close();
    expect((await second.closed()).code).toBe(CloseCode.goingAway);
    clock.advance(60_000);
    await drained;
  });

  it("lets go of connections that are no WebSockets", async () => {
    const { url, relay } = await start();
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    await new Promise((resolve) => socket.once("connect", resolve));
    socket.write("GET / HTTP/1.1\r\n");
    const ended = new Promise((resolve) => socket.once("close", resolve));
    socket.on("error", () => {});
    await relay.drain(0);
    await ended;
  });
});
