import { randomBytes } from "../../crypto/random.js";
import { EntryKind } from "../../wire/protocol.js";
import type { Page, PageCommand, Sender } from "../storage.js";
import { expect, refused } from "./expectations.js";
import { accountOf, add, application, commit, type Define, inbox, NOW, quotas, type World } from "./world.js";

/** All of a list, two items at a time, each once. */
async function all<T>(
  list: (page: PageCommand) => Promise<Page<T>>,
  name: (item: T) => string,
): Promise<T[]> {
  const found = new Map<string, T>();
  let after: string | undefined;
  do {
    const { items, next } = await list({ limit: 2, ...(after !== undefined && { after }) });
    for (const item of items) found.set(name(item), item);
    after = next;
  } while (after !== undefined);
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item);
}

/** What an operator sees and does. */
export function operatorCases(it: Define, world: World): void {
  const { admit, append, create, readAll } = world;
  const users = () =>
    all(
      (page) => world.storage.listUsers(page),
      ({ userId }) => userId,
    );
  const groups = () =>
    all(
      (page) => world.storage.listAllGroups(page),
      ({ groupId }) => groupId.join(),
    );

  it("operator: lists every user a part at a time, and no removed one", async () => {
    expect(await world.storage.listUsers({ limit: 2 })).toEqual({ items: [] });
    const names = ["al", "alice", "bob", "Zoë", "名前"];
    for (const name of names) await admit(name);
    await admit("eve");
    await world.storage.removeUser("eve");
    const found = await users();
    expect(found.map(({ userId }) => userId)).toEqual([...names].sort());
    expect(found[0]).toEqual(await world.storage.account(found[0]?.userId ?? ""));
    for (const after of ["?", "", "a b", "x:1", "0:99999999999999999999"]) {
      // A storage may take a place for one that is behind all users.
      const page = await world.storage.listUsers({ after, limit: 2 }).catch((error: unknown) => error);
      if (page instanceof Error) expect(page).toEqual(refused("malformed"));
    }
  });

  it("operator: lists every group with what is kept of it, and who is in one", async () => {
    expect(await world.storage.listAllGroups({ limit: 2 })).toEqual({ items: [] });
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const groupId = randomBytes(32);
    const direct = { slot: randomBytes(32), peer: "bob", generation: 1 };
    const command = { sender: alice, bodyDigest: randomBytes(32), now: NOW, quotas };
    await world.storage.create({ ...command, groupId, direct });
    const nameHash = randomBytes(32);
    const named = randomBytes(32);
    await world.storage.create({ ...command, groupId: named, nameHash });
    const { log, at } = await create(alice, await commit([add(bob)]));
    await append(alice, log, at, await application(randomBytes(500)));
    const found = new Map((await groups()).map((group) => [group.groupId.join(), group]));
    expect(found.size).toBe(3);
    const none = { entries: 0, bytes: 0, closed: false };
    expect(found.get(groupId.join())).toEqual({ groupId, direct: ["alice", "bob"], ...none });
    expect(found.get(named.join())).toEqual({ groupId: named, nameHash, ...none });
    const other = found.get(log.id.join());
    expect(other).toMatchObject({ entries: 2, closed: false });
    expect(other?.bytes).toBeGreaterThan(500);
    const named2 = (members: Sender[]) => members.map(({ userId }) => userId).sort();
    expect(named2(await world.storage.members(log.id))).toEqual(["alice", "bob"]);
    expect(await world.storage.members(named)).toEqual([alice]);
    expect(await world.storage.members(randomBytes(32))).toEqual([]);
  });

  it("operator: closes a group once: its log ends with an entry, and its name is free", async () => {
    const alice = await admit("alice");
    const [groupId, nameHash] = [randomBytes(32), randomBytes(32)];
    const command = { sender: alice, bodyDigest: randomBytes(32), now: NOW, quotas };
    const at = await world.storage.create({ ...command, groupId, nameHash });
    const log = { kind: 2, id: groupId } as const;
    await append(alice, log, at, await application());
    expect(await world.storage.closeGroup(groupId, NOW)).toBe(true);
    expect(await world.storage.closeGroup(groupId, NOW)).toBe(false);
    await world.chained(log);
    const kinds = (await readAll(log)).map(({ kind, sender }) => [kind, sender.every((byte) => byte === 0)]);
    expect(kinds).toEqual([
      [EntryKind.application, false],
      [EntryKind.operatorClose, true],
    ]);
    expect((await world.storage.head(log)).closed).toBe(true);
    expect((await groups()).map(({ closed }) => closed)).toEqual([true]);
    await expect(append(alice, log, at, await application())).rejects.toEqual(refused("unknown-group"));
    expect(await world.storage.listGroups(alice.deviceId)).toEqual([]);
    expect(await world.storage.resolveName(nameHash)).toBeUndefined();
    await world.storage.create({ ...command, groupId: randomBytes(32), nameHash });
  });

  it("operator: closes no group that is not there, and no direct conversation", async () => {
    const alice = await admit("alice");
    await admit("bob");
    await expect(world.storage.closeGroup(randomBytes(32), NOW)).rejects.toEqual(refused("unknown-group"));
    const groupId = randomBytes(32);
    const direct = { slot: randomBytes(32), peer: "bob", generation: 1 };
    const command = { sender: alice, bodyDigest: randomBytes(32), now: NOW, quotas };
    await world.storage.create({ ...command, groupId, direct });
    await expect(world.storage.closeGroup(groupId, NOW)).rejects.toEqual(refused("forbidden"));
    expect((await world.storage.head({ kind: 2, id: groupId })).closed).toBe(false);
  });

  it("operator: takes its close entry from no client", async () => {
    const alice = await admit("alice");
    const { log, at } = await create(alice);
    const input = { ...(await application()), content: {} as never };
    const content = { kind: EntryKind.operatorClose, entryId: randomBytes(16), payload: randomBytes(0) };
    await expect(append(alice, log, at, { ...input, content })).rejects.toEqual(refused("forbidden"));
  });

  it("operator: puts an entry of the relay's into inboxes once, but for full ones and removed devices", async () => {
    const [alice, bob, eve] = [await admit("alice"), await admit("bob"), await admit("eve")];
    await world.storage.removeUser("eve");
    const note = (entryId = randomBytes(16)) => ({
      kind: EntryKind.notice,
      entryId,
      payload: randomBytes(30),
    });
    const devices = [alice, bob, eve, { deviceId: randomBytes(16) }].map(({ deviceId }) => deviceId);
    const content = note();
    const deposit = (one = content, to = devices) =>
      world.storage.deposit({ devices: to, content: one, now: NOW, quotas });
    expect(await deposit()).toBe(2);
    expect(await deposit()).toBe(2);
    for (const { deviceId } of [alice, bob]) {
      const kept = await readAll(inbox(deviceId));
      expect(kept.map((entry) => entry.content)).toEqual([content]);
      await world.chained(inbox(deviceId));
    }
    for (let i = 1; i < quotas.maxInboxEntries; i++) await deposit(note(), [alice.deviceId]);
    expect(await deposit(note())).toBe(1);
    expect(await readAll(inbox(alice.deviceId))).toHaveLength(quotas.maxInboxEntries);
  });

  it("operator: lets an account key take the place of another only where it was said so", async () => {
    const alice = await admit("alice");
    const upload = { keyPackage: randomBytes(10), notAfter: NOW / 1000 + 1000 };
    const keys = { oneTime: [upload], lastResort: upload, maxKeyPackages: 9, now: NOW };
    await world.storage.publishKeyPackages({ deviceId: alice.deviceId, ...keys });
    await world.storage.setBlocked({ userId: "alice", other: "eve", blocked: true, maxBlocked: 9 });
    const before = (await world.storage.account("alice"))?.accountKey as Sender["deviceId"];
    const deviceId = randomBytes(16);
    const account = { ...accountOf("alice", [deviceId]), accountKey: new Uint8Array(65).fill(99) };
    const session = { account, deviceId, incarnation: 1, incarnationTag: randomBytes(16), now: NOW };
    await expect(world.storage.admit(session)).rejects.toEqual(refused("user-id-taken"));
    const other = { ...session, replaces: new Uint8Array(65).fill(98) };
    await expect(world.storage.admit(other)).rejects.toEqual(refused("user-id-taken"));
    const same = { ...accountOf("alice", [alice.deviceId]), accountKey: account.accountKey };
    const stolen = { ...session, account: same, deviceId: alice.deviceId, incarnation: 9, replaces: before };
    await expect(world.storage.admit(stolen)).rejects.toEqual(refused("conflict"));
    expect((await world.storage.account("alice"))?.accountKey).toEqual(before);

    const admitted = await world.storage.admit({ ...session, replaces: before });
    expect(admitted).toEqual({ registered: true, keyPackages: 0 });
    expect(await world.storage.account("alice")).toEqual(account);
    await expect(world.storage.takeKeyPackages("alice", NOW)).rejects.toEqual(refused("no-key-package"));
    expect(await world.storage.listBlocked("alice")).toEqual(["eve"]);
    // The old key is another one now, and the old device is nobody's.
    const old = accountOf("alice", [alice.deviceId]);
    const again = { account: old, deviceId: alice.deviceId, incarnation: 2, incarnationTag: randomBytes(16) };
    await expect(world.storage.admit({ ...again, now: NOW })).rejects.toEqual(refused("user-id-taken"));
    await world.storage.admit(session);
  });

  it("operator: tells a device that its user was removed", async () => {
    const alice = await admit("alice");
    await world.storage.removeUser("alice");
    const session = { deviceId: alice.deviceId, incarnation: 2, incarnationTag: randomBytes(16), now: NOW };
    const account = accountOf("alice", [alice.deviceId]);
    await expect(world.storage.admit({ account, ...session })).rejects.toEqual(refused("user-removed"));
    await admit("alice");
  });
}
