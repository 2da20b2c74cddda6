import { describe, expect, it } from "vitest";
import { memoryStore } from "../../src/index.js";
import { openMemoryStorage } from "../../src/relay.js";
import type { RelayFrame } from "../../src/wire/frames.js";
import { LogKind } from "../../src/wire/protocol.js";
import type { OperationName } from "../../src/wire/requests.js";
import {
  type Actor,
  connected,
  eventually,
  makeGroup,
  settledMembers,
  startRelay,
  type TestRelay,
} from "./harness.js";
import { SkipClock, settle } from "./skip-clock.js";
import { TamperedConnector } from "./tamper.js";

/** A client whose relay keeps groups' logs back, or says of a group that it knows none such. */
class Kept {
  readonly connector: TamperedConnector;
  readonly clock = new SkipClock();
  actor!: Actor;
  isSilent = false;
  readonly #held: RelayFrame[] = [];
  /** Whether the relay lies about a request. */
  denies: (name: OperationName, log: LogKind | undefined) => boolean = () => false;
  denied = 0;
  /** How often it truly said so of something that was to change a group. */
  refused = 0;
  readonly store = memoryStore();

  constructor() {
    const changes = new Set<number>();
    this.connector = new TamperedConnector({
      fromClient: (frame) => {
        if (frame.type !== "request") return undefined;
        if (frame.name === "append" || frame.name === "claimName") changes.add(frame.id);
        const log = "log" in frame.body ? frame.body.log.kind : undefined;
        if (!this.denies(frame.name, log)) return undefined;
        this.denied++;
        const { id } = frame;
        const refusal = { type: "refuse", id, code: "unknown-group", reason: "" } as const;
        setImmediate(() => this.connector.inject(refusal));
        return [];
      },
      fromRelay: (frame) => {
        if (frame.type === "refuse" && frame.code === "unknown-group" && changes.has(frame.id))
          this.refused++;
        const isOfGroup =
          (frame.type === "entries" || frame.type === "ended") && frame.log.kind === LogKind.group;
        if (!isOfGroup || !this.isSilent) return undefined;
        this.#held.push(frame);
        return [];
      },
    });
  }

  async start(relay: TestRelay, userId: string): Promise<Actor> {
    const seams = { random: () => 0.1, connector: this.connector, clock: this.clock };
    this.actor = await connected(relay, userId, { seams, store: this.store });
    return this.actor;
  }

  speak(): void {
    this.isSilent = false;
    for (const frame of this.#held.splice(0)) this.connector.inject(frame);
  }

  /** A session begins. */
  async begin(): Promise<void> {
    const sessions = this.actor.all("connect").length;
    this.connector.inject(new Uint8Array(0));
    await this.actor.until(() => this.actor.all("connect").length > sessions);
  }

  pass(ms: number): Promise<void> {
    return this.clock.skip(ms, () => this.actor.client.blocked());
  }
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "done",
    ({ code }: { code: string }) => code,
  );

/** Everything that one writes comes to the other. */
async function talk(alice: Actor, bob: Actor): Promise<void> {
  await alice.client.sendGroupMessage("team", "from alice");
  await bob.client.sendGroupMessage("team", "from bob");
  await bob.message("from alice");
  await alice.message("from bob");
  for (const { texts } of [alice, bob]) expect(new Set(texts).size).toBe(texts.length);
  expect(bob.all("groupLeave")).toEqual([]);
}

describe("what is asked of a group that has just been closed", () => {
  const meet = async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const bob = new Kept();
    await makeGroup("team", [alice, await bob.start(relay, "bob")]);
    await alice.client.promote("team", "bob");
    await bob.actor.event("groupUpdated");
    // With the first message its sender renews its keys.
    const first = await bob.actor.client.sendGroupMessage("team", "in time");
    await bob.actor.receipts([first], "sent");
    bob.isSilent = true;
    await alice.client.deleteGroup("team");
    return bob;
  };

  it("fails for a message as everything later does: nobody is a member any more", async () => {
    const bob = await meet();
    const id = await bob.actor.client.sendGroupMessage("team", "too late");
    await eventually(() => bob.refused > 0, "the message is refused");
    await settle(bob.actor);
    bob.speak();
    const failed = await bob.actor.event("receipt", ({ state }) => state === "failed");
    expect(failed).toMatchObject({ ids: [id], code: "not-a-member" });
    expect(await bob.actor.event("groupDeleted")).toEqual({ group: "team", by: "alice" });
    expect(bob.actor.errors).toEqual([]);
  });

  it.each([
    ["a new name", ({ client }: Actor) => client.renameGroup("team", "crew")],
    ["a removal", ({ client }: Actor) => client.remove("team", "alice")],
  ])("does so for %s too", async (_, ask) => {
    const bob = await meet();
    const asked = codeOf(ask(bob.actor));
    await eventually(() => bob.refused > 0, "it is refused");
    await settle(bob.actor);
    bob.speak();
    expect(await asked).toBe("not-a-member");
    expect(bob.actor.errors).toEqual([]);
  });
});

