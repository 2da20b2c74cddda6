import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { toHex } from "../../src/base/encoding.js";
import { contentBytes, contentOf } from "../../src/client/conversation/content.js";
import { decodeEquivocation } from "../../src/client/conversation/gossip/equivocations.js";
import type { ListHead } from "../../src/client/conversation/gossip/hearsay.js";
import { layout } from "../../src/client/layout.js";
import { decode } from "../../src/codec/reader.js";
import { encode } from "../../src/codec/writer.js";
import { sha256 } from "../../src/crypto/hash.js";
import { randomBytes } from "../../src/crypto/random.js";
import { sign } from "../../src/crypto/signature.js";
import { memoryStore, type Store } from "../../src/index.js";
import type { LogEntry } from "../../src/wire/entries.js";
import { type Account, deviceListToBeSigned, encodeSignedDeviceList } from "../../src/wire/identity.js";
import { EntryKind } from "../../src/wire/protocol.js";
import type { BodyOf } from "../../src/wire/requests.js";
import { accountOf, makeUser, RawClient, type TestUser } from "../relay/raw-client.js";
import {
  type Actor,
  connectAll,
  connected,
  eventually,
  makeActor,
  makeGroup,
  startRelay,
  type TestRelay,
} from "./harness.js";
import { keyPackageOf, RawMember } from "./raw-member.js";
import { TamperedConnector } from "./tamper.js";

const hashOf = ({ deviceList }: Account) => sha256(encode(encodeSignedDeviceList, deviceList));
const hexOf = async (account: Account) => toHex(await hashOf(account));

/** The account with its next device list, in which stands one more device. */
async function successorOf(user: TestUser, before: Account): Promise<Account> {
  const { list } = before.deviceList;
  const added = { deviceId: randomBytes(16), deviceKey: user.device.publicKey };
  const next = {
    ...list,
    version: list.version + 1,
    previous: await hashOf(before),
    devices: [...list.devices, added],
  };
  const signature = await sign(user.account.privateKey, deviceListToBeSigned(next));
  return { ...before, deviceList: { list: next, signature } };
}

/** Has the relay know an account's newer list. */
async function register(relay: TestRelay, user: TestUser, account: Account): Promise<void> {
  const options = { incarnation: 2, alter: (given: object) => ({ ...given, account }) as never };
  const client = await RawClient.connect(relay.url, user, options);
  const bundles = await Promise.all([keyPackageOf(user), keyPackageOf(user)]);
  const notAfter = Math.floor(Date.now() / 1000) + 3600;
  await client.request("publishKeyPackages", {
    oneTime: bundles.map(({ bytes }) => ({ keyPackage: bytes, notAfter })),
  });
  await client.close();
}

/** A relay that shows of carol what `shown` is, and counts how often it is asked. */
function lying(shown: () => Account | undefined): { connector: TamperedConnector; asked: () => number } {
  let asked = 0;
  const instead = (userId: string) => (userId === "carol" ? shown() : undefined);
  const connector = new TamperedConnector({
    replies: {
      fetchAccount: (_, { userId }) => {
        if (userId === "carol") asked++;
        return instead(userId);
      },
      fetchKeyPackages: (result, { userId }) => {
        const account = instead(userId);
        return account && { ...result, account };
      },
    },
  });
  return { connector, asked: () => asked };
}

/** Alice, bob behind a relay that lies, and carol in one group, where all know carol's first list. */
async function scene(
  relay: TestRelay,
  connector: TamperedConnector,
  stores: { alice?: Store; bob?: Store } = {},
) {
  const carol = await RawMember.connect(relay, "carol");
  const alice = await connected(relay, "alice", { store: stores.alice ?? memoryStore() });
  const seams = { connector, random: () => 0.1 };
  const bob = await connected(relay, "bob", { store: stores.bob ?? memoryStore(), seams });
  await makeGroup("team", [alice, bob]);
  await alice.client.invite("team", "carol");
  await carol.join();
  await say(alice, bob, "carol is here");
  await bob.until(() => bob.all("userCreated").some(({ userId }) => userId === "carol"));
  return { alice, bob, carol, first: await accountOf(carol.user) };
}

