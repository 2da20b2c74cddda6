import { describe, expect, it } from "vitest";
import { asBytes, equalBytes } from "../../src/base/bytes.js";
import { toHex, toUtf8 } from "../../src/base/encoding.js";
import { commitAuthenticatedData } from "../../src/client/conversation/membership/access.js";
import { authenticate } from "../../src/client/conversation/membership/leaves.js";
import { POLICY_EXTENSION, policyExtension } from "../../src/client/conversation/membership/policy.js";
import { decodePlace } from "../../src/client/conversation/record.js";
import { type ConversationState, loadState, policyIn } from "../../src/client/conversation/state.js";
import { loadIdentity } from "../../src/client/identity/own-identity.js";
import { layout } from "../../src/client/layout.js";
import { decode } from "../../src/codec/reader.js";
import { randomBytes } from "../../src/crypto/random.js";
import { createCommit } from "../../src/mls/group/index.js";
import { decodeMlsMessage } from "../../src/mls/structs/message.js";
import type { StoreSession } from "../../src/stores/store.js";
import {
  type ClientFrame,
  decodeClientFrame,
  decodeRelayFrame,
  encodeClientFrame,
  encodeRelayFrame,
} from "../../src/wire/frames.js";
import { logKey } from "../../src/wire/identifiers.js";
import { EntryKind, LogKind } from "../../src/wire/protocol.js";
import { problemsOf } from "./crash-oracle.js";
import { acquainted, grouped, invite, joinGroup, leaveGroup, registered, remove } from "./crash-scenes.js";
import type { Device, World } from "./crash-world.js";

type Append = Extract<ClientFrame, { type: "request"; name: "append" }>;

const clientFrame = (bytes: Uint8Array) => decodeClientFrame(asBytes(bytes));
const relayFrame = (bytes: Uint8Array) => decodeRelayFrame(asBytes(bytes));

function appendIn(bytes: Uint8Array): Append | undefined {
  const frame = clientFrame(bytes);
  return frame.type === "request" && frame.name === "append" ? (frame as Append) : undefined;
}

/** What a device has appended to group logs, oldest first. */
function appendsOf(world: World, user: string): Append[] {
  return world.frames.flatMap((frame) => {
    const append = frame.user === user && frame.direction === "out" ? appendIn(frame.bytes) : undefined;
    return append?.body.log.kind === LogKind.group ? [append] : [];
  });
}

function texts(device: Device): unknown[] {
  return device.taken.map(({ content }) => content);
}

async function online(world: World, ...users: string[]): Promise<World> {
  for (const user of users) world.start(user);
  await world.settle();
  return world;
}

/** A gate for a device's writes, and what opens it. */
function holdWrites(device: Device): () => void {
  let open = () => {};
  device.gate = new Promise((resolve) => {
    open = () => {
      device.gate = undefined;
      resolve();
    };
  });
  return open;
}

function storeOf(device: Device): StoreSession {
  return {
    firstUse: false,
    get: async (key: string) => device.place.values.get(key),
    getKey: async (key: string) => device.place.keys.get(key),
    list: async (prefix: string) => device.place.under(prefix),
  } as StoreSession;
}

/** The only conversation of a device, as its store has it. */
async function storedState(device: Device): Promise<ConversationState> {
  const [record] = device.place.under(layout.conversations);
  return loadState(storeOf(device), (record as [string, Uint8Array])[1]);
}

