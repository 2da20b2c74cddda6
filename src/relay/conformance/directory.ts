import type { Bytes } from "../../base/bytes.js";
import { randomBytes } from "../../crypto/random.js";
import { expect, refused } from "./expectations.js";
import { accountOf, type Define, NOW, type World } from "./world.js";

/** Accounts, devices, key packages and who blocks whom. */
export function directoryCases(it: Define, world: World): void {
  const { admit } = world;
  it("directory: binds a user id to the first account key", async () => {
    const deviceId = randomBytes(16);
    const account = accountOf("alice", [deviceId]);
    const session = { deviceId, incarnation: 1, incarnationTag: randomBytes(16), now: NOW };
    expect(await world.storage.admit({ account, ...session })).toEqual({ registered: true, keyPackages: 0 });
    expect(await world.storage.admit({ account, ...session })).toEqual({ registered: false, keyPackages: 0 });
    expect(await world.storage.account("alice")).toEqual(account);
    expect(await world.storage.account("bob")).toBeUndefined();
    const other = { ...account, accountKey: new Uint8Array(65).fill(9) };
    await expect(world.storage.admit({ account: other, ...session })).rejects.toEqual(
      refused("user-id-taken"),
    );
  });

  it("directory: takes newer device lists only, and equal ones only byte for byte", async () => {
    const [one, two] = [randomBytes(16), randomBytes(16)];
    const session = { deviceId: one, incarnation: 1, incarnationTag: randomBytes(16), now: NOW };
    await world.storage.admit({ account: accountOf("alice", [one], 2), ...session });
    await expect(world.storage.admit({ account: accountOf("alice", [one], 1), ...session })).rejects.toEqual(
      refused("conflict"),
    );
    await expect(
      world.storage.admit({ account: accountOf("alice", [one, two], 2), ...session }),
    ).rejects.toEqual(refused("conflict"));
    await world.storage.admit({ account: accountOf("alice", [one, two], 3), ...session });
    expect((await world.storage.account("alice"))?.deviceList.list.version).toBe(3);
  });

  it("directory: lets a newer list take the place of devices for ever", async () => {
    const [old, next, third] = [randomBytes(16), randomBytes(16), randomBytes(16)];
    const as = (deviceId: Bytes, list: Bytes[], version: number) =>
      world.storage.admit({
        account: accountOf("alice", list, version),
        deviceId,
        incarnation: 1,
        incarnationTag: new Uint8Array(16).fill(version),
        now: NOW,
      });
    await as(old, [old], 1);
    const upload = { keyPackage: randomBytes(10), notAfter: NOW / 1000 + 1000 };
    const publish = (deviceId: Bytes) =>
      world.storage.publishKeyPackages({
        deviceId,
        oneTime: [upload],
        lastResort: upload,
        maxKeyPackages: 9,
        now: NOW,
      });
    await publish(old);
    expect(await as(next, [next], 2)).toEqual({ registered: false, keyPackages: 0 });
    // The old one's key packages are gone with it.
    await expect(world.storage.takeKeyPackages("alice", NOW)).rejects.toEqual(refused("no-key-package"));
    await publish(next);
    const { account, devices } = await world.storage.takeKeyPackages("alice", NOW);
    expect(account.deviceList.list.version).toBe(2);
    expect(devices.map(({ deviceId }) => deviceId)).toEqual([next]);
    // Whether it shows the older list, or another one of the same version: it is told what happened to it.
    await expect(as(old, [old], 1)).rejects.toEqual(refused("revoked"));
    await expect(as(third, [third], 2)).rejects.toEqual(refused("revoked"));
    // A device that was taken off the list never comes back.
    await expect(as(next, [next, old], 3)).rejects.toEqual(refused("conflict"));
    await as(next, [next], 2);
  });

  it("directory: gives a device id to one user for ever", async () => {
    const { deviceId } = await admit("alice");
    const theft = { deviceId, incarnation: 9, incarnationTag: randomBytes(16), now: NOW };
    await expect(
      world.storage.admit({ account: accountOf("mallory", [deviceId]), ...theft }),
    ).rejects.toEqual(refused("conflict"));
    expect(await world.storage.account("mallory")).toBeUndefined();
    expect(await world.storage.removeUser("alice")).toBe(true);
    expect(await world.storage.removeUser("alice")).toBe(false);
    expect(await world.storage.account("alice")).toBeUndefined();
    await expect(
      world.storage.admit({ account: accountOf("mallory", [deviceId]), ...theft }),
    ).rejects.toEqual(refused("conflict"));
  });

  it("directory: knows for an account's own what it listed first, removed or not, by user id and account key", async () => {
    const as = async (userId: string, key: number, list: Bytes[], version = 1, replaces?: number) => {
      const deviceId = list[0] as Bytes;
      const account = { ...accountOf(userId, list, version), accountKey: new Uint8Array(65).fill(key) };
      const session = {
        deviceId,
        incarnation: 1,
        incarnationTag: new Uint8Array(16).fill(version),
        now: NOW,
      };
      const before = replaces === undefined ? {} : { replaces: new Uint8Array(65).fill(replaces) };
      await world.storage.admit({ account, ...session, ...before });
    };
    const isOwn = (device: Bytes, other: Bytes) => world.storage.isOwn(device, other);
    const [old, one, two] = [randomBytes(16), randomBytes(16), randomBytes(16)];
    const [other, heir, third, back] = [randomBytes(16), randomBytes(16), randomBytes(16), randomBytes(16)];
    await as("alice", 7, [old]);
    await as("alice", 7, [one, two], 2);
    // The same key under another name is another account.
    await as("bob", 7, [other]);
    for (const known of [old, one, two]) {
      expect(await isOwn(one, known)).toBe(true);
      // A device that was removed has no say.
      expect(await isOwn(old, known)).toBe(false);
      for (const stranger of [other, randomBytes(16)]) {
        expect(await isOwn(stranger, known)).toBe(false);
        expect(await isOwn(one, stranger)).toBe(false);
      }
    }
    // Another key takes the place of alice's, and the user id becomes free and is taken by one more.
    await as("alice", 8, [heir], 1, 7);
    for (const known of [old, one, two]) {
      expect(await isOwn(heir, known)).toBe(false);
      expect(await isOwn(one, known)).toBe(false);
    }
    await world.storage.removeUser("alice");
    await as("alice", 9, [third]);
    for (const known of [old, one, two, heir]) expect(await isOwn(third, known)).toBe(false);
    // Who comes back by the account of before finds what was its own.
    await world.storage.removeUser("alice");
    await as("alice", 7, [back], 3);
    expect(await Promise.all([old, one, heir, third].map((known) => isOwn(back, known)))).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  it("directory: refuses an older incarnation, and another copy of the same", async () => {
    const deviceId = randomBytes(16);
    const account = accountOf("alice", [deviceId]);
    const tag = randomBytes(16);
    const admitAs = (incarnation: number, incarnationTag: Bytes) =>
      world.storage.admit({ account, deviceId, incarnation, incarnationTag, now: NOW });
    await admitAs(5, tag);
    await admitAs(5, tag);
    await expect(admitAs(5, randomBytes(16))).rejects.toEqual(refused("store-outdated"));
    await expect(admitAs(4, tag)).rejects.toEqual(refused("store-outdated"));
    await admitAs(6, randomBytes(16));
    await expect(admitAs(5, tag)).rejects.toEqual(refused("store-outdated"));
  });

  it("directory: hands out each one-time key package once, then the last resort, expired ones never", async () => {
    const { deviceId } = await admit("alice");
    const seconds = NOW / 1000;
    const upload = (byte: number, notAfter = seconds + 100) => ({
      notAfter,
      keyPackage: new Uint8Array([byte]),
    });
    const publish = (oneTime: ReturnType<typeof upload>[], lastResort?: ReturnType<typeof upload>) =>
      world.storage.publishKeyPackages({
        deviceId,
        oneTime,
        maxKeyPackages: 3,
        now: NOW,
        ...(lastResort && { lastResort }),
      });
    await expect(world.storage.takeKeyPackages("bob", NOW)).rejects.toEqual(refused("unknown-user"));
    await expect(world.storage.takeKeyPackages("alice", NOW)).rejects.toEqual(refused("no-key-package"));
    expect(await publish([upload(1), upload(2, seconds), upload(3)])).toBe(2);
    await expect(publish([upload(4), upload(5)])).rejects.toEqual(refused("quota-exceeded"));
    expect(await publish([upload(4, seconds + 1)], upload(9))).toBe(3);
    const taken = await Promise.all([1, 2].map(() => world.storage.takeKeyPackages("alice", NOW)));
    expect(taken.map(({ devices }) => devices[0]?.keyPackage[0]).sort()).toEqual([1, 3]);
    // The third has expired meanwhile.
    const later = NOW + 2000;
    expect((await world.storage.takeKeyPackages("alice", later)).devices[0]?.keyPackage[0]).toBe(9);
    expect((await world.storage.takeKeyPackages("alice", later)).devices[0]?.keyPackage[0]).toBe(9);
    await expect(world.storage.takeKeyPackages("alice", NOW + 200_000)).rejects.toEqual(
      refused("no-key-package"),
    );
  });

  it("directory: holds a key package once that is published twice", async () => {
    const { deviceId } = await admit("alice");
    const upload = (byte: number) => ({ notAfter: NOW, keyPackage: new Uint8Array([byte]) });
    const publish = (...bytes: number[]) =>
      world.storage.publishKeyPackages({ deviceId, oneTime: bytes.map(upload), maxKeyPackages: 3, now: NOW });
    expect([await publish(1, 2), await publish(1, 2, 3, 3)]).toEqual([2, 3]);
    const taken = await Promise.all([1, 2, 3].map(() => world.storage.takeKeyPackages("alice", NOW)));
    expect(taken.map(({ devices }) => devices[0]?.keyPackage[0]).sort()).toEqual([1, 2, 3]);
    await expect(world.storage.takeKeyPackages("alice", NOW)).rejects.toEqual(refused("no-key-package"));
  });

  it("directory: leaves the one-time key packages alone when only the last resort is wanted", async () => {
    const { deviceId } = await admit("alice");
    const upload = (byte: number) => ({ notAfter: NOW, keyPackage: new Uint8Array([byte]) });
    const command = { deviceId, maxKeyPackages: 3, now: NOW };
    await world.storage.publishKeyPackages({ ...command, oneTime: [upload(1)] });
    const take = async (lastResortOnly: boolean) =>
      (await world.storage.takeKeyPackages("alice", NOW, lastResortOnly)).devices[0]?.keyPackage[0];
    await expect(take(true)).rejects.toEqual(refused("no-key-package"));
    await world.storage.publishKeyPackages({ ...command, oneTime: [], lastResort: upload(9) });
    expect([await take(true), await take(true), await take(false), await take(false)]).toEqual([9, 9, 1, 9]);
  });

  it("directory: remembers who has blocked whom, up to a number, until the user is removed", async () => {
    await admit("alice");
    const block = (other: string, blocked = true, userId = "alice") =>
      world.storage.setBlocked({ userId, other, blocked, maxBlocked: 2 });
    await block("mallory");
    await block("mallory");
    await block("nobody yet");
    await expect(block("carol")).rejects.toEqual(refused("quota-exceeded"));
    await block("mallory");
    await block("alice", true, "bob");
    // Neither's names run into the other's.
    await block("icecarol", true, "al");
    expect((await world.storage.listBlocked("alice")).sort()).toEqual(["mallory", "nobody yet"]);
    expect(await world.storage.listBlocked("al")).toEqual(["icecarol"]);
    expect(await world.storage.listBlocked("carol")).toEqual([]);
    expect((await world.storage.blockersOf("mallory", ["carol", "alice"])).sort()).toEqual(["alice"]);
    expect(await world.storage.blockersOf("alice", ["mallory", "bob"])).toEqual(["bob"]);
    expect(await world.storage.blockersOf("mallory", [])).toEqual([]);
    await block("mallory", false);
    await block("mallory", false);
    expect(await world.storage.blockersOf("mallory", ["alice"])).toEqual([]);
    await block("carol");
    await world.storage.removeUser("alice");
    expect(await world.storage.listBlocked("alice")).toEqual([]);
    expect(await world.storage.listBlocked("bob")).toEqual(["alice"]);
  });
}
