import { describe, expect, it } from "vitest";
import { memoryStore } from "../../src/index.js";
import { openMemoryStorage } from "../../src/relay.js";
import { EndReason, type RelayFrame } from "../../src/wire/frames.js";
import type { LogId } from "../../src/wire/identifiers.js";
import { LogKind } from "../../src/wire/protocol.js";
import type { RefusalCode } from "../../src/wire/refusals.js";
import type { OperationName } from "../../src/wire/requests.js";
import { type Actor, connected, eventually, makeGroup, startRelay, type TestRelay } from "./harness.js";
import { SkipClock, settle } from "./skip-clock.js";
import { TamperedConnector } from "./tamper.js";

/** What a relay refuses for no reason, or passes over: the next request of this name, about a log of this kind. */
interface Lie {
  readonly name: OperationName;
  readonly code: RefusalCode | "silence";
  readonly log?: LogKind;
}

/** A client whose relay refuses a request, once unless it is said otherwise. */
class Misled {
  readonly clock = new SkipClock();
  readonly store = memoryStore();
  actor!: Actor;
  lie: Lie | undefined;
  isSteady = false;
  told = 0;
  /** Each time the log of a group is asked for it shows again what it showed last, and that it is over. */
  isEnding = false;
  asked = 0;
  #group: LogId | undefined;
  #last: RelayFrame | undefined;
  readonly #connector: TamperedConnector = new TamperedConnector({
    fromClient: (frame) => {
      if (frame.type !== "request") return undefined;
      if (frame.name === "subscribe" && frame.body.log.kind === LogKind.group) this.#askedFor(frame.body.log);
      if (this.lie?.name !== frame.name) return undefined;
      const { code, log } = this.lie;
      if (log !== undefined && !("log" in frame.body && frame.body.log.kind === log)) return undefined;
      this.told++;
      if (!this.isSteady) this.lie = undefined;
      if (code !== "silence")
        setImmediate(() => this.#connector.inject({ type: "refuse", id: frame.id, code, reason: "" }));
      return [];
    },
    fromRelay: (frame) => {
      if (frame.type === "entries" && frame.log.kind === LogKind.group && frame.entries.length > 0)
        this.#last = structuredClone(frame);
      return undefined;
    },
  });

  #askedFor({ kind, id }: LogId): void {
    this.#group = { kind, id: id.slice() };
    if (!this.isEnding) return;
    this.asked++;
    setTimeout(() => {
      if (this.#last !== undefined) this.#connector.inject(this.#last);
      this.end(EndReason.removed);
    }, 5);
  }

  /** The relay says that the log of the group is over. */
  end(reason: EndReason): void {
    this.told++;
    this.#connector.inject({ type: "ended", log: this.#group as LogId, reason });
  }

  async start(relay: TestRelay, userId: string): Promise<Actor> {
    const seams = { random: () => 0.1, connector: this.#connector, clock: this.clock };
    this.actor = await connected(relay, userId, { seams, store: this.store });
    await settle(this.actor);
    return this.actor;
  }

  /** Another session begins. */
  async begin(): Promise<void> {
    const sessions = this.actor.all("connect").length;
    this.#connector.inject(new Uint8Array(0));
    await this.actor.until(() => this.actor.all("connect").length > sessions);
    await eventually(() => this.lie === undefined);
  }

  pass(ms: number): Promise<void> {
    return this.clock.skip(ms, () => settle(this.actor));
  }

  async timeoutsWithin(ms: number): Promise<number> {
    const timeouts = () => this.actor.errors.filter((code) => code === "timeout").length;
    const before = timeouts();
    // What is asked while a session ends comes to nothing.
    await this.clock.skip(ms, () => settle(this.actor).catch(() => {}));
    return timeouts() - before;
  }
}

/** What has come about within two minutes. */
async function soon(misled: readonly Misled[], test: () => boolean | Promise<boolean>): Promise<void> {
  for (let left = 30; left > 0 && !(await test()); left--)
    await Promise.all(misled.map((one) => one.pass(4_000)));
  expect(misled.map(({ told }) => told > 0)).toContain(true);
  await eventually(test);
}