async function say(from: Actor, to: Actor, text: string): Promise<void> {
  await from.client.sendGroupMessage("team", text);
  await to.message(text);
}

/** Has an actor ask the relay for carol's account. */
async function lookUp(actor: Actor, group: string): Promise<void> {
  await actor.client.createGroup(group);
  await actor.client.invite(group, "carol");
}

const alarms = (...actors: Actor[]) => actors.flatMap((actor) => actor.all("equivocation"));

/** What is in the store of a client that is closed. */
async function recordsIn(relay: TestRelay, userId: string, store: Store, prefix: string): Promise<Bytes[]> {
  const session = await store.open(`${new URL(relay.url).href} ${userId}`);
  const records = await session.list(prefix);
  await session.close();
  return records.map(([, value]) => value);
}

describe("a newer device list of somebody in the conversation", () => {
  it("is asked for by who hears of it, and followed as the account has signed it", async () => {
    const relay = await startRelay();
    const { alice, bob, carol, first } = await scene(relay, new TamperedConnector());
    await register(relay, carol.user, await successorOf(carol.user, first));
    await lookUp(alice, "other");
    await alice.event("deviceAdded");
    expect(bob.all("deviceAdded")).toEqual([]);
    await say(alice, bob, "have you heard?");
    expect((await bob.event("deviceAdded")).userId).toBe("carol");
    await say(bob, alice, "yes");
    expect(alarms(alice, bob)).toEqual([]);
  });

  it("that the relay withholds is found out, once, with both hashes kept", async () => {
    const relay = await startRelay();
    let shown: Account | undefined;
    const { connector, asked } = lying(() => shown);
    const stores = { alice: memoryStore(), bob: memoryStore() };
    const { alice, bob, carol, first } = await scene(relay, connector, stores);
    shown = first;
    const second = await successorOf(carol.user, first);
    await register(relay, carol.user, second);
    await lookUp(alice, "other");
    const before = asked();
    await say(alice, bob, "have you heard?");
    const event = await bob.event("equivocation");
    const [own, theirs] = [await hexOf(first), await hexOf(second)];
    expect(event).toEqual({ userId: "carol", from: "alice", version: 2, ownVersion: 1, own, theirs });
    expect(asked()).toBe(before + 1);
    expect(bob.all("deviceAdded")).toEqual([]);

    // Who tells it again, as after a restart, tells nothing new.
    await alice.client.close();
    const again = await connected(relay, "alice", { store: stores.alice });
    await say(again, bob, "have you really?");
    await say(bob, again, "no");
    expect(alarms(bob, alice, again)).toHaveLength(1);
    await bob.client.close();
    const records = await recordsIn(relay, "bob", stores.bob, layout.equivocations);
    expect(records).toHaveLength(1);
    expect(decode(decodeEquivocation, records[0] as Bytes)).toMatchObject({
      list: { userId: "carol", version: 1 },
      own: await hashOf(first),
      claims: [{ from: "alice", at: 2, theirs: await hashOf(second) }],
    });
    expect(await recordsIn(relay, "bob", stores.bob, layout.questions)).toEqual([]);
    expect(asked()).toBe(before + 1);
  });

  it("is found out though the relay never answers, until the process ends", async () => {
    const relay = await startRelay();
    let silent = false;
    const silence = new TamperedConnector({
      fromClient: (frame) => {
        const isAsked = frame.type === "request" && frame.name === "fetchAccount";
        return isAsked && silent && (frame.body as BodyOf<"fetchAccount">).userId === "carol"
          ? []
          : undefined;
      },
    });
    const store = memoryStore();
    const { alice, bob, carol, first } = await scene(relay, silence, { bob: store });
    silent = true;
    await register(relay, carol.user, await successorOf(carol.user, first));
    await lookUp(alice, "other");
    await say(alice, bob, "have you heard?");
    await bob.client.close();
    expect(await recordsIn(relay, "bob", store, layout.questions)).toHaveLength(1);
    const { connector } = lying(() => first);
    const later = makeActor(relay, "bob", { store, seams: { connector, random: () => 0.1 } });
    await later.client.connect();
    expect(await later.event("equivocation")).toMatchObject({ userId: "carol", from: "alice", version: 2 });
  });

  it("of somebody who has just come in is not forgotten before that one is known", async () => {
    const relay = await startRelay();
    const carol = await makeUser("carol");
    const first = await accountOf(carol);
    (await RawClient.connect(relay.url, carol)).socket.close();
    await register(relay, carol, await successorOf(carol, first));
    const { connector } = lying(() => first);
    const [alice, bob] = [
      await connected(relay, "alice"),
      await connected(relay, "bob", { seams: { connector, random: () => 0.1 } }),
    ];
    await makeGroup("team", [alice, bob]);
    let held: Bytes | undefined;
    const asked = new Set<number>();
    connector.tamper = {
      ...connector.tamper,
      fromClient: (frame) => {
        if (frame.type === "request" && frame.name === "fetchAccount" && held === undefined)
          asked.add(frame.id);
        return undefined;
      },
      fromRelay: (frame, bytes) => {
        if (frame.type !== "reply" || !asked.delete(frame.id)) return undefined;
        held = bytes.slice();
        return [];
      },
    };
    await alice.client.invite("team", "carol");
    await say(alice, bob, "she has two devices");
    await eventually(() => held !== undefined, "the answer that comes late");
    expect(alarms(bob)).toEqual([]);
    connector.inject(held as unknown as Bytes);
    expect(await bob.event("equivocation")).toMatchObject({ userId: "carol", from: "alice", version: 2 });
  });
});

