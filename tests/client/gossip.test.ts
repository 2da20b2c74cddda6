import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { fromHex, toHex } from "../../src/base/encoding.js";
import { SubrosaError } from "../../src/base/errors.js";
import { contentBytes, contentOf } from "../../src/client/conversation/content.js";
import { decodeEquivocation } from "../../src/client/conversation/gossip/equivocations.js";
import type { Head } from "../../src/client/conversation/gossip/hearsay.js";
import { decodeConversationRecord } from "../../src/client/conversation/record.js";
import { layout } from "../../src/client/layout.js";
import { decode } from "../../src/codec/reader.js";
import { randomBytes } from "../../src/crypto/random.js";
import { type ClientEvents, memoryStore } from "../../src/index.js";
import { epochAuthenticator } from "../../src/mls/group/index.js";
import { EmbeddedStorage } from "../../src/relay/embedded/embedded-storage.js";
import { MemoryKv } from "../../src/relay/embedded/memory-kv.js";
import type { Store } from "../../src/stores/store.js";
import { encodeResult } from "../../src/wire/frames.js";
import { EntryKind, LogKind } from "../../src/wire/protocol.js";
import type { BodyOf } from "../../src/wire/requests.js";
import {
  type Actor,
  connectAll,
  connected,
  eventually,
  makeActor,
  makeGroup,
  settledMembers,
  startRelay,
} from "./harness.js";
import { keyPackageOf, RawMember } from "./raw-member.js";
import { TamperedConnector } from "./tamper.js";

async function copyOf(kv: MemoryKv): Promise<MemoryKv> {
  const copy = new MemoryKv();
  await copy.write(new Map(kv.range("", "\u{ffff}")));
  return copy;
}

/** Both write to each other, and have read it. */
async function exchange(one: Actor, other: Actor, mark: string): Promise<void> {
  await one.client.sendDirectMessage(other.userId, `${mark} to ${other.userId}`);
  await other.message(`${mark} to ${other.userId}`);
  await other.client.sendDirectMessage(one.userId, `${mark} to ${one.userId}`);
  await one.message(`${mark} to ${one.userId}`);
}

const epochOf = (event: ClientEvents["equivocation"]) => event.group !== undefined && event.epoch;
const alarms = (...actors: Actor[]) => actors.flatMap((actor) => actor.all("equivocation"));

/** A relay that keeps one device where it is in a group: it answers for its log itself, with nothing new. */
function frozenGroup(groupId: string): TamperedConnector {
  const connector = new TamperedConnector({
    fromClient: (frame) => {
      if (frame.type !== "request" || frame.name !== "subscribe") return undefined;
      const { log, cursor } = frame.body as BodyOf<"subscribe">;
      if (log.kind !== LogKind.group || toHex(log.id) !== groupId) return undefined;
      const result = encodeResult("subscribe", { head: cursor, from: cursor });
      queueMicrotask(() => connector.inject({ type: "reply", id: frame.id, result }));
      return [];
    },
  });
  return connector;
}