describe("an acknowledgement", () => {
  it("leaves after what it acknowledges is durable", async () => {
    const world = await online(await acquainted("alice", "bob")(), "alice", "bob");
    const bob = world.device("bob");
    const acks = () =>
      world.frames.filter(
        ({ user, direction, bytes }) =>
          user === "bob" && direction === "out" && clientFrame(bytes).type === "ack",
      ).length;
    const before = acks();
    const open = holdWrites(bob);
    world.send("alice", ["bob"], "not stored yet");
    await world.settle();
    expect(acks()).toBe(before);
    expect(texts(bob)).toEqual([]);
    open();
    await world.settle();
    expect(acks()).toBeGreaterThan(before);
    expect(texts(bob)).toEqual(["not stored yet"]);
  });

  it("never says more than the store has, whatever happens", async () => {
    const world = await grouped(["alice"], ["bob"])();
    let seen = 0;
    world.transform = (user, direction, bytes) => {
      const frame = direction === "out" ? clientFrame(bytes) : undefined;
      if (frame?.type !== "ack" || frame.log.kind !== LogKind.group) return bytes;
      const stored = world.device(user).place.values.get(layout.place(frame.log.id)) as Uint8Array;
      const { cursor } = decode(decodePlace, stored);
      seen++;
      if (frame.cursor.seq > cursor.seq) world.failures.push(`${user} acknowledged ${frame.cursor.seq}`);
      return bytes;
    };
    await online(world, "alice", "bob");
    joinGroup(world, "bob");
    await world.settle();
    world.send("alice", ["bob"], "one", "team");
    world.send("bob", ["alice"], "two", "team");
    await world.settle();
    expect(seen).toBeGreaterThan(2);
    expect(await problemsOf(world, [{ group: "team", members: ["alice", "bob"] }])).toEqual([]);
  });
});

