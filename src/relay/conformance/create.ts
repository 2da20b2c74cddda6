import type { Bytes } from "../../base/bytes.js";
import { randomBytes } from "../../crypto/random.js";
import { EntryKind } from "../../wire/protocol.js";
import type { EntryInput, Sender } from "../storage.js";
import { expect, refused } from "./expectations.js";
import {
  accountOf,
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

type Made = Awaited<ReturnType<World["create"]>>;

/** Creating groups. */
export function createCases(it: Define, world: World): void {
  const { admit, create, readAll } = world;
  it("create: answers the same request again and refuses another with this id", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const groupId = randomBytes(32);
    const first = await commit([add(bob)]);
    const command = { groupId, sender: alice, bodyDigest: randomBytes(32), first, now: NOW, quotas };
    const at = await world.storage.create(command);
    expect(at.seq).toBe(1);
    expect(await world.storage.create(command)).toEqual(at);
    expect((await world.storage.head(group(groupId))).seq).toBe(1);
    await expect(world.storage.create({ ...command, bodyDigest: randomBytes(32) })).rejects.toEqual(
      refused("conflict"),
    );
    await expect(world.storage.create({ ...command, sender: bob })).rejects.toEqual(refused("conflict"));
  });

  it("create: leaves nothing behind when its first commit is refused", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const groupId = randomBytes(32);
    const nameHash = randomBytes(32);
    const command = { groupId, sender: alice, bodyDigest: randomBytes(32), nameHash, now: NOW, quotas };
    const stranger: Sender = { userId: "bob", deviceId: randomBytes(16) };
    await expect(
      world.storage.create({ ...command, first: await commit([add(bob), add(stranger)]) }),
    ).rejects.toEqual(refused("unknown-user"));
    await expect(world.storage.create({ ...command, first: await application() })).rejects.toEqual(
      refused("forbidden"),
    );
    expect(await world.storage.groupExists(groupId)).toBe(false);
    expect(await world.storage.resolveName(nameHash)).toBeUndefined();
    expect(await readAll(inbox(bob.deviceId))).toEqual([]);
  });

  it("names: are taken by admins beside those that the group has, and left, with nothing done twice", async () => {
    const [alice, bob, carol] = [await admit("alice"), await admit("bob"), await admit("carol")];
    const [first, second, third, free] = [0, 1, 2, 3].map(() => randomBytes(32)) as [
      Bytes,
      Bytes,
      Bytes,
      Bytes,
    ];
    const groupId = randomBytes(32);
    const rest = { bodyDigest: groupId, now: NOW, quotas };
    await world.storage.create({
      groupId,
      sender: alice,
      nameHash: first,
      first: await commit([add(bob)]),
      ...rest,
    });
    const other = randomBytes(32);
    await world.storage.create({
      groupId: other,
      sender: carol,
      nameHash: third,
      ...rest,
      bodyDigest: other,
    });
    const { storage } = world;
    const claim = (nameHash: Bytes, sender = alice, to = groupId) =>
      storage.claimName({ groupId: to, nameHash, sender });
    const release = (nameHash: Bytes, sender = alice, from = groupId) =>
      storage.releaseName({ groupId: from, nameHash, sender });

    await expect(claim(second, bob)).rejects.toEqual(refused("not-an-admin"));
    await expect(claim(second, carol)).rejects.toEqual(refused("not-a-member"));
    await expect(claim(second, alice, randomBytes(32))).rejects.toEqual(refused("unknown-group"));
    await expect(claim(third)).rejects.toEqual(refused("name-taken"));
    expect(await storage.resolveName(second)).toBeUndefined();
    await claim(second);
    await claim(second);
    await claim(first);
    expect(await storage.resolveName(first)).toEqual(groupId);
    expect(await storage.resolveName(second)).toEqual(groupId);
    await expect(claim(second, carol, other)).rejects.toEqual(refused("name-taken"));

    await expect(release(first, bob)).rejects.toEqual(refused("not-an-admin"));
    await release(third);
    await release(free);
    expect(await storage.resolveName(third)).toEqual(other);
    await release(first);
    await release(first);
    expect(await storage.resolveName(first)).toBeUndefined();
    await claim(first, carol, other);
    expect(await storage.resolveName(first)).toEqual(other);
    await expect(claim(first)).rejects.toEqual(refused("name-taken"));
    await release(first, carol, other);
    await claim(first);

    const more = [randomBytes(32), randomBytes(32)] as const;
    for (const name of more) await claim(name);
    await expect(claim(free)).rejects.toEqual(refused("quota-exceeded"));
    expect(await storage.resolveName(free)).toBeUndefined();
    const { seq, digest } = (await world.storage.entry(group(groupId), 1)) as { seq: number; digest: Bytes };
    await world.append(alice, group(groupId), { seq, digest }, await plain(EntryKind.close));
    for (const name of [first, second, ...more]) expect(await storage.resolveName(name)).toBeUndefined();
    await expect(claim(free)).rejects.toEqual(refused("unknown-group"));
    await claim(second, carol, other);
  });

  it("names: belong to no direct conversation", async () => {
    const [alice] = [await admit("alice"), await admit("bob")];
    const groupId = randomBytes(32);
    const direct = { slot: randomBytes(32), peer: "bob", generation: 1 };
    const nameHash = randomBytes(32);
    await world.storage.create({ groupId, sender: alice, bodyDigest: groupId, direct, now: NOW, quotas });
    await expect(world.storage.claimName({ groupId, nameHash, sender: alice })).rejects.toEqual(
      refused("forbidden"),
    );
  });

  it("create: sets the direct slot by compare-and-set", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const slot = randomBytes(32);
    const make = async (sender: Sender, peer: string, generation: number, first?: EntryInput) => {
      const groupId = randomBytes(32);
      await world.storage.create({
        groupId,
        sender,
        bodyDigest: groupId,
        direct: { slot, peer, generation },
        now: NOW,
        quotas,
        ...(first && { first }),
      });
      return groupId;
    };
    expect(await world.storage.resolveDirect(slot)).toBeUndefined();
    await expect(make(alice, "nobody", 1)).rejects.toEqual(refused("unknown-user"));
    await expect(make(alice, "alice", 1)).rejects.toEqual(refused("forbidden"));
    await expect(make(alice, "bob", 2)).rejects.toEqual(refused("conflict"));
    const race = await Promise.allSettled([
      make(alice, "bob", 1, await commit([add(bob)])),
      make(bob, "alice", 1, await commit([add(alice)])),
    ]);
    // Groups in different places may be made at once: either is fine, both are not.
    expect(race.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    const winner = race.findIndex(({ status }) => status === "fulfilled");
    const groupId = (race[winner] as PromiseFulfilledResult<Bytes>).value;
    const [maker, added] = winner === 0 ? [alice, bob] : [bob, alice];
    expect(await world.storage.resolveDirect(slot)).toEqual({ generation: 1, groupId });
    expect((await world.storage.access(groupId, added.deviceId))?.role).toBe(2);
    for (const [one, { userId: peer }] of [
      [added, maker],
      [maker, added],
    ] as const) {
      expect(await world.storage.listGroups(one.deviceId)).toMatchObject([{ groupId, peer }]);
    }
    const next = await make(bob, "alice", 2);
    expect(await world.storage.resolveDirect(slot)).toEqual({ generation: 2, groupId: next });
    // A newer list of its user takes a device out of nothing that it is in.
    const ofAlice = await world.storage.listGroups(alice.deviceId);
    const deviceId = randomBytes(16);
    const session = { deviceId, incarnation: 1, incarnationTag: randomBytes(16), now: NOW };
    await world.storage.admit({ account: accountOf("alice", [deviceId], 2), ...session });
    expect(ofAlice.map(({ peer }) => peer)).toEqual(["bob"]);
    expect(await world.storage.listGroups(alice.deviceId)).toEqual(ofAlice);
    expect(await world.storage.listGroups(deviceId)).toEqual([]);
  });

  it("create: stops at the number of groups that the device made and is in", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    for (let i = 0; i < quotas.maxGroups; i++) await create(bob, await commit([add(alice)]));
    const pointers = inbox(alice.deviceId);
    await world.storage.ack(pointers, alice.deviceId, await world.chained(pointers));
    const made = [];
    for (let i = 0; i < quotas.maxGroups; i++) made.push(await create(alice, await commit([add(bob, 2)])));
    await expect(create(alice)).rejects.toEqual(refused("quota-exceeded"));
    const [left, closed, open] = made as [Made, Made, Made];
    const out = await world.append(alice, left.log, left.at, await plain(EntryKind.leave));
    await create(alice);
    await expect(create(alice)).rejects.toEqual(refused("quota-exceeded"));
    await world.append(bob, closed.log, closed.at, await plain(EntryKind.close));
    await create(alice);
    // Whoever adds the maker anew neither frees a place nor takes one.
    await world.append(bob, left.log, out, await commit([add(alice)]));
    await world.append(bob, open.log, open.at, await commit([add(alice, 2)]));
    await expect(create(alice)).rejects.toEqual(refused("quota-exceeded"));
    const { seq, digest } = await world.storage.head(open.log);
    await world.append(bob, open.log, { seq, digest }, await commit([remove(alice)]));
    await create(alice);
    await expect(create(alice)).rejects.toEqual(refused("quota-exceeded"));
  });
}