/** Bob, who is away, has missed a change that the relay has dropped since. */
async function fallBehind() {
  const storage = openMemoryStorage();
  const relay = await startRelay({ storage });
  const [alice, bob] = [new Misled(), new Misled()];
  const carol = await connected(relay, "carol");
  await makeGroup("team", [await alice.start(relay, "alice"), carol, await bob.start(relay, "bob")]);
  await bob.actor.client.close();
  await alice.actor.client.remove("team", "carol");
  await alice.actor.client.sendGroupMessage("team", "never seen by bob");
  await settle(alice.actor);
  for (let i = 0; i < 20; i++) {
    await storage.prune({ now: Date.now() + 1, retention: 0, maxLogBytes: 1e9, batch: 1000 } as never);
  }
  return { relay, alice, bob };
}

const isIn = async (actor: Actor) => (await actor.client.groups()).some(({ name }) => name === "team");

describe("a relay that refuses for no reason, once and in a session that goes on, costs nothing but time:", () => {
  const meet = async () => {
    const relay = await startRelay();
    const bob = new Misled();
    return { relay, alice: await connected(relay, "alice"), bob, actor: await bob.start(relay, "bob") };
  };

  it.each(["resolveDirect", "fetchKeyPackages"] as const)("%s, for a first message", async (name) => {
    const { alice, bob, actor } = await meet();
    bob.lie = { name, code: "stale" };
    await actor.client.sendDirectMessage("alice", "hello");
    await soon([bob], () => alice.texts.includes("hello"));
  });

  it("fetchKeyPackages, for an invitation; what was written after it comes too", async () => {
    const { alice, bob, actor } = await meet();
    await actor.client.createGroup("team");
    await settle(actor);
    bob.lie = { name: "fetchKeyPackages", code: "conflict" };
    const invited = actor.client.invite("team", "alice").catch(() => {});
    const id = await actor.client.sendGroupMessage("team", "hello");
    await soon([bob], () => alice.all("invitation").length > 0);
    await actor.receipts([id], "sent");
    await invited;
  });

  it("subscribe, for the inbox", async () => {
    const { alice, bob, actor } = await meet();
    bob.lie = { name: "subscribe", log: LogKind.inbox, code: "rate-limited" };
    await bob.begin();
    await alice.client.sendDirectMessage("bob", "hello");
    await soon([bob], () => actor.texts.includes("hello"));
  });

  it("subscribe, for a request box", async () => {
    const { alice, bob, actor } = await meet();
    bob.lie = { name: "subscribe", log: LogKind.requestBox, code: "not-a-member" };
    await actor.client.createGroup("team");
    const asked = alice.client.joinGroup("team");
    await soon([bob], () => actor.all("joinRequest").length > 0);
    await actor.all("joinRequest")[0]?.approve();
    await asked;
  });

  it.each([
    ["fetchBundle", "unknown-entry"],
    ["fetchBundle", "not-a-member"],
    ["fetchAccount", "unknown-user"],
  ] as const)("%s (%s), for who was admitted to a group", async (name, code) => {
    const { alice, bob, actor } = await meet();
    alice.client.on("joinRequest", (request) => request.approve());
    await alice.client.createGroup("team");
    bob.lie = { name, code };
    const asked = actor.client.joinGroup("team", { timeout: 100_000 });
    await soon([bob], () => isIn(actor));
    await asked;
  });

  it.each([
    ["bob", "fetchBundle", "unknown-entry"],
    ["bob", "fetchBundle", "not-a-member"],
    ["alice", "fetchAccount", "unknown-user"],
    ["alice", "fetchAccount", "rate-limited"],
    ["alice", "append", "unknown-user"],
    ["alice", "append", "not-a-member"],
  ] as const)("to %s, %s (%s), where bob is to be added anew", async (whom, name, code) => {
    const { relay, alice, bob } = await fallBehind();
    (whom === "bob" ? bob : alice).lie = {
      name,
      code,
      ...(name === "append" && { log: LogKind.group }),
    };
    await bob.start(relay, "bob");
    await bob.actor.client.sendGroupMessage("team", "from bob");
    await soon([alice, bob], () => alice.actor.texts.includes("from bob"));
    await alice.actor.client.sendGroupMessage("team", "from alice");
    await bob.actor.message("from alice");
    expect(bob.actor.all("groupLeave")).toEqual([]);
    expect(bob.actor.all("undecryptable")).toHaveLength(1);
  });
});

