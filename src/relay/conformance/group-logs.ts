import type { Bytes } from "../../base/bytes.js";
import { decode } from "../../codec/reader.js";
import { randomBytes } from "../../crypto/random.js";
import { type AccessChange, decodePointer } from "../../wire/entries.js";
import { type Cursor, START } from "../../wire/identifiers.js";
import { EntryKind } from "../../wire/protocol.js";
import type { Sender } from "../storage.js";
import { expect, refused } from "./expectations.js";
import {
  add,
  application,
  commit,
  type Define,
  group,
  inbox,
  NOW,
  plain,
  quotas,
  remove,
  type World,
} from "./world.js";

/** Appending to group logs. */
export function groupLogCases(it: Define, world: World): void {
  const { admit, append, create, readAll, chained } = world;
  it("group logs: chain their digests and answer an entry id again", async () => {
    const alice = await admit("alice");
    const { log, at } = await create(alice);
    expect(at).toEqual(START);
    const first = await application();
    const cursor = await append(alice, log, START, first);
    expect(cursor.seq).toBe(1);
    const second = await append(alice, log, START, await application());
    expect(await append(alice, log, START, first)).toEqual(cursor);
    expect(await chained(log)).toEqual(second);
    const reused = await application(randomBytes(9), first.content.entryId);
    await expect(append(alice, log, START, reused)).rejects.toEqual(refused("conflict"));
    expect((await world.storage.head(log)).seq).toBe(2);
  });

  it("group logs: hold to the append rule", async () => {
    const alice = await admit("alice");
    const { log } = await create(alice);
    const note = await append(alice, log, START, await application());
    const one = await append(alice, log, START, await commit([]));
    await expect(append(alice, log, START, await commit([]))).rejects.toEqual(refused("stale"));
    await expect(append(alice, log, note, await application())).rejects.toEqual(refused("stale"));
    const two = await append(alice, log, one, await commit([]));
    await expect(append(alice, log, one, await application())).rejects.toEqual(refused("stale"));
    const false1 = { seq: one.seq, digest: randomBytes(32) };
    await expect(append(alice, log, false1, await application())).rejects.toEqual(refused("cursor-mismatch"));
    const false2 = { seq: two.seq, digest: randomBytes(32) };
    await expect(append(alice, log, false2, await application())).rejects.toEqual(refused("cursor-mismatch"));
    const false3 = { seq: two.seq + 1, digest: two.digest };
    await expect(append(alice, log, false3, await application())).rejects.toEqual(refused("cursor-mismatch"));
    const false4 = { seq: 0, digest: randomBytes(32) };
    await expect(append(alice, log, false4, await application())).rejects.toEqual(refused("cursor-mismatch"));
    await append(alice, log, two, await application());
    expect((await readAll(log)).map(({ kind }) => kind)).toEqual([1, 2, 2, 1]);
  });

  it("group logs: let one of several racing commits win", async () => {
    const alice = await admit("alice");
    const { log } = await create(alice);
    const commits = await Promise.all([1, 2, 3, 4, 5].map(() => commit([])));
    const results = await Promise.allSettled(commits.map((input) => append(alice, log, START, input)));
    expect(results.map(({ status }) => status)).toEqual([
      "fulfilled",
      "rejected",
      "rejected",
      "rejected",
      "rejected",
    ]);
    for (const result of results.slice(1))
      expect((result as PromiseRejectedResult).reason).toEqual(refused("stale"));
  });

  it("group logs: refuse strangers, unknown groups and kinds that belong elsewhere", async () => {
    const [alice, eve] = [await admit("alice"), await admit("eve")];
    const { log } = await create(alice);
    await expect(append(eve, log, START, await application())).rejects.toEqual(refused("not-a-member"));
    await expect(append(alice, group(randomBytes(32)), START, await application())).rejects.toEqual(
      refused("unknown-group"),
    );
    for (const kind of [EntryKind.pointer, EntryKind.rejection, EntryKind.joinRequest]) {
      await expect(append(alice, log, START, await plain(kind))).rejects.toEqual(refused("forbidden"));
    }
    await expect(append(alice, inbox(alice.deviceId), START, await application())).rejects.toEqual(
      refused("forbidden"),
    );
    expect((await world.storage.head(log)).seq).toBe(0);
  });

  it("group logs: add devices with a pointer each, the welcome kept once", async () => {
    const [alice, bob, carol] = [await admit("alice"), await admit("bob"), await admit("carol")];
    const { log } = await create(alice);
    const welcome = randomBytes(77);
    const at = await append(alice, log, START, await commit([add(bob), add(carol, 2)], welcome));
    expect(await world.storage.welcome(log.id, at.seq)).toEqual(welcome);
    for (const [device, role] of [
      [bob, 1],
      [carol, 2],
    ] as const) {
      const [pointer, ...more] = await readAll(inbox(device.deviceId));
      expect(more).toEqual([]);
      expect(decode(decodePointer, pointer?.content?.payload as Bytes)).toEqual({ groupId: log.id, at });
      expect(await world.storage.access(log.id, device.deviceId)).toMatchObject({
        role,
        since: at,
        leavingSince: 0,
      });
      expect(await world.storage.listGroups(device.deviceId)).toEqual([{ groupId: log.id, role, since: at }]);
    }
    expect(await readAll(inbox(alice.deviceId))).toEqual([]);
    await chained(inbox(bob.deviceId));
  });

  it("group logs: refuse to add a device that is not the named user's, or does not exist", async () => {
    const [alice, bob, carol] = [await admit("alice"), await admit("bob"), await admit("carol")];
    const { log } = await create(alice);
    const wrong: AccessChange[] = [
      { type: "add", userId: "bob", deviceId: carol.deviceId, role: 1 },
      { type: "add", userId: "bob", deviceId: randomBytes(16), role: 1 },
      { type: "add", userId: "nobody", deviceId: bob.deviceId, role: 1 },
    ];
    for (const change of wrong) {
      await expect(append(alice, log, START, await commit([change]))).rejects.toEqual(
        refused("unknown-user"),
      );
    }
    await append(alice, log, START, await commit([add(bob)]));
    const handshake = (await readAll(log)).at(-1) as Cursor;
    const renamed: AccessChange = { type: "remove", userId: "carol", deviceId: bob.deviceId };
    await expect(append(alice, log, handshake, await commit([renamed]))).rejects.toEqual(
      refused("forbidden"),
    );
  });

  it("group logs: let a leaving device append nothing more, not even its leave again", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const { log } = await create(alice);
    let at = await append(alice, log, START, await commit([add(bob)]));
    at = await append(bob, log, at, await plain(EntryKind.leave));
    expect((await world.storage.access(log.id, bob.deviceId))?.leavingSince).toBe(2);
    await expect(append(bob, log, at, await application())).rejects.toEqual(refused("not-a-member"));
    await expect(append(bob, log, at, await commit([]))).rejects.toEqual(refused("not-a-member"));
    await expect(append(bob, log, at, await plain(EntryKind.leave))).rejects.toEqual(refused("not-a-member"));
    expect((await world.storage.head(log)).seq).toBe(2);
    at = await append(alice, log, at, await commit([remove(bob)]));
    await expect(append(bob, log, at, await plain(EntryKind.leave))).rejects.toEqual(refused("not-a-member"));
  });

  it("group logs: take back that another leaves, and leave everybody's access as it is", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const { log } = await create(alice);
    const joined = await append(alice, log, START, await commit([add(bob)]));
    const leave = await plain(EntryKind.leave);
    const at = await append(alice, log, joined, { ...leave, isOfAnother: true });
    for (const { deviceId } of [alice, bob])
      expect((await world.storage.access(log.id, deviceId))?.leavingSince).toBe(0);
    await append(alice, log, at, await application());
    // Whose it is puts it back too: it is there already.
    expect(await append(bob, log, joined, leave)).toEqual(at);
    await append(bob, log, at, await application());
  });

  it("group logs: add anew a device that had access, from that commit on", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const { log } = await create(alice);
    let at = await append(alice, log, START, await commit([add(bob)]));
    at = await append(bob, log, at, await plain(EntryKind.leave));
    at = await append(alice, log, at, await commit([remove(bob), add(bob)]));
    expect(await world.storage.access(log.id, bob.deviceId)).toEqual({
      userId: "bob",
      role: 1,
      since: at,
      from: at,
      leavingSince: 0,
      acked: 2,
      byMember: false,
      removalAsked: false,
      earlier: [],
    });
    expect(await readAll(inbox(bob.deviceId))).toHaveLength(2);
    await append(bob, log, at, await application());
  });

  it("group logs: let a member add anew who has access, who keeps its role and what it may read", async () => {
    const [alice, bob, carol] = [await admit("alice"), await admit("bob"), await admit("carol")];
    const { log } = await create(alice);
    const first = await append(alice, log, START, await commit([add(bob), add(carol, 2)]));
    await world.storage.ack(log, carol.deviceId, first);
    const at = await append(bob, log, first, await commit([add(carol, 2)]));
    expect(await world.storage.access(log.id, carol.deviceId)).toEqual({
      userId: "carol",
      role: 2,
      since: at,
      from: first,
      leavingSince: 0,
      acked: 1,
      byMember: false,
      removalAsked: false,
      earlier: [],
    });
    expect(await world.storage.listGroups(carol.deviceId)).toMatchObject([{ role: 2, since: at }]);
    expect(await readAll(inbox(carol.deviceId))).toHaveLength(2);
    await append(bob, log, at, await commit([remove(carol)]));
    expect((await world.storage.access(log.id, carol.deviceId))?.until).toBeUndefined();
  });

  it("group logs: let a member put a user's new device in the place of one that is not listed any more", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const { log } = await create(alice);
    const at = await append(alice, log, START, await commit([add(bob)]));
    const device = randomBytes(16);
    const renewed = { userId: "alice", deviceId: device };
    const changes: AccessChange[] = [add(renewed, 2), remove(alice)];
    await expect(append(bob, log, at, await commit(changes))).rejects.toEqual(refused("unknown-user"));
    await world.admitDevice("alice", device, 2);
    const next = await append(bob, log, at, await commit(changes));
    // As an admin it is nobody's to remove but an admin's.
    const admin = { role: 2, since: next, byMember: false };
    expect(await world.storage.access(log.id, device)).toMatchObject(admin);
    expect((await world.storage.access(log.id, alice.deviceId))?.until).toEqual(next);
    await append(renewed, log, next, await application());
  });

  it("group logs: complete an entry that was put back without its welcome", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const { log } = await create(alice);
    const welcome = randomBytes(50);
    const whole = await commit([add(bob)], welcome);
    const at = await append(alice, log, START, { ...whole, welcome: new Uint8Array(0) });
    expect(await world.storage.welcome(log.id, at.seq)).toHaveLength(0);
    expect(await append(alice, log, START, whole)).toEqual(at);
    expect(await world.storage.welcome(log.id, at.seq)).toEqual(welcome);
  });

  it("group logs: close for good and free their name", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const nameHash = randomBytes(32);
    const make = async (sender: Sender, groupId = randomBytes(32)) =>
      world.storage.create({ groupId, sender, nameHash, bodyDigest: groupId, now: NOW, quotas });
    const groupId = randomBytes(32);
    await make(alice, groupId);
    expect(await world.storage.resolveName(nameHash)).toEqual(groupId);
    await expect(make(bob)).rejects.toEqual(refused("name-taken"));
    await append(alice, group(groupId), START, await plain(EntryKind.close));
    expect((await world.storage.head(group(groupId))).closed).toBe(true);
    await expect(append(alice, group(groupId), START, await application())).rejects.toEqual(
      refused("unknown-group"),
    );
    expect(await world.storage.resolveName(nameHash)).toBeUndefined();
    expect(await world.storage.listGroups(alice.deviceId)).toEqual([]);
    await make(bob);
  });

  it("group logs: stop at the inbox's quota, whole commits at once", async () => {
    const [alice, bob, carol] = [await admit("alice"), await admit("bob"), await admit("carol")];
    for (let i = 1; i < quotas.maxInboxEntries; i++)
      await create(i > 2 ? alice : carol, await commit([add(bob)]));
    const { log, at } = await create(alice, await commit([add(bob)]));
    const other = (await create(alice)).log;
    await expect(append(alice, other, START, await commit([add(carol), add(bob)]))).rejects.toEqual(
      refused("quota-exceeded"),
    );
    expect(await world.storage.access(other.id, carol.deviceId)).toBeUndefined();
    // What the inbox holds already is replaced.
    await append(alice, log, at, await commit([add(bob)]));
    const pointers = await readAll(inbox(bob.deviceId));
    await world.storage.ack(inbox(bob.deviceId), bob.deviceId, pointers[2] as Cursor);
    await append(alice, other, START, await commit([add(carol), add(bob)]));
  });

  it("group logs: leave one pointer to a group in an inbox, the newest", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const pointers = inbox(bob.deviceId);
    const waiting = async (from = 0) =>
      (await readAll(pointers, from))
        .filter(({ content }) => content !== undefined)
        .map(({ seq, content }) => [seq, decode(decodePointer, content?.payload as Bytes).at.seq]);
    const group = await create(alice, await commit([add(bob)]));
    let { at } = group;
    const again = async (changes = [add(bob)]) => {
      at = await append(alice, group.log, at, await commit(changes));
    };
    for (let i = 0; i < 2 * quotas.maxInboxEntries; i++) {
      await again(i % 2 === 0 ? [add(bob)] : [remove(bob), add(bob)]);
    }
    expect(await waiting()).toEqual([[at.seq, at.seq]]);
    await create(alice, await commit([add(bob)]));
    expect(await waiting()).toHaveLength(2);
    const read = await world.chained(pointers);
    await world.storage.ack(pointers, bob.deviceId, read);
    expect(await waiting(read.seq)).toEqual([]);
    await again();
    expect(await waiting(read.seq)).toEqual([[read.seq + 1, at.seq]]);
    await again();
    expect(await waiting(read.seq)).toEqual([[read.seq + 2, at.seq]]);
    expect((await world.chained(pointers, read)).seq).toBe(read.seq + 2);
  });
}