describe("a relay that says of a group that it knows none such", () => {
  it("to what is sent, but gives its log, ends nothing by it and is not asked without end", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const bob = new Kept();
    await makeGroup("team", [alice, await bob.start(relay, "bob")]);
    bob.denies = (name, log) => name === "append" && log === LogKind.group;
    await bob.actor.client.sendGroupMessage("team", "denied for a while");
    await eventually(() => bob.denied > 0);
    await bob.pass(120_000);
    expect(bob.denied).toBeGreaterThan(5);
    expect(bob.denied).toBeLessThan(30);
    bob.denies = () => false;
    await bob.pass(20_000);
    await alice.message("denied for a while");
    await talk(alice, bob.actor);
    expect(bob.actor.errors).toEqual([]);
  });

  it("to who is invited, once, does not take the invitation back", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const bob = new Kept();
    await bob.start(relay, "bob");
    await alice.client.createGroup("team");
    await alice.client.invite("team", "bob");
    const invitation = await bob.actor.event("invitation");
    bob.denies = (name, log) => name === "subscribe" && log === LogKind.group;
    await bob.begin();
    await eventually(() => bob.denied > 0);
    bob.denies = () => false;
    await bob.pass(20_000);
    await invitation.accept();
    await settledMembers("team", [alice, bob.actor]);
    await talk(alice, bob.actor);
  });

  /** Bob has missed a change that the relay has dropped since. */
  const fallBehind = async (meanwhile: (alice: Actor) => Promise<unknown>) => {
    const storage = openMemoryStorage();
    const relay = await startRelay({ storage });
    const [alice, carol] = [await connected(relay, "alice"), await connected(relay, "carol")];
    const bob = new Kept();
    await makeGroup("team", [alice, carol, await bob.start(relay, "bob")]);
    await bob.actor.client.close();
    await alice.client.sendGroupMessage("team", "never seen by bob");
    await carol.message("never seen by bob");
    await meanwhile(alice);
    for (let i = 0; i < 20; i++) {
      await storage.prune({ now: Date.now() + 1, retention: 0, maxLogBytes: 1e9, batch: 1000 } as never);
    }
    return { relay, alice, bob };
  };

  it("to who asks to be added anew, once, does not end it", async () => {
    const { relay, alice, bob } = await fallBehind((alice) => alice.client.remove("team", "carol"));
    bob.denies = (name, log) => name === "append" && log === LogKind.requestBox;
    await bob.start(relay, "bob");
    await eventually(() => bob.denied > 0);
    bob.denies = () => false;
    await bob.pass(64_000);
    await bob.actor.event("undecryptable", ({ missed }) => (missed ?? 0) > 0);
    await bob.pass(120_000);
    await talk(alice, bob.actor);
  });

  it("and does so again, where the group was closed and its log is refused, ends it", async () => {
    const { relay, bob } = await fallBehind((alice) => alice.client.deleteGroup("team"));
    await bob.start(relay, "bob");
    const id = await bob.actor.client.sendGroupMessage("team", "to nobody");
    await eventually(() => bob.refused > 0);
    await bob.pass(40_000);
    expect(bob.actor.all("groupLeave")).toEqual([]);
    await bob.pass(40_000);
    expect(await bob.actor.event("groupLeave")).toEqual({ group: "team", reason: "lost" });
    expect(await bob.actor.event("receipt")).toMatchObject({ ids: [id], code: "not-a-member" });
  });
});