describe("bytes to the relay", () => {
  it("leave after they are durable", async () => {
    const world = await online(await acquainted("alice", "bob")(), "alice", "bob");
    const before = appendsOf(world, "alice").length;
    const open = holdWrites(world.device("alice"));
    world.send("alice", ["bob"], "patience");
    await world.settle();
    expect(appendsOf(world, "alice").length).toBe(before);
    open();
    await world.settle();
    expect(appendsOf(world, "alice").length).toBe(before + 1);
  });

  it("stand in the outbox when they leave, for every kind of entry", async () => {
    const world = await grouped(["alice", "carol"], ["bob"])();
    const kinds = new Set<number>();
    world.transform = (user, direction, bytes) => {
      if (direction === "in") return bytes;
      const frame = clientFrame(bytes);
      if (frame.type !== "request" || (frame.name !== "append" && frame.name !== "create")) return bytes;
      const entry = frame.name === "append" ? frame.body.entry : frame.body.first;
      const boxed = frame.name === "append" && frame.body.log.kind !== LogKind.group;
      if (entry === undefined || boxed) return bytes;
      const payload = toHex(entry.payload);
      const stored = world.device(user).place.under(layout.intents);
      if (!stored.some(([, intent]) => toHex(intent).includes(payload))) {
        world.failures.push(`${user} sent an entry of kind ${entry.kind} that is not stored`);
      }
      kinds.add(entry.kind);
      return bytes;
    };
    await online(world, "alice", "bob", "carol");
    invite(world, "alice", "bob");
    await world.settle();
    world.send("bob", ["alice", "carol"], "hello", "team");
    world.send("bob", ["alice"], "hello alice");
    await world.settle();
    leaveGroup(world, "carol");
    await world.settle();
    remove(world, "alice", "bob");
    await world.settle();
    world.call("alice", (client) => client.deleteGroup("team"));
    await world.settle();
    expect(world.failures).toEqual([]);
    expect([...kinds].sort()).toEqual([
      EntryKind.application,
      EntryKind.commit,
      EntryKind.leave,
      EntryKind.close,
    ]);
  });

  it("are the same when they are sent again", async () => {
    const world = await online(await acquainted("alice", "bob")(), "alice", "bob");
    const encoded: string[] = [];
    world.transform = (user, direction, bytes) => {
      const append = user === "alice" && direction === "out" ? appendIn(bytes) : undefined;
      if (append === undefined) return bytes;
      encoded.push(toHex(encodeClientFrame({ ...append, id: 0 })));
      // Lost three times: with the connection, with the process, and with the connection again.
      return encoded.length <= 3 ? undefined : bytes;
    };
    world.send("alice", ["bob"], "again and again");
    await world.settle();
    for (let lost = 1; lost <= 3; lost++) {
      expect(encoded.length).toBe(lost);
      if (lost === 2) {
        world.kill("alice");
        world.revive();
      } else {
        world.disconnect("alice");
        world.reconnect("alice");
      }
      await world.settle();
    }
    expect(encoded.length).toBe(4);
    expect(new Set(encoded).size).toBe(1);
    expect(texts(world.device("bob"))).toEqual(["again and again"]);
  });

  it("are sealed anew under the same message id after `stale`", async () => {
    const world = await online(await grouped(["alice", "bob", "carol"])(), "alice", "bob", "carol");
    const held: Uint8Array[] = [];
    let holding = true;
    // Bob does not see alice's commit for a while.
    world.transform = (user, direction, bytes) => {
      if (!holding || user !== "bob" || direction !== "in" || relayFrame(bytes).type !== "entries")
        return bytes;
      held.push(bytes);
      return undefined;
    };
    remove(world, "alice", "carol");
    await world.settle();
    const before = appendsOf(world, "bob").length;
    world.send("bob", ["alice"], "in time", "team");
    await world.settle();
    const stale = world.frames.filter(({ user, direction, bytes }) => {
      const frame = user === "bob" && direction === "in" ? relayFrame(bytes) : undefined;
      return frame?.type === "refuse" && frame.code === "stale";
    });
    expect(stale.length).toBe(1);
    expect(appendsOf(world, "bob").length).toBe(before + 1);
    holding = false;
    for (const frame of held) world.wire("bob").inject(frame);
    await world.settle();
    const [first, second] = appendsOf(world, "bob").slice(before);
    expect(appendsOf(world, "bob").length).toBe(before + 2);
    expect(toHex(second?.body.entry.entryId as Uint8Array)).not.toBe(
      toHex(first?.body.entry.entryId as Uint8Array),
    );
    const [sent] = world.sends.filter(({ text }) => text === "in time");
    const [taken] = world.device("alice").taken;
    expect(taken).toMatchObject({ id: sent?.id, content: "in time" });
    expect(await problemsOf(world, [{ group: "team", members: ["alice", "bob"] }])).toEqual([]);
  });

  it("have the sizes of few buckets", async () => {
    const world = await online(await grouped(["alice", "bob"], ["carol"])(), "alice", "bob", "carol");
    const sizes = new Map<number, number>();
    for (const length of [0, 1, 50, 100, 200, 300, 511, 512, 1000, 3000, 10_000, 70_000]) {
      const before = appendsOf(world, "alice").length;
      world.send("alice", ["bob"], "x".repeat(length), "team");
      await world.settle();
      const [append] = appendsOf(world, "alice").slice(before);
      sizes.set(length, cipherSize(append as Append));
    }
    invite(world, "alice", "carol");
    await world.settle();
    leaveGroup(world, "bob");
    await world.settle();
    expect(world.failures).toEqual([]);
    const all = ["alice", "bob", "carol"].flatMap((user) => appendsOf(world, user));
    expect(new Set(all.map(({ body }) => body.entry.kind)).size).toBe(3);
    for (const append of all) {
      const size = cipherSize(append);
      // 256, or eight to fifteen times a power of two.
      const step = 2 ** Math.max(0, Math.floor(Math.log2(size)) - 3);
      expect(size >= 256 && size % step === 0, `${size}`).toBe(true);
    }
    expect(sizes.get(0)).toBe(256);
    expect(sizes.get(50)).toBe(256);
    expect(sizes.get(511)).toBe(sizes.get(512));
    expect(new Set(sizes.values()).size).toBeLessThan(sizes.size - 2);
  });
});

/** The size of what an entry encrypts, without the authentication tag. */
function cipherSize(append: Append): number {
  const message = decode(decodeMlsMessage, append.body.entry.payload);
  if (message.wireFormat !== "private_message") throw new Error(message.wireFormat);
  return message.privateMessage.ciphertext.length - 16;
}

