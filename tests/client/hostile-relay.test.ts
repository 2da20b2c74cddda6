import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { encode } from "../../src/codec/writer.js";
import { randomBytes } from "../../src/crypto/random.js";
import { memoryStore, type SubrosaError } from "../../src/index.js";
import { signKeyPackage } from "../../src/mls/group/key-package.js";
import { encodeKeyPackage } from "../../src/mls/structs/key-package.js";
import { encodeRelayFrame, type RelayFrame } from "../../src/wire/frames.js";
import { LogKind } from "../../src/wire/protocol.js";
import type { ResultOf } from "../../src/wire/requests.js";
import { makeUser, signAccount, type TestUser } from "../relay/raw-client.js";
import {
  type Actor,
  type ActorOptions,
  connectAll,
  connected,
  eventually,
  makeActor,
  makeGroup,
  startRelay,
} from "./harness.js";
import { keyPackageOf } from "./raw-member.js";
import { type Tamper, TamperedConnector } from "./tamper.js";

/** A client whose relay is in the test's hands. */
function tampered(
  relay: { url: string },
  userId: string,
  tamper: Tamper = {},
  options: ActorOptions = {},
): { actor: Actor; connector: TamperedConnector } {
  const connector = new TamperedConnector(tamper);
  const seams = { random: () => 0.1, connector };
  return { actor: makeActor(relay, userId, { ...options, seams }), connector };
}

const isGroupEntries = (frame: RelayFrame) => frame.type === "entries" && frame.log.kind === LogKind.group;

const texts = (count: number) => Array.from({ length: count }, (_, i) => `m${i}`);

describe("a relay that lies in the handshake", () => {
  it("is refused when it names itself otherwise than the address: its challenge is another relay's", async () => {
    const relay = await startRelay();
    const { actor } = tampered(relay, "alice", {
      fromRelay: (frame) =>
        frame.type === "challenge"
          ? [{ ...frame, challenge: { ...frame.challenge, relayName: "relay.example.org" } }]
          : undefined,
    });
    const error = await actor.client.connect().catch((caught: SubrosaError) => caught);
    expect(error).toMatchObject({ code: "protocol-error" });
  });

  it("cannot make a client sign anything but the session, nor skip the handshake", async () => {
    const relay = await startRelay();
    const sent: string[] = [];
    const { actor, connector } = tampered(relay, "alice", {
      fromClient: (frame) => void sent.push(frame.type),
    });
    await actor.client.connect();
    const before = sent.filter((type) => type === "authenticate").length;
    expect(before).toBe(1);
    for (let i = 0; i < 3; i++) {
      connector.inject({
        type: "ready",
        ready: { registered: false, keyPackages: 30, maxFrameBytes: 1 << 20, time: 0 },
      });
      connector.inject({ type: "pong", id: 99 });
      connector.inject({ type: "reply", id: 4_000_000, result: randomBytes(40) });
      connector.inject({ type: "refuse", id: 4_000_000, code: "stale", reason: "x" });
      connector.inject({ type: "ended", log: { kind: LogKind.group, id: randomBytes(32) }, reason: 1 });
      connector.inject({ type: "entries", log: { kind: LogKind.group, id: randomBytes(32) }, entries: [] });
      connector.inject({
        type: "entries",
        log: { kind: LogKind.requestBox, id: randomBytes(32) },
        entries: [],
      });
    }
    const bob = await connected(relay, "bob");
    await bob.client.sendDirectMessage("alice", "still there?");
    await actor.message("still there?");
    expect(actor.client.state).toBe("connected");
    expect(connector.connections).toBe(1);
  });
});

