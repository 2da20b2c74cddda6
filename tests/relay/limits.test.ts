import { once } from "node:events";
import { connect } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import WebSocket from "ws";
import { randomBytes } from "../../src/crypto/random.js";
import { type LogRecord, Relay, type RelayOptions } from "../../src/relay.js";
import { START } from "../../src/wire/identifiers.js";
import { CloseCode, SUBPROTOCOL } from "../../src/wire/protocol.js";
import { ManualClock } from "./manual-clock.js";
import {
  type AuthenticateOptions,
  add,
  commit,
  groupLog,
  inboxOf,
  joinRequest,
  leave,
  makeUser,
  message,
  RawClient,
  requestBox,
  signAccount,
  type TestUser,
} from "./raw-client.js";

const HOUR = 3_600_000;
const relays: Relay[] = [];
afterEach(async () => {
  await Promise.all(relays.splice(0).map((relay) => relay.close()));
});

async function start(options: RelayOptions = {}): Promise<string> {
  const relay = new Relay(options);
  relays.push(relay);
  return (await relay.listen()).url;
}

const from = (address: string) => ({ "x-forwarded-for": address });
const refused = (code: string) => expect.objectContaining({ code });

async function connectFrom(url: string, user: TestUser, address: string): Promise<RawClient> {
  const client = new RawClient(url, user, from(address));
  await client.authenticate();
  await client.ready();
  return client;
}

/** The raw TCP connection's end, with what came before it. */
function ended(socket: ReturnType<typeof connect>): Promise<string> {
  let text = "";
  socket.on("data", (data) => {
    text += data;
  });
  socket.on("error", () => {});
  return new Promise((resolve) => socket.once("close", () => resolve(text)));
}

describe("what one user stores", () => {
  it("is bounded, whatever it is in how many groups, and room comes back as entries grow old", async () => {
    const clock = new ManualClock();
    const retention = 10 * HOUR;
    const limits = { maxUserBytes: 100_000, retention, addressFactor: 1.5, heartbeatInterval: 100 * HOUR };
    const url = await start({ clock, trustProxy: 1, limits });
    const [alice, bob, carol] = [
      await connectFrom(url, await makeUser("alice"), "10.0.0.1"),
      await connectFrom(url, await makeUser("bob"), "10.0.0.1"),
      await connectFrom(url, await makeUser("carol"), "10.0.0.2"),
    ];
    const logOf = async (client: RawClient) => {
      const groupId = randomBytes(32);
      await client.request("create", { groupId });
      return groupLog(groupId);
    };
    const fill = async (client: RawClient) => {
      for (let i = 0; ; i++) {
        const log = await logOf(client);
        const entry = message("x".repeat(10_000));
        const taken = await client.append(log, START, entry).catch((error: unknown) => {
          expect(error).toEqual(refused("quota-exceeded"));
          return undefined;
        });
        if (taken === undefined) return { log, count: i };
        // What is there already is not refused, and the first answer comes again.
        expect(await client.append(log, START, entry)).toEqual(taken);
      }
    };
    // Each is asked for twice, and counts twice while there is room.
    const { log, count } = await fill(alice);
    expect(count).toBe(5);
    // Small things count too; who is full can still go.
    let small = 0;
    while ((await alice.append(log, START, message("")).catch(() => undefined)) !== undefined) small++;
    expect(small).toBeLessThan(40);
    await alice.append(log, START, leave());
    // The address has half of that left; another address all of it.
    expect((await fill(bob)).count).toBe(2);
    expect((await fill(carol)).count).toBe(5);
    clock.advance(retention / 2);
    expect((await fill(carol)).count).toBe(3);
  });
});

