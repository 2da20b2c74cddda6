import { equalBytes } from "../../base/bytes.js";
import { randomBytes } from "../../crypto/random.js";
import { type Cursor, START } from "../../wire/identifiers.js";
import { EntryKind } from "../../wire/protocol.js";
import { endedStayAt } from "../stays.js";
import { expect, refused } from "./expectations.js";
import {
  add,
  application,
  box,
  commit,
  type Define,
  inbox,
  NOW,
  plain,
  quotas,
  remove,
  requestOf,
  setRole,
  type World,
} from "./world.js";

/** Who may change what in a group. */
export function accessCases(it: Define, world: World): void {
  const { admit, admitAll, admitDevice, append, create } = world;
  it("access: let members add members and remove who leaves, admins do everything", async () => {
    const [alice, bob, carol, dave] = await admitAll("alice", "bob", "carol", "dave");
    const { log } = await create(alice);
    let at = await append(alice, log, START, await commit([add(bob), add(carol)]));
    const denied = [
      [add(dave, 2)],
      [setRole(bob, 2)],
      [setRole(alice, 1)],
      // Adding an admin anew would take the role away.
      [add(alice)],
      [add(carol, 2)],
      [remove(carol), add(dave, 2)],
    ];
    for (const changes of denied) {
      await expect(append(bob, log, at, await commit(changes))).rejects.toEqual(refused("not-an-admin"));
    }
    await expect(append(bob, log, at, await plain(EntryKind.close))).rejects.toEqual(refused("not-an-admin"));
    expect((await world.storage.head(log)).seq).toBe(1);
    at = await append(bob, log, at, await commit([add(dave)]));
    at = await append(carol, log, at, await plain(EntryKind.leave));
    at = await append(bob, log, at, await commit([remove(carol)]));
    at = await append(alice, log, at, await commit([setRole(bob, 2)]));
    at = await append(bob, log, at, await commit([setRole(alice, 1), remove(dave)]));
    expect((await world.storage.access(log.id, alice.deviceId))?.role).toBe(1);
    expect((await world.storage.access(log.id, carol.deviceId))?.until?.seq).toBe(4);
    expect((await world.storage.access(log.id, dave.deviceId))?.until).toEqual(at);
    expect(await world.storage.listGroups(dave.deviceId)).toEqual([]);
    await expect(append(dave, log, at, await application())).rejects.toEqual(refused("not-a-member"));
  });

  it("access: let no commit remove its sender, whatever its role", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const { log } = await create(alice);
    const at = await append(alice, log, START, await commit([add(bob)]));
    for (const sender of [alice, bob]) {
      for (const changes of [[remove(sender)], [remove(sender), add(sender)]]) {
        await expect(append(sender, log, at, await commit(changes))).rejects.toEqual(refused("forbidden"));
      }
      expect((await world.storage.access(log.id, sender.deviceId))?.until).toBeUndefined();
    }
  });

  it("access: let any member remove what a member added, until an admin vouches for it", async () => {
    const [alice, bob, carol, dave] = await admitAll("alice", "bob", "carol", "dave");
    const { log } = await create(alice);
    let at = await append(alice, log, START, await commit([add(bob), add(carol)]));
    at = await append(bob, log, at, await commit([add(dave)]));
    expect(await world.storage.access(log.id, dave.deviceId)).toMatchObject({ byMember: true });
    at = await append(carol, log, at, await commit([remove(dave)]));
    expect((await world.storage.access(log.id, dave.deviceId))?.until).toEqual(at);
    // Put right in one commit: removed and added anew.
    at = await append(bob, log, at, await commit([add(dave)]));
    at = await append(carol, log, at, await commit([remove(dave), add(dave)]));
    // A role given by an admin, and being added by one, are an admin's word.
    const stays = async (role: 1 | 2) => {
      at = await append(carol, log, at, await commit([remove(dave)]));
      const access = await world.storage.access(log.id, dave.deviceId);
      expect(access).toMatchObject({ removalAsked: true, role });
      expect(access?.until).toBeUndefined();
    };
    at = await append(alice, log, at, await commit([setRole(dave, 2)]));
    await stays(2);
    at = await append(alice, log, at, await commit([add(dave)]));
    await stays(1);
    at = await append(alice, log, at, await commit([]));
    expect((await world.storage.access(log.id, dave.deviceId))?.until).toEqual(at);
    at = await append(bob, log, at, await commit([add(dave)]));
    at = await append(alice, log, at, await commit([remove(dave), add(dave)]));
    await stays(1);
  });

  it("access: keep the access of whom a member removes until an admin commits, who has read of it", async () => {
    const [alice, bob, carol, dave] = await admitAll("alice", "bob", "carol", "dave");
    const { log } = await create(alice);
    const joined = await append(alice, log, START, await commit([add(bob), add(carol), add(dave, 2)]));
    const asked = await append(bob, log, joined, await commit([remove(carol), remove(dave), remove(alice)]));
    const accessOf = (sender: typeof alice) => world.storage.access(log.id, sender.deviceId);
    for (const one of [alice, carol, dave]) {
      const access = await accessOf(one);
      expect(access).toMatchObject({ removalAsked: true });
      expect(access?.until).toBeUndefined();
      expect(await world.storage.listGroups(one.deviceId)).toEqual([]);
    }
    // Other commits of members change nothing of it, and those who have access use it.
    let at = await append(carol, log, asked, await commit([]));
    await append(dave, log, at, await application());
    expect((await accessOf(carol))?.removalAsked).toBe(true);
    // It is taken back by adding the device anew, an admin as what it was.
    await expect(append(bob, log, at, await commit([add(dave)]))).rejects.toEqual(refused("not-an-admin"));
    at = await append(bob, log, at, await commit([add(dave, 2)]));
    expect(await accessOf(dave)).toMatchObject({ removalAsked: false, role: 2, from: joined, since: at });
    expect(await world.storage.listGroups(dave.deviceId)).toHaveLength(1);
    // An admin's commit carries out what stands, but does not remove its sender.
    await expect(append(alice, log, asked, await commit([]))).rejects.toEqual(refused("stale"));
    at = await append(alice, log, at, await commit([]));
    expect((await accessOf(carol))?.until).toEqual(at);
    expect((await accessOf(alice))?.until).toBeUndefined();
    expect((await accessOf(dave))?.until).toBeUndefined();
    await expect(append(carol, log, at, await application())).rejects.toEqual(refused("not-a-member"));
    at = await append(dave, log, at, await commit([add(alice, 2)]));
    at = await append(dave, log, at, await commit([]));
    expect(await accessOf(alice)).toMatchObject({ removalAsked: false, role: 2 });
    expect((await accessOf(alice))?.until).toBeUndefined();
  });

  it("access: take that devices are added anew which nobody has any more, or whose user has blocked the sender", async () => {
    const [alice, bob, carol, dave] = await admitAll("alice", "bob", "carol", "dave");
    const { log } = await create(alice);
    let at = await append(alice, log, START, await commit([add(bob), add(carol), add(dave)]));
    const accessOf = ({ deviceId }: typeof alice) => world.storage.access(log.id, deviceId);
    const block = { userId: "carol", other: "alice", maxBlocked: 9 };
    await world.storage.setBlocked({ ...block, blocked: true });
    await admitDevice("bob", randomBytes(16), 2);
    await world.storage.removeUser("dave");
    const all = [add(bob), add(carol), add(dave)];
    at = await append(alice, log, at, await commit(all));
    // Who has access gets what everybody gets that is added anew.
    for (const one of [bob, carol, dave]) expect(await accessOf(one)).toMatchObject({ since: at });
    const removed = await append(alice, log, at, await commit([remove(bob), remove(carol), remove(dave)]));
    at = await append(alice, log, removed, await commit(all));
    for (const one of [bob, carol, dave]) {
      expect((await accessOf(one))?.until).toEqual(removed);
      expect(await world.storage.listGroups(one.deviceId)).toEqual([]);
    }
    // Who has never been in is refused as ever.
    const stranger = { userId: "bob", deviceId: randomBytes(16) };
    await expect(append(alice, log, at, await commit([add(stranger)]))).rejects.toEqual(
      refused("unknown-user"),
    );
    // It can be had by whom the user has not blocked, and by who asks to be let in.
    await world.storage.setBlocked({ ...block, blocked: false });
    at = await append(alice, log, at, await commit([add(carol)]));
    expect((await accessOf(carol))?.until).toBeUndefined();
    await world.storage.setBlocked({ ...block, blocked: true });
    at = await append(carol, log, at, await plain(EntryKind.leave));
    at = await append(alice, log, at, await commit([add(carol)]));
    expect((await accessOf(carol))?.leavingSince).toBeGreaterThan(0);
    at = await append(alice, log, at, await commit([remove(carol)]));
    await append(carol, box(log.id), START, await requestOf(carol, log.id));
    await append(alice, log, at, await commit([add(carol)]));
    expect((await accessOf(carol))?.until).toBeUndefined();
  });

  it("access: remember the oldest and the newest three stays that a device has not read to the end, and drop nothing of them", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const { log } = await create(alice);
    const accessOf = () => world.storage.access(log.id, bob.deviceId);
    const stays: { readonly from: Cursor; readonly until: Cursor }[] = [];
    let from = await append(alice, log, START, await commit([add(bob)]));
    let until = from;
    const again = async () => {
      until = await append(alice, log, from, await commit([remove(bob)]));
      stays.push({ from, until });
      from = await append(alice, log, until, await commit([add(bob)]));
    };
    for (let round = 0; round < 6; round++) await again();
    expect((await accessOf())?.earlier).toMatchObject([...stays.slice(0, 1), ...stays.slice(-3)]);
    expect(await accessOf()).toMatchObject({ since: from, from });
    const prune = () =>
      world.storage.prune({ now: NOW, retention: 1000, uploadTimeout: 1000, maxLogBytes: 1e9, batch: 1000 });
    await world.storage.ack(log, alice.deviceId, from);
    await prune();
    expect((await world.storage.head(log)).first).toBe(1);
    const at = (seq: number) => accessOf().then((access) => access && endedStayAt(access, seq)?.until);
    expect(await Promise.all([at(1), at(3), at(7)])).toEqual([stays[0]?.until, undefined, stays[3]?.until]);
    await world.storage.ack(log, bob.deviceId, stays[4]?.until as Cursor);
    await prune();
    expect((await world.storage.head(log)).first).toBe(11);
    expect(await Promise.all([at(9), at(11)])).toEqual([undefined, until]);
    await world.storage.ack(log, bob.deviceId, from);
    await again();
    expect(await Promise.all([at(11), at(13), at(15)])).toEqual([undefined, until, undefined]);
  });

  it("access: let no full inbox keep a device from being added anew", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const { log } = await create(alice);
    const pointers = inbox(bob.deviceId);
    let at = await append(alice, log, START, await commit([add(bob)]));
    const read = await world.chained(pointers);
    await world.storage.ack(pointers, bob.deviceId, read);
    const carol = await admit("carol");
    for (let i = 0; i < quotas.maxInboxEntries; i++)
      await create(i > 2 ? alice : carol, await commit([add(bob)]));
    const full = await world.chained(pointers, read);
    at = await append(alice, log, at, await commit([add(bob)]));
    at = await append(alice, log, at, await commit([remove(bob)]));
    at = await append(alice, log, at, await commit([add(bob)]));
    expect(await world.chained(pointers, read)).toEqual(full);
    const listed = await world.storage.listGroups(bob.deviceId);
    expect(listed.find(({ groupId }) => equalBytes(groupId, log.id))).toMatchObject({ since: at });
  });

  it("access: give a member no rights by asking that all admins are removed", async () => {
    const [alice, bob, carol] = [await admit("alice"), await admit("bob"), await admit("carol")];
    const { log } = await create(alice);
    let at = await append(alice, log, START, await commit([add(bob), add(carol)]));
    at = await append(bob, log, at, await commit([remove(alice)]));
    for (const changes of [[setRole(bob, 2)], [add(alice)], [add(bob, 2)]])
      await expect(append(bob, log, at, await commit(changes))).rejects.toEqual(refused("not-an-admin"));
    at = await append(bob, log, at, await commit([remove(carol)]));
    expect((await world.storage.access(log.id, carol.deviceId))?.until).toBeUndefined();
  });

  it("access: let any member make any change where no admin stays", async () => {
    const [alice, bob, carol, dave] = await admitAll("alice", "bob", "carol", "dave");
    const { log } = await create(alice);
    let at = await append(alice, log, START, await commit([add(bob), add(carol), add(dave)]));
    const heir = [setRole(bob, 2), remove(carol)];
    await expect(append(bob, log, at, await commit(heir))).rejects.toEqual(refused("not-an-admin"));
    at = await append(alice, log, at, await plain(EntryKind.leave));
    at = await append(bob, log, at, await commit(heir));
    expect(await world.storage.access(log.id, bob.deviceId)).toMatchObject({ role: 2 });
    expect((await world.storage.access(log.id, carol.deviceId))?.until).toEqual(at);
    // From here on there is an admin again, and it alone decides.
    await expect(append(dave, log, at, await commit([setRole(dave, 2)]))).rejects.toEqual(
      refused("not-an-admin"),
    );
    at = await append(bob, log, at, await commit([remove(alice), setRole(bob, 1)]));
    at = await append(dave, log, at, await commit([setRole(dave, 2)]));
    expect(await world.storage.access(log.id, dave.deviceId)).toMatchObject({ role: 2 });
  });
}
