import { describe, expect, it } from "vitest";
import type { Bytes } from "../../../src/base/bytes.js";
import { toHex } from "../../../src/base/encoding.js";
import { encode } from "../../../src/codec/writer.js";
import { sha256 } from "../../../src/crypto/hash.js";
import { randomBytes } from "../../../src/crypto/random.js";
import {
  accountOf,
  add,
  application,
  box,
  commit,
  entry,
  remove,
  World,
} from "../../../src/relay/conformance/world.js";
import { openMemoryStorage } from "../../../src/relay/embedded/open.js";
import { Run } from "../../../src/relay/run.js";
import type { Appended, Sender, StoredEntry } from "../../../src/relay/storage.js";
import { type Reader, Subscription } from "../../../src/relay/subscription.js";
import { contentDigestInput, encodeJoinRequest } from "../../../src/wire/entries.js";
import { decodeRelayFrame, EndReason } from "../../../src/wire/frames.js";
import { type LogId, START } from "../../../src/wire/identifiers.js";
import { EntryKind, LogKind } from "../../../src/wire/protocol.js";

const quotas = { maxInboxEntries: 9, maxInboxBytes: 9999, maxRequests: 9, maxGroups: 9 };

/** A log with a subscription of its creator's that is told of entries only by the test. */
async function setUp(claimOwn: (entryId: Bytes) => boolean = () => false) {
  const storage = openMemoryStorage();
  const sender: Sender = { userId: "alice", deviceId: randomBytes(16) };
  const log: LogId = { kind: LogKind.group, id: randomBytes(32) };
  await storage.create({ groupId: log.id, sender, bodyDigest: log.id, now: 0, quotas });
  const sent: Bytes[] = [];
  const turns = { batchBytes: 10_000, crowded: false, take: <T>(read: () => Promise<T>) => read() };
  const reader: Reader = {
    deviceId: sender.deviceId,
    turns,
    send: (frame) => void sent.push(frame),
    close: (code, reason) => expect.unreachable(`${code} ${reason}`),
    fail: (error) => expect.unreachable(String(error)),
    claimOwn: (_log, entryId) => claimOwn(entryId),
    subscriptionEnded: () => {},
  };
  const news: Appended[] = [];
  storage.watch((appended) => void news.push(appended));
  const append = async () => {
    const content = { kind: EntryKind.application, entryId: randomBytes(16), payload: randomBytes(9) };
    const entry = {
      content,
      contentDigest: await sha256(contentDigestInput(content)),
      welcome: new Uint8Array(0),
    };
    await storage.append({ log, sender, after: START, entry, now: 0, quotas });
    return news.at(-1) as Appended;
  };
  const subscription = new Subscription(reader, storage, log, 0);
  const seqs = () =>
    sent.flatMap((bytes) => {
      const frame = decodeRelayFrame(bytes);
      return frame.type === "entries" ? frame.entries.map(({ seq }) => seq) : [];
    });
  return { log, reader, turns, subscription, append, sent, seqs };
}

/** Long enough for the memory storage to answer. */
const settle = async () => {
  for (let i = 0; i < 100; i++) await Promise.resolve();
};

/** The news as the hub passes them on. */
const runOf = (first: Appended, ...more: Appended[]) => {
  const run = new Run(first, 10_000);
  for (const appended of more) expect(run.take(appended)).toBe(true);
  return run;
};

