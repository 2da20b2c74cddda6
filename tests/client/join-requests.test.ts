import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { type Clock, systemClock } from "../../src/base/clock.js";
import { toHex } from "../../src/base/encoding.js";
import type { SubrosaError } from "../../src/base/errors.js";
import { leafHash, ownLeafOf } from "../../src/client/conversation/membership/leaves.js";
import { layout } from "../../src/client/layout.js";
import { encode } from "../../src/codec/writer.js";
import { randomBytes } from "../../src/crypto/random.js";
import { sign } from "../../src/crypto/signature.js";
import { type JoinMode, memoryStore } from "../../src/index.js";
import type { LeafNode } from "../../src/mls/structs/leaf-node.js";
import { EmbeddedStorage } from "../../src/relay/embedded/embedded-storage.js";
import { MemoryKv } from "../../src/relay/embedded/memory-kv.js";
import { openMemoryStorage } from "../../src/relay.js";
import { encodeJoinRequest, joinRequestToBeSigned, type LogEntry } from "../../src/wire/entries.js";
import type { RelayFrame } from "../../src/wire/frames.js";
import { type LogId, START } from "../../src/wire/identifiers.js";
import { EntryKind, LogKind } from "../../src/wire/protocol.js";
import { codeOf } from "../harness/code-of.js";
import { inboxOf } from "../relay/raw-client.js";
import { damageableMemory } from "./damaged-store.js";
import { connected, eventually, makeGroup, settledMembers, startRelay } from "./harness.js";
import { keyPackageOf, RawMember } from "./raw-member.js";
import { settle } from "./skip-clock.js";
import { TamperedConnector, withheldWelcomes } from "./tamper.js";

/** What stands between a client and an honest relay and says old join requests again, before each new one. */
class ReplayingConnector extends TamperedConnector {
  readonly recorded: LogEntry[] = [];
  again: (old: LogEntry, seq: number) => LogEntry[] = () => [];

  constructor() {
    super();
    this.tamper = { fromRelay: (frame) => this.#change(frame) };
  }

  #change(frame: RelayFrame): RelayFrame[] | undefined {
    if (frame.type !== "entries" || frame.log.kind !== LogKind.requestBox) return undefined;
    const entries: LogEntry[] = [];
    for (const entry of frame.entries) {
      for (const old of this.recorded) entries.push(...this.again(old, entry.seq + entries.length));
      entries.push({ ...entry, seq: entry.seq + entries.length });
      if (entry.form === "full") this.recorded.push(entry);
    }
    return [{ ...frame, entries }];
  }
}

/** Asks to be added anew in the place of a leaf. */
async function askRepair({ user, client }: RawMember, groupId: Bytes, replaces: Bytes) {
  const entryId = randomBytes(16);
  const asked = {
    groupId,
    userId: user.userId,
    deviceId: user.deviceId,
    accountKey: user.account.publicKey,
    keyPackage: (await keyPackageOf(user)).bytes,
    replaces: [replaces],
  };
  const signature = await sign(user.account.privateKey, joinRequestToBeSigned(asked, entryId));
  const payload = encode(encodeJoinRequest, { ...asked, signature });
  const entry = { kind: EntryKind.joinRequest, entryId, payload };
  const log = { kind: LogKind.requestBox, id: groupId };
  return { id: toHex(entryId), at: await client.append(log, START, entry) };
}

const kindOf = (entry: LogEntry) => (entry.form === "full" ? entry.content.kind : undefined);