describe("a relay that sends bad frames", () => {
  it("loses the connection, and the client comes back without having lost anything", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const { actor: bob, connector } = tampered(relay, "bob");
    await bob.client.connect();
    const bad: Bytes[] = [
      new Uint8Array(0),
      Uint8Array.of(0xff),
      Uint8Array.of(0xee, ...randomBytes(2000)),
      encodeRelayFrame({ type: "pong", id: 1 }).slice(0, 3),
      Uint8Array.of(...encodeRelayFrame({ type: "pong", id: 1 }), 0),
    ];
    for (const [i, frame] of bad.entries()) {
      await alice.client.sendDirectMessage("bob", `m${i}`);
      connector.inject(frame);
      await bob.event("disconnect", (end) => end === bob.all("disconnect")[i]);
      await bob.until(() => bob.all("connect").length === i + 2);
    }
    await bob.count(bad.length);
    expect(bob.texts).toEqual(texts(bad.length));
    expect(bob.all("disconnect").every(({ code, willReconnect }) => code === 1002 && willReconnect)).toBe(
      true,
    );
  });

  it("with results that do not decode is left too, and what was asked is asked again", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    let lies = 0;
    const lie = () => (lies++ < 3 ? randomBytes(7) : undefined);
    const { actor: alice } = tampered(relay, "alice", {
      replies: { resolveDirect: lie, fetchKeyPackages: lie, create: lie, append: lie },
    });
    await alice.client.connect();
    for (const text of texts(3)) await alice.client.sendDirectMessage("bob", text);
    await bob.count(3);
    expect(bob.texts).toEqual(texts(3));
    expect(lies).toBeGreaterThan(2);
  });

  it("of random and of altered bytes never crashes the client", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const real: Bytes[] = [];
    const connector = new TamperedConnector({
      fromRelay: (_, bytes) => void (real.length < 200 && real.push(bytes.slice())),
    });
    // No delay between two connections: each bad frame ends one.
    const bob = await connected(relay, "bob", { seams: { random: () => 0, connector } });
    await makeGroup("team", [alice, bob]);
    await alice.client.sendDirectMessage("bob", "hello");
    await bob.message("hello");
    const crashes: unknown[] = [];
    const note = (error: unknown) => crashes.push(error);
    process.on("unhandledRejection", note);
    process.on("uncaughtException", note);
    const altered = fc
      .record({ frame: fc.nat(), at: fc.nat(), bit: fc.nat(7), cut: fc.option(fc.nat(), { freq: 4 }) })
      .map(({ frame, at, bit, cut }) => {
        const bytes = (real[frame % real.length] as Bytes).slice();
        bytes[at % bytes.length] = (bytes[at % bytes.length] as number) ^ (1 << bit);
        return cut === null ? bytes : bytes.slice(0, cut % bytes.length);
      });
    const random = fc.uint8Array({ maxLength: 200 }).map((bytes) => Uint8Array.from(bytes));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(altered, random), { minLength: 1, maxLength: 4 }),
        async (frames) => {
          await eventually(() => bob.client.state === "connected");
          for (const frame of frames) connector.inject(frame);
        },
      ),
      { numRuns: 60, seed: 7 },
    );
    expect(connector.connections).toBeGreaterThan(30);
    await alice.client.sendDirectMessage("bob", "and on");
    await bob.message("and on");
    await new Promise((resolve) => setImmediate(resolve));
    process.off("unhandledRejection", note);
    process.off("uncaughtException", note);
    expect(crashes).toEqual([]);
    expect(bob.texts).toEqual(["hello", "and on"]);
  });
});

