import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { leafAt } from "../../src/client/conversation/membership/leaves.js";
import { randomBytes } from "../../src/crypto/random.js";
import { type Change, memoryStore, type Store } from "../../src/index.js";
import { readKeyPackage } from "../../src/mls/group/index.js";
import type { ClientFrame } from "../../src/wire/frames.js";
import { EntryKind, LogKind } from "../../src/wire/protocol.js";
import { sendCommit, unreadablePath } from "../rejects/builder.js";
import { connectAll, connected, eventually, makeGroup, settledMembers, startRelay } from "./harness.js";
import { RawMember } from "./raw-member.js";
import { SkipClock, settle } from "./skip-clock.js";
import { TamperedConnector, withheldWelcomes } from "./tamper.js";

/** A store whose writes, from the first that fits on, wait until they are let through. */
class HeldStore implements Store {
  readonly #inner = memoryStore();
  #fits: ((changes: readonly Change[]) => boolean) | undefined;
  #gate: Promise<void> = Promise.resolve();
  #open = () => {};
  readonly #written = new Set<string>();
  /** Writes that wait. */
  held = 0;

  /** Whether something was written, or waits to be. */
  has(key: string): boolean {
    return this.#written.has(key);
  }

  /** The next write that fits waits, and with it all that come after. */
  hold(fits: (changes: readonly Change[]) => boolean): void {
    this.#fits = fits;
  }

  release(): void {
    this.#open();
    this.held = 0;
  }

  async open(...given: Parameters<Store["open"]>) {
    const session = await this.#inner.open(...given);
    const write = session.write.bind(session);
    let tail: Promise<unknown> = Promise.resolve();
    session.write = (changes) => {
      if (this.#fits?.(changes)) {
        this.#fits = undefined;
        this.#gate = new Promise((resolve) => {
          this.#open = resolve;
        });
        this.held = 1;
      } else if (this.held > 0) this.held++;
      for (const change of changes) if ("put" in change) this.#written.add(change.put);
      const gate = this.#gate;
      const written = tail.then(() => gate).then(() => write(changes));
      tail = written.catch(() => {});
      return written;
    };
    return session;
  }
}

/** The first thing of the outbox that is written, and whether a change is of it. */
function firstIntent(changes: readonly Change[]): string | undefined {
  const put = changes.find((change) => "put" in change && change.put.startsWith("intent/"));
  return put && "put" in put ? put.put : undefined;
}