describe("a commit", () => {
  it("counts for its sender when the log shows it, not when the relay has taken it", async () => {
    const world = await online(await grouped(["alice", "bob", "carol"])(), "alice", "bob", "carol");
    const alice = world.device("alice");
    const held: Uint8Array[] = [];
    let holding = true;
    world.transform = (user, direction, bytes) => {
      if (!holding || user !== "alice" || direction !== "in" || relayFrame(bytes).type !== "entries")
        return bytes;
      held.push(bytes);
      return undefined;
    };
    const before = await storedState(alice);
    let removed = false;
    world.call("alice", (client) => client.remove("team", "carol").then(() => (removed = true)), false);
    // Less than the call's timeout.
    await world.settle(5_000);
    expect(held.length).toBe(1);
    const waiting = await storedState(alice);
    expect(waiting.group?.groupContext.epoch).toBe(before.group?.groupContext.epoch);
    expect(removed).toBe(false);
    holding = false;
    for (const frame of held) world.wire("alice").inject(frame);
    await world.settle();
    const after = await storedState(alice);
    expect(after.group?.groupContext.epoch).toBe((before.group?.groupContext.epoch as bigint) + 1n);
    expect(removed).toBe(true);
  });

  it("of a race is dropped by the loser, and made again after the winner's", async () => {
    const world = await online(
      await grouped(["alice", "bob"], ["carol", "dave"])(),
      "alice",
      "bob",
      "carol",
      "dave",
    );
    world.call("alice", (client) => client.invite("team", "carol"));
    leaveGroup(world, "bob");
    world.call("alice", (client) => client.invite("team", "dave"));
    await world.settle();
    expect(await problemsOf(world, [{ group: "team", members: ["alice", "carol", "dave"] }])).toEqual([]);
  });

  it("by a member who has no right to it changes nothing, and the log goes on", async () => {
    const world = await online(await grouped(["alice", "bob", "carol"])(), "alice", "bob", "carol");
    const bob = world.device("bob");
    const state = await storedState(bob);
    const group = state.group as NonNullable<typeof state.group>;
    const policy = policyIn(group);
    if (policy.kind !== "group") throw new Error("not a group");
    const identity = await loadIdentity(storeOf(bob), "bob");
    const { commit } = await createCommit(group, {
      proposals: [
        {
          kind: "groupContextExtensions",
          extensions: [policyExtension({ ...policy, admins: ["alice", "bob"] })],
        },
      ],
      forcePath: true,
      authenticatedData: await commitAuthenticatedData([]),
      signer: identity.device,
      authenticate,
      now: BigInt(Math.floor(world.clock(() => true).now() / 1000)),
    });
    world.wire("bob").smuggle(
      encodeClientFrame({
        type: "request",
        id: 0x7fffffff,
        name: "append",
        body: {
          log: { kind: LogKind.group, id: state.record.groupId },
          after: state.place.handshake,
          entry: {
            kind: EntryKind.commit,
            entryId: randomBytes(16),
            payload: commit,
            bundle: { access: [], welcome: new Uint8Array(0) },
          },
        },
      }),
    );
    await world.settle();
    for (const user of ["alice", "carol"]) {
      const after = await storedState(world.device(user));
      expect(after.group && policyIn(after.group)).toEqual(policy);
      // Bob's device finds an entry of its own that it did not make, and comes in anew as another: that commit counts.
      const commits = after.place.handshake.seq - state.place.handshake.seq;
      expect(commits).toBe(2);
      expect(after.group?.groupContext.epoch).toBe(group.groupContext.epoch + 1n);
      const errors = world.device(user).events.filter(({ name }) => name === "error");
      expect(errors.map(({ event }) => (event as { code: string }).code)).toEqual(["invalid-message"]);
    }
    world.send("carol", ["alice"], "still here", "team");
    world.send("alice", ["carol"], "so am I", "team");
    await world.settle();
    expect(texts(world.device("alice"))).toEqual(["still here"]);
    expect(texts(world.device("carol"))).toEqual(["so am I"]);
  });
});

