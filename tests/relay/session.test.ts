import { afterEach, describe, expect, it } from "vitest";
import WebSocket from "ws";
import { SubrosaError } from "../../src/base/errors.js";
import { randomBytes } from "../../src/crypto/random.js";
import { sign } from "../../src/crypto/signature.js";
import { Relay, type RelayOptions } from "../../src/relay.js";
import { encodeClientFrame } from "../../src/wire/frames.js";
import { START } from "../../src/wire/identifiers.js";
import { sessionToBeSigned } from "../../src/wire/identity.js";
import { CloseCode, SUBPROTOCOL } from "../../src/wire/protocol.js";
import { ManualClock } from "./manual-clock.js";
import {
  type AuthenticateOptions,
  add,
  commit,
  groupLog,
  makeUser,
  message,
  RawClient,
  signAccount,
  type TestUser,
} from "./raw-client.js";

const relays: Relay[] = [];
afterEach(async () => {
  await Promise.all(relays.splice(0).map((relay) => relay.close()));
});

async function start(options: RelayOptions = {}): Promise<string> {
  const relay = new Relay(options);
  relays.push(relay);
  return (await relay.listen()).url;
}

/** What the relay answers to an authentication: the refusal and the close. */
async function refusedWith(url: string, user: TestUser, options: AuthenticateOptions = {}) {
  const client = new RawClient(url, user);
  await client.authenticate(options);
  const refusal = await client.frame("refuse");
  const { code, reason } = await client.closed();
  expect(client.frames.some(({ type }) => type === "ready")).toBe(false);
  expect(refusal.id).toBe(0);
  return { refusal: refusal.code, code, reason };
}

describe("connecting", () => {
  it("needs the subprotocol, and answers plain HTTP with what it is", async () => {
    const url = await start();
    for (const protocols of [[], ["other.v1"]]) {
      const socket = new WebSocket(url, protocols);
      const status = await new Promise((resolve) => {
        socket.on("unexpected-response", (_request, response) => resolve(response.statusCode));
        socket.on("error", () => {});
      });
      expect(status).toBe(400);
    }
    const both = new WebSocket(url, ["other.v1", SUBPROTOCOL]);
    await new Promise((resolve) => both.once("open", resolve));
    expect(both.protocol).toBe(SUBPROTOCOL);
    expect(both.extensions).toBe("");
    both.terminate();
    expect((await fetch(url.replace("ws:", "http:"))).status).toBe(426);
  });

  it("binds the challenge to a name of the relay's own, whatever the client asks for", async () => {
    const url = await start();
    const user = await makeUser("alice");
    const nameAt = async (host: string, headers: Record<string, string> = {}) => {
      const client = new RawClient(url.replace("127.0.0.1", host), user, headers);
      const { challenge } = await client.frame("challenge");
      await client.close();
      return challenge.relayName;
    };
    const { port } = new URL(url);
    expect(await nameAt("127.0.0.1")).toBe(`127.0.0.1:${port}`);
    expect(await nameAt("127.0.0.1", { host: `localhost:${port}` })).toBe(`localhost:${port}`);
    expect(await nameAt("127.0.0.1", { host: "evil.example" })).toBe(`127.0.0.1:${port}`);
  });

  it("announces the given name", async () => {
    const url = await start({ name: "Relay.Example.org" });
    const client = new RawClient(url, await makeUser("alice"));
    expect((await client.frame("challenge")).challenge.relayName).toBe("relay.example.org");
  });

  it("closes with 4429 what is over the number of connections", async () => {
    const url = await start({ limits: { maxConnections: 2 } });
    const user = await makeUser("alice");
    const [one, two] = [new RawClient(url, user), new RawClient(url, user)];
    await Promise.all([one.frame("challenge"), two.frame("challenge")]);
    const three = new RawClient(url, user);
    expect((await three.closed()).code).toBe(CloseCode.rateLimited);
    await one.close();
    const four = new RawClient(url, user);
    await four.frame("challenge");
  });

  it("closes with 4429 what is over the number of unauthenticated connections", async () => {
    const url = await start({ limits: { maxUnauthenticated: 1 } });
    const a = await RawClient.connect(url, await makeUser("alice"));
    const waiting = new RawClient(url, await makeUser("bob"));
    await waiting.frame("challenge");
    expect((await new RawClient(url, await makeUser("carol")).closed()).code).toBe(CloseCode.rateLimited);
    expect(await a.request("listGroups", {})).toEqual({ groups: [] });
  });

  it("closes with 1001 when the relay stops, and refuses to listen again", async () => {
    const url = await start();
    const client = await RawClient.connect(url, await makeUser("alice"));
    const [relay] = relays as [Relay];
    await relay.close();
    expect((await client.closed()).code).toBe(CloseCode.goingAway);
    await relay.close();
    await expect(new RawClient(url, client.user).closed()).resolves.toMatchObject({ code: 1006 });
    const unused = new Relay();
    await unused.close();
    await expect(unused.listen()).rejects.toMatchObject({ code: "closed" });
    await expect(relay.listen()).rejects.toMatchObject({ code: "closed" });
  });
});

