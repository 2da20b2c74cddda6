import { expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { openMemoryStorage, Relay } from "../../src/relay.js";
import { START } from "../../src/wire/identifiers.js";
import { ManualClock } from "./manual-clock.js";
import { groupLog, makeUser, message, RawClient } from "./raw-client.js";

it("drops in the background what is too old or too much, in bounded steps between which people go on", async () => {
  const clock = new ManualClock();
  const storage = openMemoryStorage();
  const errors: unknown[] = [];
  const steps: number[] = [];
  let fail = false;
  let rounds = 0;
  const { prune } = storage;
  storage.prune = async (command) => {
    if (fail) {
      fail = false;
      throw new Error("the disk is asleep");
    }
    const first = async () => (await storage.head(log)).first;
    const before = await first();
    const round = await prune.call(storage, command);
    steps.push((await first()) - before);
    if (round) rounds++;
    return round;
  };
  const limits = {
    maintenanceInterval: 1000,
    maintenanceBatch: 3,
    retention: 5000,
    maxLogBytes: 2000,
    heartbeatInterval: Number.POSITIVE_INFINITY,
  };
  const relay = new Relay({ storage, clock, limits, onError: (error) => errors.push(error) });
  const { url } = await relay.listen();
  const client = await RawClient.connect(url, await makeUser("alice"));
  const log = groupLog(randomBytes(32));
  await client.request("create", { groupId: log.id });
  /** Lets one round go by; something else is asked meanwhile. */
  const round = async () => {
    const before = rounds;
    clock.advance(1000);
    while (rounds === before) await client.request("listGroups", {});
    // The next one is planned when this one's promise has settled.
    await client.request("listGroups", {});
  };
  for (let i = 0; i < 10; i++) await client.append(log, START, message(`${i}`));
  await round();
  expect((await storage.head(log)).first).toBe(1);
  clock.advance(3000);
  await round();
  await round();
  // All are too old by now.
  expect((await storage.head(log)).first).toBe(11);
  expect(steps.filter((dropped) => dropped > 0)).toEqual([3, 3, 3, 1]);
  // Too many bytes, whatever their age.
  for (let i = 0; i < 10; i++) await client.append(log, START, message("x".repeat(500)));
  await round();
  const { first, seq } = await storage.head(log);
  expect([first > 14, seq]).toEqual([true, 20]);
  expect(Math.max(...steps)).toBeLessThanOrEqual(3);
  // A failure is reported, and the next round comes nevertheless.
  fail = true;
  clock.advance(1000);
  while (errors.length === 0) await client.request("listGroups", {});
  await client.request("listGroups", {});
  await round();
  expect(errors).toEqual([expect.objectContaining({ message: "the disk is asleep" })]);
  await relay.close();
  const stopped = rounds;
  clock.advance(100_000);
  expect(rounds).toBe(stopped);
});