describe("join requests", () => {
  it.each<JoinMode>(["approval", "open"])(
    "that were answered are not asked again, whatever the relay replays (%s)",
    async (join) => {
      const relay = await startRelay();
      const hostile = new ReplayingConnector();
      const seams = { connector: hostile, random: () => 0.1 };
      const store = memoryStore();
      const first = await connected(relay, "alice", { store, seams });
      await first.client.createGroup("team", { join });
      first.client.on("joinRequest", (request) => request.approve());
      const bob = await connected(relay, "bob");
      await bob.client.joinGroup("team");
      await settledMembers("team", [first, bob]);
      await first.client.remove("team", "bob");
      await bob.event("groupLeave");
      await first.client.close();

      // In a new process only the store knows what was answered.
      hostile.again = (old, seq) => {
        if (old.form !== "full") return [];
        const renamed = { ...old.content, entryId: randomBytes(16) };
        return [
          { ...old, seq },
          { ...old, seq: seq + 1, content: renamed },
        ];
      };
      const alice = await connected(relay, "alice", { store, seams });
      alice.client.on("joinRequest", (request) => request.approve());
      const carol = await connected(relay, "carol");
      await carol.client.joinGroup("team");
      await settledMembers("team", [alice, carol]);
      expect(hostile.recorded).toHaveLength(2);
      expect(alice.all("joinRequest").map(({ userId }) => userId)).toEqual(join === "open" ? [] : ["carol"]);
      expect(alice.errors).toEqual([]);
    },
  );

  it("that were refused are refused again when the relay has lost them and they come once more", async () => {
    const kv = new MemoryKv();
    const relay = await startRelay({ storage: new EmbeddedStorage(kv) });
    const connector = new TamperedConnector();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { seams: { connector } });
    await alice.client.createGroup("team");
    const before = new MemoryKv();
    await before.write(new Map(kv.range("", "\u{ffff}")));
    const joined = bob.client.joinGroup("team");
    const request = await alice.event("joinRequest");
    connector.isReachable = false;
    await relay.restart({ storage: new EmbeddedStorage(before) });
    await alice.until(() => alice.all("connect").length === 2);
    await request.reject();
    connector.isReachable = true;
    await expect(joined).rejects.toMatchObject({ code: "join-rejected" });
    expect(alice.all("joinRequest")).toHaveLength(1);
  });

  it("whose refusal the relay has lost with the group are refused once it has that again", async () => {
    const kv = new MemoryKv();
    const relay = await startRelay({ storage: new EmbeddedStorage(kv) });
    let [asked, isLost] = [0, false];
    const connector = new TamperedConnector({
      fromClient(frame) {
        if (frame.type !== "request" || frame.name !== "rejectJoin") return undefined;
        asked++;
        // The relay loses it before it has answered.
        return isLost ? undefined : [];
      },
    });
    const bobs = new TamperedConnector();
    const alice = await connected(relay, "alice", { seams: { connector, random: () => 0.1 } });
    const bob = await connected(relay, "bob", { seams: { connector: bobs, random: () => 0.1 } });
    const before = new MemoryKv();
    await before.write(new Map(kv.range("", "\u{ffff}")));
    await alice.client.createGroup("team", { join: "closed" });
    const joined = bob.client.joinGroup("team", { timeout: 60_000 });
    await eventually(() => asked > 0);
    bobs.isReachable = false;
    isLost = true;
    await relay.restart({ storage: new EmbeddedStorage(before) });
    await alice.event("error", ({ code }) => code === "data-lost");
    await settle(alice);
    bobs.isReachable = true;
    await expect(joined).rejects.toMatchObject({ code: "join-rejected" });
  });

  it("of who was refused, and banned since, are in the box again where only that was lost: nobody takes that for an error", async () => {
    const kv = new MemoryKv();
    const relay = await startRelay({ storage: new EmbeddedStorage(kv) });
    let refused = 0;
    const connector = new TamperedConnector({
      fromClient(frame) {
        if (frame.type === "request" && frame.name === "rejectJoin") refused++;
        return undefined;
      },
    });
    const alice = await connected(relay, "alice", { seams: { connector, random: () => 0.1 } });
    await alice.client.createGroup("team");
    const bob = await connected(relay, "bob");
    expect(await codeOf(bob.client.joinGroup("team", { timeout: 50 }))).toBe("timeout");
    const request = await alice.event("joinRequest");
    await bob.client.close();
    const records = () => [...kv.range("", "\u{ffff}")];
    const isOfBox = ([key]: readonly [string, unknown]) =>
      key[0] === "r" || ("hei".includes(key[0] ?? "") && key.charCodeAt(1) === LogKind.requestBox);
    const before = records().filter(isOfBox);
    await request.reject();
    await alice.client.ban("team", "bob");
    const mixed = new MemoryKv();
    await mixed.write(new Map([...records().filter((one) => !isOfBox(one)), ...before]));
    await relay.restart({ storage: new EmbeddedStorage(mixed) });
    await eventually(() => refused === 2);
    await settle(alice);
    expect(alice.errors).toEqual([]);
  });

  it("that were granted to who was removed before it knew are over: nobody lets it in once more", async () => {
    const storage = openMemoryStorage();
    const relay = await startRelay({ storage });
    const { store, keys } = damageableMemory();
    const { connector, held, release } = withheldWelcomes();
    const alice = await connected(relay, "alice");
    await alice.client.createGroup("team");
    const bob = await connected(relay, "bob", { store, seams: { connector, random: () => 0.1 } });
    const joined = bob.client.joinGroup("team");
    await (await alice.event("joinRequest")).approve();
    await eventually(() => held.length === 1);
    await alice.client.remove("team", "bob");
    await settle(alice);
    // The commit that let it in is gone, the one that removed it is there.
    const limits = { retention: 1e9, uploadTimeout: 1e9, maxLogBytes: 1_000, batch: 1000 };
    while (!(await storage.prune({ now: Date.now(), ...limits })));
    release();
    await expect(joined).rejects.toMatchObject({ code: "not-a-member" });
    connector.inject(new Uint8Array(0));
    await bob.until(() => bob.all("connect").length === 2);
    await settle(bob, alice);
    expect(alice.all("joinRequest")).toHaveLength(1);
    await bob.client.close();
    expect((await keys()).filter((key) => key.startsWith(layout.joins))).toEqual([]);
  });

  it.each(["log", "box"])(
    "that another has granted meanwhile let nobody in a second time, who was removed since, as the %s shows",
    async (where) => {
      const relay = await startRelay();
      const connector = new TamperedConnector();
      const alice = await connected(relay, "alice");
      const carol = await connected(relay, "carol", { seams: { connector, random: () => 0.1 } });
      await makeGroup("team", [alice, carol]);
      await alice.client.promote("team", "carol");
      await eventually(async () => (await carol.client.groups())[0]?.admin === true);
      const bob = await connected(relay, "bob");
      const joined = bob.client.joinGroup("team");
      const requests = await Promise.all([alice.event("joinRequest"), carol.event("joinRequest")]);
      connector.isReachable = false;
      connector.inject(new Uint8Array(0));
      await carol.event("disconnect");
      const approved = codeOf(requests[1].approve());
      await requests[0].approve();
      await joined;
      await alice.client.remove("team", "bob");
      await bob.event("groupLeave");
      if (where === "log") {
        connector.tamper = {
          fromRelay: (frame) =>
            frame.type === "entries" && frame.log.kind === LogKind.requestBox ? [] : undefined,
        };
      }
      connector.isReachable = true;
      expect(["done", "not-a-member"]).toContain(await approved);
      await settledMembers("team", [alice, carol]);
      await settle(alice, carol, bob);
      expect(bob.all("invitation")).toEqual([]);
      expect(alice.all("memberJoin").filter(({ userId }) => userId === "bob")).toHaveLength(1);
    },
  );

  it("that a relay says once somebody has answered can be answered when it shows them again", async () => {
    const relay = await startRelay();
    let [box, entryId]: [LogId | undefined, Bytes | undefined] = [undefined, undefined];
    const connector = new TamperedConnector({
      fromRelay(frame) {
        if (frame.type !== "entries" || frame.log.kind !== LogKind.requestBox) return undefined;
        box = structuredClone(frame.log);
        const [entry] = frame.entries;
        if (entry?.form === "full") entryId = entry.content.entryId.slice();
        return undefined;
      },
    });
    const alice = await connected(relay, "alice", { seams: { connector, random: () => 0.1 } });
    await alice.client.createGroup("team");
    const bob = await connected(relay, "bob");
    const joined = bob.client.joinGroup("team", { timeout: 60_000 });
    const request = await alice.event("joinRequest");
    const short = {
      form: "short",
      seq: 9,
      kind: EntryKind.joinRequest,
      contentDigest: randomBytes(32),
    } as const;
    connector.inject({
      type: "entries",
      log: box as unknown as LogId,
      entries: [{ ...short, entryId: entryId as unknown as Bytes }],
    });
    await settle(alice);
    expect(await codeOf(request.approve())).toBe("not-a-member");
    connector.inject(new Uint8Array(0));
    await (await alice.event("joinRequest", (one) => one !== request)).approve();
    await joined;
    await settledMembers("team", [alice, bob]);
  });

  it.each(["to join", "to be added anew, of who was removed,"])(
    "%s that were refused are refused again when the relay has lost only that",
    async (what) => {
      const isJoin = what === "to join";
      const kv = new MemoryKv();
      const relay = await startRelay({ storage: new EmbeddedStorage(kv) });
      let answers = 0;
      const alices = new TamperedConnector({
        fromClient(frame) {
          if (frame.type === "request" && frame.name === "rejectJoin") answers++;
          return undefined;
        },
      });
      let isDeaf = false;
      let refused = 0;
      const connector = new TamperedConnector({
        fromRelay(frame) {
          if (frame.type !== "entries" || frame.log.kind !== LogKind.inbox) return undefined;
          if (isDeaf) return [];
          refused += frame.entries.filter((entry) => kindOf(entry) === EntryKind.rejection).length;
          return undefined;
        },
      });
      const seams = { connector, random: () => 0.1 };
      const { store, keys, damage } = damageableMemory();
      const alice = await connected(relay, "alice", { seams: { connector: alices, random: () => 0.1 } });
      await alice.client.createGroup("team");
      let bob = await connected(relay, "bob", { store, seams });
      if (isJoin) {
        void codeOf(bob.client.joinGroup("team"));
        await alice.event("joinRequest");
      } else {
        await alice.client.invite("team", "bob");
        await (await bob.event("invitation")).accept();
        await bob.client.close();
        for (const key of await keys()) if (key.startsWith(layout.epochs)) await damage(key, "delete", "");
        alices.isReachable = false;
        await relay.restart();
        bob = await connected(relay, "bob", { store, seams });
      }
      // What was asked is in the box.
      await settle(bob);
      const before = new MemoryKv();
      await before.write(new Map(kv.range("", "\u{ffff}")));
      isDeaf = true;
      const done = isJoin ? alice.all("joinRequest")[0]?.reject() : alice.client.remove("team", "bob");
      alices.isReachable = true;
      await done;
      await eventually(() => answers === 1);
      await settle(alice);
      isDeaf = false;
      connector.isReachable = false;
      const connects = alice.all("connect").length;
      await relay.restart({ storage: new EmbeddedStorage(before) });
      await alice.until(() => alice.all("connect").length > connects);
      await settledMembers("team", [alice]);
      await settle(alice);
      connector.isReachable = true;
      await eventually(() => refused === 1);
      await settle(bob);
      await bob.client.close();
      expect((await keys()).filter((key) => key.startsWith(layout.joins))).toEqual([]);
      expect(alice.all("joinRequest")).toHaveLength(isJoin ? 1 : 0);
    },
  );

  it.each(["", " of who was in the group before"])(
    "%s stand where the relay has lost that they were granted, until that is put back",
    async (who) => {
      const kv = new MemoryKv();
      const relay = await startRelay({ storage: new EmbeddedStorage(kv) });
      const alices = new TamperedConnector();
      let asked = 0;
      const bobs = new TamperedConnector({
        fromClient: (frame) =>
          frame.type === "request" && frame.name === "fetchBundle" && asked++ === 0 ? [] : undefined,
      });
      const alice = await connected(relay, "alice", { seams: { connector: alices, random: () => 0.1 } });
      const bob = await connected(relay, "bob", { seams: { connector: bobs, random: () => 0.1 } });
      await alice.client.createGroup("team");
      if (who !== "") {
        asked = 1;
        await alice.client.invite("team", "bob");
        await (await bob.event("invitation")).accept();
        await bob.client.leaveGroup("team");
        await settledMembers("team", [alice]);
        asked = 0;
      }
      const before = new MemoryKv();
      await before.write(new Map(kv.range("", "\u{ffff}")));
      const joined = bob.client.joinGroup("team", { timeout: 60_000 }).then(
        () => "joined",
        ({ code }: SubrosaError) => code,
      );
      await (await alice.event("joinRequest")).approve();
      // Bob knows that he was let in, and not yet by what.
      await eventually(() => asked > 0);
      alices.isReachable = false;
      await relay.restart({ storage: new EmbeddedStorage(before) });
      await bob.until(() => bob.all("connect").length >= 2);
      await eventually(() => asked > 1);
      await bob.client.blocked();
      alices.isReachable = true;
      expect(await joined).toBe("joined");
      await settledMembers("team", [alice, bob]);
      expect(bob.errors.filter((code) => code !== "data-lost")).toEqual([]);
    },
  );

  it("of strangers are not kept by who may admit nobody, and of a member only the last", async () => {
    const relay = await startRelay();
    let acknowledged = 0;
    const connector = new TamperedConnector({
      fromClient: (frame) => {
        if (frame.type === "ack" && frame.log.kind === LogKind.requestBox) acknowledged = frame.cursor.seq;
        return undefined;
      },
    });
    const store = memoryStore();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { store, seams: { connector } });
    await makeGroup("team", [alice, bob]);
    const [eve, mallory] = [await RawMember.connect(relay, "eve"), await RawMember.connect(relay, "mallory")];
    await alice.client.invite("team", "mallory");
    await mallory.join();
    await alice.client.sendGroupMessage("team", "mallory is here");
    await bob.message("mallory is here");
    const { groupId } = mallory.group.groupContext;
    const ask = (member: RawMember) => askRepair(member, groupId, randomBytes(32));
    for (let round = 0; round < 8; round++) {
      await ask(eve);
      await ask(mallory);
    }
    await ask(eve);
    const last = await ask(mallory);
    await eventually(() => acknowledged >= last.at.seq, "bob has read the box");
    await bob.client.close();
    const session = await store.open(`${new URL(relay.url).href} bob`);
    const left = await session.list(layout.requests);
    await session.close();
    expect(left.map(([key]) => key.split("/")[2])).toEqual([last.id]);
  });
});

