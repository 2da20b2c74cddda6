import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { DEFAULT_LIMITS } from "../../src/relay/limits.js";
import { Relay, type RelayOptions } from "../../src/relay.js";
import type { LogEntry } from "../../src/wire/entries.js";
import { EndReason } from "../../src/wire/frames.js";
import { type Cursor, type LogId, logKey, START } from "../../src/wire/identifiers.js";
import { CloseCode, EntryKind, RejectionReason } from "../../src/wire/protocol.js";
import { ManualClock } from "./manual-clock.js";
import {
  add,
  chain,
  closing,
  commit,
  groupLog,
  inboxOf,
  joinRequest,
  leave,
  makeUser,
  message,
  RawClient,
  remove,
  requestBox,
  setRole,
  type TestUser,
  textOf,
} from "./raw-client.js";

const kinds = (entries: readonly LogEntry[]) =>
  entries.map((entry) => [entry.seq, entry.form === "full" ? entry.content.kind : entry.kind, entry.form]);
const { application, commit: committed, leave: left, close } = EntryKind;

describe("readers", () => {
  let relay: Relay;
  let url: string;
  let clock: ManualClock;
  let alice: TestUser;
  let bob: TestUser;
  let carol: TestUser;
  let a: RawClient;
  let b: RawClient;
  let c: RawClient;

  const open = async (options: RelayOptions = {}) => {
    clock = new ManualClock();
    // The clock jumps over days: nobody could answer that many pings.
    const limits = { heartbeatInterval: Number.MAX_SAFE_INTEGER, ...options.limits };
    relay = new Relay({ clock, ...options, limits });
    ({ url } = await relay.listen());
    [alice, bob, carol] = await Promise.all([makeUser("alice"), makeUser("bob"), makeUser("carol")]);
    [a, b, c] = (await Promise.all([alice, bob, carol].map((user) => RawClient.connect(url, user)))) as [
      RawClient,
      RawClient,
      RawClient,
    ];
  };
  beforeEach(() => open());
  afterEach(() => relay.close());

  /** A group of alice's with bob in it. */
  async function groupOfTwo(): Promise<{ log: LogId; at: Cursor; groupId: LogId["id"] }> {
    const groupId = randomBytes(32);
    const at = await a.request("create", { groupId, first: commit([add(bob)], randomBytes(9)) });
    return { log: groupLog(groupId), at, groupId };
  }

  const ended = async (client: RawClient, log: LogId) => {
    const find = () =>
      client.frames.find((frame) => frame.type === "ended" && logKey(frame.log) === logKey(log));
    await client.until(() => find() !== undefined);
    const frame = find();
    return frame?.type === "ended" ? frame.reason : undefined;
  };

  /** A round trip: what the relay sent before it has arrived. */
  const settle = (client: RawClient) => client.request("listGroups", {});

  it("see all logs in order, without gaps, each entry once, while others append", async () => {
    const { log, at } = await groupOfTwo();
    await b.subscribe(log, at);
    const senders = [a, b];
    const work = senders.flatMap((sender, s) =>
      Array.from({ length: 60 }, (_, i) => sender.append(log, at, message(`${s}:${i}`))),
    );
    await Promise.all(work.slice(0, 30));
    await a.subscribe(log, at);
    await Promise.all(work);
    const [seenByA, seenByB] = await Promise.all([a.untilEntries(log, 120), b.untilEntries(log, 120)]);
    expect(seenByA).toHaveLength(120);
    expect(seenByB).toHaveLength(120);
    const end = await chain(log, seenByB, at);
    expect(await chain(log, seenByA, at)).toEqual(end);
    const fromA = seenByB.map(textOf).filter((text) => text?.startsWith("0:"));
    expect(fromA).toEqual(Array.from({ length: 60 }, (_, i) => `0:${i}`));
    expect((await a.subscribe(log, end)).head).toEqual(end);
  });

  it("get the entries of their own session in the short form, of an earlier session in full", async () => {
    const { log, at } = await groupOfTwo();
    await a.append(log, at, message("one"));
    await a.subscribe(log);
    expect((await a.untilEntries(log, 2)).map(({ form }) => form)).toEqual(["short", "short"]);
    await a.append(log, at, message("two"));
    expect((await a.untilEntries(log, 3)).map(({ form }) => form)).toEqual(["short", "short", "short"]);
    await a.close();
    const again = await RawClient.connect(url, alice);
    await again.subscribe(log);
    expect((await again.untilEntries(log, 3)).map(({ form }) => form)).toEqual(["full", "full", "full"]);
  });

  it("get in full what another device appended under an entry id of their own", async () => {
    const { log, at } = await groupOfTwo();
    await a.subscribe(log, at);
    const mine = message("mine");
    await expect(a.append(log, START, mine)).rejects.toMatchObject({ code: "stale" });
    await b.append(log, at, message("not yours", mine.entryId));
    expect((await a.untilEntries(log, 1)).map(textOf)).toEqual(["not yours"]);
  });

  it("must stand where they say", async () => {
    const { log, at, groupId } = await groupOfTwo();
    const next = await a.append(log, at, message("x"));
    const attempts: [RawClient, LogId, Cursor, string][] = [
      [a, groupLog(randomBytes(32)), START, "unknown-group"],
      [a, requestBox(randomBytes(32)), START, "unknown-group"],
      [c, log, START, "not-a-member"],
      [c, requestBox(groupId), START, "not-a-member"],
      [c, inboxOf(bob), START, "forbidden"],
      [a, log, { seq: 1, digest: randomBytes(32) }, "cursor-mismatch"],
      [a, log, { seq: 0, digest: randomBytes(32) }, "cursor-mismatch"],
      [a, log, { seq: 9, digest: next.digest }, "cursor-mismatch"],
      [b, log, { seq: 0, digest: randomBytes(32) }, "gap"],
      [b, inboxOf(bob), { seq: 1, digest: randomBytes(32) }, "cursor-mismatch"],
    ];
    for (const [client, wanted, cursor, code] of attempts) {
      await expect(client.subscribe(wanted, cursor)).rejects.toMatchObject({ code });
    }
    expect(await b.subscribe(log, at)).toEqual({ head: next, from: at });
    expect(await b.subscribe(log, START)).toEqual({ head: next, from: at });
    expect(await a.subscribe(log, START)).toEqual({ head: next, from: START });
    expect(await c.subscribe(inboxOf(carol))).toEqual({ head: START, from: START });
  });

  it("stop when they unsubscribe, and go on where they subscribe again", async () => {
    const { log, at } = await groupOfTwo();
    await b.subscribe(log, at);
    await a.append(log, at, message("one"));
    await b.untilEntries(log, 1);
    await b.request("unsubscribe", { log });
    const two = await a.append(log, at, message("two"));
    await settle(b);
    expect(b.entriesOf(log)).toHaveLength(1);
    await b.subscribe(log, at);
    await b.subscribe(log, two);
    await a.append(log, at, message("three"));
    await b.until(() => textOf(b.entriesOf(log).at(-1)) === "three");
    expect(
      b
        .entriesOf(log)
        .map(textOf)
        .filter((text) => text === "three"),
    ).toHaveLength(1);
  });

  it("whom a member removed read on until an admin commits, whatever that commit says", async () => {
    const { log, at } = await groupOfTwo();
    const both = await a.append(log, at, commit([add(carol)], randomBytes(9)));
    await b.subscribe(log, at);
    const asked = await c.append(log, both, commit([remove(bob)]));
    await a.append(log, asked, message("still for bob"));
    await b.until(() => textOf(b.entriesOf(log).at(-1)) === "still for bob");
    const own = await c.append(log, asked, commit([]));
    const last = await a.append(log, own, commit([]));
    await a.append(log, last, message("not for bob"));
    expect(await ended(b, log)).toBe(EndReason.removed);
    expect(b.entriesOf(log).at(-1)?.seq).toBe(last.seq);
  });

  it("who were removed read up to their removal and no further, now and later", async () => {
    const { log, at } = await groupOfTwo();
    await b.subscribe(log, at);
    await a.append(log, at, message("before"));
    const removal = await a.append(log, at, commit([remove(bob)]));
    await a.append(log, removal, message("after"));
    expect(await ended(b, log)).toBe(EndReason.removed);
    await settle(b);
    expect(kinds(b.entriesOf(log))).toEqual([
      [2, application, "full"],
      [3, committed, "full"],
    ]);
    await expect(b.append(log, removal, message("no"))).rejects.toMatchObject({ code: "not-a-member" });
    await b.close();
    const later = await RawClient.connect(url, bob);
    expect((await later.subscribe(log, at)).head).toEqual(removal);
    expect(await ended(later, log)).toBe(EndReason.removed);
    expect(kinds(later.entriesOf(log))).toEqual([
      [2, application, "full"],
      [3, committed, "full"],
    ]);
    const beyond = { seq: 4, digest: randomBytes(32) };
    await expect(later.subscribe(log, beyond)).rejects.toMatchObject({ code: "cursor-mismatch" });
    expect((await later.request("listGroups", {})).groups).toEqual([]);
  });

  it("who are leaving get application messages in the short form only", async () => {
    const { log, at } = await groupOfTwo();
    await b.subscribe(log, at);
    await a.append(log, at, message("before"));
    const gone = await b.append(log, at, leave());
    await a.append(log, gone, message("after"));
    const other = await a.append(log, gone, commit([add(carol)]));
    await a.append(log, other, message("later"));
    const expected = [
      [2, application, "full"],
      [3, left, "short"],
      [4, application, "short"],
      [5, committed, "full"],
      [6, application, "short"],
    ];
    expect(kinds(await b.untilEntries(log, 5))).toEqual(expected);
    await b.close();
    const later = await RawClient.connect(url, bob);
    await later.subscribe(log, at);
    const again = await later.untilEntries(log, 5);
    expect(kinds(again)).toEqual([expected[0], [3, left, "full"], ...expected.slice(2)]);
    expect(await chain(log, again, at)).toEqual(await chain(log, b.entriesOf(log), at));
    const removal = await a.append(log, other, commit([remove(bob)]));
    expect(await ended(later, log)).toBe(EndReason.removed);
    expect(await chain(log, later.entriesOf(log), at)).toEqual(removal);
  });

  it("who are added anew go on without a gap", async () => {
    const { log, at } = await groupOfTwo();
    await b.subscribe(log, at);
    const again = await a.append(log, at, commit([remove(bob), add(bob)]));
    const last = await a.append(log, again, message("x"));
    await b.untilEntries(log, 2);
    expect(await chain(log, b.entriesOf(log), at)).toEqual(last);
    expect(b.frames.some(({ type }) => type === "ended")).toBe(false);
    // Nothing of what it may read was taken away.
    expect((await b.subscribe(log, at)).from).toEqual(at);
  });

  it("who were removed and added again while they were away read the rest of each stay, and nothing between", async () => {
    const { log, at } = await groupOfTwo();
    const read = await a.append(log, at, message("read"));
    await a.append(log, at, message("before"));
    const removal = await a.append(log, at, commit([remove(bob)]));
    await a.append(log, removal, message("not for bob"));
    const again = await a.append(log, removal, commit([add(bob)]));
    const said = await a.append(log, again, message("again"));
    const second = await a.append(log, again, commit([remove(bob)]));
    const third = await a.append(log, second, commit([add(bob)]));
    const last = await a.append(log, third, message("at last"));
    const stays = [
      [read, removal],
      [again, second],
      [said, second],
    ] as const;
    for (const [from, until] of stays) {
      await b.close();
      b = await RawClient.connect(url, bob);
      expect(await b.subscribe(log, from)).toEqual({ from, head: until });
      expect(await ended(b, log)).toBe(EndReason.removed);
      expect(await chain(log, b.entriesOf(log), from)).toEqual(until);
    }
    for (const [cursor, code] of [
      [removal, "gap"],
      [{ seq: 3, digest: randomBytes(32) }, "cursor-mismatch"],
    ] as const)
      await expect(b.subscribe(log, cursor)).rejects.toMatchObject({ code });
    await b.close();
    b = await RawClient.connect(url, bob);
    expect(await b.subscribe(log)).toEqual({ from: third, head: last });
    expect(await chain(log, await b.untilEntries(log, 1), third)).toEqual(last);
    // What it has acknowledged it needs no more.
    b.send({ type: "ack", log, cursor: last });
    await settle(b);
    await expect(b.subscribe(log, read)).rejects.toMatchObject({ code: "gap" });
  });

  it("who read while they are removed and added again get the rest, and that it is over", async () => {
    const { log, at } = await groupOfTwo();
    await b.subscribe(log, at);
    await a.append(log, at, message("before"));
    const removal = await a.append(log, at, commit([remove(bob)]));
    await a.append(log, removal, commit([add(bob)]));
    expect(await ended(b, log)).toBe(EndReason.removed);
    expect(await chain(log, b.entriesOf(log), at)).toEqual(removal);
  });

  it("of a closed group get all of it, then its end", async () => {
    const { log, at, groupId } = await groupOfTwo();
    await b.subscribe(log, at);
    await a.subscribe(requestBox(groupId));
    await a.append(log, at, message("x"));
    const end = await a.append(log, at, closing());
    expect(await ended(b, log)).toBe(EndReason.closed);
    expect(kinds(b.entriesOf(log))).toEqual([
      [2, application, "full"],
      [3, close, "full"],
    ]);
    expect(await ended(a, requestBox(groupId))).toBe(EndReason.closed);
    await expect(a.append(log, at, message("no"))).rejects.toMatchObject({ code: "unknown-group" });
    const asking = c.append(requestBox(groupId), START, await joinRequest(carol, groupId));
    await expect(asking).rejects.toMatchObject({ code: "unknown-group" });
    expect((await a.subscribe(log)).head).toEqual(end);
    expect(await ended(a, log)).toBe(EndReason.closed);
    expect(a.entriesOf(log)).toHaveLength(3);
  });

  it("get pointers and bundles of the commits that add them, and no others", async () => {
    await b.subscribe(inboxOf(bob));
    const { log, at, groupId } = await groupOfTwo();
    await b.untilEntries(inboxOf(bob), 1);
    const welcome = randomBytes(500);
    const second = await a.append(log, at, commit([add(carol)], welcome));
    await a.append(log, second, message("x"));
    const bundle = await c.request("fetchBundle", { groupId, seq: 2 });
    expect(bundle.welcome).toEqual(welcome);
    expect(bundle.at).toEqual(second);
    expect(bundle.content.bundle?.access).toEqual([add(carol)]);
    const refusals: [RawClient, { groupId: LogId["id"]; seq: number }, string][] = [
      [c, { groupId, seq: 1 }, "not-a-member"],
      [c, { groupId, seq: 3 }, "unknown-entry"],
      [c, { groupId, seq: 99 }, "unknown-entry"],
      [c, { groupId, seq: 0 }, "gap"],
      [c, { groupId: randomBytes(32), seq: 1 }, "unknown-group"],
    ];
    for (const [client, body, code] of refusals) {
      await expect(client.request("fetchBundle", body)).rejects.toMatchObject({ code });
    }
    const eve = await RawClient.connect(url, await makeUser("eve"));
    await expect(eve.request("fetchBundle", { groupId, seq: 2 })).rejects.toMatchObject({
      code: "not-a-member",
    });
  });

  it("of a request box follow their access to the group", async () => {
    const { log, at, groupId } = await groupOfTwo();
    const box = requestBox(groupId);
    await Promise.all([a.subscribe(box), b.subscribe(box)]);
    const request = await joinRequest(carol, groupId);
    const placed = await c.append(box, START, request);
    expect(await c.append(box, START, request)).toEqual(placed);
    const [seen] = await a.untilEntries(box, 1);
    expect(seen?.form === "full" && seen.content.payload).toEqual(request.payload);
    await b.untilEntries(box, 1);
    await expect(c.subscribe(box)).rejects.toMatchObject({ code: "not-a-member" });
    const rejection = { groupId, requestId: request.entryId, reason: RejectionReason.refused };
    await expect(b.request("rejectJoin", rejection)).rejects.toMatchObject({
      code: "not-an-admin",
    });
    await a.append(log, at, commit([remove(bob)]));
    expect(await ended(b, box)).toBe(EndReason.removed);
    await c.subscribe(inboxOf(carol));
    await a.request("rejectJoin", rejection);
    const [told] = await c.untilEntries(inboxOf(carol), 1);
    expect(told?.form === "full" && told.content.kind).toBe(EntryKind.rejection);
    await expect(a.request("rejectJoin", rejection)).rejects.toMatchObject({
      code: "unknown-entry",
    });
    await b.close();
    await a.subscribe(box);
    expect(kinds(await a.untilEntries(box, 2)).at(-1)).toEqual([1, EntryKind.joinRequest, "short"]);
  });

  it("take over the log's beginning where an inbox was acked or a box has aged", async () => {
    await b.subscribe(inboxOf(bob));
    const { groupId } = await groupOfTwo();
    const box = requestBox(groupId);
    const old = await c.append(box, START, await joinRequest(carol, groupId));
    await groupOfTwo();
    const pointers = await b.untilEntries(inboxOf(bob), 2);
    const first = await chain(inboxOf(bob), pointers.slice(0, 1));
    b.send({ type: "ack", log: inboxOf(bob), cursor: first });
    expect(await b.subscribe(inboxOf(bob))).toMatchObject({ from: first });
    await b.untilEntries(inboxOf(bob), 3);
    // A round of the background task, which is too early, and one after the retention.
    clock.advance(60_000);
    await settle(a);
    clock.advance(31 * 24 * 60 * 60 * 1000);
    await settle(a);
    clock.advance(60_000);
    const dave = await makeUser("dave");
    const d = await RawClient.connect(url, dave);
    const fresh = await d.append(box, START, await joinRequest(dave, groupId));
    expect(await a.subscribe(box)).toEqual({ head: fresh, from: old });
    const entries = await a.untilEntries(box, 1);
    expect(await chain(box, entries, old)).toEqual(fresh);
    const { head, from } = await a.subscribe(groupLog(groupId));
    expect(from).toEqual(head);
    await expect(b.subscribe(inboxOf(bob), first)).rejects.toMatchObject({ code: "gap" });
  });

  it("who are too slow are cut off with 4410 and go on from their cursor", async () => {
    await relay.close();
    await open({ limits: { maxQueuedBytes: 200_000, maxFrameBytes: 70_000 } });
    const { log, at } = await groupOfTwo();
    await b.subscribe(log, at);
    await settle(b);
    b.socket.pause();
    const payload = "x".repeat(60_000);
    let appended = 0;
    // Until the operating system's own buffers are full, then the relay's.
    while (appended < 400) {
      await Promise.all(Array.from({ length: 10 }, () => a.append(log, at, message(payload))));
      appended += 10;
    }
    clock.advance(DEFAULT_LIMITS.slowReaderTimeout);
    b.socket.resume();
    expect((await b.closed()).code).toBe(CloseCode.slowReader);
    const got = b.entriesOf(log);
    expect(got.length).toBeLessThan(appended);
    const from = await chain(log, got, at);
    const again = await RawClient.connect(url, bob);
    await again.subscribe(log, from);
    await again.untilEntries(log, appended - got.length);
    expect((await chain(log, again.entriesOf(log), from)).seq).toBe(appended + 1);
  });

  it("of many large logs get them all at their own pace, the old entries and the new", async () => {
    await relay.close();
    await open({ limits: { maxQueuedBytes: 1_000_000, maxFrameBytes: 70_000 } });
    const payload = "x".repeat(60_000);
    const groups: Awaited<ReturnType<typeof groupOfTwo>>[] = [];
    for (let i = 0; i < 40; i++) groups.push(await groupOfTwo());
    const appendToAll = () => Promise.all(groups.map(({ log, at }) => a.append(log, at, message(payload))));
    for (let i = 0; i < 2; i++) await appendToAll();
    b.socket.pause();
    const subscribed = groups.map(({ log, at }) => b.subscribe(log, at));
    await settle(a);
    b.socket.resume();
    await Promise.all(subscribed);
    await Promise.all(groups.map(({ log }) => b.untilEntries(log, 2)));
    // Now it stands at the head of each: what all of them bring is more than may wait, here and on the way.
    b.socket.pause();
    for (let i = 0; i < 5; i++) await appendToAll();
    b.socket.resume();
    await Promise.all(groups.map(({ log }) => b.untilEntries(log, 7)));
    for (const { log, at } of groups) expect((await chain(log, b.entriesOf(log), at)).seq).toBe(8);
  });

  it("who catch up slowly are waited for", async () => {
    await relay.close();
    await open({ limits: { maxQueuedBytes: 200_000, maxFrameBytes: 70_000 } });
    const { log, at } = await groupOfTwo();
    const payload = "x".repeat(60_000);
    for (let i = 0; i < 20; i++)
      await Promise.all(Array.from({ length: 10 }, () => a.append(log, at, message(payload))));
    await b.subscribe(log, at);
    b.socket.pause();
    await settle(a);
    b.socket.resume();
    const entries = await b.untilEntries(log, 200);
    expect((await chain(log, entries, at)).seq).toBe(201);
  });
});