describe("connections from one address", () => {
  it("may be so many, and so many that have not authenticated, whoever else connects", async () => {
    const limits = { maxConnectionsPerAddress: 3, maxUnauthenticatedPerAddress: 2 };
    const url = await start({ trustProxy: 1, limits });
    const mallory = await makeUser("mallory");
    const silent = [
      new RawClient(url, mallory, from("10.0.0.1")),
      new RawClient(url, mallory, from("10.0.0.1")),
    ];
    for (const client of silent) await client.frame("challenge");
    const more = new RawClient(url, mallory, from("10.0.0.1"));
    expect((await more.closed()).code).toBe(CloseCode.rateLimited);
    const alice = await connectFrom(url, await makeUser("alice"), "10.0.0.2");
    // Authenticated ones do not stand in the way of others that are about to.
    await silent[0]?.close();
    const users = await Promise.all(["u1", "u2"].map((name) => makeUser(name)));
    for (const user of users) await connectFrom(url, user, "10.0.0.1");
    const fourth = new RawClient(url, mallory, from("10.0.0.1"));
    expect((await fourth.closed()).code).toBe(CloseCode.rateLimited);
    expect(await alice.request("listGroups", {})).toEqual({ groups: [] });
  });

  it("count until they are gone, also those that were refused and do not answer the close", async () => {
    const limits = { maxConnectionsPerAddress: 1, maxUnauthenticatedPerAddress: 2 };
    const url = await start({ trustProxy: 1, limits });
    const upgrade = async (address: string) => {
      const socket = connect(Number(new URL(url).port), "127.0.0.1");
      socket.write(
        `GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Forwarded-For: ${address}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${Buffer.alloc(16).toString("base64")}\r\nSec-WebSocket-Protocol: ${SUBPROTOCOL}\r\n\r\n`,
      );
      const head = await new Promise<Buffer>((resolve) => socket.once("data", resolve));
      return { socket, status: head.toString("latin1").slice(9, 12) };
    };
    const lingering: Awaited<ReturnType<typeof upgrade>>[] = [];
    for (let i = 0; i < 3; i++) lingering.push(await upgrade("10.0.0.1"));
    expect(lingering.map(({ status }) => status)).toEqual(["101", "101", "101"]);
    expect((await upgrade("10.0.0.1")).status).toBe("429");
    await connectFrom(url, await makeUser("alice"), "10.0.0.2");
    for (const { socket } of lingering) socket.destroy();
    // Once the relay has seen them go there is room again.
    let again = await upgrade("10.0.0.1");
    while (again.status !== "101") again = await upgrade("10.0.0.1");
    again.socket.destroy();
  });

  it("are said to look like a proxy's, once, where none is trusted", async () => {
    const records: LogRecord[] = [];
    const onLog = (record: LogRecord) => void records.push(record);
    const warnings = () => records.filter(({ event }) => event === "proxy");
    const behind = await start({ onLog, trustProxy: 1 });
    await connectFrom(behind, await makeUser("alice"), "10.0.0.1");
    const direct = await start({ onLog });
    await RawClient.connect(direct, await makeUser("bob"));
    expect(warnings()).toEqual([]);
    for (const name of ["carol", "dave"]) await connectFrom(direct, await makeUser(name), "10.0.0.1");
    expect(warnings()).toMatchObject([{ level: "warn", detail: expect.stringContaining("trustProxy") }]);
  });

  it("are told apart by the header of trusted proxies only", async () => {
    const limits = { maxUnauthenticatedPerAddress: 1 };
    const direct = await start({ limits });
    const user = await makeUser("alice");
    await new RawClient(direct, user, from("10.0.0.1")).frame("challenge");
    const spoofed = new RawClient(direct, user, from("10.0.0.2"));
    // Over the limit it is not even asked what it wants.
    expect((await spoofed.closed()).code).toBe(CloseCode.rateLimited);
    const behind = await start({ limits, trustProxy: 2 });
    const via = (list: string) => new RawClient(behind, user, from(list));
    await via("1.1.1.1, 10.0.0.1, 172.16.0.9").frame("challenge");
    // What the client itself wrote at the left changes nothing.
    expect((await via("2.2.2.2, 10.0.0.1, 172.16.0.9").closed()).code).toBe(CloseCode.rateLimited);
    await via("1.1.1.1, 10.0.0.3, 172.16.0.9").frame("challenge");
    // A /64 is one address.
    await via("2001:db8:1:2::1, 172.16.0.9").frame("challenge");
    expect((await via("2001:db8:1:2:3::9, 172.16.0.9").closed()).code).toBe(CloseCode.rateLimited);
    await via("2001:db8:1:3::1, 172.16.0.9").frame("challenge");
  });

  it("have a short time to become WebSockets, however slowly they send", async () => {
    const clock = new ManualClock();
    const url = await start({ clock, limits: { upgradeTimeout: 5000, maxUnauthenticatedPerAddress: 3 } });
    const port = Number(new URL(url).port);
    const open = async () => {
      const socket = connect(port, "127.0.0.1");
      await new Promise((resolve) => socket.once("connect", resolve));
      return socket;
    };
    const silent = await open();
    const slow = await open();
    slow.write("GET / HTTP/1.1\r\nHost: x\r\n");
    const alice = await RawClient.connect(url, await makeUser("alice"));
    const third = await open();
    // That they have arrived is known when one more is turned away.
    expect(await ended(await open())).toBe("");
    const ends = [silent, slow, third].map(ended);
    clock.advance(4999);
    slow.write("X-A: b\r\n");
    expect((await alice.request("listGroups", {})).groups).toEqual([]);
    clock.advance(1);
    expect(await Promise.all(ends)).toEqual(["", "", ""]);
    // What has become a WebSocket stays, and there is room again.
    await RawClient.connect(url, await makeUser("bob"));
    expect((await alice.request("listGroups", {})).groups).toEqual([]);
  });

  it("are closed with 4429 after too many failed attempts, until time has passed", async () => {
    const clock = new ManualClock();
    const url = await start({
      clock,
      trustProxy: 1,
      authenticate: ({ token }) => token === "right",
      limits: { failedAuthenticationsPerHour: 2, heartbeatInterval: 2 * HOUR },
    });
    let users = 0;
    const attempt = async (address: string, token: string) => {
      const client = new RawClient(url, await makeUser(`user ${++users}`), from(address));
      const frame = await Promise.race([client.frame("challenge").then(() => undefined), client.closed()]);
      if (frame !== undefined) return frame.code;
      await client.authenticate({ token });
      return Promise.race([client.ready().then(() => "ready"), client.closed().then(({ code }) => code)]);
    };
    expect(await attempt("10.0.0.1", "wrong")).toBe(CloseCode.unauthorized);
    expect(await attempt("10.0.0.1", "right")).toBe("ready");
    expect(await attempt("10.0.0.1", "worse")).toBe(CloseCode.unauthorized);
    expect(await attempt("10.0.0.1", "right")).toBe(CloseCode.rateLimited);
    expect(await attempt("10.0.0.2", "right")).toBe("ready");
    clock.advance(HOUR / 2);
    expect(await attempt("10.0.0.1", "right")).toBe("ready");
  });

  it("register so many user ids; known users come and go", async () => {
    const url = await start({ trustProxy: 1, limits: { registrationsPerHour: 1 } });
    const alice = await makeUser("alice");
    const first = await connectFrom(url, alice, "10.0.0.1");
    const squatter = new RawClient(url, await makeUser("bob"), from("10.0.0.1"));
    await squatter.authenticate();
    expect((await squatter.frame("refuse")).code).toBe("rate-limited");
    expect((await squatter.closed()).code).toBe(CloseCode.rateLimited);
    await first.close();
    await connectFrom(url, alice, "10.0.0.1");
    await connectFrom(url, await makeUser("bob"), "10.0.0.2");
  });

  it("are read from more slowly together, as are all of one user", async () => {
    for (const rates of [
      { addressFramesPerSecond: 1, addressFrameBurst: 4 },
      { userFramesPerSecond: 1, userFrameBurst: 2 },
      { addressBytesPerSecond: 1000, addressByteBurst: 2000 },
    ]) {
      const clock = new ManualClock();
      const limits = { ...rates, heartbeatInterval: HOUR };
      const url = await start({ clock, trustProxy: 1, limits });
      const alice = await connectFrom(url, await makeUser("alice"), "10.0.0.1");
      const bob = await connectFrom(url, await makeUser("bob"), "10.0.0.2");
      /** Round trips that no rate counts. */
      const time = async () => {
        for (let i = 0; i < 100; i++) {
          bob.socket.ping();
          await once(bob.socket, "pong");
        }
      };
      /** Asks once more; true if that is answered soon. */
      let waiting: Promise<unknown> = Promise.resolve();
      const served = () => {
        waiting = alice.request("resolveDirect", { userId: "x".repeat(120) });
        return Promise.race([waiting.then(() => true), time().then(() => false)]);
      };
      let before = 0;
      while (before < 100 && (await served())) before++;
      expect(before).toBeLessThan(100);
      for (let second = 0; second < 3; second++) {
        clock.advance(1000);
        await time();
      }
      // Time brings it back, and no more than it is worth.
      await waiting;
      let after = 0;
      while (after < 100 && (await served())) after++;
      expect(after).toBeLessThan(30);
    }
  });
});

