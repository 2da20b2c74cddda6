import { describe, expect, it } from "vitest";
import { type Actor, type ActorOptions, connectAll, connected, makeGroup, startRelay } from "./harness.js";
import { SkipClock, settle } from "./skip-clock.js";

async function world() {
  const clock = new SkipClock();
  const signals: string[] = [];
  const relay = await startRelay({
    clock,
    onFrame: ({ direction, userId, bytes }) => {
      if (direction === "in" && bytes[0] === 0x09) signals.push(userId as string);
    },
  });
  const options: ActorOptions = { presence: true, seams: { clock, random: () => 0.1 } };
  return { clock, relay, signals, options };
}

const seen = (actor: Actor) => actor.all("presence").map(({ userId, online }) => `${userId} ${online}`);
const sees = (actor: Actor, line: string) => actor.until(() => seen(actor).at(-1) === line, line);

/** Who was told too early to hear it is told again after five seconds. */
const meet = (clock: SkipClock, ...actors: Actor[]) => clock.skip(12_000, () => settle(...actors));

describe("presence", () => {
  it("is off unless it is asked for: not a frame of it, and nothing of others", async () => {
    const { clock, relay, signals, options } = await world();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"], { ...options, presence: false });
    const carol = await connected(relay, "carol", options);
    await makeGroup("team", [alice, bob, carol]);
    await clock.skip(130_000, () => settle(alice, bob, carol));
    await alice.client.close();
    expect(signals.filter((userId) => userId !== "carol")).toEqual([]);
    expect(signals.length).toBeGreaterThan(0);
    expect([seen(bob), seen(carol)]).toEqual([[], []]);
    expect(await bob.client.presence("carol")).toEqual({ userId: "carol", online: false });
  });

  it("is told when one comes, answered by who is there, and taken back when one goes", async () => {
    const { clock, relay, options } = await world();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"], options);
    await makeGroup("team", [alice, bob]);
    await meet(clock, alice, bob);
    await Promise.all([sees(alice, "bob true"), sees(bob, "alice true")]);
    expect(await alice.client.presence("bob")).toMatchObject({ userId: "bob", online: true });
    await bob.client.close();
    await sees(alice, "bob false");
    expect(await alice.client.presence("bob")).toMatchObject({ userId: "bob", online: false });
  });

  it("is told in as few conversations as reach everybody, again and again", async () => {
    const { clock, relay, signals, options } = await world();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"], options);
    await makeGroup("pair", [alice, bob]);
    await makeGroup("team", [alice, bob, carol]);
    await meet(clock, alice, bob, carol);
    expect([seen(alice).length, seen(carol).length]).toEqual([2, 2]);
    expect(seen(carol)).toContain("alice true");
    signals.length = 0;
    await clock.skip(180_000, () => settle(alice, bob, carol));
    // About one in a minute for each, whatever they share.
    for (const user of ["alice", "bob", "carol"]) {
      const count = signals.filter((userId) => userId === user).length;
      expect(count).toBeGreaterThanOrEqual(2);
      expect(count).toBeLessThanOrEqual(4);
    }
    expect(seen(alice).filter((line) => line.endsWith("false"))).toEqual([]);
  });

  it("is not told to who is blocked, to whom one is gone after two and a half minutes", async () => {
    const { clock, relay, options } = await world();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"], options);
    await makeGroup("team", [alice, bob]);
    await meet(clock, alice, bob);
    await Promise.all([sees(alice, "bob true"), sees(bob, "alice true")]);
    await bob.client.block("alice");
    await clock.skip(160_000, () => settle(alice, bob));
    await sees(alice, "bob false");
    expect(seen(bob)).toEqual(["alice true"]);
    await bob.client.unblock("alice");
    await meet(clock, alice, bob);
    await sees(alice, "bob true");
  });
});
