import { cp } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { toHex } from "../../src/base/encoding.js";
import { decodeConversationRecord } from "../../src/client/conversation/record.js";
import { layout } from "../../src/client/layout.js";
import { decode } from "../../src/codec/reader.js";
import { memoryStore, type Store } from "../../src/index.js";
import { openStore } from "../../src/node.js";
import { EmbeddedStorage } from "../../src/relay/embedded/embedded-storage.js";
import { MemoryKv } from "../../src/relay/embedded/memory-kv.js";
import { encodeResult, type RelayFrame } from "../../src/wire/frames.js";
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
  temporaryFolder,
} from "../client/harness.js";
import { RawMember } from "../client/raw-member.js";
import { TamperedConnector } from "../client/tamper.js";
import { sendCommit, unreadablePath } from "../rejects/builder.js";

async function exchange(one: Actor, other: Actor, mark: string): Promise<void> {
  await one.client.sendDirectMessage(other.userId, `${mark} to ${other.userId}`);
  await other.message(`${mark} to ${other.userId}`);
  await other.client.sendDirectMessage(one.userId, `${mark} to ${one.userId}`);
  await one.message(`${mark} to ${one.userId}`);
}

/** The ids of the groups that have names, of a client that is closed. */
async function namedGroups(store: Store, scope: string): Promise<Set<string>> {
  const session = await store.open(scope);
  const records = await session.list(layout.conversations);
  await session.close();
  const all = records.map(([, value]) => decode(decodeConversationRecord, value));
  return new Set(all.filter(({ subject }) => subject.kind === "group").map(({ groupId }) => toHex(groupId)));
}

describe("C5 an answer and what follows it in one piece", () => {
  it("a commit that comes together with the answer to a subscription puts no message before an earlier one", async () => {
    const relay = await startRelay();
    const [bob] = await connectAll(relay, ["bob", "carol"]);
    const connector = new TamperedConnector();
    let connectable = Promise.resolve();
    const gated = {
      connect: async (...given: Parameters<TamperedConnector["connect"]>) => {
        await connectable;
        return connector.connect(...given);
      },
    };
    const alice = await connected(relay, "alice", { seams: { connector: gated, random: () => 0.1 } });
    await alice.client.createGroup("team", { join: "open" });
    await bob.client.joinGroup("team");
    for (const [from, to] of [
      [alice, bob],
      [bob, alice],
    ] as const) {
      await from.client.sendGroupMessage("team", `first of ${from.userId}`);
      await to.message(`first of ${from.userId}`);
    }
    // Three messages are lost on their way, and with them the connection.
    let lost = 0;
    connector.tamper = {
      fromClient: (frame) => {
        if (frame.type !== "request" || frame.name !== "append") return undefined;
        lost++;
        return [];
      },
    };
    for (const text of ["one", "two", "three"]) await alice.client.sendGroupMessage("team", text);
    await eventually(() => lost === 3, "three lost appends");
    let open = () => {};
    connectable = new Promise((resolve) => {
      open = resolve;
    });
    await relay.restart();
    await bob.until(() => bob.all("connect").length === 2);
    await alice.client.sendGroupMessage("team", "four");
    let asked: number | undefined;
    let answer: Bytes | undefined;
    connector.tamper = {
      fromClient: (frame) => {
        if (frame.type !== "request" || frame.name !== "subscribe") return undefined;
        if ((frame.body as BodyOf<"subscribe">).log.kind === LogKind.group) asked = frame.id;
        return undefined;
      },
      fromRelay: (frame, bytes) => {
        if (frame.type === "reply" && frame.id === asked && answer === undefined) {
          answer = bytes.slice();
          return [];
        }
        if (frame.type !== "entries" || frame.log.kind !== LogKind.group || answer === undefined)
          return undefined;
        const both = asked === undefined ? [bytes] : [answer, bytes];
        asked = undefined;
        return both;
      },
    };
    open();
    await eventually(() => answer !== undefined, "the answer");
    await bob.client.invite("team", "carol");
    await bob.message("four");
    expect(bob.texts.slice(-4)).toEqual(["one", "two", "three", "four"]);
  });
});