describe("one user", () => {
  it("has so many sessions; a new one of a device takes the old one's place", async () => {
    const url = await start({ limits: { maxConnectionsPerUser: 1 } });
    const alice = await makeUser("alice");
    const one = await RawClient.connect(url, alice);
    const two = await RawClient.connect(url, alice);
    expect((await one.closed()).code).toBe(CloseCode.replaced);
    expect(await two.request("listGroups", {})).toEqual({ groups: [] });
  });

  it("has no more sessions on other devices than that", async () => {
    const url = await start({ limits: { maxConnectionsPerUser: 1 } });
    const laptop = await makeUser("alice");
    const phone = await makeUser("alice", laptop.account);
    const devices = [laptop, phone].map(({ deviceId, device }) => ({
      deviceId,
      deviceKey: device.publicKey,
    }));
    const account = await signAccount(laptop, 1, devices);
    const options: AuthenticateOptions = { alter: (authentication) => ({ ...authentication, account }) };
    const first = await RawClient.connect(url, laptop, options);
    const second = new RawClient(url, phone);
    await second.authenticate(options);
    expect((await second.frame("refuse")).code).toBe("rate-limited");
    expect((await second.closed()).code).toBe(CloseCode.rateLimited);
    await first.close();
    await RawClient.connect(url, phone, options);
  });

  it("may do each thing so often in an hour, and its address some times as much", async () => {
    const clock = new ManualClock();
    const url = await start({
      clock,
      trustProxy: 1,
      limits: {
        groupCreationsPerHour: 3,
        nameClaimsPerHour: 2,
        firstContactsPerHour: 1,
        keyPackageFetchesPerHour: 2,
        joinRequestsPerHour: 1,
        addressFactor: 2,
        heartbeatInterval: 2 * HOUR,
      },
    });
    const [alice, bob, carol] = await Promise.all(["alice", "bob", "carol"].map((name) => makeUser(name)));
    const a = await connectFrom(url, alice as TestUser, "10.0.0.1");
    const b = await connectFrom(url, bob as TestUser, "10.0.0.1");
    const c = await connectFrom(url, carol as TestUser, "10.0.0.1");
    const limited = refused("rate-limited");
    const create = (client: RawClient, name?: true) =>
      client.request("create", { groupId: randomBytes(32), ...(name && { nameHash: randomBytes(32) }) });
    const direct = (client: RawClient, peer: string, groupId = randomBytes(32)) =>
      client.request("create", { groupId, direct: { peer, generation: 1 } });

    await create(a, true);
    await create(a, true);
    await expect(create(a, true)).rejects.toEqual(limited);
    // The refused one counted as a creation: it was not known yet to ask for a name too many.
    await expect(create(a)).rejects.toEqual(limited);
    await create(b);
    clock.advance(HOUR / 3);
    await create(a);
    const first = randomBytes(32);
    await direct(a, "bob", first);
    await expect(direct(a, "carol")).rejects.toEqual(limited);
    // Again the same: its first answer.
    await direct(a, "bob", first);
    await direct(b, "carol");
    // The address's allowance is used up too.
    await expect(direct(c, "alice")).rejects.toEqual(limited);

    const fetchOf = (userId: string) => a.request("fetchKeyPackages", { userId });
    // What is not there costs nothing.
    for (let i = 0; i < 3; i++) await expect(fetchOf("bob")).rejects.toEqual(refused("no-key-package"));
    await b.request("publishKeyPackages", {
      oneTime: [],
      lastResort: { notAfter: 1e10, keyPackage: randomBytes(9) },
    });
    for (let i = 0; i < 2; i++) await fetchOf("bob");
    await expect(fetchOf("bob")).rejects.toEqual(limited);
    // Names that nobody has can be made up without end.
    const asking = (userId: string) => c.request("fetchKeyPackages", { userId });
    for (let i = 0; i < 2; i++) await expect(asking(`nobody${i}`)).rejects.toEqual(refused("unknown-user"));
    await expect(asking("nobody")).rejects.toEqual(limited);

    const groups = [randomBytes(32), randomBytes(32)] as const;
    for (const groupId of groups) await c.request("create", { groupId });
    const ask = async (groupId: (typeof groups)[0]) => {
      const entry = await joinRequest(alice as TestUser, groupId);
      return { entry, answer: a.append(requestBox(groupId), START, entry) };
    };
    const asked = await ask(groups[0]);
    const at = await asked.answer;
    await expect((await ask(groups[1])).answer).rejects.toEqual(limited);
    expect(await a.append(requestBox(groups[0]), START, asked.entry)).toEqual(at);
    clock.advance(HOUR);
    await (await ask(groups[1])).answer;
  });

  it("adds so many strangers; not those it talks with, who asked, or who are there", async () => {
    const url = await start({ limits: { invitationsPerHour: 1 } });
    const names = ["alice", "friend", "asker", "stranger", "other"];
    const users = await Promise.all(names.map((name) => makeUser(name)));
    const [alice, friend, asker, stranger, other] = users as [
      TestUser,
      TestUser,
      TestUser,
      TestUser,
      TestUser,
    ];
    const [a, , asking] = (await Promise.all(
      users.map((user) => RawClient.connect(url, user)),
    )) as RawClient[] as [RawClient, RawClient, RawClient];
    const groupId = randomBytes(32);
    const log = groupLog(groupId);
    await a.request("create", { groupId: randomBytes(32), direct: { peer: "friend", generation: 1 } });
    let at = await a.request("create", { groupId, first: commit([add(alice), add(friend)]) });
    await asking.append(requestBox(groupId), START, await joinRequest(asker, groupId));
    at = await a.append(log, at, commit([add(asker)]));
    const invitation = commit([add(stranger)]);
    at = await a.append(log, at, invitation);
    await expect(a.append(log, at, commit([add(other)]))).rejects.toEqual(refused("rate-limited"));
    // Anew who is there, and the same commit again.
    const again = await a.append(log, at, commit([add(stranger)]));
    expect(await a.append(log, at, invitation)).toEqual(at);
    await a.append(log, again, message("nothing of this is in the way of messages"));
  });

  it("cannot use up another's one-time key packages: its last resort stays", async () => {
    const url = await start({ limits: { oneTimePackagesPerPair: 2, oneTimePackagesPerHour: 3 } });
    const [victim, mallory, carol] = await Promise.all(
      ["victim", "mallory", "carol"].map((name) => makeUser(name)),
    );
    const v = await RawClient.connect(url, victim as TestUser);
    const upload = (byte: number) => ({ notAfter: 1e10, keyPackage: new Uint8Array([byte]) });
    const oneTime = [1, 2, 3, 4, 5].map(upload);
    await v.request("publishKeyPackages", { oneTime, lastResort: upload(99) });
    const m = await RawClient.connect(url, mallory as TestUser);
    const c = await RawClient.connect(url, carol as TestUser);
    const fetch = async (client: RawClient) =>
      (await client.request("fetchKeyPackages", { userId: "victim" })).devices[0]?.keyPackage[0];
    expect([await fetch(m), await fetch(m), await fetch(m), await fetch(m)]).toEqual([1, 2, 99, 99]);
    expect([await fetch(c), await fetch(c)]).toEqual([3, 99]);
    // One's own are one's own affair.
    expect(await fetch(v)).toBe(4);
    await v.close();
    expect((await (await RawClient.connect(url, victim as TestUser)).ready()).keyPackages).toBe(1);
  });
});