describe("a relay that does not keep a log's order", () => {
  const cases: Record<string, () => Tamper> = {
    "sends every frame twice": () => ({
      fromRelay: (frame, bytes) => (isGroupEntries(frame) ? [bytes, bytes] : undefined),
    }),
    "replays old entries": () => {
      const seen: Bytes[] = [];
      return {
        fromRelay(frame, bytes) {
          if (!isGroupEntries(frame)) return undefined;
          seen.push(bytes.slice());
          return [bytes, ...seen];
        },
      };
    },
    "swaps neighbours": () => {
      let held: Bytes | undefined;
      let swaps = 3;
      return {
        fromRelay(frame, bytes) {
          if (!isGroupEntries(frame) || swaps === 0) return undefined;
          if (held === undefined) {
            held = bytes.slice();
            return [];
          }
          const first = held;
          held = undefined;
          swaps--;
          return [bytes, first];
        },
      };
    },
    "leaves entries out": () => {
      let count = 0;
      return {
        fromRelay: (frame) => (isGroupEntries(frame) && [2, 5, 6].includes(count++) ? [] : undefined),
      };
    },
  };
  for (const [name, make] of Object.entries(cases)) {
    it(`and ${name} costs nothing: every message once and in order`, async () => {
      const relay = await startRelay();
      const alice = await connected(relay, "alice");
      const { actor: bob, connector } = tampered(relay, "bob");
      await bob.client.connect();
      await alice.client.sendDirectMessage("bob", "first");
      await bob.message("first");
      connector.tamper = make();
      for (const text of texts(20)) {
        await alice.client.sendDirectMessage("bob", text);
        if (text.endsWith("5")) await new Promise((resolve) => setImmediate(resolve));
      }
      await alice.receipts([await alice.client.sendDirectMessage("bob", "last")], "delivered", "bob");
      await bob.message("last");
      expect(bob.texts).toEqual(["first", ...texts(20), "last"]);
      expect(bob.errors.every((code) => code === "protocol-error")).toBe(true);
    });
  }

  it("and leaves out an invitation is asked for it again", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    let dropped = 0;
    const { actor: bob } = tampered(relay, "bob", {
      fromRelay: (frame) =>
        frame.type === "entries" && frame.log.kind === LogKind.inbox && dropped++ === 0 ? [] : undefined,
    });
    await bob.client.connect();
    for (const group of ["one", "two"]) {
      await alice.client.createGroup(group);
      await alice.client.invite(group, "bob");
    }
    await bob.event("error", ({ code }) => code === "protocol-error");
    await bob.until(() => bob.all("invitation").length === 2);
    expect(
      bob
        .all("invitation")
        .map(({ group }) => group)
        .sort(),
    ).toEqual(["one", "two"]);
  });

  it("and hides one entry for good shows by its digests: the conversation begins anew, loudly, and nothing is missing", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const { actor: bob, connector } = tampered(relay, "bob");
    await bob.client.connect();
    await alice.client.sendDirectMessage("bob", "first");
    await bob.message("first");
    let hidden = false;
    connector.tamper = {
      fromRelay(frame) {
        if (!isGroupEntries(frame) || frame.type !== "entries") return undefined;
        if (!hidden) {
          hidden = frame.entries.some(({ form }) => form === "full");
          return hidden ? [] : undefined;
        }
        const entries = frame.entries.map((entry) => ({ ...entry, seq: entry.seq - 1 }));
        return [{ ...frame, entries }];
      },
    };
    await alice.client.sendDirectMessage("bob", "hidden");
    await alice.client.sendDirectMessage("bob", "shown");
    await bob.message("shown");
    connector.tamper = {};
    // Bob's next word names the log as he knows it.
    await bob.client.sendDirectMessage("alice", "did you write?");
    await bob.event("error", ({ code }) => code === "cursor-mismatch");
    await alice.message("did you write?");
    await alice.client.sendDirectMessage("bob", "yes");
    await bob.message("yes");
    // It was never said to have arrived, so that alice sends it again.
    await bob.message("hidden");
    for (const text of ["first", "hidden", "shown", "yes"]) {
      expect(bob.texts.filter((one) => one === text)).toEqual([text]);
    }
  });

  it("and puts entries into another log delivers nothing in the wrong conversation", async () => {
    const relay = await startRelay();
    const [alice, carol] = await connectAll(relay, ["alice", "carol"]);
    const { actor: bob, connector } = tampered(relay, "bob");
    await bob.client.connect();
    await makeGroup("one", [alice, bob]);
    await makeGroup("two", [carol, bob]);
    const logs = new Map<string, Bytes>();
    let swap = false;
    connector.tamper = {
      fromRelay(frame) {
        if (frame.type !== "entries" || frame.log.kind !== LogKind.group) return undefined;
        logs.set(frame.log.id.join(), frame.log.id);
        const other = [...logs.values()].find((id) => id.join() !== frame.log.id.join());
        return swap && other ? [{ ...frame, log: { kind: LogKind.group, id: other } }] : undefined;
      },
    };
    await alice.client.sendGroupMessage("one", "in one");
    await carol.client.sendGroupMessage("two", "in two");
    await bob.count(2);
    swap = true;
    await alice.client.sendGroupMessage("one", "put into two");
    await bob.until(() => bob.all("undecryptable").length + bob.all("error").length > 0);
    swap = false;
    expect(bob.texts.slice().sort()).toEqual(["in one", "in two"]);
    await alice.client.sendDirectMessage("bob", "alive?");
    await bob.message("alive?");
    expect(bob.messages.every(({ group, from }) => group !== "two" || from === "carol")).toBe(true);
  });

  it("and ends a log without cause is asked again, and believed only then", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const { actor: bob, connector } = tampered(relay, "bob");
    await bob.client.connect();
    await makeGroup("team", [alice, bob]);
    let log: RelayFrame | undefined;
    connector.tamper = {
      fromRelay(frame) {
        if (isGroupEntries(frame)) log = frame;
        return undefined;
      },
    };
    await alice.client.sendGroupMessage("team", "1");
    await bob.message("1");
    if (log?.type !== "entries") throw new Error("no entries");
    const ended = { type: "ended", log: log.log, reason: 1 } as const;
    connector.inject(ended);
    await alice.client.sendGroupMessage("team", "2");
    await bob.message("2");
    connector.tamper = { fromRelay: (frame) => (isGroupEntries(frame) ? [ended] : undefined) };
    await alice.client.sendGroupMessage("team", "3");
    await bob.event("error", ({ code }) => code === "protocol-error");
    expect(await bob.event("groupLeave")).toEqual({ group: "team", reason: "lost" });
  });
});