describe("a relay that shows two members different logs of a group", () => {
  it("is revealed to both by the next message between them, and messages go on", async () => {
    const kv = new MemoryKv();
    const relay = await startRelay({ storage: new EmbeddedStorage(kv) });
    const stores = { alice: memoryStore(), bob: memoryStore() };
    await connectAll(relay, ["carol", "dave"]);
    let alice = await connected(relay, "alice", { store: stores.alice });
    let bob = await connected(relay, "bob", { store: stores.bob });
    await alice.client.createGroup("team", { join: "open" });
    await bob.client.joinGroup("team");
    await settledMembers("team", [alice, bob]);
    await exchange(alice, bob, "before");
    expect(alarms(alice, bob)).toEqual([]);

    // From here on, each of them has a group log of its own.
    await bob.client.close();
    const other = await copyOf(kv);
    await alice.client.invite("team", "carol");
    await alice.client.close();
    const scope = `${new URL(relay.url).href} alice`;
    const team = await groupIdIn(stores.alice, scope, "team");
    await relay.restart({ storage: new EmbeddedStorage(other) });
    bob = await connected(relay, "bob", { store: stores.bob });
    await bob.client.invite("team", "dave");
    await bob.client.close();

    // Then both use the one relay again, which goes on hiding from bob what became of the group.
    await relay.restart({ storage: new EmbeddedStorage(kv) });
    alice = await connected(relay, "alice", { store: stores.alice });
    const connector = frozenGroup(team);
    bob = makeActor(relay, "bob", { store: stores.bob, seams: { connector, random: () => 0.1 } });
    await bob.client.connect();
    await exchange(alice, bob, "after");
    const atBob = await bob.event("equivocation");
    const atAlice = await alice.event("equivocation");
    expect(atBob).toMatchObject({ group: "team", from: "alice" });
    expect(epochOf(atBob)).toBe(epochOf(atAlice));
    expect(atAlice).toMatchObject({ group: "team", from: "bob", own: atBob.theirs, theirs: atBob.own });
    expect(atBob.own).toMatch(/^[0-9a-f]{64}$/);
    expect(atBob.own).not.toBe(atBob.theirs);

    await exchange(bob, alice, "again");
    await alice.client.sendGroupMessage("team", "to the group");
    expect(alarms(alice, bob)).toHaveLength(2);

    // Both hashes stay, with who said it and when.
    await alice.client.close();
    const session = await stores.alice.open(scope);
    const [[, value] = []] = await session.list(layout.equivocations);
    const { own, claims } = decode(decodeEquivocation, value as Bytes);
    expect(toHex(own)).toBe(atAlice.own);
    expect(claims).toMatchObject([{ from: "bob", theirs: fromHex(atAlice.theirs) }]);
    expect(claims[0]?.time).toBeGreaterThan(1.6e12);
    await session.close();
  });
});

/** The id of a group, of a client that is closed. */
async function groupIdIn(store: Store, scope: string, name: string): Promise<string> {
  const session = await store.open(scope);
  const records = await session.list(layout.conversations);
  await session.close();
  const all = records.map(([, value]) => decode(decodeConversationRecord, value));
  const found = all.find(({ subject }) => subject.kind === "group" && subject.name === name);
  return toHex(found?.groupId as Bytes);
}

describe("members that are honest", () => {
  it("raise no alarm: while the group goes on, is repaired, or is put back after a loss of the relay", async () => {
    const kv = new MemoryKv();
    const relay = await startRelay({ storage: new EmbeddedStorage(kv) });
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await makeGroup("team", [alice, bob, carol]);
    await exchange(alice, bob, "first");
    const before = await copyOf(kv);
    // The first message of each brings new keys, of which the relay knows nothing afterwards.
    for (const one of [alice, bob, carol]) await one.client.sendGroupMessage("team", `${one.userId} to all`);
    for (const one of [alice, bob, carol])
      await one.until(() => one.texts.filter((text) => `${text}`.endsWith("to all")).length === 2);
    await exchange(alice, carol, "second");
    await exchange(bob, carol, "third");
    await relay.restart({ storage: new EmbeddedStorage(before) });
    await exchange(alice, bob, "fourth");
    await alice.client.sendGroupMessage("team", "to all");
    await Promise.all([bob.message("to all"), carol.message("to all")]);
    await exchange(bob, alice, "fifth");
    expect(alarms(alice, bob, carol)).toEqual([]);
  });
});