describe("requests", () => {
  let relay: Relay;
  let url: string;
  afterEach(() => relay.close());

  it("meet the limits with their refusals", async () => {
    relay = new Relay({
      limits: {
        maxFrameBytes: 10_000,
        maxKeyPackages: 2,
        maxKeyPackageBytes: 100,
        maxGroups: 1,
        maxRequests: 1,
        maxRequestBytes: 400,
      },
    });
    ({ url } = await relay.listen());
    const [alice, bob, carol] = (await Promise.all(
      ["alice", "bob", "carol"].map((name) => makeUser(name)),
    )) as [TestUser, TestUser, TestUser];
    const [a, b, c] = (await Promise.all(
      [alice, bob, carol].map((user) => RawClient.connect(url, user)),
    )) as [RawClient, RawClient, RawClient];
    const groupId = randomBytes(32);
    const log = groupLog(groupId);
    const code = (wanted: string) => expect.objectContaining({ code: wanted });
    const huge = commit([add(bob)], randomBytes(8_900));
    await expect(a.request("create", { groupId, first: huge })).rejects.toEqual(code("too-large"));
    await a.request("create", { groupId });
    await expect(a.request("create", { groupId: randomBytes(32) })).rejects.toEqual(code("quota-exceeded"));
    await expect(a.append(log, START, huge)).rejects.toEqual(code("too-large"));
    await expect(a.append(log, START, message("x".repeat(8_977)))).rejects.toEqual(code("too-large"));
    await a.append(log, START, message("x".repeat(8_976)));
    const upload = (size: number) => ({ notAfter: 1e10, keyPackage: randomBytes(size) });
    await expect(a.request("publishKeyPackages", { oneTime: [upload(101)] })).rejects.toEqual(
      code("too-large"),
    );
    await expect(a.request("publishKeyPackages", { oneTime: [], lastResort: upload(101) })).rejects.toEqual(
      code("too-large"),
    );
    const three = { oneTime: [upload(9), upload(9), upload(9)] };
    await expect(a.request("publishKeyPackages", three)).rejects.toEqual(code("quota-exceeded"));
    const large = { ...(await joinRequest(bob, groupId)), payload: randomBytes(401) };
    await expect(b.append(requestBox(groupId), START, large)).rejects.toEqual(code("too-large"));
    await b.append(requestBox(groupId), START, await joinRequest(bob, groupId));
    const second = await joinRequest(carol, groupId);
    await expect(c.append(requestBox(groupId), START, second)).rejects.toEqual(code("quota-exceeded"));
  });

  it("find accounts, key packages, names and direct conversations, or say that there are none", async () => {
    relay = new Relay();
    ({ url } = await relay.listen());
    const [alice, bob] = (await Promise.all(["alice", "bob"].map((name) => makeUser(name)))) as [
      TestUser,
      TestUser,
    ];
    const [a, b] = (await Promise.all([alice, bob].map((user) => RawClient.connect(url, user)))) as [
      RawClient,
      RawClient,
    ];
    const code = (wanted: string) => expect.objectContaining({ code: wanted });
    await expect(a.request("fetchAccount", { userId: "eve" })).rejects.toEqual(code("unknown-user"));
    expect((await a.request("fetchAccount", { userId: "bob" })).accountKey).toEqual(bob.account.publicKey);
    await expect(a.request("fetchKeyPackages", { userId: "eve" })).rejects.toEqual(code("unknown-user"));
    await expect(a.request("fetchKeyPackages", { userId: "bob" })).rejects.toEqual(code("no-key-package"));
    const keyPackage = randomBytes(30);
    await b.request("publishKeyPackages", { oneTime: [], lastResort: { notAfter: 1e10, keyPackage } });
    expect((await a.request("fetchKeyPackages", { userId: "bob" })).devices).toEqual([
      { deviceId: bob.deviceId, keyPackage },
    ]);

    const nameHash = randomBytes(32);
    await expect(a.request("resolveName", { nameHash })).rejects.toEqual(code("unknown-group"));
    const named = randomBytes(32);
    const body = { groupId: named, nameHash };
    expect(await a.request("create", body)).toEqual(START);
    expect(await a.request("create", body)).toEqual(START);
    await expect(b.request("create", { groupId: randomBytes(32), nameHash })).rejects.toEqual(
      code("name-taken"),
    );
    await expect(b.request("create", body)).rejects.toEqual(code("conflict"));
    await expect(a.request("create", { groupId: named })).rejects.toEqual(code("conflict"));
    expect(await b.request("resolveName", { nameHash })).toEqual({ groupId: named });

    const direct = (peer: string, generation = 1) => ({
      groupId: randomBytes(32),
      direct: { peer, generation },
    });
    expect(await a.request("resolveDirect", { userId: "bob" })).toEqual({});
    await expect(a.request("create", direct("eve"))).rejects.toEqual(code("unknown-user"));
    await expect(a.request("create", direct("alice"))).rejects.toEqual(code("forbidden"));
    const mine = { ...direct("bob"), first: commit([add(bob)]) };
    const [won, lost] = await Promise.allSettled([
      a.request("create", mine),
      b.request("create", direct("alice")),
    ]);
    expect([won.status, lost.status].sort()).toEqual(["fulfilled", "rejected"]);
    const binding = (await a.request("resolveDirect", { userId: "bob" })).binding;
    expect((await b.request("resolveDirect", { userId: "alice" })).binding).toEqual(binding);
    await b.request("create", direct("alice", 2));
    await expect(a.request("create", direct("bob", 2))).rejects.toEqual(code("conflict"));
    expect((await a.request("resolveDirect", { userId: "bob" })).binding?.generation).toBe(2);
  });

  it("to append refuse with the codes of the append rule over the wire", async () => {
    relay = new Relay();
    ({ url } = await relay.listen());
    const [alice, bob] = (await Promise.all(["alice", "bob"].map((name) => makeUser(name)))) as [
      TestUser,
      TestUser,
    ];
    const [a, b] = (await Promise.all([alice, bob].map((user) => RawClient.connect(url, user)))) as [
      RawClient,
      RawClient,
    ];
    const code = (wanted: string) => expect.objectContaining({ code: wanted });
    const groupId = randomBytes(32);
    const log = groupLog(groupId);
    await expect(a.append(log, START, message("x"))).rejects.toEqual(code("unknown-group"));
    const at = await a.request("create", { groupId, first: commit([add(bob)]) });
    await expect(a.append(log, START, message("x"))).rejects.toEqual(code("stale"));
    await expect(a.append(log, { seq: 1, digest: randomBytes(32) }, message("x"))).rejects.toEqual(
      code("cursor-mismatch"),
    );
    await expect(b.append(log, at, commit([setRole(bob, 2)]))).rejects.toEqual(code("not-an-admin"));
    await expect(b.append(inboxOf(alice), START, message("x"))).rejects.toEqual(code("forbidden"));
    const entry = message("once");
    const cursor = await b.append(log, at, entry);
    expect(await b.append(log, START, entry)).toEqual(cursor);
    await expect(b.append(log, at, message("other", entry.entryId))).rejects.toEqual(code("conflict"));
    const race = await Promise.allSettled([a.append(log, at, commit([])), b.append(log, at, commit([]))]);
    const winners = race.filter(({ status }) => status === "fulfilled");
    expect(winners).toHaveLength(1);
    expect(race.find(({ status }) => status === "rejected")).toMatchObject({ reason: { code: "stale" } });
    const eve = await RawClient.connect(url, await makeUser("eve"));
    await expect(eve.append(log, at, message("x"))).rejects.toEqual(code("not-a-member"));
    await expect(eve.append(log, at, commit([add(eve.user, 2)]))).rejects.toEqual(code("not-a-member"));
    const noRequest = { kind: EntryKind.joinRequest, entryId: randomBytes(16), payload: randomBytes(30) };
    await expect(eve.append(requestBox(groupId), START, noRequest)).rejects.toEqual(code("malformed"));
    const forged = await joinRequest(bob, groupId);
    await expect(eve.append(requestBox(groupId), START, forged)).rejects.toEqual(code("forbidden"));
    const unknownBox = eve.append(requestBox(randomBytes(32)), START, await joinRequest(eve.user, groupId));
    await expect(unknownBox).rejects.toEqual(code("unknown-group"));
  });
});