it("a request to be added anew is granted once, by who comes first, and not to who has left since", async () => {
  const relay = await startRelay();
  const turns: (() => void)[] = [];
  const clock: Clock = {
    now: systemClock.now,
    // The second member's turn comes when the test says so.
    after: (ms, callback) => {
      if (ms !== 500) return systemClock.after(ms, callback);
      turns.push(callback);
      return () => {};
    },
  };
  // What alice appends is held up until bob has seen what she answers.
  let held: Bytes[] | undefined;
  const connector = new TamperedConnector({
    fromClient(frame, bytes) {
      if (held === undefined || frame.type !== "request" || frame.name !== "append") return undefined;
      held.push(bytes);
      return [];
    },
  });
  const alice = await connected(relay, "alice", { seams: { random: () => 0.1, connector } });
  const bob = await connected(relay, "bob", { seams: { clock } });
  await makeGroup("team", [alice, bob]);
  await alice.client.promote("team", "bob");
  const mallory = await RawMember.connect(relay, "mallory");
  await alice.client.invite("team", "mallory");
  await mallory.join();
  const { groupId } = mallory.group.groupContext;
  held = [];
  await askRepair(mallory, groupId, await leafHash(ownLeafOf(mallory.group) as LeafNode));
  await eventually(() => turns.length > 0, "bob waits for his turn");
  // Alice's came at once.
  const appended = held;
  held = undefined;
  for (const bytes of appended) connector.forward(bytes);
  await mallory.client.untilEntries(inboxOf(mallory.user), 2);
  await alice.client.remove("team", "mallory");
  await settledMembers("team", [alice, bob]);
  for (const turn of turns) turn();
  await settle(alice, bob);
  await alice.client.sendGroupMessage("team", "nobody came");
  await bob.message("nobody came");
  await settledMembers("team", [alice, bob]);
  expect(bob.all("memberJoin").map(({ userId }) => userId)).toEqual(["mallory"]);
  expect([...alice.errors, ...bob.errors]).toEqual([]);
});