describe("authentication", () => {
  it("registers once, gives the session's facts, and answers pings", async () => {
    const clock = new ManualClock(1_700_000_000_000);
    const url = await start({ clock, limits: { maxFrameBytes: 100_000 } });
    const alice = await makeUser("alice");
    const one = await RawClient.connect(url, alice);
    expect(await one.ready()).toEqual({
      registered: true,
      keyPackages: 0,
      maxFrameBytes: 100_000,
      time: clock.now(),
    });
    one.send({ type: "ping", id: 7 });
    expect((await one.frame("pong")).id).toBe(7);
    await one.request("publishKeyPackages", { oneTime: [{ notAfter: 1e10, keyPackage: randomBytes(5) }] });
    await one.close();
    const two = await RawClient.connect(url, alice);
    expect(await two.ready()).toMatchObject({ registered: false, keyPackages: 1 });
  });

  it("closes with 4408 a connection that does not authenticate in time", async () => {
    const clock = new ManualClock();
    const url = await start({ clock });
    const idle = new RawClient(url, await makeUser("alice"));
    const good = await RawClient.connect(url, await makeUser("bob"));
    await idle.frame("challenge");
    clock.advance(9_999);
    clock.advance(1);
    expect((await idle.closed()).code).toBe(CloseCode.authenticationTimeout);
    expect(await good.request("listGroups", {})).toEqual({ groups: [] });
  });

  it("closes with 4409 the older session of a device", async () => {
    const url = await start();
    const alice = await makeUser("alice");
    const one = await RawClient.connect(url, alice);
    const two = await RawClient.connect(url, alice);
    expect((await one.closed()).code).toBe(CloseCode.replaced);
    expect(await two.request("listGroups", {})).toEqual({ groups: [] });
  });

  it.each<[string, (user: TestUser, other: TestUser) => AuthenticateOptions]>([
    [
      "a device list signed by another key",
      (user, other) => ({
        async alter(a) {
          const forged = await signAccount(
            { ...user, account: { ...other.account, publicKey: user.account.publicKey } },
            1,
          );
          return { ...a, account: forged };
        },
      }),
    ],
    [
      "a changed device list",
      () => ({
        alter(a) {
          const list = { ...a.account.deviceList.list, version: 2 };
          return { ...a, account: { ...a.account, deviceList: { ...a.account.deviceList, list } } };
        },
      }),
    ],
    [
      "a list that does not hold the device",
      (user, other) => ({
        async alter(a) {
          const devices = [{ deviceId: other.deviceId, deviceKey: other.device.publicKey }];
          return { ...a, account: await signAccount(user, 1, devices) };
        },
      }),
    ],
    [
      "another user's certificate",
      (_user, other) => ({
        alter: async (a) => ({ ...a, certificate: await sign(other.account.privateKey, randomBytes(9)) }),
      }),
    ],
    [
      "a challenge answered by another device's key",
      (user, other) => ({
        async alter(a) {
          const { userId, deviceId } = user;
          const { incarnation, incarnationTag } = a;
          const claim = {
            relayName: "x",
            nonce: randomBytes(32),
            userId,
            deviceId,
            incarnation,
            incarnationTag,
          };
          return { ...a, signature: await sign(other.device.privateKey, sessionToBeSigned(claim)) };
        },
      }),
    ],
    [
      "an answer to another challenge",
      (user) => ({
        async alter(a) {
          const { userId, deviceId } = user;
          const { incarnation, incarnationTag } = a;
          const claim = {
            relayName: "x",
            nonce: randomBytes(32),
            userId,
            deviceId,
            incarnation,
            incarnationTag,
          };
          return { ...a, signature: await sign(user.device.privateKey, sessionToBeSigned(claim)) };
        },
      }),
    ],
    [
      "a signature for another incarnation",
      () => ({ alter: (a) => ({ ...a, incarnation: a.incarnation + 1 }) }),
    ],
    ["a signature that is no DER", () => ({ alter: (a) => ({ ...a, signature: randomBytes(64) }) })],
  ])("refuses %s", async (_name, options) => {
    const url = await start();
    const [alice, mallory] = await Promise.all([makeUser("alice"), makeUser("mallory")]);
    expect(await refusedWith(url, alice, options(alice, mallory))).toEqual({
      refusal: "invalid-signature",
      code: CloseCode.unauthorized,
      reason: "invalid-signature",
    });
    // Nothing was registered.
    expect((await (await RawClient.connect(url, alice)).ready()).registered).toBe(true);
  });

  it("refuses an account key that is no point of the curve", async () => {
    const url = await start();
    const alice = await makeUser("alice");
    const accountKey = new Uint8Array(65).fill(4);
    const alter: AuthenticateOptions["alter"] = (a) => ({ ...a, account: { ...a.account, accountKey } });
    expect(await refusedWith(url, alice, { alter })).toMatchObject({ refusal: "invalid-key", code: 4401 });
  });

  it("closes with 4400 a user id that decodes and may not register, so that nobody else can name one", async () => {
    const url = await start();
    const alice = await RawClient.connect(url, await makeUser("alice"));
    for (const userId of ["e\u0301", "a\u202eb", "\ufeffa", " a", "a\u2028b"]) {
      const client = new RawClient(url, await makeUser(userId));
      await client.authenticate();
      expect((await client.closed()).code).toBe(CloseCode.malformed);
      expect(client.frames.map(({ type }) => type)).toEqual(["challenge"]);
      const unknown = expect.objectContaining({ code: "unknown-user" });
      await expect(alice.request("fetchAccount", { userId })).rejects.toEqual(unknown);
      await expect(alice.request("fetchKeyPackages", { userId })).rejects.toEqual(unknown);
      expect(await alice.request("resolveDirect", { userId })).toEqual({});
      const groupId = randomBytes(32);
      const direct = { peer: userId, generation: 1 };
      await expect(alice.request("create", { groupId, direct })).rejects.toEqual(unknown);
      const stranger = { type: "add", userId, deviceId: randomBytes(16), role: 1 } as const;
      await expect(alice.request("create", { groupId, first: commit([stranger]) })).rejects.toEqual(unknown);
    }
  });

  it("refuses a replayed authentication", async () => {
    const url = await start();
    const alice = await makeUser("alice");
    const first = new RawClient(url, alice);
    const authentication = await first.authentication();
    const seen = encodeClientFrame({ type: "authenticate", authentication });
    first.sendBytes(seen);
    await first.ready();
    const replay = new RawClient(url, alice);
    await replay.frame("challenge");
    replay.sendBytes(seen);
    expect((await replay.frame("refuse")).code).toBe("invalid-signature");
    expect((await replay.closed()).code).toBe(CloseCode.unauthorized);
    expect(await first.request("listGroups", {})).toEqual({ groups: [] });
  });

  it("refuses a taken user id, a taken device id, older lists and older incarnations", async () => {
    const url = await start();
    const alice = await makeUser("alice");
    await RawClient.connect(url, alice, { incarnation: 2, version: 2 });
    const second = await makeUser("alice");
    expect(await refusedWith(url, second)).toMatchObject({ refusal: "user-id-taken", code: 4401 });
    const thief = { ...(await makeUser("mallory")), deviceId: alice.deviceId };
    expect(await refusedWith(url, thief)).toMatchObject({ refusal: "conflict", code: 4401 });
    expect(await refusedWith(url, alice, { incarnation: 2, version: 1 })).toMatchObject({
      refusal: "conflict",
      code: 4401,
    });
    const resigned = await signAccount(alice, 2);
    const alter: AuthenticateOptions["alter"] = (a) => ({ ...a, account: resigned });
    expect(await refusedWith(url, alice, { incarnation: 2, alter })).toMatchObject({
      refusal: "conflict",
      code: 4401,
    });
    const outdated = { refusal: "store-outdated", code: CloseCode.outdated };
    expect(await refusedWith(url, alice, { incarnation: 1, version: 2 })).toMatchObject(outdated);
    const copy = { incarnation: 2, version: 2, incarnationTag: randomBytes(16) };
    expect(await refusedWith(url, alice, copy)).toMatchObject(outdated);
    await RawClient.connect(url, alice, { incarnation: 3, version: 3, incarnationTag: randomBytes(16) });
  });

  it("asks the operator's hook, which alone does not admit anybody", async () => {
    const asked: { userId: string; token: string; accountKey: Uint8Array }[] = [];
    const url = await start({
      async authenticate(request) {
        asked.push(request);
        return request.token === "good";
      },
    });
    const alice = await makeUser("alice");
    const unauthorized = { refusal: "unauthorized", code: 4401, reason: "unauthorized" };
    expect(await refusedWith(url, alice, { token: "bad" })).toEqual(unauthorized);
    const alter: AuthenticateOptions["alter"] = (a) => ({ ...a, signature: randomBytes(70) });
    expect(await refusedWith(url, alice, { token: "good", alter })).toMatchObject({
      refusal: "invalid-signature",
    });
    expect(asked.map(({ token }) => token)).toEqual(["bad"]);
    await RawClient.connect(url, alice, { token: "good" });
    expect(asked.at(-1)).toMatchObject({ userId: "alice", accountKey: alice.account.publicKey });
  });
});