describe("a relay that hands out another welcome", () => {
  it("none: the pointer waits until there is one", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const none = (bundle: ResultOf<"fetchBundle">) => ({ ...bundle, welcome: new Uint8Array(0) });
    const { actor: bob, connector } = tampered(relay, "bob", { replies: { fetchBundle: none } });
    await bob.client.connect();
    await alice.client.createGroup("team");
    await alice.client.invite("team", "bob");
    await bob.client.sendDirectMessage("alice", "I am fine");
    await alice.message("I am fine");
    expect(bob.all("invitation")).toEqual([]);
    connector.tamper = {};
    await relay.stop();
    await relay.start();
    await (await bob.event("invitation")).accept();
  });

  for (const [name, change] of Object.entries<(bundle: ResultOf<"fetchBundle">) => ResultOf<"fetchBundle">>({
    "a garbled one": (bundle) => ({ ...bundle, welcome: randomBytes(bundle.welcome.length) }),
    "one of another place in the log": (bundle) => ({
      ...bundle,
      at: { ...bundle.at, seq: bundle.at.seq + 1 },
    }),
    "one with another digest": (bundle) => ({ ...bundle, at: { ...bundle.at, digest: randomBytes(32) } }),
  })) {
    it(`${name}: nothing is joined`, async () => {
      const relay = await startRelay();
      const alice = await connected(relay, "alice");
      const { actor: bob, connector } = tampered(relay, "bob", { replies: { fetchBundle: change } });
      await bob.client.connect();
      await alice.client.createGroup("team");
      await alice.client.invite("team", "bob");
      // Where it has lost its log, an honest one gives another digest too.
      const code = name.endsWith("digest") ? "data-lost" : "protocol-error";
      expect(await bob.event("error")).toMatchObject({ code });
      connector.tamper = {};
      expect(bob.all("invitation")).toEqual([]);
      expect(await bob.client.conversations()).toEqual([]);
      await bob.client.sendDirectMessage("alice", "I am fine");
      await alice.message("I am fine");
    });
  }
});

