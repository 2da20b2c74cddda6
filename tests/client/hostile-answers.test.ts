import { describe, expect, it } from "vitest";
import { systemClock } from "../../src/base/clock.js";
import { memoryStore } from "../../src/index.js";
import { encodeResult, type RelayFrame } from "../../src/wire/frames.js";
import { LogKind } from "../../src/wire/protocol.js";
import {
  type Actor,
  connected,
  eventually,
  makeActor,
  makeGroup,
  startRelay,
  type TestRelay,
} from "./harness.js";
import { SkipClock } from "./skip-clock.js";
import { TamperedConnector } from "./tamper.js";

describe("a relay that answers falsely", () => {
  it("about key packages it was given does not get them without end", async () => {
    const relay = await startRelay();
    let uploads = 0;
    const connector: TamperedConnector = new TamperedConnector({
      fromClient(frame) {
        if (frame.type !== "request" || frame.name !== "publishKeyPackages") return undefined;
        uploads++;
        const result = encodeResult("publishKeyPackages", { oneTime: 0 });
        setImmediate(() => connector.inject({ type: "reply", id: frame.id, result }));
        return [];
      },
    });
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { seams: { connector } });
    // Two conversations' worth of other requests have come and gone meanwhile.
    await bob.client.createGroup("team");
    await bob.client.sendDirectMessage("alice", "hello");
    await alice.message("hello");
    expect(uploads).toBe(1);
  });

  it("with a second challenge ends the connection, and with a second ready changes nothing", async () => {
    const relay = await startRelay();
    const connector = new TamperedConnector();
    const bob = await connected(relay, "bob", { seams: { random: () => 0, connector } });
    const ready = { registered: false, keyPackages: 0, maxFrameBytes: 1 << 20, time: 0 };
    connector.inject({ type: "ready", ready });
    await bob.client.createGroup("team");
    expect(bob.all("connect")).toHaveLength(1);
    connector.inject({ type: "challenge", challenge: { relayName: "x", nonce: new Uint8Array(32) } });
    expect(await bob.event("disconnect")).toMatchObject({ code: 1002, willReconnect: true });
  });

  it("that a state is outdated, in the middle of a session, does not outlaw it", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const connector = new TamperedConnector();
    const bob = await connected(relay, "bob", { store, seams: { connector } });
    connector.inject({ type: "refuse", id: 0, code: "store-outdated", reason: "" });
    await bob.client.createGroup("team");
    await bob.client.close();
    const again = await connected(relay, "bob", { store });
    expect(again.client.state).toBe("connected");
  });
});

/** What the relay says, once, of every group's log. */
type Lie = "cursor-mismatch" | "gap" | "not-a-member";

/** A member whose relay can be made to lie about groups' logs. */
class Misled {
  readonly connector: TamperedConnector;
  readonly clock = new SkipClock();
  readonly store = memoryStore();
  readonly userId: string;
  actor!: Actor;
  lie: Lie | undefined;
  /** Keeps back what comes in the inbox. */
  isSilent = false;
  readonly held: RelayFrame[] = [];
  refused = 0;

  constructor(userId: string) {
    this.userId = userId;
    const asked = new Set<number>();
    this.connector = new TamperedConnector({
      fromClient: (frame) => {
        const isRefused = frame.type === "request" && frame.name === "subscribe" && this.lie !== undefined;
        if (isRefused && frame.body.log.kind === LogKind.group) asked.add(frame.id);
        return undefined;
      },
      fromRelay: (frame) => {
        if (frame.type === "entries" && frame.log.kind === LogKind.inbox && this.isSilent) {
          this.held.push(frame);
          return [];
        }
        if (frame.type === "entries" && frame.log.kind === LogKind.group && this.lie) return [];
        if (frame.type !== "reply" || !asked.delete(frame.id)) return undefined;
        this.refused++;
        return [{ type: "refuse", id: frame.id, code: this.lie ?? "gap", reason: "" }];
      },
    });
  }

  async start(relay: TestRelay): Promise<Actor> {
    const seams = { random: () => 0.1, connector: this.connector, clock: this.clock };
    this.actor = await connected(relay, this.userId, { store: this.store, seams });
    return this.actor;
  }

  /** Closes, which waits a while for what is not sent yet. */
  async stop(): Promise<void> {
    let isClosed = false;
    const closed = this.actor.client.close().then(() => {
      isClosed = true;
    });
    await eventually(async () => {
      await this.clock.skip(1_000, () => Promise.resolve());
      return isClosed;
    });
    await closed;
  }

  /** A session begins in which the relay tells this lie, or none. */
  async begin(lie?: Lie): Promise<void> {
    this.lie = lie;
    const { refused, actor } = this;
    const sessions = actor.all("connect").length;
    this.held.length = 0;
    this.connector.inject(new Uint8Array(0));
    await actor.until(() => actor.all("connect").length > sessions);
    if (lie !== undefined) await eventually(async () => this.refused > refused && !(await this.isIn()));
  }