describe("what a member says of a group", () => {
  it("is told only to people who are in it, and to these once for each epoch", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await makeGroup("team", [alice, bob]);
    const carol = await RawMember.connect(relay, "carol");
    const told = () => {
      return carol.contents.flatMap((content) => contentOf(content).hearsay.heads);
    };
    await alice.client.sendDirectMessage("carol", "one");
    await carol.join();
    await carol.hears("one");
    await alice.client.sendDirectMessage("carol", "two");
    await carol.hears("two");
    expect(told()).toEqual([]);
    await carol.publish([await keyPackageOf(carol.user)]);
    await alice.client.invite("team", "carol");
    await alice.client.sendDirectMessage("carol", "three");
    await alice.client.sendDirectMessage("carol", "four");
    await carol.hears("four");
    expect(told()).toHaveLength(1);
  });

  it("counts as that member's word: a lie raises one alarm, in the liar's name", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    const [mallory, carol] = [
      await RawMember.connect(relay, "mallory"),
      await RawMember.connect(relay, "carol"),
    ];
    await makeGroup("team", [alice, bob]);
    await alice.client.invite("team", "mallory");
    await mallory.join();
    await makeGroup("without", [alice, bob]);
    await alice.client.invite("without", "carol");
    await carol.join();
    const elsewhere = carol.group.groupContext;
    const { groupId, epoch } = mallory.group.groupContext;
    const truth = epochAuthenticator(mallory.group);
    const lie = async (heads: readonly Head[]) => {
      const content = contentBytes(mallory.text("lies"), { heads, lists: [] });
      await mallory.append({ kind: EntryKind.application, payload: await mallory.message(content) });
    };
    const authenticator = randomBytes(32);
    await lie([
      { groupId, epoch, authenticator: truth },
      { groupId: randomBytes(32), epoch, authenticator },
      // Nobody believes her about a group that she is not in.
      { groupId: elsewhere.groupId, epoch: elsewhere.epoch, authenticator },
      { groupId, epoch: epoch + 5n, authenticator },
    ]);
    // Of the epochs before, it would say nothing that is not said by one.
    await lie([
      { groupId, epoch, authenticator },
      { groupId, epoch: epoch - 1n, authenticator },
    ]);
    await lie([{ groupId, epoch, authenticator: randomBytes(32) }]);
    for (const actor of [alice, bob]) {
      const event = { group: "team", from: "mallory", own: toHex(truth), theirs: toHex(authenticator) };
      expect(await actor.event("equivocation")).toEqual({ ...event, epoch: Number(epoch) });
    }
    await exchange(alice, bob, "on");
    await alice.client.sendGroupMessage("team", "goes on");
    await bob.message("goes on");
    expect(alarms(alice)).toHaveLength(1);
    expect(alarms(bob)).toHaveLength(1);
  });
});

/** A store of a process that ends as soon as evidence has been written. */
class LastWriteStore implements Store {
  readonly inner = memoryStore();
  hasEnded = false;

  async open(...given: Parameters<Store["open"]>) {
    const session = await this.inner.open(...given);
    const write: typeof session.write = async (changes) => {
      if (this.hasEnded) throw new SubrosaError("store-failed", "the process has ended");
      await session.write(changes);
      this.hasEnded = changes.some((one) => "put" in one && one.put.startsWith(layout.equivocations));
      if (this.hasEnded) throw new SubrosaError("store-failed", "the process ends");
    };
    return new Proxy(session, {
      get: (target, name) => {
        const value: unknown = name === "write" ? write : Reflect.get(target, name, target);
        return typeof value === "function" && name !== "write" ? value.bind(target) : value;
      },
    });
  }
}

describe("an alarm", () => {
  it.each(["a group", "a device list"])(
    "of %s is told by the next process if this one ends before",
    async (of) => {
      const relay = await startRelay();
      const store = new LastWriteStore();
      const seams = { random: () => 0.1 };
      const alice = await connected(relay, "alice");
      const bob = await connected(relay, "bob", { store, seams });
      await makeGroup("team", [alice, bob]);
      const mallory = await RawMember.connect(relay, "mallory");
      await alice.client.invite("team", "mallory");
      await mallory.join();
      const { groupId, epoch } = mallory.group.groupContext;
      const hash = randomBytes(32);
      const hearsay =
        of === "a group"
          ? { heads: [{ groupId, epoch, authenticator: hash }], lists: [] }
          : { heads: [], lists: [{ leaf: mallory.leaf("alice"), version: 9, hash }] };
      const content = contentBytes(mallory.text("lies"), hearsay);
      await mallory.append({ kind: EntryKind.application, payload: await mallory.message(content) });
      await eventually(() => store.hasEnded, "the evidence");
      await bob.client.close();
      expect(alarms(bob)).toEqual([]);

      const about =
        of === "a group" ? { group: "team", epoch: Number(epoch) } : { userId: "alice", version: 9 };
      const next = makeActor(relay, "bob", { store: store.inner, seams });
      await next.client.connect();
      const alarm = await next.event("equivocation");
      expect(alarm).toMatchObject({ ...about, from: "mallory", theirs: toHex(hash) });
      await next.client.close();

      // Who was told is not told again.
      const last = makeActor(relay, "bob", { store: store.inner, seams });
      await last.client.connect();
      await alice.client.sendGroupMessage("team", "and on");
      await last.message("and on");
      expect(alarms(next, last)).toHaveLength(1);
    },
  );
});