describe("an account that shows two members two lists of one version", () => {
  it("is found out by both, and messages go on", async () => {
    const relay = await startRelay();
    let shown: Account | undefined;
    const { connector } = lying(() => shown);
    const { alice, bob, carol, first } = await scene(relay, connector);
    const [one, other] = [await successorOf(carol.user, first), await successorOf(carol.user, first)];
    shown = other;
    await register(relay, carol.user, one);
    await lookUp(alice, "of alice");
    await lookUp(bob, "of bob");
    await bob.event("deviceAdded");
    await say(alice, bob, "from alice");
    await say(bob, alice, "from bob");
    const common = { userId: "carol", version: 2, ownVersion: 2 };
    const [own, theirs] = [await hexOf(other), await hexOf(one)];
    expect(await bob.event("equivocation")).toEqual({ ...common, from: "alice", own, theirs });
    expect(await alice.event("equivocation")).toEqual({ ...common, from: "bob", own: theirs, theirs: own });
    await say(alice, bob, "and on");
    expect(alarms(alice, bob)).toHaveLength(2);
  });
});

describe("what a member says of device lists", () => {
  it("is its word only: lies change nothing, raise an alarm each in its name, and are looked into once", async () => {
    const relay = await startRelay();
    let asked = 0;
    const connector = new TamperedConnector({ replies: { fetchAccount: () => void asked++ } });
    const store = memoryStore();
    const { alice, bob, carol: mallory } = await scene(relay, connector, { bob: store });
    const before = asked;
    let lies = 0;
    const lie = async (...lists: ListHead[]) => {
      const content = contentBytes(mallory.text(`lie ${++lies}`), { heads: [], lists });
      await mallory.append({ kind: EntryKind.application, payload: await mallory.message(content) });
      await bob.message(`lie ${lies}`);
    };
    await mallory.follow();
    const [ofAlice, ofBob] = ["alice", "bob"].map((userId) => mallory.leaf(userId)) as [number, number];
    const hash = randomBytes(32);
    await lie({ leaf: 77, version: 9, hash }, { leaf: 2 ** 32 - 1, version: 9, hash });
    await lie({ leaf: ofAlice, version: 0, hash });
    await lie({ leaf: ofAlice, version: 9, hash }, { leaf: ofAlice, version: 8, hash });
    await lie({ leaf: ofBob, version: 1, hash });
    const ofOthers = await bob.event(
      "equivocation",
      (event) => "userId" in event && event.userId === "alice",
    );
    expect(ofOthers).toMatchObject({ from: "carol", ownVersion: 1, theirs: toHex(hash) });
    const ofSelf = await bob.event("equivocation", (event) => "userId" in event && event.userId === "bob");
    expect(ofSelf).toMatchObject({ from: "carol", version: 1, ownVersion: 1, theirs: toHex(hash) });
    for (let version = 10; version < 20; version++) {
      await lie({ leaf: ofAlice, version, hash }, { leaf: ofBob, version, hash: randomBytes(32) });
    }
    await say(alice, bob, "who believes her?");
    await say(bob, alice, "nobody");
    await bob.client.sendDirectMessage("alice", "in private");
    await alice.message("in private");
    expect(alarms(bob)).toHaveLength(2);
    for (const actor of [alice, bob]) {
      expect([...actor.all("deviceAdded"), ...actor.all("deviceRemoved")]).toEqual([]);
    }
    await bob.client.close();
    expect(asked - before).toBe(1);
    expect(await recordsIn(relay, "bob", store, layout.questions)).toEqual([]);
    const records = await recordsIn(relay, "bob", store, layout.equivocations);
    expect(records.map((record) => decode(decodeEquivocation, record).claims.length)).toEqual([1, 1]);
  });

  it("goes along with messages that are sent anyway: each list once in a group, and again when somebody has come", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await connected(relay, "outsider");
    const carol = await RawMember.connect(relay, "carol");
    await alice.client.sendDirectMessage("outsider", "known to alice");
    await makeGroup("team", [alice, bob]);
    await alice.client.invite("team", "carol");
    await carol.join();
    const told = () => carol.contents.flatMap((content) => contentOf(content).hearsay.lists);
    const leaves = () => told().map(({ leaf }) => carol.userOf(leaf));
    const isMessage = (entry: LogEntry) =>
      entry.form === "full" && entry.content.kind === EntryKind.application;
    const messages = () =>
      new Set(
        carol.client
          .entriesOf(carol.log)
          .filter(isMessage)
          .map(({ seq }) => seq),
      ).size;
    await carol.follow();
    const before = messages();
    await say(alice, bob, "one");
    await say(bob, alice, "two");
    await say(alice, bob, "three");
    await carol.hears("three");
    expect(messages()).toBe(before + 3);
    expect(leaves().sort()).toEqual(["alice", "bob", "carol"]);

    const dave = await RawMember.connect(relay, "dave");
    await alice.client.invite("team", "dave");
    await dave.join();
    await say(bob, alice, "four");
    await say(alice, bob, "five");
    await carol.hears("five");
    expect(leaves().sort()).toEqual(["alice", "alice", "bob", "bob", "carol", "carol", "dave"]);
    expect(told().every(({ version }) => version === 1)).toBe(true);
  });

  it("is told again where the message that carried it was not taken", async () => {
    const relay = await startRelay();
    const connector = new TamperedConnector();
    const alice = await connected(relay, "alice", { seams: { connector, random: () => 0.1 } });
    const carol = await RawMember.connect(relay, "carol");
    await alice.client.createGroup("team");
    await alice.client.invite("team", "carol");
    await carol.join();
    let refused = 0;
    connector.tamper = {
      fromClient: (frame) => {
        if (frame.type !== "request" || frame.name !== "append" || refused++ > 0) return undefined;
        const { id } = frame;
        queueMicrotask(() => connector.inject({ type: "refuse", id, code: "conflict", reason: "" }));
        return [];
      },
    };
    await alice.client.sendGroupMessage("team", "in vain at first");
    await carol.hears("in vain at first");
    expect(refused).toBe(2);
    const told = carol.contents.flatMap((content) => contentOf(content).hearsay.lists);
    expect(told.map(({ leaf }) => carol.userOf(leaf)).sort()).toEqual(["alice", "carol"]);
  });
});