describe("a relay that never answers one request and all others costs half a minute, and a session:", () => {
  it.each(["resolveDirect", "fetchKeyPackages", "create"] as const)(
    "%s, for a first message",
    async (name) => {
      const relay = await startRelay();
      const bob = new Misled();
      const alice = await connected(relay, "alice");
      const actor = await bob.start(relay, "bob");
      bob.lie = { name, code: "silence" };
      await actor.client.sendDirectMessage("alice", "hello");
      await soon([bob], () => alice.texts.includes("hello"));
      expect(actor.errors).toEqual(["timeout"]);
    },
  );

  it.each([
    ["bob", "fetchBundle"],
    ["alice", "fetchAccount"],
    ["alice", "append"],
  ] as const)("to %s, %s, where bob is to be added anew", async (whom, name) => {
    const { relay, alice, bob } = await fallBehind();
    (whom === "bob" ? bob : alice).lie = {
      name,
      code: "silence",
      ...(name === "append" && { log: LogKind.group }),
    };
    await bob.start(relay, "bob");
    await bob.actor.client.sendGroupMessage("team", "from bob");
    await soon([alice, bob], () => alice.actor.texts.includes("from bob"));
    expect(bob.actor.all("groupLeave")).toEqual([]);
  });

  it("nothing, for as long as it likes: the sessions are fewer and fewer", async () => {
    const relay = await startRelay();
    const bob = new Misled();
    const actor = await bob.start(relay, "bob");
    const alice = await connected(relay, "alice");
    bob.lie = { name: "fetchKeyPackages", code: "silence" };
    bob.isSteady = true;
    await actor.client.sendDirectMessage("alice", "hello");
    const [first, second] = [await bob.timeoutsWithin(240_000), await bob.timeoutsWithin(720_000)];
    expect([first, second]).toEqual([3, 2]);
    bob.lie = undefined;
    await bob.timeoutsWithin(500_000);
    await alice.message("hello");
  });
});

it("a relay that says once of a group in which one waits to be added anew that it was closed ends nothing by it", async () => {
  const { relay, alice, bob } = await fallBehind();
  await alice.actor.client.close();
  await bob.start(relay, "bob");
  await bob.actor.client.sendGroupMessage("team", "from bob");
  bob.end(EndReason.closed);
  await bob.pass(120_000);
  expect(bob.actor.all("groupLeave")).toEqual([]);
  await alice.start(relay, "alice");
  await soon([alice, bob], () => alice.actor.texts.includes("from bob"));
});

it("who waits to be added anew, and is removed instead, reads nothing of why: it is told that the group is lost", async () => {
  const { relay, alice, bob } = await fallBehind();
  await alice.actor.client.close();
  await bob.start(relay, "bob");
  await bob.actor.client.sendGroupMessage("team", "from bob");
  for (let i = 0; i < 2; i++) {
    bob.end(EndReason.removed);
    await bob.pass(1_000);
  }
  expect(await bob.actor.event("groupLeave")).toMatchObject({ reason: "lost" });
  expect(bob.actor.errors).not.toContain("protocol-error");
  await bob.actor.until(() => bob.actor.all("receipt").some(({ state }) => state === "failed"));
});

it("a relay that ends a log over and over, and shows what was read before it, is not asked without end", async () => {
  const relay = await startRelay();
  const bob = new Misled();
  const alice = await connected(relay, "alice");
  await makeGroup("team", [alice, await bob.start(relay, "bob")]);
  await alice.client.sendGroupMessage("team", "hello");
  await bob.actor.message("hello");
  await settle(bob.actor);
  bob.isEnding = true;
  bob.end(EndReason.removed);
  await bob.actor.event("groupLeave");
  expect(bob.asked).toBeLessThan(3);
});

it("a relay that refuses messages for no reason, for as long as it likes, is asked less and less often", async () => {
  const relay = await startRelay();
  const bob = new Misled();
  const alice = await connected(relay, "alice");
  await makeGroup("team", [await bob.start(relay, "bob"), alice]);
  bob.lie = { name: "append", log: LogKind.group, code: "internal" };
  bob.isSteady = true;
  for (let i = 0; i < 10; i++) await bob.actor.client.sendGroupMessage("team", `number ${i}`);
  await bob.pass(60_000);
  const { told } = bob;
  expect(told).toBeGreaterThan(10);
  await bob.pass(600_000);
  // Ten messages every 30 s.
  expect(bob.told - told).toBeLessThanOrEqual(210);
  bob.lie = undefined;
  await bob.pass(32_000);
  await alice.count(10);
  expect(alice.texts).toEqual(Array.from({ length: 10 }, (_, i) => `number ${i}`));
});