describe("an entry", () => {
  it("with the id of one of ours but another content is not taken for ours", async () => {
    const world = await online(await acquainted("alice", "bob")(), "alice", "bob");
    let ours: Uint8Array | undefined;
    world.transform = (user, direction, bytes) => {
      if (user !== "alice") return bytes;
      if (direction === "out") {
        const append = appendIn(bytes);
        if (append === undefined) return bytes;
        ours ??= append.body.entry.entryId;
        return undefined; // The relay keeps quiet about it,
      }
      const frame = relayFrame(bytes);
      if (frame.type !== "entries" || ours === undefined) return bytes;
      // and gives bob's entry the id of alice's.
      const entryId = asBytes(ours);
      const entries = frame.entries.map((entry) =>
        entry.form === "full" ? { ...entry, content: { ...entry.content, entryId } } : { ...entry, entryId },
      );
      return encodeRelayFrame({ ...frame, entries });
    };
    world.send("alice", ["bob"], "mine");
    await world.settle();
    expect(ours).toBeDefined();
    world.send("bob", ["alice"], "his");
    await world.settle();
    const alice = world.device("alice");
    expect(texts(alice)).toEqual(["his"]);
    expect(alice.events.filter(({ name }) => name === "receipt")).toEqual([]);
    const left = alice.place.under(layout.intents).map(([, intent]) => toHex(intent));
    expect(left.some((intent) => intent.includes(toHex(toUtf8("mine"))))).toBe(true);
  });

  it("of ours that a crash kept from being seen is known again", async () => {
    const world = await online(await acquainted("alice", "bob")(), "alice", "bob");
    // The relay's answer comes to the process that dies, the log itself does not.
    world.transform = (user, direction, bytes) =>
      user === "alice" && direction === "in" && relayFrame(bytes).type === "entries" ? undefined : bytes;
    world.send("alice", ["bob"], "answered");
    await world.settle();
    const alice = world.device("alice");
    const before = (await storedState(alice)).place.cursor.seq;
    world.kill("alice");
    world.transform = (_user, _direction, bytes) => bytes;
    world.revive();
    await world.settle();
    expect((await storedState(alice)).place.cursor.seq).toBeGreaterThan(before);
    expect(await problemsOf(world, [{ members: ["alice", "bob"] }])).toEqual([]);
  });

  it("that brings a message again is dropped, also after a restart", async () => {
    const world = await acquainted("alice", "bob")();
    const repeated = randomBytes(16);
    const made: string[] = [];
    // The first id that a call asks for is that of its message.
    world.randomId = (user, length) => {
      if (user !== "alice" || made.length === 0) return randomBytes(length);
      made.pop();
      return repeated;
    };
    await online(world, "alice", "bob");
    for (const [index, text] of ["original", "replay", "replay after a restart"].entries()) {
      made.push(text);
      world.call("alice", (client) => client.sendDirectMessage("bob", text));
      await world.settle();
      expect(made).toEqual([]);
      expect(texts(world.device("bob"))).toEqual(["original"]);
      if (index !== 1) continue;
      world.kill("bob");
      world.revive();
      await world.settle();
    }
    expect(world.device("bob").taken[0]?.id).toBe(toHex(repeated));
    expect(appendsOf(world, "alice").length).toBe(3);
    world.send("alice", ["bob"], "new");
    await world.settle();
    expect(texts(world.device("bob"))).toEqual(["original", "new"]);
  });
});

