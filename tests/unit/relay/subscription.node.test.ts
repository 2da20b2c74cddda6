import { describe, expect, it } from "vitest";
import type { Bytes } from "../../../src/base/bytes.js";
import { sha256 } from "../../../src/crypto/hash.js";
import { randomBytes } from "../../../src/crypto/random.js";
import { openMemoryStorage } from "../../../src/relay/embedded/open.js";
import type { Appended, Sender } from "../../../src/relay/storage.js";
import { EntryFrames, type Reader, Subscription } from "../../../src/relay/subscription.js";
import { contentDigestInput } from "../../../src/wire/entries.js";
import { decodeRelayFrame } from "../../../src/wire/frames.js";
import { type LogId, START } from "../../../src/wire/identifiers.js";
import { EntryKind, LogKind } from "../../../src/wire/protocol.js";

const quotas = { maxInboxEntries: 9, maxInboxBytes: 9999, maxRequests: 9, maxGroups: 9 };

/** A log with a subscription of its creator's that is told of entries only by the test. */
async function setUp() {
  const storage = openMemoryStorage();
  const sender: Sender = { userId: "alice", deviceId: randomBytes(16) };
  const log: LogId = { kind: LogKind.group, id: randomBytes(32) };
  await storage.create({ groupId: log.id, sender, bodyDigest: log.id, now: 0, quotas });
  const sent: Bytes[] = [];
  const reader: Reader = {
    deviceId: sender.deviceId,
    bufferedAmount: 0,
    drained: async () => {},
    send: (frame) => void sent.push(frame),
    close: (code, reason) => expect.unreachable(`${code} ${reason}`),
    fail: (error) => expect.unreachable(String(error)),
    claimOwn: () => false,
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
  const subscription = new Subscription(reader, storage, log, 0, 10_000);
  const seqs = () =>
    sent.flatMap((bytes) => {
      const frame = decodeRelayFrame(bytes);
      return frame.type === "entries" ? frame.entries.map(({ seq }) => seq) : [];
    });
  return { log, subscription, append, sent, seqs };
}

/** Long enough for the memory storage to answer. */
const settle = async () => {
  for (let i = 0; i < 100; i++) await Promise.resolve();
};

describe("Subscription", () => {
  it("reads what it was not told of, repeats nothing, and shares the frames of what it was told", async () => {
    const { log, subscription, append, sent, seqs } = await setUp();
    const [first] = [await append(), await append()];
    subscription.refresh();
    await settle();
    expect(seqs()).toEqual([1, 2]);
    const third = await append();
    const frames = new EntryFrames(log, third.entry as NonNullable<Appended["entry"]>);
    subscription.offer(third, frames);
    expect(seqs()).toEqual([1, 2, 3]);
    expect(sent.at(-1)).toBe(frames.get(false));
    // Told twice, and told late.
    subscription.offer(third, frames);
    subscription.offer(first as Appended, undefined);
    expect(seqs()).toEqual([1, 2, 3]);
    // Not told of the fourth, and told of the fifth.
    await append();
    const fifth = await append();
    subscription.offer(fifth, new EntryFrames(log, fifth.entry as NonNullable<Appended["entry"]>));
    await settle();
    expect(seqs()).toEqual([1, 2, 3, 4, 5]);
    // Told without the entry itself, as by another node.
    const { seq } = await append();
    subscription.offer({ log, seq }, undefined);
    await settle();
    expect(seqs()).toEqual([1, 2, 3, 4, 5, 6]);
    subscription.stop();
    const seventh = await append();
    subscription.offer(seventh, new EntryFrames(log, seventh.entry as NonNullable<Appended["entry"]>));
    subscription.refresh();
    await settle();
    expect(seqs()).toEqual([1, 2, 3, 4, 5, 6]);
  });
});