describe("an operator's hook that fails itself", () => {
  it("sends clients away to try again, tells the operator, and locks no address out", async () => {
    let down = true;
    const told: unknown[] = [];
    const events: unknown[] = [];
    const failure = new SubrosaError("unauthorized", "the login service does not answer");
    const url = await start({
      authenticate() {
        if (down) throw failure;
        return true;
      },
      limits: { failedAuthenticationsPerHour: 2 },
      onError: (error) => told.push((error as Error).cause),
      onLog: ({ level, event, cause }) => events.push({ level, event, cause }),
    });
    const alice = await makeUser("alice");
    for (let i = 0; i < 4; i++) {
      const client = new RawClient(url, alice);
      await client.authenticate();
      expect((await client.closed()).code).toBe(CloseCode.internal);
      expect(client.frames.map(({ type }) => type)).toEqual(["challenge"]);
    }
    expect(told).toEqual([failure, failure, failure, failure]);
    expect(events).toContainEqual({ level: "error", event: "failure", cause: failure.message });
    down = false;
    await RawClient.connect(url, alice);
  });

  it("has as long as a client has to authenticate, and is told of when it fails after that", async () => {
    const clock = new ManualClock();
    let asked = () => {};
    let fail: (error: unknown) => void = () => {};
    let heard: (error: unknown) => void = () => {};
    const url = await start({
      clock,
      authenticate: () =>
        new Promise<boolean>((_, reject) => {
          fail = reject;
          asked();
        }),
      onError: (error) => heard(error),
    });
    const client = new RawClient(url, await makeUser("alice"));
    const hanging = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const told = new Promise((resolve) => {
      heard = resolve;
    });
    await client.authenticate();
    await hanging;
    clock.advance(10_000);
    expect((await client.closed()).code).toBe(CloseCode.authenticationTimeout);
    const failure = new Error("no answer within a minute");
    fail(failure);
    expect(await told).toMatchObject({ code: "internal", cause: failure });
  });
});