describe("C14 a relay that withholds, reorders or splits", () => {
  it("withholds an entry and closes the gap: the digests tell, and what was withheld comes after all, once", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const connector = new TamperedConnector();
    const bob = await connected(relay, "bob", { seams: { connector, random: () => 0.1 } });
    await exchange(alice, bob, "first");
    const isPush = (frame: RelayFrame) => frame.type === "entries" && frame.log.kind === LogKind.group;
    let hidden = false;
    connector.tamper = {
      fromRelay(frame) {
        if (frame.type !== "entries" || !isPush(frame)) return undefined;
        if (hidden)
          return [{ ...frame, entries: frame.entries.map((one) => ({ ...one, seq: one.seq - 1 })) }];
        hidden = frame.entries.some(({ form }) => form === "full");
        return hidden ? [] : undefined;
      },
    };
    await alice.client.sendDirectMessage("bob", "withheld");
    await alice.client.sendDirectMessage("bob", "shown");
    await bob.message("shown");
    connector.tamper = {};
    await bob.client.sendDirectMessage("alice", "anything new?");
    await bob.event("error", ({ code }) => code === "cursor-mismatch");
    await alice.message("anything new?");
    await bob.message("withheld");
    for (const text of ["withheld", "shown"]) expect(bob.texts.filter((one) => one === text)).toEqual([text]);
  });

  it("shows two members different logs of a group: each is told by the other's next word elsewhere", async () => {
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
    await bob.client.close();
    const other = new MemoryKv();
    await other.write(new Map(kv.range("", "\u{ffff}")));
    await alice.client.invite("team", "carol");
    await alice.client.close();
    await relay.restart({ storage: new EmbeddedStorage(other) });
    bob = await connected(relay, "bob", { store: stores.bob });
    await bob.client.invite("team", "dave");
    await bob.client.close();
    // One relay again, which tells bob nothing new of any group.
    await relay.restart({ storage: new EmbeddedStorage(kv) });
    alice = await connected(relay, "alice", { store: stores.alice });
    const connector: TamperedConnector = new TamperedConnector({
      fromClient: (frame) => {
        if (frame.type !== "request" || frame.name !== "subscribe") return undefined;
        const { log, cursor } = frame.body as BodyOf<"subscribe">;
        if (log.kind !== LogKind.group || !teamIds.has(toHex(log.id))) return undefined;
        const result = encodeResult("subscribe", { head: cursor, from: cursor });
        queueMicrotask(() => connector.inject({ type: "reply", id: frame.id, result }));
        return [];
      },
    });
    const teamIds = await namedGroups(stores.bob, `${new URL(relay.url).href} bob`);
    bob = makeActor(relay, "bob", { store: stores.bob, seams: { connector, random: () => 0.1 } });
    await bob.client.connect();
    await exchange(alice, bob, "after");
    const atBob = await bob.event("equivocation");
    const atAlice = await alice.event("equivocation");
    expect(atAlice).toMatchObject({ group: "team", from: "bob", own: atBob.theirs, theirs: atBob.own });
    await exchange(bob, alice, "messages go on");
  });
});

describe("C15 a commit that is garbage for one member", () => {
  it("strands only that one, whom the others take in again by themselves", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    const mallory = await RawMember.connect(relay, "mallory");
    await makeGroup("team", [alice, bob]);
    await alice.client.invite("team", "mallory");
    await mallory.join();
    await alice.client.invite("team", "carol");
    await (await carol.event("invitation")).accept();
    await mallory.follow();
    const actor = { state: mallory.group, signer: mallory.user.device } as never;
    // Carol's leaf stands beside mallory's: the lowest node of the path has one ciphertext, which is hers.
    const payload = await sendCommit(actor, [], {
      updatePath: unreadablePath((level) => level === 0),
    });
    const bundle = { access: [], welcome: new Uint8Array(0) as Bytes };
    await mallory.append({ kind: EntryKind.commit, payload, bundle });
    await carol.event("error", ({ code }) => code === "decryption-failed");
    await carol.client.sendGroupMessage("team", "carol is back");
    await Promise.all([alice.message("carol is back"), bob.message("carol is back")]);
    expect(carol.all("groupLeave")).toEqual([]);
    for (const { client } of [alice, bob, carol]) expect(await client.members("team")).toHaveLength(4);
  });
});

describe("C16 state that was restored or cloned", () => {
  it("never sends with keys it may have used: it goes on as a new device, and everyone hears it again", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    const [original, copy] = [await temporaryFolder(), await temporaryFolder()];
    const first = await connected(relay, "alice", { store: await openStore(original) });
    await makeGroup("team", [bob, first]);
    await exchange(first, bob, "one");
    const { deviceId } = first.client;
    await first.client.close();
    await cp(original, copy, { recursive: true });
    const second = await connected(relay, "alice", { store: await openStore(original) });
    await exchange(second, bob, "two");
    await second.client.close();

    const connector = new TamperedConnector();
    const asOldDevice: string[] = [];
    connector.tamper = {
      fromClient: (frame) => {
        const isOld = frame.type === "authenticate" && toHex(frame.authentication.deviceId) === deviceId;
        if (isOld) asOldDevice.length = 0;
        if (frame.type === "request" && frame.name === "append" && alice.client.deviceId === deviceId) {
          asOldDevice.push(frame.name);
        }
        return undefined;
      },
    };
    const alice = makeActor(relay, "alice", {
      store: await openStore(copy),
      seams: { connector, random: () => 0.1 },
    });
    await alice.client.sendDirectMessage("bob", "from the copy");
    await alice.client.connect();
    await alice.event("storeRecovered", ({ reason, newDevice }) => reason === "outdated" && newDevice);
    expect(alice.client.deviceId).not.toBe(deviceId);
    expect(asOldDevice).toEqual([]);
    await bob.message("from the copy");
    await exchange(alice, bob, "three");
    await alice.client.sendGroupMessage("team", "back in the group");
    await bob.message("back in the group");
    await settledMembers("team", [alice, bob]);
    expect(bob.all("identityChanged")).toEqual([]);
    expect(bob.texts.filter((text) => text === "from the copy")).toHaveLength(1);
  });
});