describe("Subscription", () => {
  it("passes on what may be lost only to another than its sender who has read everything and is not slow", async () => {
    const { reader, turns, subscription, append, sent } = await setUp();
    const frames = [1, 2, 3, 4, 5].map((byte) => Uint8Array.of(byte));
    const [early, own, slow, late, last] = frames as [Bytes, Bytes, Bytes, Bytes, Bytes];
    subscription.pass(early, undefined);
    subscription.refresh();
    await settle();
    subscription.pass(own, reader);
    turns.crowded = true;
    subscription.pass(slow, undefined);
    turns.crowded = false;
    await append();
    subscription.refresh();
    subscription.pass(late, undefined);
    await settle();
    subscription.pass(last, undefined);
    subscription.stop();
    subscription.pass(last, undefined);
    expect(sent.filter((frame) => frames.includes(frame))).toEqual([last]);
  });

  it("reads what it was not told of, repeats nothing, and shares the frames of what it was told", async () => {
    const { log, subscription, append, sent, seqs } = await setUp();
    const [first] = [await append(), await append()];
    subscription.refresh();
    await settle();
    expect(seqs()).toEqual([1, 2]);
    const third = runOf(await append(), await append());
    subscription.offer(third);
    expect(seqs()).toEqual([1, 2, 3, 4]);
    expect(sent.at(-1)).toBe(third.frame(false));
    // Told twice, and told late.
    subscription.offer(third);
    subscription.offer(runOf(first as Appended));
    expect(seqs()).toEqual([1, 2, 3, 4]);
    // Not told of the fifth, and told of the sixth.
    await append();
    subscription.offer(runOf(await append()));
    await settle();
    expect(seqs()).toEqual([1, 2, 3, 4, 5, 6]);
    // Told without the entry itself, as by another node, and of more than it had read by then.
    const { seq } = await append();
    subscription.offer(runOf({ log, seq }));
    await settle();
    subscription.offer(runOf({ log, seq }));
    expect(seqs()).toEqual([1, 2, 3, 4, 5, 6, 7]);
    const seventh = await append();
    subscription.refresh();
    await settle();
    subscription.offer(runOf(seventh, await append()));
    await settle();
    expect(seqs()).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    subscription.stop();
    subscription.offer(runOf(await append()));
    subscription.refresh();
    await settle();
    expect(seqs()).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it("gives a sender its own messages in the short form, in a frame of its own", async () => {
    const own = new Set<string>();
    const { log, subscription, append, sent } = await setUp((entryId) => own.delete(toHex(entryId)));
    subscription.refresh();
    await settle();
    const run = runOf(await append(), await append(), await append());
    own.add(toHex(run.entries[1]?.entryId as Bytes));
    subscription.offer(run);
    const frame = decodeRelayFrame(sent.at(-1) as Bytes);
    if (frame.type !== "entries") expect.unreachable(frame.type);
    else
      expect(frame.entries.map(({ form, seq }) => [form, seq])).toEqual([
        ["full", 1],
        ["short", 2],
        ["full", 3],
      ]);
    expect(frame).toMatchObject({ log });
    expect(sent.at(-1)).not.toBe(run.frame(false));
  });
});

it("gives a slow reader what is up to its removal, and nothing from between that and its coming back", async () => {
  const world = new World({ storage: openMemoryStorage(), dispose: async () => {} });
  const [alice, bob] = [await world.admit("alice"), await world.admit("bob")];
  const { log, at } = await world.create(alice, await commit([add(bob)]));
  let drain = () => {};
  const drained = new Promise<void>((resolve) => {
    drain = resolve;
  });
  const sent: unknown[] = [];
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const reader: Reader = {
    deviceId: bob.deviceId,
    turns: { batchBytes: 10_000, crowded: true, take: (read) => drained.then(read) },
    send(bytes) {
      const frame = decodeRelayFrame(bytes);
      if (frame.type === "entries") sent.push(...frame.entries.map(({ seq }) => seq));
      else sent.push(frame.type === "ended" ? frame.reason : frame.type);
    },
    close: (code, reason) => expect.unreachable(`${code} ${reason}`),
    fail: (error) => expect.unreachable(String(error)),
    claimOwn: () => false,
    subscriptionEnded: () => end(),
  };
  const subscription = new Subscription(reader, world.storage, log, at.seq);
  const out = await world.append(alice, log, at, await commit([remove(bob)]));
  // It is behind, and waits for its reader.
  subscription.refresh();
  await world.append(alice, log, out, await application());
  await world.append(alice, log, out, await commit([add(bob)]));
  drain();
  await ended;
  expect(sent.slice(0, -1)).toEqual([out.seq]);
  expect(sent.at(-1)).toBe(EndReason.removed);
});

it("goes on in a request box where that has dropped what was not read", async () => {
  const world = new World({ storage: openMemoryStorage(), dispose: async () => {} });
  const [alice, eve] = [await world.admit("alice"), await world.admit("eve")];
  const { log } = await world.create(alice);
  const requests = box(log.id);
  const ask = async () => {
    const { userId, deviceId } = eve;
    const made = { keyPackage: randomBytes(9), signature: randomBytes(9) };
    const asked = {
      groupId: log.id,
      userId,
      deviceId,
      accountKey: accountOf(userId, []).accountKey,
      ...made,
    };
    const payload = encode(encodeJoinRequest, asked);
    const content = { kind: EntryKind.joinRequest, entryId: randomBytes(16), payload };
    return world.append(eve, requests, START, await entry(content));
  };
  await ask();
  let drain = () => {};
  const drained = new Promise<void>((resolve) => {
    drain = resolve;
  });
  const seqs: number[] = [];
  const reader: Reader = {
    deviceId: alice.deviceId,
    turns: { batchBytes: 10_000, crowded: false, take: (read) => drained.then(read) },
    send(bytes) {
      const frame = decodeRelayFrame(bytes);
      if (frame.type === "entries") seqs.push(...frame.entries.map(({ seq }) => seq));
    },
    close: (code, reason) => expect.unreachable(`${code} ${reason}`),
    fail: (error) => expect.unreachable(String(error)),
    claimOwn: () => false,
    subscriptionEnded: () => expect.unreachable("it has access"),
  };
  new Subscription(reader, world.storage, requests, 0).refresh();
  for (let i = 0; i < 100; i++) await ask();
  drain();
  await settle();
  const { first, seq } = await world.storage.head(requests);
  expect(first).toBeGreaterThan(1);
  expect(seqs).toEqual(Array.from({ length: seq - first + 1 }, (_, i) => first + i));
});

describe("Run", () => {
  it("takes application messages that follow each other, while they fit, and nothing else", async () => {
    const { append, log } = await setUp();
    const [one, two, three] = [await append(), await append(), await append()];
    const run = new Run(one, 10_000);
    expect(run.take(three)).toBe(false);
    expect(run.take({ log, seq: 2 })).toBe(false);
    expect(run.take(two)).toBe(true);
    expect([run.first, run.last]).toEqual([1, 2]);
    expect(new Run(one, 50).take(two)).toBe(false);
    expect(new Run({ log, seq: 1 }, 10_000).take(two)).toBe(false);
    const leaving = { ...three, entry: { ...(three.entry as StoredEntry), kind: EntryKind.leave } };
    expect(run.take(leaving)).toBe(false);
    expect(new Run(leaving, 10_000).plain).toBe(false);
    expect(run.take(three)).toBe(true);
  });
});