describe("frames", () => {
  const closeAfter = async (
    url: string,
    act: (client: RawClient) => void | Promise<void>,
    authenticated = true,
  ) => {
    const user = await makeUser(`user-${randomBytes(1)[0]}-${randomBytes(4).join("-")}`);
    const client = authenticated ? await RawClient.connect(url, user) : new RawClient(url, user);
    await client.frame("challenge");
    await act(client);
    return (await client.closed()).code;
  };

  it("that are text close with 1003", async () => {
    const url = await start();
    expect(await closeAfter(url, (client) => client.socket.send("hello"))).toBe(CloseCode.unsupportedData);
    expect(await closeAfter(url, (client) => client.socket.send("hello"), false)).toBe(
      CloseCode.unsupportedData,
    );
  });

  it("over the limit close with 1009, before authentication over a smaller one", async () => {
    const url = await start({ limits: { maxFrameBytes: 100_000, maxAuthenticateBytes: 10_000 } });
    expect(await closeAfter(url, (client) => client.sendBytes(randomBytes(100_001)))).toBe(
      CloseCode.tooLarge,
    );
    expect(await closeAfter(url, (client) => client.sendBytes(randomBytes(10_001)), false)).toBe(
      CloseCode.tooLarge,
    );
    const fragments = (client: RawClient) => {
      for (let i = 0; i < 20; i++) client.socket.send(randomBytes(10_000), { fin: false });
    };
    expect(await closeAfter(url, fragments)).toBe(CloseCode.tooLarge);
  });

  it("that do not decode close with 4400, as do frames out of their turn", async () => {
    const url = await start();
    const ping = encodeClientFrame({ type: "ping", id: 1 });
    const malformed = CloseCode.malformed;
    expect(await closeAfter(url, (client) => client.sendBytes(new Uint8Array(0)))).toBe(malformed);
    expect(await closeAfter(url, (client) => client.sendBytes(randomBytes(100).fill(0xee)))).toBe(malformed);
    expect(await closeAfter(url, (client) => client.sendBytes(ping.subarray(0, 4)))).toBe(malformed);
    expect(await closeAfter(url, (client) => client.sendBytes(new Uint8Array([...ping, 0])))).toBe(malformed);
    expect(await closeAfter(url, (client) => client.sendBytes(ping), false)).toBe(malformed);
    expect(await closeAfter(url, (client) => client.authenticate())).toBe(malformed);
    const twice = async (client: RawClient) => {
      await client.authenticate();
      client.send({ type: "ping", id: 1 });
    };
    expect(await closeAfter(url, twice, false)).toBe(malformed);
    const contradiction: AuthenticateOptions["alter"] = async (a) => {
      const { list } = a.account.deviceList;
      const account = {
        ...a.account,
        deviceList: { ...a.account.deviceList, list: { ...list, userId: "other" } },
      };
      return { ...a, account };
    };
    expect(await closeAfter(url, (client) => client.authenticate({ alter: contradiction }), false)).toBe(
      malformed,
    );
  });

  it("can be vetoed and traced by the operator", async () => {
    const seen: { direction: string; userId?: string; bytes: Uint8Array }[] = [];
    const url = await start({
      onFrame(frame) {
        seen.push(frame);
        return !(frame.direction === "in" && frame.bytes[0] === 0x1a);
      },
    });
    const client = await RawClient.connect(url, await makeUser("alice"));
    expect(await client.request("resolveDirect", { userId: "bob" })).toEqual({});
    expect(seen.map(({ direction, userId, bytes }) => [direction, userId, bytes[0]])).toEqual([
      ["out", undefined, 0x01],
      ["in", undefined, 0x02],
      ["out", "alice", 0x03],
      ["in", "alice", 0x19],
      ["out", "alice", 0x06],
    ]);
    client.request("listGroups", {}).catch(() => {});
    expect((await client.closed()).code).toBe(CloseCode.forbidden);
    const silent = await start({ onFrame: ({ direction }) => direction === "in" });
    expect((await new RawClient(silent, await makeUser("bob")).closed()).code).toBe(CloseCode.forbidden);
  });

  it("that meet a failure inside the relay close with 1011, tell the operator only, and stop nobody else", async () => {
    const errors: unknown[] = [];
    let broken = false;
    const url = await start({
      onError: (error) => errors.push(error),
      onFrame({ bytes }) {
        if (broken && bytes[0] === 0x1a) throw new Error("secret detail");
      },
    });
    const alice = await RawClient.connect(url, await makeUser("alice"));
    const bob = await RawClient.connect(url, await makeUser("bob"));
    broken = true;
    alice.request("listGroups", {}).catch(() => {});
    expect(await alice.closed()).toEqual({ code: CloseCode.internal, reason: "internal error" });
    expect(errors.map((error) => (error as Error).message)).toEqual(["secret detail"]);
    expect(await bob.request("resolveDirect", { userId: "alice" })).toEqual({});
  });

  it("that cannot be sent to one reader reach the others", async () => {
    const errors: unknown[] = [];
    const url = await start({
      onError: (error) => errors.push(error),
      onFrame({ direction, userId, bytes }) {
        if (direction === "out" && userId === "bob" && bytes[0] === 0x30) throw new Error("broken hook");
      },
    });
    const users = await Promise.all(["alice", "bob", "carol"].map((name) => makeUser(name)));
    const [, bob, carol] = users as [TestUser, TestUser, TestUser];
    const [a, b, c] = (await Promise.all(users.map((user) => RawClient.connect(url, user)))) as [
      RawClient,
      RawClient,
      RawClient,
    ];
    const groupId = randomBytes(32);
    const log = groupLog(groupId);
    const at = await a.request("create", { groupId, first: commit([add(bob), add(carol)]) });
    await b.subscribe(log, at);
    await c.subscribe(log, at);
    await a.append(log, at, message("x"));
    await c.untilEntries(log, 1);
    expect((await b.closed()).code).toBe(CloseCode.internal);
    expect(errors).toHaveLength(1);
    expect((await a.append(log, at, message("y"))).seq).toBe(3);
  });

  it("beyond the rate are read later, none is refused", async () => {
    const clock = new ManualClock();
    const url = await start({ clock, limits: { framesPerSecond: 10, frameBurst: 5 } });
    const client = await RawClient.connect(url, await makeUser("alice"));
    // Far apart, so that each reaches the relay by itself: ws hands over what it has read already.
    const pong = async (id: number) => {
      client.send({ type: "ping", id });
      await client.until(() => client.frames.some((frame) => frame.type === "pong" && frame.id === id));
    };
    for (let id = 1; id <= 5; id++) await pong(id);
    const later = pong(6);
    const other = await RawClient.connect(url, await makeUser("bob"));
    other.send({ type: "ping", id: 1 });
    await other.frame("pong");
    expect(client.frames.filter(({ type }) => type === "pong")).toHaveLength(5);
    clock.advance(1000);
    await later;
  });

  it("of appends are carried out in their order, however large each is", async () => {
    const url = await start();
    const client = await RawClient.connect(url, await makeUser("alice"));
    const groupId = randomBytes(32);
    const log = groupLog(groupId);
    await client.request("create", { groupId });
    const sizes = Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? 500_000 : 10));
    const cursors = await Promise.all(
      sizes.map((size) => client.append(log, START, message("x".repeat(size)))),
    );
    expect(cursors.map(({ seq }) => seq)).toEqual(sizes.map((_, i) => i + 1));
  });

  it("of requests are answered in their order, many at once", async () => {
    const url = await start({ limits: { maxInFlight: 4 } });
    const client = await RawClient.connect(url, await makeUser("alice"));
    const groupId = randomBytes(32);
    const log = groupLog(groupId);
    const answers: string[] = [];
    const note = (name: string) => () => void answers.push(name);
    await Promise.all([
      client.request("create", { groupId }).then(note("create")),
      ...Array.from({ length: 20 }, (_, i) =>
        client.append(log, START, message(`${i}`)).then((c) => note(`${c.seq}`)()),
      ),
      client.subscribe(log).then(({ head }) => note(`head ${head.seq}`)()),
      client.request("unsubscribe", { log }).then(note("unsubscribe")),
    ]);
    expect(answers).toEqual([
      "create",
      ...Array.from({ length: 20 }, (_, i) => `${i + 1}`),
      "head 20",
      "unsubscribe",
    ]);
  });
});