it("who asks to be added anew before an admin has read that it came in is added anew, and not refused", async () => {
  const relay = await startRelay();
  const held: RelayFrame[] = [];
  let isBehind = false;
  let asked = 0;
  const connector = new TamperedConnector({
    fromRelay(frame) {
      if (frame.type !== "entries") return undefined;
      if (frame.log.kind === LogKind.requestBox && isBehind) asked += frame.entries.length;
      if (frame.log.kind !== LogKind.group || !isBehind) return undefined;
      held.push(structuredClone(frame));
      return [];
    },
  });
  const alice = await connected(relay, "alice");
  const bob = await connected(relay, "bob", { seams: { random: () => 0.1, connector } });
  await makeGroup("team", [alice, bob]);
  await alice.client.promote("team", "bob");
  await bob.event("groupUpdated");
  const mallory = await RawMember.connect(relay, "mallory");
  isBehind = true;
  await alice.client.invite("team", "mallory");
  await mallory.join();
  await alice.client.close();
  const { groupId } = mallory.group.groupContext;
  await askRepair(mallory, groupId, await leafHash(ownLeafOf(mallory.group) as LeafNode));
  await eventually(() => asked > 0, "bob has the request");
  await settle(bob);
  isBehind = false;
  for (const frame of held) connector.inject(frame);
  const [, answer] = await mallory.client.untilEntries(inboxOf(mallory.user), 2);
  expect(answer && kindOf(answer)).toBe(EntryKind.pointer);
  await bob.client.sendGroupMessage("team", "hello");
  expect(bob.errors).toEqual([]);
});

it("a request is over when it is granted under a name that is another group's by now", async () => {
  const relay = await startRelay();
  const alice = await connected(relay, "alice");
  const carol = await connected(relay, "carol");
  await alice.client.createGroup("team");
  const store = memoryStore();
  const eve = await connected(relay, "eve", { store });
  const asked = expect(eve.client.joinGroup("team", { timeout: 50 })).rejects.toMatchObject({
    code: "timeout",
  });
  const request = await alice.event("joinRequest");
  await asked;
  await eve.client.close();
  await request.approve();
  await alice.client.renameGroup("team", "crew");
  await carol.client.createGroup("team");
  const back = await connected(relay, "eve", { store });
  await back.event("error", ({ code }) => code === "name-taken");
  await back.client.close();
  const session = await store.open(`${new URL(relay.url).href} eve`);
  expect(await session.list(layout.joins)).toEqual([]);
  await session.close();
});