describe("an older copy of a store that was taken while its client ran", () => {
  /** Alice's device goes on from the copy: what it says in logs that it was in, and what her app is told. */
  async function goesOnFrom(world: World, later: () => void): Promise<{ said: number; told: unknown[] }> {
    const alice = world.device("alice");
    const copy = alice.place.copy();
    later();
    await world.settle();
    world.kill("alice");
    alice.place = copy;
    alice.events.length = 0;
    const before = appendsOf(world, "alice");
    const logs = new Set(before.map(({ body }) => logKey(body.log)));
    for (let opened = 0; opened < 2; opened++) {
      world.start("alice");
      world.call(
        "alice",
        (client) => client.sendDirectMessage("bob", `from the copy ${opened}`).catch(() => {}),
        false,
      );
      await world.settle();
      world.kill("alice");
    }
    const said = appendsOf(world, "alice").slice(before.length);
    return {
      said: said.filter(({ body }) => logs.has(logKey(body.log))).length,
      told: alice.events.flatMap(({ name, event }) =>
        name === "storeRecovered" || name === "error" ? [event] : [],
      ),
    };
  }

  const asAnotherDevice = { reason: "outdated", newDevice: true };

  it("notices that messages were sent since, and says nothing with used keys", async () => {
    const world = await online(await acquainted("alice", "bob")(), "alice", "bob");
    world.disconnect("bob"); // Nothing is acknowledged by all, so the log still has it.
    const { said, told } = await goesOnFrom(world, () => world.send("alice", ["bob"], "since"));
    expect(said).toBe(0);
    expect(told).toEqual([expect.objectContaining(asAnotherDevice)]);
    world.reconnect("bob");
    world.start("alice");
    await world.settle();
    expect(texts(world.device("bob"))).toEqual(["since", "from the copy 0", "from the copy 1"]);
  });

  it("notices that keys were changed since, and says nothing with used keys", async () => {
    const world = await online(await grouped(["alice", "bob", "carol"])(), "alice", "bob", "carol");
    world.disconnect("bob");
    const { said, told } = await goesOnFrom(world, () => remove(world, "alice", "carol"));
    expect(said).toBe(0);
    expect(told).toEqual([expect.objectContaining(asAnotherDevice)]);
  });

  it("is not what a relay makes of a device by repeating its entries", async () => {
    const world = await online(await acquainted("alice", "bob")(), "alice", "bob");
    let repeated: Extract<ReturnType<typeof relayFrame>, { type: "entries" }> | undefined;
    world.transform = (user, direction, bytes) => {
      const append = user === "alice" && direction === "out" ? appendIn(bytes) : undefined;
      if (append !== undefined && repeated === undefined) {
        const { kind, entryId, payload } = append.body.entry;
        const entry = { form: "full" as const, seq: 0, content: { kind, entryId, payload } };
        repeated = { type: "entries", log: append.body.log, entries: [entry] };
      }
      return bytes;
    };
    world.send("alice", ["bob"], "said once");
    await world.settle();
    const alice = world.device("alice");
    const { cursor } = (await storedState(alice)).place;
    if (repeated === undefined) throw new Error("nothing was sent");
    const entries = repeated.entries.map((entry) => ({ ...entry, seq: cursor.seq + 1 }));
    world.wire("alice").inject(encodeRelayFrame({ ...repeated, entries }));
    await world.settle();
    expect((await storedState(alice)).place.cursor.seq).toBe(cursor.seq + 1);
    expect(alice.events.filter(({ name }) => name === "error")).toEqual([]);
    expect(alice.life?.client.state).toBe("connected");
  });
});

describe("the policy", () => {
  it("stands in the group's context, the same for all members, and the relay does not see it", async () => {
    const world = await online(await grouped(["alice", "bob"])(), "alice", "bob");
    const states = await Promise.all([world.device("alice"), world.device("bob")].map(storedState));
    for (const { group } of states) {
      expect(group?.groupContext.extensions.map(({ extensionType }) => extensionType)).toEqual([
        POLICY_EXTENSION,
      ]);
      expect(policyIn(group as NonNullable<typeof group>)).toEqual({
        kind: "group",
        name: "team",
        join: "approval",
        admins: ["alice"],
        banned: [],
        disappearAfter: 0,
      });
    }
    const [policy] = states.map(({ group }) => group?.groupContext.extensions[0]?.data as Uint8Array);
    const hidden = toHex(policy as Uint8Array);
    for (const { bytes } of world.frames) expect(toHex(bytes).includes(hidden)).toBe(false);
    for (const [, bytes] of world.relayBytes) expect(toHex(bytes).includes(hidden)).toBe(false);
  });

  it("lets only its two accounts into a direct conversation", async () => {
    const world = await online(await registered("alice", "bob")(), "alice", "bob");
    world.send("alice", ["bob"], "hello");
    await world.settle();
    const { group } = await storedState(world.device("bob"));
    const accounts = await Promise.all(
      ["alice", "bob"].map(async (user) => (await loadIdentity(storeOf(world.device(user)), user)).account),
    );
    const policy = policyIn(group as NonNullable<typeof group>);
    if (policy.kind !== "direct") throw new Error("not a direct conversation");
    expect(policy.users.map(({ userId }) => userId)).toEqual(["alice", "bob"]);
    for (const [index, { accountKey }] of policy.users.entries()) {
      expect(equalBytes(accountKey, accounts[index]?.accountKey as Uint8Array)).toBe(true);
    }
  });
});