describe("blocking", () => {
  it("keeps key packages, direct conversations and the inbox from who is blocked", async () => {
    const url = await start();
    const [bob, mallory, carol] = (await Promise.all(
      ["bob", "mallory", "carol"].map((name) => makeUser(name)),
    )) as [TestUser, TestUser, TestUser];
    const b = await RawClient.connect(url, bob);
    const m = await RawClient.connect(url, mallory);
    const c = await RawClient.connect(url, carol);
    await b.request("publishKeyPackages", {
      oneTime: [],
      lastResort: { notAfter: 1e10, keyPackage: randomBytes(9) },
    });
    const fetch = (client: RawClient) => client.request("fetchKeyPackages", { userId: "bob" });
    const direct = (client: RawClient, first = true) =>
      client.request("create", {
        groupId: randomBytes(32),
        direct: { peer: "bob", generation: 1 },
        ...(first && { first: commit([add(client.user), add(bob)]) }),
      });
    const groupId = randomBytes(32);
    const log = groupLog(groupId);
    await m.request("create", { groupId });
    const before = commit([add(bob)]);
    const at = await m.append(log, START, before);

    await expect(b.request("setBlocked", { userId: "bob", blocked: true })).rejects.toEqual(
      refused("forbidden"),
    );
    await b.request("setBlocked", { userId: "mallory", blocked: true });
    expect(await b.request("listBlocked", {})).toEqual({ users: ["mallory"] });
    expect(await m.request("listBlocked", {})).toEqual({ users: [] });

    await expect(fetch(m)).rejects.toEqual(refused("no-key-package"));
    await expect(direct(m)).rejects.toEqual(refused("quota-exceeded"));
    await expect(direct(m, false)).rejects.toEqual(refused("quota-exceeded"));
    const other = groupLog(randomBytes(32));
    await m.request("create", { groupId: other.id });
    await expect(m.append(other, START, commit([add(carol), add(bob)]))).rejects.toEqual(
      refused("quota-exceeded"),
    );
    await expect(
      m.request("create", { groupId: randomBytes(32), first: commit([add(bob)]) }),
    ).rejects.toEqual(refused("quota-exceeded"));
    // What was taken before gets its answer again; nobody else notices anything.
    expect(await m.append(log, START, before)).toEqual(at);
    await fetch(c);
    await m.append(log, at, message("still in this group"));
    await direct(c);
    await b.subscribe(inboxOf(bob));
    expect(await b.untilEntries(inboxOf(bob), 2)).toHaveLength(2);
    // Who is in the group may have to be added anew.
    await m.append(log, at, commit([add(bob)]));
    expect(await b.untilEntries(inboxOf(bob), 3)).toHaveLength(3);

    await b.request("setBlocked", { userId: "mallory", blocked: false });
    await fetch(m);
    await direct(m);
    expect(await b.untilEntries(inboxOf(bob), 4)).toHaveLength(4);
  });

  it("outlives the session, is bounded, and ends with the user", async () => {
    const url = await start({ limits: { maxBlocked: 2 } });
    const bob = await makeUser("bob");
    let b = await RawClient.connect(url, bob);
    const block = (userId: string) => b.request("setBlocked", { userId, blocked: true });
    await block("x");
    await block("y");
    await expect(block("z")).rejects.toEqual(refused("quota-exceeded"));
    await b.close();
    b = await RawClient.connect(url, bob);
    expect((await b.request("listBlocked", {})).users.toSorted()).toEqual(["x", "y"]);
  });
});

