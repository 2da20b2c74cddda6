import { randomBytes } from "../../crypto/random.js";
import { type Cursor, START } from "../../wire/identifiers.js";
import type { Appended, EntryInput } from "../storage.js";
import { expect } from "./expectations.js";
import { add, application, commit, type Define, inbox, NOW, type World } from "./world.js";

/** Reading, dropping, and what outlives closing. */
export function readingCases(it: Define, world: World): void {
  const { admit, append, create, readAll, chained } = world;
  it("reading: gives entries in order, bounded by count and by bytes, always at least one", async () => {
    const alice = await admit("alice");
    const { log } = await create(alice);
    for (let i = 0; i < 10; i++) await append(alice, log, START, await application(randomBytes(1000)));
    expect((await world.storage.read(log, 3, 4, 1e9)).map(({ seq }) => seq)).toEqual([4, 5, 6, 7]);
    expect((await world.storage.read(log, 0, 100, 2500)).map(({ seq }) => seq)).toEqual([1, 2]);
    expect((await world.storage.read(log, 9, 100, 1)).map(({ seq }) => seq)).toEqual([10]);
    expect(await world.storage.read(log, 10, 100, 1e9)).toEqual([]);
    expect((await world.storage.entry(log, 10))?.seq).toBe(10);
    expect(await world.storage.entry(log, 11)).toBeUndefined();
  });

  it("reading: announces each entry once, in the order of its log, after it can be read", async () => {
    const alice = await admit("alice");
    const { log } = await create(alice);
    const seen: Appended[] = [];
    const missing: number[] = [];
    const stop = world.storage.watch((appended) => {
      seen.push(appended);
      void world.storage
        .entry(appended.log, appended.seq)
        .then((found) => found ?? missing.push(appended.seq));
    });
    const inputs = await Promise.all(Array.from({ length: 50 }, () => application()));
    await Promise.all(inputs.map((input) => append(alice, log, START, input)));
    await append(alice, log, START, inputs[0] as EntryInput);
    stop();
    await append(alice, log, START, await application());
    expect(seen.map(({ seq }) => seq)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
    expect(missing).toEqual([]);
    await chained(log);
  });
  const prune = (now: number, retention = 1000, maxLogBytes = 1e9, batch = 1000) =>
    world.storage.prune({ now, retention, uploadTimeout: retention, maxLogBytes, batch });

  it("dropping: an inbox drops what was acked and keeps the digest before the rest", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    for (let i = 0; i < 3; i++) await create(alice, await commit([add(bob)]));
    const log = inbox(bob.deviceId);
    const [, second] = await readAll(log);
    const end = await chained(log);
    await world.storage.ack(log, bob.deviceId, { seq: 2, digest: randomBytes(32) });
    await world.storage.ack(log, alice.deviceId, second as Cursor);
    expect((await world.storage.head(log)).first).toBe(1);
    await world.storage.ack(log, bob.deviceId, second as Cursor);
    const head = await world.storage.head(log);
    expect(head.first).toBe(3);
    expect(head.tail).toEqual(second?.digest);
    expect(await chained(log, { seq: 2, digest: head.tail })).toEqual(end);
    await world.storage.ack(log, bob.deviceId, end);
    expect(await world.storage.head(log)).toMatchObject({
      first: 4,
      seq: 3,
      tail: end.digest,
      digest: end.digest,
    });
  });

  it("dropping: drops what every device with access has acked, and only that", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const { log, at } = await create(alice, await commit([add(bob)], randomBytes(5)));
    const cursors = [at];
    for (let i = 0; i < 4; i++) cursors.push(await append(alice, log, at, await application()));
    await world.storage.ack(log, alice.deviceId, cursors[4] as Cursor);
    await prune(NOW);
    expect((await world.storage.head(log)).first).toBe(1);
    await world.storage.ack(log, bob.deviceId, cursors[2] as Cursor);
    await prune(NOW);
    const head = await world.storage.head(log);
    expect(head.first).toBe(4);
    expect(head.tail).toEqual(cursors[2]?.digest);
    expect(await world.storage.welcome(log.id, 1)).toHaveLength(0);
    await append(alice, log, at, await application());
  });

  it("dropping: drops by age in bounded steps, whoever has acked", async () => {
    const alice = await admit("alice");
    const { log } = await create(alice);
    for (let i = 0; i < 10; i++) await append(alice, log, START, await application(), NOW + i);
    let steps = 1;
    while (!(await prune(NOW + 1006, 1000, 1e9, 3))) steps++;
    expect(steps).toBeGreaterThan(2);
    expect((await world.storage.head(log)).first).toBe(8);
    await chained(log, { seq: 7, digest: (await world.storage.head(log)).tail });
    while (!(await prune(NOW + 5000, 1000))) {}
    expect(await world.storage.head(log)).toMatchObject({ first: 11, seq: 10 });
    expect((await append(alice, log, START, await application())).seq).toBe(11);
  });

  it("dropping: drops the oldest of a group log that is too large", async () => {
    const alice = await admit("alice");
    const { log } = await create(alice);
    for (let i = 0; i < 10; i++) await append(alice, log, START, await application(randomBytes(1000)));
    await prune(NOW, 1000, 5000);
    expect((await world.storage.head(log)).first).toBe(7);
  });
  it("reading: counts what it holds, and serves", async () => {
    await world.storage.check?.();
    const before = await world.storage.sizes?.();
    await create(await admit("alice"));
    const after = await world.storage.sizes?.();
    for (const [what, size] of Object.entries(after ?? {})) {
      expect(what).toMatch(/^[a-z_]+$/);
      expect(size).toBeGreaterThanOrEqual(before?.[what] ?? 0);
    }
  });

  it("reading: keeps everything over closing and opening, where it keeps anything", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const { log, at } = await create(alice, await commit([add(bob)], randomBytes(9)));
    const input = await application();
    const cursor = await append(alice, log, at, input);
    if (!(await world.reopen())) return;
    expect(await chained(log)).toEqual(cursor);
    expect(await append(alice, log, at, input)).toEqual(cursor);
    expect((await append(bob, log, at, await application())).seq).toBe(3);
    expect(await world.storage.account("bob")).toBeDefined();
    expect(await readAll(inbox(bob.deviceId))).toHaveLength(1);
  });
}
