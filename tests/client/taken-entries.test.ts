import { describe, expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { memoryStore } from "../../src/index.js";
import { openMemoryStorage } from "../../src/relay.js";
import { type ClientFrame, encodeClientFrame, type RelayFrame } from "../../src/wire/frames.js";
import type { Cursor } from "../../src/wire/identifiers.js";
import { EntryKind, LogKind } from "../../src/wire/protocol.js";
import type { RefusalCode } from "../../src/wire/refusals.js";
import { sendCommit, unreadablePath } from "../rejects/builder.js";
import { type Actor, connected, eventually, makeGroup, startRelay, type TestRelay } from "./harness.js";
import { RawMember } from "./raw-member.js";
import { SkipClock, settle } from "./skip-clock.js";
import { TamperedConnector } from "./tamper.js";

type Append = ClientFrame & { readonly type: "request"; readonly name: "append" };

/** A member whose relay can lie about the entries it appends to groups' logs. */
class Misled {
  readonly clock = new SkipClock();
  readonly store = memoryStore();
  actor!: Actor;
  /** What the relay answers to the next entry, which it takes. */
  lie: RefusalCode | undefined;
  /** Instead of what is lied about: the relay does not even take it. */
  isWithheld = false;
  told = 0;
  /** How often it asked to be let in, or to be added anew. */
  asked = 0;
  #isAnswered = false;
  /** No entry of a group's log comes. */
  isDeaf = false;
  readonly #held: RelayFrame[] = [];
  readonly #lies = new Map<number, RefusalCode>();
  /** What the relay gets instead of the next entry. */
  instead: ((append: Append) => Promise<ClientFrame> | ClientFrame) | undefined;
  readonly connector: TamperedConnector = new TamperedConnector({
    fromClient: (frame) => {
      if (frame.type !== "request" || frame.name !== "append") return undefined;
      if (frame.body.log.kind === LogKind.requestBox) this.asked++;
      if (frame.body.log.kind !== LogKind.group) return undefined;
      const { instead, lie } = this;
      if (instead !== undefined) {
        this.instead = undefined;
        void Promise.resolve(instead(frame as Append)).then((other) =>
          this.connector.forward(encodeClientFrame(other)),
        );
        return [];
      }
      if (lie === undefined) return undefined;
      this.told++;
      if (this.isWithheld) {
        setImmediate(() => this.connector.inject({ type: "refuse", id: frame.id, code: lie, reason: "" }));
        return [];
      }
      this.lie = undefined;
      this.#lies.set(frame.id, lie);
      return undefined;
    },
    fromRelay: (frame) => {
      if (frame.type === "entries" && frame.log.kind === LogKind.group && this.isDeaf) {
        this.#held.push(structuredClone(frame));
        return [];
      }
      const code = frame.type === "reply" ? this.#lies.get(frame.id) : undefined;
      if (frame.type !== "reply" || code === undefined) return undefined;
      this.#lies.delete(frame.id);
      this.#isAnswered = true;
      return [{ type: "refuse", id: frame.id, code, reason: "" }];
    },
  });

  async start(relay: TestRelay, userId: string): Promise<Actor> {
    const seams = { random: () => 0.1, connector: this.connector, clock: this.clock };
    this.actor = await connected(relay, userId, { seams, store: this.store });
    await settle(this.actor);
    return this.actor;
  }

  /** The relay takes the next entry, says that it does not, and shows it when the client has done what it does then. */
  async isToldFalsely(code: RefusalCode, act: () => Promise<unknown>): Promise<void> {
    this.lie = code;
    this.isDeaf = true;
    void act().catch(() => {});
    await eventually(() => this.#isAnswered, "the relay has lied");
    await settle(this.actor);
    await this.hear();
  }

  /** What was held back comes. */
  async hear(): Promise<void> {
    this.isDeaf = false;
    for (const frame of this.#held.splice(0)) this.connector.inject(frame);
    await settle(this.actor);
  }

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
    this.#held.length = 0;
  }

  /** What has come about within two minutes. */
  async soon(test: () => boolean | Promise<boolean>, what?: string): Promise<void> {
    for (let left = 30; left > 0 && !(await test()); left--)
      await this.clock.skip(4_000, () => settle(this.actor));
    await eventually(test, what);
  }
}

async function meet() {
  const relay = await startRelay();
  const bob = new Misled();
  const [actor, alice] = [await bob.start(relay, "bob"), await connected(relay, "alice")];
  const carol = await connected(relay, "carol");
  await makeGroup("team", [actor, alice, carol]);
  await settle(actor, alice, carol);
  return { relay, alice, bob, actor };
}

const namesOf = async ({ client }: Actor) => (await client.groups()).map(({ name }) => name);

/** Both read each other, and each message came once. */
async function goesOn(group: string, bob: Misled, alice: Actor): Promise<void> {
  const areIn = async () =>
    (await Promise.all([bob.actor, alice].map(namesOf))).every((names) => names.includes(group));
  await bob.soon(areIn, `both are in ${group}`);
  await bob.actor.client.sendGroupMessage(group, "from bob");
  await alice.client.sendGroupMessage(group, "from alice");
  await bob.soon(() => alice.texts.includes("from bob") && bob.actor.texts.includes("from alice"));
  for (const { texts } of [bob.actor, alice]) expect(new Set(texts).size).toBe(texts.length);
  expect(await bob.actor.client.members(group)).toEqual(await alice.client.members(group));
}

describe("a relay that takes an entry, says that it does not, and shows it then", () => {
  const changes: [string, string, (actor: Actor) => Promise<unknown>][] = [
    ["a new name", "crew", ({ client }) => client.renameGroup("team", "crew")],
    ["a removal", "team", ({ client }) => client.remove("team", "carol")],
    ["a promotion", "team", ({ client }) => client.promote("team", "alice")],
  ];
  for (const [name, group, act] of changes) {
    it.each(["not-a-member", "stale", "conflict"] as const)(
      `${name} (%s): its maker goes on with the others, under the keys that only it has`,
      async (code) => {
        const { alice, bob, actor } = await meet();
        await bob.isToldFalsely(code, () => act(actor));
        await goesOn(group, bob, alice);
        expect(actor.all("undecryptable")).toEqual([]);
        expect(actor.all("groupLeave")).toEqual([]);
      },
    );
  }

  it.each(["not-a-member", "stale", "conflict"] as const)(
    "that one leaves (%s): one has left",
    async (code) => {
      const { alice, bob, actor } = await meet();
      await actor.client.promote("team", "alice");
      await bob.isToldFalsely(code, () => actor.client.leaveGroup("team"));
      expect(await actor.event("groupLeave")).toMatchObject({ group: "team", reason: "left" });
      await alice.event("memberLeave", ({ userId }) => userId === "bob");
      await bob.soon(async () => (await actor.client.conversations()).length === 0);
      expect(actor.errors).toEqual([]);
    },
  );

  it.each(["not-a-member", "forbidden", "stale", "conflict"] as const)(
    "a message (%s): it has been sent, once, and has not failed",
    async (code) => {
      const { alice, bob, actor } = await meet();
      await bob.isToldFalsely(code, () => actor.client.sendGroupMessage("team", "taken"));
      await goesOn("team", bob, alice);
      await bob.soon(() => actor.all("receipt").filter(({ state }) => state === "sent").length === 2);
      expect(actor.all("receipt").map(({ state }) => state)).not.toContain("failed");
      expect(alice.texts).toEqual(["taken", "from bob"]);
    },
  );
});

it("a relay that refuses a message for good is believed once the log was read again and does not show it", async () => {
  const { alice, bob, actor } = await meet();
  bob.lie = "quota-exceeded";
  bob.isWithheld = true;
  await actor.client.sendGroupMessage("team", "refused");
  expect(await actor.event("receipt", ({ state }) => state === "failed")).toMatchObject({
    code: "quota-exceeded",
  });
  expect(bob.told).toBe(2);
  bob.lie = undefined;
  await goesOn("team", bob, alice);
  expect(alice.texts).toEqual(["from bob"]);
});

it("an entry whose id another has used meanwhile goes out under another", async () => {
  const { relay, alice, bob, actor } = await meet();
  const mallory = await RawMember.connect(relay, "mallory");
  await actor.client.invite("team", "mallory");
  await mallory.join();
  bob.instead = async (append) => {
    const { entryId } = append.body.entry;
    const payload = await mallory.message(mallory.text("first"));
    await mallory.client.append(mallory.log, mallory.handshake, {
      kind: EntryKind.application,
      entryId,
      payload,
    });
    return append;
  };
  await actor.client.renameGroup("team", "crew");
  await goesOn("crew", bob, alice);
  expect(alice.texts).toEqual(["first", "from bob"]);
  expect(actor.all("undecryptable")).toEqual([]);
});

describe("a device in whose place there is a leaf by a commit of its own that it has lost the keys of", () => {
  it("is added anew: its relay put the commit behind another, after which it could not be taken", async () => {
    const { relay, alice, bob, actor } = await meet();
    const mallory = await RawMember.connect(relay, "mallory");
    await actor.client.invite("team", "mallory");
    await mallory.join();
    await settle(actor, alice);
    bob.isDeaf = true;
    const bundle = { access: [], welcome: new Uint8Array(0) };
    const after: Cursor = await mallory.append({ kind: EntryKind.commit, payload: randomBytes(200), bundle });
    bob.instead = (append) => ({ ...append, body: { ...append.body, after } });
    const renamed = actor.client.renameGroup("team", "crew");
    await alice.event("groupUpdated", ({ group }) => group === "crew");
    await bob.hear();
    await goesOn("crew", bob, alice);
    await renamed;
  });

  it("is added anew: it was away since then for longer than the relay keeps a log", async () => {
    const storage = openMemoryStorage();
    const relay = await startRelay({ storage });
    const bob = new Misled();
    const [actor, alice] = [await bob.start(relay, "bob"), await connected(relay, "alice")];
    const carol = await connected(relay, "carol");
    await makeGroup("team", [actor, alice, carol]);
    await settle(actor, alice, carol);
    bob.isDeaf = true;
    void actor.client.promote("team", "alice").catch(() => {});
    await alice.event("groupUpdated");
    await bob.stop();
    await alice.client.remove("team", "carol");
    await alice.client.sendGroupMessage("team", "never seen by bob");
    await settle(alice);
    for (let i = 0; i < 20; i++)
      await storage.prune({ now: Date.now() + 1, retention: 0, maxLogBytes: 1e9, batch: 1000 } as never);
    bob.isDeaf = false;
    await bob.start(relay, "bob");
    await goesOn("team", bob, alice);
    expect(bob.actor.all("undecryptable")).toHaveLength(1);
    expect(bob.actor.all("groupLeave")).toEqual([]);
  });

  it("is added anew: it had asked for that before it made the commit, when it was not in need yet", async () => {
    const relay = await startRelay();
    const [carol, store] = [new Misled(), memoryStore()];
    const alice = await connected(relay, "alice", { store });
    const bob = await connected(relay, "bob");
    await makeGroup("team", [alice, bob]);
    const mallory = await RawMember.connect(relay, "mallory");
    await alice.client.invite("team", "mallory");
    await mallory.join();
    const actor = await carol.start(relay, "carol");
    await alice.client.invite("team", "carol");
    await (await actor.event("invitation")).accept();
    await alice.client.promote("team", "carol");
    await settle(alice, actor);
    await Promise.all([alice, bob].map(({ client }) => client.close()));
    await mallory.follow();
    for (let i = 0; i < 3; i++)
      await mallory.append({ kind: EntryKind.application, payload: randomBytes(200) });
    await carol.soon(() => carol.asked === 1, "carol asks since she cannot read so much");
    await actor.client.renameGroup("team", "crew");
    await mallory.follow();
    // Carol's leaf stands beside mallory's: the lowest node of the path has one ciphertext, which is hers.
    const sender = { state: mallory.group, signer: mallory.user.device } as never;
    const payload = await sendCommit(sender, [], {
      updatePath: unreadablePath((level) => level === 0),
    });
    await mallory.append({
      kind: EntryKind.commit,
      payload,
      bundle: { access: [], welcome: new Uint8Array(0) },
    });
    await actor.event("error", (error) => error.code === "decryption-failed");
    await carol.soon(() => carol.asked > 1, "carol asks in need");
    await goesOn("crew", carol, await connected(relay, "alice", { store }));
  });
});