describe("web pages", () => {
  it("connect from the given origins only; programs without one may", async () => {
    const url = await start({ origins: ["https://chat.example.org"] });
    const outcome = (origin?: string) =>
      new Promise((resolve) => {
        const socket = new WebSocket(url, SUBPROTOCOL, origin === undefined ? {} : { origin });
        socket.on("open", () => resolve("open"));
        socket.on("unexpected-response", (_request, response) => resolve(response.statusCode));
        socket.on("error", () => {});
      });
    expect(await outcome("https://chat.example.org")).toBe("open");
    expect(await outcome()).toBe("open");
    for (const origin of [
      "https://evil.example.org",
      "http://chat.example.org",
      "null",
      "https://chat.example.org.evil",
    ])
      expect(await outcome(origin)).toBe(403);
  });
});

describe("options", () => {
  it.each([
    { limits: { maxFrames: 1 } as object },
    { limits: { maxConnections: -1 } },
    { limits: { maxConnections: Number.NaN } },
    { limits: { maxConnections: "1" as never } },
    { trustProxy: -1 },
    { trustProxy: 1.5 },
    { origins: ["https://chat.example.org/"] },
    { origins: ["chat.example.org"] },
    { authenticat: async () => true } as object,
    { authenticate: "yes" as never },
    { onFrame: true as never },
    { logAddresses: "no" as never },
    null as never,
  ])("that are none are refused: %j", (options: RelayOptions) => {
    expect(() => new Relay(options)).toThrow(refused("invalid-argument"));
  });

  it("may lift every limit", async () => {
    const infinite = Object.fromEntries(
      ["framesPerSecond", "frameBurst", "userFramesPerSecond", "userFrameBurst", "maxConnections"].map(
        (name) => [name, Number.POSITIVE_INFINITY],
      ),
    );
    const url = await start({ limits: { ...infinite, firstContactsPerHour: Number.POSITIVE_INFINITY } });
    const a = await RawClient.connect(url, await makeUser("alice"));
    await RawClient.connect(url, await makeUser("bob"));
    await a.request("create", { groupId: randomBytes(32), direct: { peer: "bob", generation: 1 } });
    for (let i = 0; i < 100; i++) await a.request("listGroups", {});
  });
});