describe("a relay whose directory lies", () => {
  type Answer = ResultOf<"fetchKeyPackages">;

  /** What a client makes of an answer about bob, and that it goes on with an honest one. */
  async function answered(
    lie: (honest: Answer, mallory: TestUser) => Promise<Answer>,
    expected: { code: string; rule?: string },
  ): Promise<void> {
    const relay = await startRelay();
    const mallory = await makeUser("mallory");
    const bob = await connected(relay, "bob");
    const other = await connected(relay, "carol");
    void other;
    // The lie is prepared from an honest answer, since changing one takes time.
    let honest: Answer | undefined;
    let false_: Answer | undefined;
    const { actor: alice, connector } = tampered(relay, "alice", {
      replies: {
        fetchKeyPackages(result) {
          honest ??= result;
          return false_;
        },
      },
    });
    await alice.client.connect();
    await alice.client.createGroup("team");
    await alice.client.invite("team", "bob");
    await bob.event("invitation");
    false_ = await lie(honest as Answer, mallory);
    await alice.client.createGroup("second");
    const error = await alice.client.invite("second", "bob").catch((caught: SubrosaError) => caught);
    expect(error).toMatchObject(expected);
    const id = await alice.client.sendDirectMessage("bob", "to whom?");
    expect(await alice.event("receipt", ({ ids }) => ids.includes(id))).toMatchObject({
      state: "failed",
      code: expected.code,
    });
    connector.tamper = {};
    await alice.client.sendDirectMessage("bob", "to bob");
    await bob.message("to bob");
    expect(bob.texts).toEqual(["to bob"]);
    await alice.client.invite("second", "bob");
    expect(alice.client.state).toBe("connected");
  }

  /** Bob's account as mallory would like it to be, with packages of mallory's. */
  async function posing(mallory: TestUser, alter: Parameters<typeof keyPackageOf>[1] = {}): Promise<Answer> {
    const bundle = await keyPackageOf(mallory, alter);
    const account = await signAccount(mallory, 1);
    return { account, devices: [{ deviceId: mallory.deviceId, keyPackage: bundle.bytes }] };
  }

  it("with another user's account", () =>
    answered((_, mallory) => posing(mallory), { code: "protocol-error" }));

  it("with another user's key package", () =>
    answered(async (honest, mallory) => ({ ...honest, devices: (await posing(mallory)).devices }), {
      code: "protocol-error",
    }));

  it("with a device list that the account did not sign", () =>
    answered(
      async (honest, mallory) => {
        const devices = [
          ...honest.account.deviceList.list.devices,
          { deviceId: mallory.deviceId, deviceKey: mallory.device.publicKey },
        ];
        const { deviceList } = honest.account;
        return {
          ...honest,
          account: {
            ...honest.account,
            deviceList: { ...deviceList, list: { ...deviceList.list, devices } },
          },
        };
      },
      { code: "invalid-signature" },
    ));

  it("with an altered key package", () =>
    answered(
      async (honest) => ({
        ...honest,
        devices: honest.devices.map(({ deviceId, keyPackage }) => ({
          deviceId,
          keyPackage: Uint8Array.from(keyPackage, (byte, i) =>
            i === keyPackage.length - 1 ? byte ^ 1 : byte,
          ),
        })),
      }),
      { code: "invalid-message", rule: "RFC 9420 §10.1: key package signature" },
    ));

  it("with a cut off key package", () =>
    answered(
      async (honest) => ({
        ...honest,
        devices: honest.devices.map(({ deviceId, keyPackage }) => ({
          deviceId,
          keyPackage: keyPackage.slice(0, 99),
        })),
      }),
      { code: "malformed" },
    ));

  it("with no key package at all: the message waits, the invitation fails", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    let lies = 2;
    const { actor: alice } = tampered(relay, "alice", {
      replies: { fetchKeyPackages: (honest) => (lies-- > 0 ? { ...honest, devices: [] } : undefined) },
    });
    await alice.client.connect();
    await alice.client.createGroup("team");
    const error = await alice.client.invite("team", "bob").catch((caught: SubrosaError) => caught);
    expect(error).toMatchObject({ code: "no-key-package" });
    await alice.client.sendDirectMessage("bob", "waits");
    await bob.message("waits");
    expect(lies).toBe(-1);
  });
});