const turns = async () => {
  for (let turn = 0; turn < 20; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
};

describe("a message that waits for a conversation with its user", () => {
  it("is deleted for good while it is moved into it", async () => {
    const relay = await startRelay();
    const store = new HeldStore();
    const bob = await connected(relay, "bob");
    const alice = await connected(relay, "alice", { store });
    let message: string | undefined;
    store.hold((changes) => {
      message ??= firstIntent(changes);
      const isMoved = changes.length === 1 && message !== undefined && store.has(message);
      return isMoved && firstIntent(changes) === message;
    });
    const id = await alice.client.sendDirectMessage("bob", "a secret");
    await eventually(() => store.held > 0, "the message is moved");
    const deleted = alice.client.deleteMessages("bob", [id]);
    await turns();
    store.release();
    await deleted;
    expect(await alice.event("receipt")).toMatchObject({ ids: [id], state: "failed", code: "aborted" });
    await alice.client.sendDirectMessage("bob", "hello");
    await bob.message("hello");
    expect(bob.texts).toEqual(["hello"]);
  });

  it("stays deleted when the conversation comes about meanwhile", async () => {
    const relay = await startRelay();
    const store = new HeldStore();
    const connector = new TamperedConnector();
    const bob = await connected(relay, "bob");
    const alice = await connected(relay, "alice", { store, seams: { connector, random: () => 0.1 } });
    // The relay's answer that lets alice follow the new conversation is late.
    const asked = new Set<number>();
    let answer: (() => void) | undefined;
    connector.tamper = {
      fromClient(frame) {
        const isSubscribe = frame.type === "request" && frame.name === "subscribe";
        if (isSubscribe && frame.body.log.kind === LogKind.group) asked.add(frame.id);
        return undefined;
      },
      fromRelay(frame) {
        if (frame.type === "entries") return frame.log.kind === LogKind.group ? [] : undefined;
        if (frame.type !== "reply" || !asked.delete(frame.id)) return undefined;
        answer = () => connector.inject(frame);
        return [];
      },
    };
    let message: string | undefined;
    store.hold((changes) => {
      message ??= firstIntent(changes);
      return changes.some((change) => "delete" in change && change.delete === message);
    });
    const id = await alice.client.sendDirectMessage("bob", "a secret");
    await eventually(() => answer !== undefined, "the conversation is there");
    const deleted = alice.client.deleteMessages("bob", [id]);
    await eventually(() => store.held > 0, "the deletion is written");
    connector.tamper = {};
    answer?.();
    await turns();
    store.release();
    await deleted;
    expect(await alice.event("receipt")).toMatchObject({ ids: [id], state: "failed", code: "aborted" });
    connector.inject(new Uint8Array(0));
    await alice.client.sendDirectMessage("bob", "hello");
    await bob.message("hello");
    expect(bob.texts).toEqual(["hello"]);
  });
});

it("a message that is sealed while a session ends goes out behind those that were under way", async () => {
  const relay = await startRelay();
  const store = new HeldStore();
  const connector = new TamperedConnector();
  const bob = await connected(relay, "bob");
  const alice = await connected(relay, "alice", { store, seams: { connector, random: () => 0.1 } });
  await makeGroup("team", [alice, bob]);
  await settle(alice, bob);
  const isOfGroup = (frame: ClientFrame, name: "append" | "subscribe") =>
    frame.type === "request" && frame.name === name && frame.body.log.kind === LogKind.group;
  let appended = 0;
  connector.tamper = {
    fromClient(frame) {
      if (!isOfGroup(frame, "append")) return undefined;
      appended++;
      return [];
    },
  };
  await alice.client.sendGroupMessage("team", "first");
  await eventually(() => appended === 1);
  const isSealed = (changes: readonly Change[]) =>
    firstIntent(changes) !== undefined &&
    changes.some((change) => "put" in change && change.put.startsWith("ratchet/"));
  store.hold(isSealed);
  await alice.client.sendGroupMessage("team", "second");
  await eventually(() => store.held > 0);
  const sessions = alice.all("connect").length;
  const late: Bytes[] = [];
  connector.tamper = {
    fromClient(frame, bytes) {
      if (!isOfGroup(frame, "subscribe")) return undefined;
      late.push(bytes);
      return [];
    },
  };
  connector.inject(new Uint8Array(0));
  await alice.until(() => alice.all("connect").length > sessions);
  store.release();
  await settle(alice);
  await eventually(() => late.length > 0);
  connector.tamper = {};
  for (const bytes of late) connector.forward(bytes);
  await bob.count(2);
  expect(bob.texts).toEqual(["first", "second"]);
});

it("a second request to join, made while the first comes about, stands no more either", async () => {
  const relay = await startRelay();
  const store = new HeldStore();
  let asked = 0;
  const connector = new TamperedConnector({
    fromClient(frame) {
      const isAppend = frame.type === "request" && frame.name === "append";
      if (isAppend && frame.body.log.kind === LogKind.requestBox) asked++;
      return undefined;
    },
  });
  const seams = { connector, random: () => 0.1 };
  const alice = await connected(relay, "alice");
  const bob = await connected(relay, "bob", { store, seams });
  await alice.client.createGroup("team");
  const first = bob.client.joinGroup("team");
  store.hold((changes) =>
    changes.some((change) => "put" in change && change.put.startsWith("conversation/")),
  );
  await (await alice.event("joinRequest")).approve();
  await eventually(() => store.held > 0, "bob is about to be in");
  const second = bob.client.joinGroup("team");
  await eventually(() => store.held > 1, "bob asks again");
  store.release();
  await Promise.all([first, second]);
  await bob.client.close();
  asked = 0;
  const again = await connected(relay, "bob", { store, seams });
  await alice.client.sendGroupMessage("team", "hello");
  await again.message("hello");
  expect(asked).toBe(0);
});

it("what somebody wrote who has left before anybody could ask who that is comes with the next session", async () => {
  const relay = await startRelay();
  let isSilent = true;
  const connector = new TamperedConnector({
    fromClient(frame) {
      const isAsked =
        frame.type === "request" && frame.name === "fetchAccount" && frame.body.userId === "carol";
      return isAsked && isSilent ? [] : undefined;
    },
  });
  const [alice, carol] = await connectAll(relay, ["alice", "carol"]);
  const bob = await connected(relay, "bob", { seams: { connector, random: () => 0.1 } });
  await makeGroup("team", [alice, bob]);
  await alice.client.invite("team", "carol");
  await (await carol.event("invitation")).accept();
  await carol.client.sendGroupMessage("team", "hello and goodbye");
  await alice.message("hello and goodbye");
  await carol.client.leaveGroup("team");
  await settledMembers("team", [alice, bob]);
  expect(bob.texts).toEqual([]);
  isSilent = false;
  connector.inject(new Uint8Array(0));
  await bob.message("hello and goodbye");
});

it("a second invitation is followed though the first, which the relay has lost, fails meanwhile", async () => {
  const relay = await startRelay();
  let asked: number | undefined;
  let acknowledged = 0;
  const connector = new TamperedConnector({
    fromClient(frame) {
      if (frame.type === "ack" && frame.log.kind === LogKind.inbox) acknowledged = frame.cursor.seq;
      if (frame.type !== "request" || frame.name !== "fetchBundle" || asked !== undefined) return undefined;
      asked = frame.id;
      return [];
    },
  });
  const alice = await connected(relay, "alice");
  const bob = await connected(relay, "bob", { seams: { connector, random: () => 0.1 } });
  await alice.client.createGroup("team");
  await alice.client.invite("team", "bob");
  await eventually(() => asked !== undefined, "the first is followed");
  await alice.client.remove("team", "bob");
  await alice.client.invite("team", "bob");
  await eventually(() => acknowledged === 2, "the second is there");
  connector.inject({ type: "refuse", id: asked ?? 0, code: "unknown-entry", reason: "" });
  await (await bob.event("invitation")).accept();
  await settledMembers("team", [alice, bob]);
  expect(bob.errors).toEqual([]);
});

it("what came while a welcome was waited for that was none is read before what follows it", async () => {
  const relay = await startRelay();
  let held: Bytes | undefined;
  let passedBy = 0;
  const connector = new TamperedConnector();
  const clock = new SkipClock();
  const alice = await connected(relay, "alice", { seams: { clock } });
  const bob = await connected(relay, "bob");
  await makeGroup("team", [alice, bob]);
  const mallory = await RawMember.connect(relay, "mallory");
  await alice.client.invite("team", "mallory");
  await mallory.join();
  const carol = await connected(relay, "carol", { seams: { connector, random: () => 0.1, clock } });
  await alice.client.invite("team", "carol");
  await (await carol.event("invitation")).accept();
  await settle(alice, carol);
  connector.tamper = {
    fromClient(frame, bytes) {
      if (frame.type !== "request" || frame.name !== "fetchBundle" || held !== undefined) return undefined;
      held = bytes;
      return [];
    },
    fromRelay(frame) {
      if (frame.type === "entries" && frame.log.kind === LogKind.group && held !== undefined) passedBy++;
      return undefined;
    },
    replies: {
      fetchBundle: (bundle) => {
        connector.tamper = {};
        return { ...bundle, welcome: randomBytes(100) };
      },
    },
  };
  await mallory.follow();
  // Carol's leaf stands beside mallory's: the lowest node of the path has one ciphertext, which is hers.
  const sender = { state: mallory.group, signer: mallory.user.device } as never;
  const payload = await sendCommit(sender, [], { updatePath: unreadablePath((level) => level === 0) });
  const bundle = { access: [], welcome: new Uint8Array(0) };
  await mallory.append({ kind: EntryKind.commit, payload, bundle });
  await carol.event("error", ({ code }) => code === "decryption-failed");
  await eventually(() => held !== undefined, "she follows what is to add her anew");
  await alice.client.sendGroupMessage("team", "passed by");
  await eventually(() => passedBy > 0);
  await settle(alice);
  connector.forward(held as unknown as Bytes);
  await carol.event("error", ({ code }) => code === "protocol-error");
  await alice.client.sendGroupMessage("team", "passed by too");
  await settle(alice);
  await clock.skip(60_000, () => settle(alice, carol));
  await carol.client.sendGroupMessage("team", "here again");
  await alice.message("here again");
  expect(carol.errors).toEqual(["decryption-failed", "protocol-error"]);
  expect(carol.all("undecryptable").map(({ missed }) => missed)).toEqual([2]);
});

it("who is added anew while it looks up whom it is to admit makes no commit of the keys that are over", async () => {
  const relay = await startRelay();
  const held: Bytes[] = [];
  const connector = new TamperedConnector();
  const alice = await connected(relay, "alice");
  const bob = await connected(relay, "bob", { seams: { connector, random: () => 0.1 } });
  await makeGroup("team", [alice, bob]);
  await alice.client.promote("team", "bob");
  const mallory = await RawMember.connect(relay, "mallory");
  await alice.client.invite("team", "mallory");
  await mallory.join();
  const carol = await connected(relay, "carol");
  const asked = carol.client.joinGroup("team");
  const request = await bob.event("joinRequest");
  let added = 0;
  connector.tamper = {
    fromClient(frame, bytes) {
      if (frame.type !== "request" || (frame.name !== "fetchAccount" && frame.name !== "fetchBundle"))
        return undefined;
      held.push(bytes);
      return [];
    },
    fromRelay(frame) {
      if (frame.type === "entries" && frame.log.kind === LogKind.inbox) added++;
      return undefined;
    },
  };
  const approved = request.approve();
  await eventually(() => held.length === 1);
  const { devices } = await mallory.client.request("fetchKeyPackages", { userId: "bob" });
  await mallory.follow();
  const proposals = [
    { kind: "remove", removed: mallory.leaf("bob") },
    { kind: "add", keyPackage: readKeyPackage(devices[0]?.keyPackage as Uint8Array) },
  ] as never[];
  await mallory.append(await mallory.commit({ merge: true, proposals }));
  await eventually(() => added > 0 && held.length === 2);
  const [lookup, welcome] = held as [Bytes, Bytes];
  connector.tamper = {};
  connector.forward(lookup);
  await settle(bob, alice);
  connector.forward(welcome);
  await Promise.all([approved, asked]);
  await eventually(async () => (await bob.client.members("team")).length === 4);
  await bob.client.sendGroupMessage("team", "from bob");
  for (const actor of [alice, carol]) await actor.message("from bob");
  for (const { errors } of [alice, bob, carol]) expect(errors).toEqual([]);
});

it("who was removed and invited again while it was away reads what came before that, and asks for nothing", async () => {
  const relay = await startRelay();
  const store = memoryStore();
  const alice = await connected(relay, "alice");
  const { connector, held, counts, release } = withheldWelcomes();
  const first = await connected(relay, "bob", { store });
  await makeGroup("team", [alice, first]);
  await first.client.close();
  await alice.client.sendGroupMessage("team", "before");
  await alice.client.remove("team", "bob");
  await alice.client.sendGroupMessage("team", "not for bob");
  await alice.client.invite("team", "bob");
  await alice.client.sendGroupMessage("team", "are you there?");
  const bob = await connected(relay, "bob", { store, seams: { connector, random: () => 0.1 } });
  await eventually(() => held.length > 0);
  await settle(bob, alice);
  release();
  await (await bob.event("invitation")).accept();
  await bob.message("are you there?");
  expect(bob.texts).toEqual(["before", "are you there?"]);
  expect(counts.asked).toBe(0);
  expect(bob.all("undecryptable")).toEqual([]);
  expect(bob.errors).toEqual([]);
  expect(bob.all("groupLeave")).toEqual([{ group: "team", reason: "removed", by: "alice" }]);
});

it("who was added anew by nothing that it can read, and starts again before it may ask once more, is added anew", async () => {
  const relay = await startRelay();
  const clock = new SkipClock();
  const [store, alices] = [memoryStore(), memoryStore()];
  let asked = 0;
  const come = (userId: string, own: Store) => {
    const connector = new TamperedConnector({
      fromClient(frame) {
        const isAppend = frame.type === "request" && frame.name === "append";
        if (isAppend && frame.body.log.kind === LogKind.requestBox) asked++;
        return undefined;
      },
    });
    return connected(relay, userId, { store: own, seams: { random: () => 0.1, clock, connector } });
  };
  let alice = await come("alice", alices);
  const bob = await connected(relay, "bob");
  await makeGroup("team", [alice, bob]);
  const mallory = await RawMember.connect(relay, "mallory");
  await alice.client.invite("team", "mallory");
  await mallory.join();
  let carol = await come("carol", store);
  await alice.client.invite("team", "carol");
  await (await carol.event("invitation")).accept();
  await settle(alice, carol);
  await mallory.follow();
  for (const { client } of [alice, bob]) await client.close();
  // Carol's leaf stands beside mallory's: the lowest node of the path has one ciphertext, which is hers.
  const sender = { state: mallory.group, signer: mallory.user.device } as never;
  const payload = await sendCommit(sender, [], { updatePath: unreadablePath((level) => level === 0) });
  const none = new Uint8Array(0);
  await mallory.append({ kind: EntryKind.commit, payload, bundle: { access: [], welcome: none } });
  await eventually(() => asked === 1, "she asks to be added anew");
  await settle(carol);
  await mallory.follow();
  const { deviceId } = leafAt(mallory.group, mallory.leaf("carol") as never);
  const access = [{ type: "add", userId: "carol", deviceId, role: 1 }] as const;
  const bundle = { access, welcome: none };
  await mallory.append({ kind: EntryKind.commit, payload: randomBytes(300), bundle });
  await carol.event("error", ({ code }) => code === "protocol-error");
  await settle(carol);
  await carol.client.close();
  [carol, alice] = [await come("carol", store), await come("alice", alices)];
  await clock.skip(120_000, () => settle(alice, carol));
  await carol.client.sendGroupMessage("team", "here again");
  await alice.message("here again");
});