  async isIn(): Promise<boolean> {
    return (await this.actor.client.groups()).some(({ name }) => name === "team");
  }
}

describe("a relay that refuses a group's log to all its members once", () => {
  const meet = async () => {
    const relay = await startRelay();
    const [alice, bob] = [new Misled("alice"), new Misled("bob")];
    await makeGroup("team", [await alice.start(relay), await bob.start(relay)]);
    await alice.actor.client.sendGroupMessage("team", "one");
    await bob.actor.message("one");
    return { relay, alice, bob };
  };
  /** Nobody has left, and everything comes once. */
  const goesOn = async ([alice, bob]: readonly [Misled, Misled]) => {
    await alice.actor.client.sendGroupMessage("team", "from alice");
    await bob.actor.client.sendGroupMessage("team", "from bob");
    await bob.actor.message("from alice");
    await alice.actor.message("from bob");
    for (const { actor } of [alice, bob]) {
      expect(new Set(actor.texts).size).toBe(actor.texts.length);
      expect(actor.all("groupLeave")).toEqual([]);
      expect(actor.all("undecryptable")).toEqual([]);
    }
    for (const one of [alice, bob]) await eventually(() => one.isIn());
  };

  it.each(["cursor-mismatch", "gap", "not-a-member"] as const)(
    "(%s): the group goes on with the next session in which it does not",
    async (lie) => {
      const { alice, bob } = await meet();
      await Promise.all([alice.begin(lie), bob.begin(lie)]);
      await alice.actor.client.sendGroupMessage("team", "written meanwhile");
      await Promise.all([alice.begin(), bob.begin()]);
      await bob.actor.message("written meanwhile");
      await goesOn([alice, bob]);
    },
  );

  it("which is asked again in the same session, rarely, and believed when it gives the log", async () => {
    const { alice, bob } = await meet();
    await Promise.all([alice.begin("not-a-member"), bob.begin("not-a-member")]);
    const refused = bob.refused;
    const answered = () => Promise.all([alice, bob].map(({ actor }) => actor.client.blocked()));
    const pass = (ms: number) => Promise.all([alice, bob].map(({ clock }) => clock.skip(ms, answered)));
    await pass(600_000);
    expect(bob.refused - refused).toBe(4);
    alice.lie = undefined;
    bob.lie = undefined;
    await pass(600_000);
    await goesOn([alice, bob]);
    expect(bob.actor.all("disconnect")).toHaveLength(1);
  });

  it("after which both start again: the group goes on", async () => {
    const { relay, alice, bob } = await meet();
    await Promise.all([alice.begin("gap"), bob.begin("gap")]);
    await alice.actor.client.sendGroupMessage("team", "written meanwhile");
    for (const one of [alice, bob]) {
      await one.stop();
      one.lie = undefined;
    }
    await alice.start(relay);
    await bob.start(relay);
    await bob.actor.message("written meanwhile");
    await goesOn([alice, bob]);
  });

  it.each([
    ["the log", true],
    ["the keys", false],
  ])("but gives it again once another has added this one anew, and %s first", async (_, isLogFirst) => {
    const { alice, bob } = await meet();
    bob.isSilent = true;
    await bob.begin("not-a-member");
    const hasPointer = () => bob.held.some((frame) => frame.type === "entries" && frame.entries.length > 0);
    await eventually(hasPointer);
    await alice.actor.client.sendGroupMessage("team", "under new keys");
    bob.isSilent = isLogFirst;
    await bob.begin();
    if (isLogFirst) {
      await eventually(hasPointer);
      await bob.actor.client.blocked();
      expect(bob.actor.texts).toEqual(["one"]);
      bob.isSilent = false;
      for (const frame of bob.held.splice(0)) bob.connector.inject(frame);
    }
    await bob.actor.message("under new keys");
    await goesOn([alice, bob]);
  });
});

it("a clock that was ahead for one session costs no keys that others use", async () => {
  const relay = await startRelay();
  const store = memoryStore();
  let ahead = 0;
  const seams = { clock: { ...systemClock, now: () => Date.now() + ahead } };
  const first = await connected(relay, "bob", { store, seams });
  await first.client.close();
  ahead = 120 * 24 * 3600 * 1000;
  const second = await connected(relay, "bob", { store, seams });
  await second.client.close();
  ahead = 0;
  const bob = makeActor(relay, "bob", { store, seams });
  await bob.client.connect();
  const alice = await connected(relay, "alice");
  await alice.client.sendDirectMessage("bob", "hello");
  await bob.message("hello");
  await bob.client.sendDirectMessage("alice", "from bob");
  await alice.message("from bob");
});