describe("a peer whose own key packages are bad", () => {
  /** Alice's view of mallory, who published what `make` gives. */
  async function published(
    make: (mallory: TestUser) => Promise<Bytes>,
    expected: { code: string; rule?: string },
    account?: (mallory: TestUser) => ReturnType<typeof signAccount>,
  ): Promise<void> {
    const relay = await startRelay();
    const mallory = await makeUser("mallory");
    const bytes = await make(mallory);
    const directory = (await account?.(mallory)) ?? (await signAccount(mallory, 1));
    const { actor: alice } = tampered(relay, "alice", {
      replies: {
        fetchKeyPackages: () => ({
          account: directory,
          devices: [{ deviceId: mallory.deviceId, keyPackage: bytes }],
        }),
      },
    });
    await alice.client.connect();
    await connected(relay, "mallory");
    await alice.client.createGroup("team");
    const error = await alice.client.invite("team", "mallory").catch((caught: SubrosaError) => caught);
    expect(error).toMatchObject(expected);
    const id = await alice.client.sendDirectMessage("mallory", "x");
    expect(await alice.event("receipt", ({ ids }) => ids.includes(id))).toMatchObject({ state: "failed" });
    expect(alice.client.state).toBe("connected");
  }

  it("an off-curve point", () =>
    published(
      async (mallory) => {
        const { keyPackage } = await keyPackageOf(mallory);
        const initKey = keyPackage.initKey.slice();
        initKey[64] = (initKey[64] as number) ^ 1;
        return encode(encodeKeyPackage, await signKeyPackage({ ...keyPackage, initKey }, mallory.device));
      },
      { code: "invalid-message", rule: "RFC 9420 §5.1.1: public key" },
    ));

  it("an expired lifetime", () =>
    published(
      async (mallory) => {
        const now = BigInt(Math.floor(Date.now() / 1000));
        return (await keyPackageOf(mallory, { lifetime: { notBefore: now - 1000n, notAfter: now - 10n } }))
          .bytes;
      },
      { code: "invalid-message", rule: "RFC 9420 §7.3: lifetime" },
    ));

  it("a certificate by another account", () =>
    published(async (mallory) => (await keyPackageOf(mallory, { certificate: randomBytes(70) })).bytes, {
      code: "invalid-message",
    }));

  it("a certificate of another user", () =>
    published(async (mallory) => (await keyPackageOf(mallory, { userId: "mallory2" })).bytes, {
      code: "protocol-error",
    }));

  it("a device that the account does not list", () =>
    published(
      async (mallory) => (await keyPackageOf(mallory)).bytes,
      { code: "protocol-error" },
      (mallory) =>
        signAccount(mallory, 1, [{ deviceId: randomBytes(16), deviceKey: mallory.device.publicKey }]),
    ));

  it("an older device list than the one known", async () => {
    const relay = await startRelay();
    const mallory = await makeUser("mallory");
    let version = 3;
    const lists = new Map([
      [3, await signAccount(mallory, 3)],
      [2, await signAccount(mallory, 2)],
    ]);
    const { actor: alice } = tampered(
      relay,
      "alice",
      { replies: { fetchAccount: () => lists.get(version) as never } },
      { store: memoryStore() },
    );
    await alice.client.connect();
    await connected(relay, "mallory");
    await alice.client.safetyNumber("mallory");
    version = 2;
    const packages = await keyPackageOf(mallory);
    void packages;
    expect((await alice.client.safetyNumber("mallory")).verified).toBe(false);
  });
});
