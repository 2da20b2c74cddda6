import { createServer } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import WebSocket from "ws";
import { randomBytes } from "../../src/crypto/random.js";
import { Relay } from "../../src/relay.js";
import { encodeClientFrame } from "../../src/wire/frames.js";
import { START } from "../../src/wire/identifiers.js";
import { CloseCode, EntryKind, SUBPROTOCOL } from "../../src/wire/protocol.js";
import { ManualClock } from "./manual-clock.js";
import { add, commit, groupLog, makeUser, message, RawClient, type TestUser } from "./raw-client.js";

/** Numbers that look random and are the same in each run. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

describe("hostile clients", () => {
  let relay: Relay;
  let url: string;
  let errors: unknown[];
  let honest: RawClient;
  const log = groupLog(randomBytes(32));

  beforeEach(async () => {
    errors = [];
    relay = new Relay({ onError: (error) => errors.push(error), limits: { maxFrameBytes: 50_000 } });
    ({ url } = await relay.listen());
    honest = await RawClient.connect(url, await makeUser("honest"));
    await honest.request("create", { groupId: log.id });
    await honest.subscribe(log);
  });
  afterEach(async () => {
    // The honest one goes on, and nothing failed inside the relay.
    const before = honest.entriesOf(log).length;
    await honest.append(log, START, message("still here"));
    await honest.untilEntries(log, before + 1);
    await relay.close();
    expect(errors).toEqual([]);
  });

  it("are closed with 4400 for any bytes that are no frame, before and after they authenticate", async () => {
    const random = numbers(1);
    const mallory = await makeUser("mallory");
    const bytes = () =>
      Uint8Array.from({ length: 1 + Math.floor(random() * 60) }, () => Math.floor(random() * 256));
    for (let i = 0; i < 40; i++) {
      const client = i % 2 === 0 ? new RawClient(url, mallory) : await RawClient.connect(url, mallory);
      await client.frame("challenge");
      client.sendBytes(bytes());
      expect((await client.closed()).code).toBe(CloseCode.malformed);
    }
  });

  it("get an answer or a close for every mutated frame", async () => {
    const random = numbers(2);
    const mallory = await makeUser("mallory");
    const groupId = randomBytes(32);
    const mine = groupLog(groupId);
    const frames = [
      encodeClientFrame({
        type: "request",
        id: 1,
        name: "create",
        body: { groupId, first: commit([add(mallory)]) },
      }),
      encodeClientFrame({
        type: "request",
        id: 1,
        name: "append",
        body: { log: mine, after: START, entry: message("x") },
      }),
      encodeClientFrame({
        type: "request",
        id: 1,
        name: "append",
        body: { log, after: START, entry: commit([add(mallory, 2)]) },
      }),
      encodeClientFrame({ type: "request", id: 1, name: "subscribe", body: { log, cursor: START } }),
      encodeClientFrame({
        type: "request",
        id: 1,
        name: "publishKeyPackages",
        body: { oneTime: [{ notAfter: 1e10, keyPackage: randomBytes(9) }] },
      }),
      encodeClientFrame({ type: "request", id: 1, name: "fetchKeyPackages", body: { userId: "honest" } }),
      encodeClientFrame({ type: "request", id: 1, name: "fetchBundle", body: { groupId: log.id, seq: 1 } }),
      encodeClientFrame({
        type: "request",
        id: 1,
        name: "rejectJoin",
        body: { groupId: log.id, requestId: randomBytes(16), reason: 1 },
      }),
      encodeClientFrame({ type: "ack", log, cursor: { seq: 1, digest: randomBytes(32) } }),
    ];
    let client = await RawClient.connect(url, mallory);
    let answered = 0;
    let closed = 0;
    for (let i = 0; i < 300; i++) {
      const bytes = Uint8Array.from(frames[i % frames.length] as Uint8Array);
      for (let edits = 1 + Math.floor(random() * 3); edits > 0; edits--) {
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      }
      const before = client.frames.length;
      client.sendBytes(bytes);
      client.sendBytes(encodeClientFrame({ type: "request", id: 0xffffffff, name: "listGroups", body: {} }));
      const done = () =>
        client.frames.slice(before).some((frame) => frame.type === "reply" && frame.id === 0xffffffff);
      const gone = client.closed().then(({ code }) => code);
      const code = await Promise.race([client.until(done), gone]);
      if (code === undefined) answered++;
      else {
        expect(code).toBe(CloseCode.malformed);
        closed++;
        client = await RawClient.connect(url, mallory);
      }
    }
    expect(answered).toBeGreaterThan(20);
    expect(closed).toBeGreaterThan(20);
  });

  it("get nothing by naming other devices, users, groups and inboxes", async () => {
    const mallory = await makeUser("mallory");
    const m = await RawClient.connect(url, mallory);
    const code = (wanted: string) => expect.objectContaining({ code: wanted });
    const victim: TestUser = honest.user;
    const inbox = { kind: 1 as const, id: victim.deviceId };
    await expect(m.subscribe(inbox)).rejects.toEqual(code("forbidden"));
    await expect(m.append(inbox, START, { ...message("x"), kind: EntryKind.pointer })).rejects.toEqual(
      code("forbidden"),
    );
    await expect(m.subscribe(log)).rejects.toEqual(code("not-a-member"));
    await expect(m.append(log, START, commit([add(mallory, 2)]))).rejects.toEqual(code("not-a-member"));
    const stolen = { type: "add" as const, userId: "mallory", deviceId: victim.deviceId, role: 1 as const };
    const groupId = randomBytes(32);
    await expect(m.request("create", { groupId, first: commit([stolen]) })).rejects.toEqual(
      code("unknown-user"),
    );
    await expect(m.request("create", { groupId: log.id })).rejects.toEqual(code("conflict"));
    m.send({ type: "ack", log: inbox, cursor: START });
    m.send({ type: "ack", log, cursor: { seq: 1, digest: randomBytes(32) } });
    expect(await m.request("listGroups", {})).toEqual({ groups: [] });
  });

  it("who do not take their answers are cut off, whoever else is served", async () => {
    await relay.close();
    relay = new Relay({ limits: { maxFrameBytes: 50_000, maxQueuedBytes: 100_000, maxInFlight: 4 } });
    ({ url } = await relay.listen());
    honest = await RawClient.connect(url, await makeUser("honest"));
    await honest.request("create", { groupId: log.id });
    await honest.subscribe(log);
    const m = await RawClient.connect(url, await makeUser("mallory"));
    const groupId = randomBytes(32);
    await m.request("create", { groupId, first: commit([], randomBytes(40_000)) });
    m.socket.pause();
    for (let id = 100; id < 400; id++)
      m.send({ type: "request", id, name: "fetchBundle", body: { groupId, seq: 1 } });
    // Its requests are not worked on while its answers wait: no more than a few of them are held.
    for (let i = 0; i < 20; i++) await honest.request("listGroups", {});
    m.socket.resume();
    const answers = () => m.frames.filter((frame) => frame.type === "reply" && frame.id >= 100).length;
    await m.until(() => answers() === 300);
    expect(m.frames.at(-1)).toMatchObject({ type: "reply", id: 399 });
  });
});

describe("the server", () => {
  it("gives up connections that it had to stop reading from and that never take their answers", async () => {
    const clock = new ManualClock();
    const limits = {
      heartbeatInterval: 1000,
      maxFrameBytes: 50_000,
      maxQueuedBytes: 100_000,
      maxInFlight: 4,
    };
    const relay = new Relay({ clock, limits });
    const { url } = await relay.listen();
    const stuck = await RawClient.connect(url, await makeUser("stuck"));
    const other = await RawClient.connect(url, await makeUser("other"));
    const groupId = randomBytes(32);
    await stuck.request("create", { groupId, first: commit([], randomBytes(40_000)) });
    stuck.socket.pause();
    for (let id = 100; id < 1500; id++)
      stuck.send({ type: "request", id, name: "fetchBundle", body: { groupId, seq: 1 } });
    // What the operating systems take on the way is a matter of time; then the relay stops reading.
    for (let beats = 0; stuck.socket.readyState === stuck.socket.OPEN && beats < 2000; beats++) {
      const pinged = new Promise((resolve) => other.socket.once("ping", resolve));
      clock.advance(1000);
      await pinged;
      await other.request("listGroups", {});
      if (beats > 20) stuck.socket.resume();
    }
    expect((await stuck.closed()).code).toBe(1006);
    expect(stuck.frames.filter(({ type }) => type === "reply").length).toBeLessThan(1400);
    await relay.close();
  });

  it("attaches to a server of the caller's and leaves it running", async () => {
    const server = createServer((_request, response) => response.end("mine"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const relay = new Relay({ server });
    const { url } = await relay.listen();
    const client = await RawClient.connect(url, await makeUser("alice"));
    expect(await (await fetch(url.replace("ws", "http"))).text()).toBe("mine");
    await relay.close();
    expect((await client.closed()).code).toBe(CloseCode.goingAway);
    expect(await (await fetch(url.replace("ws", "http"))).text()).toBe("mine");
    await new Promise((resolve) => server.close(resolve));
  });

  it("refuses options that contradict each other", () => {
    const invalid = expect.objectContaining({ code: "invalid-argument" });
    expect(() => new Relay({ server: createServer(), port: 1 })).toThrow(invalid);
    expect(() => new Relay({ data: "x", storage: {} as never })).toThrow(invalid);
  });

  it("needs a server that listens", async () => {
    const relay = new Relay({ server: createServer() });
    await expect(relay.listen()).rejects.toMatchObject({ code: "invalid-argument" });
    await relay.close();
  });

  it("says where it cannot listen", async () => {
    const first = new Relay();
    const { url } = await first.listen();
    const second = new Relay({ port: Number(new URL(url).port) });
    await expect(second.listen()).rejects.toMatchObject({ code: "EADDRINUSE" });
    await second.close();
    await first.close();
  });

  it("gives up connections that answer no ping", async () => {
    const clock = new ManualClock();
    const relay = new Relay({ clock, limits: { heartbeatInterval: 1000 } });
    const { url } = await relay.listen();
    const dead = new WebSocket(url, SUBPROTOCOL, { autoPong: false });
    const closed = new Promise((resolve) => dead.once("close", resolve));
    await new Promise((resolve) => dead.once("message", resolve));
    const alive = await RawClient.connect(url, await makeUser("alice"));
    for (let beats = 0; beats < 3; beats++) {
      const pinged = new Promise((resolve) => alive.socket.once("ping", resolve));
      clock.advance(1000);
      await pinged;
      // Its answer to the ping has arrived before this one.
      await alive.request("resolveDirect", { userId: "bob" });
    }
    expect(await closed).toBe(1006);
    expect(await alive.request("listGroups", {})).toEqual({ groups: [] });
    await relay.close();
  });
});
