import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { decode } from "../../src/codec/reader.js";
import { sha256 } from "../../src/crypto/hash.js";
import { randomBytes } from "../../src/crypto/random.js";
import type { Appended, EntryInput, RelayStorage, Sender } from "../../src/relay/storage.js";
import {
  type AccessChange,
  chainDigestInput,
  contentDigestInput,
  decodePointer,
  decodeRejection,
  type EntryContent,
} from "../../src/wire/entries.js";
import { type Cursor, type LogId, START } from "../../src/wire/identifiers.js";
import type { Account } from "../../src/wire/identity.js";
import { EntryKind, LogKind, type Role } from "../../src/wire/protocol.js";
import { joinRequest, makeUser } from "../relay/raw-client.js";

const quotas = { maxInboxEntries: 5, maxInboxBytes: 10_000, maxRequests: 3, maxGroups: 4 };
const group = (id: Bytes): LogId => ({ kind: LogKind.group, id });
const inbox = (id: Bytes): LogId => ({ kind: LogKind.inbox, id });
const box = (id: Bytes): LogId => ({ kind: LogKind.requestBox, id });
const NOW = 1_700_000_000_000;

async function entry(content: EntryContent, welcome: Bytes = new Uint8Array(0)): Promise<EntryInput> {
  return { content, welcome, contentDigest: await sha256(contentDigestInput(content)) };
}

const application = (payload: Bytes = randomBytes(20), entryId = randomBytes(16)) =>
  entry({ kind: EntryKind.application, entryId, payload });
const plain = (kind: EntryKind) => entry({ kind, entryId: randomBytes(16), payload: randomBytes(20) });

async function commit(
  access: readonly AccessChange[],
  welcome: Bytes = new Uint8Array(0),
): Promise<EntryInput> {
  const welcomeHash = welcome.length > 0 ? await sha256(welcome) : new Uint8Array(0);
  return entry(
    {
      kind: EntryKind.commit,
      entryId: randomBytes(16),
      payload: randomBytes(30),
      bundle: { access, welcomeHash },
    },
    welcome,
  );
}

function accountOf(userId: string, devices: readonly Bytes[], version = 1): Account {
  const list = {
    userId,
    version,
    previous: new Uint8Array(32),
    devices: devices.map((deviceId) => ({ deviceId, deviceKey: new Uint8Array(65).fill(4) })),
  };
  const accountKey = new Uint8Array(65).fill(userId.length);
  return { userId, accountKey, deviceList: { list, signature: new Uint8Array([version]) } };
}

const refused = (code: string) => expect.objectContaining({ code });

/** What every RelayStorage must do. `reopen` closes it and opens the same data again, where data outlives closing. */
export function relayStorageSuite(
  name: string,
  open: () => Promise<{
    storage: RelayStorage;
    reopen?: () => Promise<RelayStorage>;
    dispose: () => Promise<void>;
  }>,
): void {
  describe(`relay storage: ${name}`, () => {
    let opened: Awaited<ReturnType<typeof open>>;
    let storage: RelayStorage;

    beforeEach(async () => {
      opened = await open();
      storage = opened.storage;
    });
    afterEach(() => opened.dispose());

    async function admit(userId: string): Promise<Sender> {
      const deviceId = randomBytes(16);
      const account = accountOf(userId, [deviceId]);
      await storage.admit({ account, deviceId, incarnation: 1, incarnationTag: randomBytes(16), now: NOW });
      return { userId, deviceId };
    }

    const add = (sender: Sender, role: Role = 1): AccessChange => ({ type: "add", ...sender, role });
    const remove = (sender: Sender): AccessChange => ({ type: "remove", ...sender });
    const setRole = (sender: Sender, role: Role): AccessChange => ({ type: "role", ...sender, role });

    const append = (sender: Sender, log: LogId, after: Cursor, input: EntryInput, now = NOW) =>
      storage.append({ log, sender, after, entry: input, now, quotas });

    async function create(sender: Sender, first?: EntryInput): Promise<{ log: LogId; at: Cursor }> {
      const groupId = randomBytes(32);
      const at = await storage.create({
        groupId,
        sender,
        bodyDigest: await sha256(groupId),
        now: NOW,
        quotas,
        ...(first && { first }),
      });
      return { log: group(groupId), at };
    }

    const readAll = (log: LogId, from = 0) => storage.read(log, from, 1000, 1e9);

    async function chained(log: LogId, from: Cursor = START): Promise<Cursor> {
      let cursor = from;
      for (const stored of await readAll(log, from.seq)) {
        expect(stored.seq).toBe(cursor.seq + 1);
        if (stored.content)
          expect(await sha256(contentDigestInput(stored.content))).toEqual(stored.contentDigest);
        const input = chainDigestInput(log, stored.seq, cursor.digest, stored.contentDigest);
        cursor = { seq: stored.seq, digest: await sha256(input) };
        expect(stored.digest).toEqual(cursor.digest);
      }
      return cursor;
    }

    describe("directory", () => {
      it("binds a user id to the first account key", async () => {
        const deviceId = randomBytes(16);
        const account = accountOf("alice", [deviceId]);
        const session = { deviceId, incarnation: 1, incarnationTag: randomBytes(16), now: NOW };
        expect(await storage.admit({ account, ...session })).toEqual({ registered: true, keyPackages: 0 });
        expect(await storage.admit({ account, ...session })).toEqual({ registered: false, keyPackages: 0 });
        expect(await storage.account("alice")).toEqual(account);
        expect(await storage.account("bob")).toBeUndefined();
        const other = { ...account, accountKey: new Uint8Array(65).fill(9) };
        await expect(storage.admit({ account: other, ...session })).rejects.toEqual(refused("user-id-taken"));
      });

      it("takes newer device lists only, and equal ones only byte for byte", async () => {
        const [one, two] = [randomBytes(16), randomBytes(16)];
        const session = { deviceId: one, incarnation: 1, incarnationTag: randomBytes(16), now: NOW };
        await storage.admit({ account: accountOf("alice", [one], 2), ...session });
        await expect(storage.admit({ account: accountOf("alice", [one], 1), ...session })).rejects.toEqual(
          refused("conflict"),
        );
        await expect(
          storage.admit({ account: accountOf("alice", [one, two], 2), ...session }),
        ).rejects.toEqual(refused("conflict"));
        await storage.admit({ account: accountOf("alice", [one, two], 3), ...session });
        expect((await storage.account("alice"))?.deviceList.list.version).toBe(3);
      });

      it("lets a newer list take the place of devices for ever", async () => {
        const [old, next, third] = [randomBytes(16), randomBytes(16), randomBytes(16)];
        const as = (deviceId: Bytes, list: Bytes[], version: number) =>
          storage.admit({
            account: accountOf("alice", list, version),
            deviceId,
            incarnation: 1,
            incarnationTag: new Uint8Array(16).fill(version),
            now: NOW,
          });
        await as(old, [old], 1);
        const upload = { keyPackage: randomBytes(10), notAfter: NOW / 1000 + 1000 };
        const publish = (deviceId: Bytes) =>
          storage.publishKeyPackages({
            deviceId,
            oneTime: [upload],
            lastResort: upload,
            maxKeyPackages: 9,
            now: NOW,
          });
        await publish(old);
        expect(await as(next, [next], 2)).toEqual({ registered: false, keyPackages: 0 });
        // The old one's key packages are gone with it.
        await expect(storage.takeKeyPackages("alice", NOW)).rejects.toEqual(refused("no-key-package"));
        await publish(next);
        const { account, devices } = await storage.takeKeyPackages("alice", NOW);
        expect(account.deviceList.list.version).toBe(2);
        expect(devices.map(({ deviceId }) => deviceId)).toEqual([next]);
        // Whether it shows the older list, or another one of the same version: it is told what happened to it.
        await expect(as(old, [old], 1)).rejects.toEqual(refused("revoked"));
        await expect(as(third, [third], 2)).rejects.toEqual(refused("revoked"));
        // A device that was taken off the list never comes back.
        await expect(as(next, [next, old], 3)).rejects.toEqual(refused("conflict"));
        await as(next, [next], 2);
      });

      it("gives a device id to one user for ever", async () => {
        const { deviceId } = await admit("alice");
        const theft = { deviceId, incarnation: 9, incarnationTag: randomBytes(16), now: NOW };
        await expect(storage.admit({ account: accountOf("mallory", [deviceId]), ...theft })).rejects.toEqual(
          refused("conflict"),
        );
        expect(await storage.account("mallory")).toBeUndefined();
        expect(await storage.removeUser("alice")).toBe(true);
        expect(await storage.removeUser("alice")).toBe(false);
        expect(await storage.account("alice")).toBeUndefined();
        await expect(storage.admit({ account: accountOf("mallory", [deviceId]), ...theft })).rejects.toEqual(
          refused("conflict"),
        );
      });

      it("refuses an older incarnation, and another copy of the same", async () => {
        const deviceId = randomBytes(16);
        const account = accountOf("alice", [deviceId]);
        const tag = randomBytes(16);
        const admitAs = (incarnation: number, incarnationTag: Bytes) =>
          storage.admit({ account, deviceId, incarnation, incarnationTag, now: NOW });
        await admitAs(5, tag);
        await admitAs(5, tag);
        await expect(admitAs(5, randomBytes(16))).rejects.toEqual(refused("store-outdated"));
        await expect(admitAs(4, tag)).rejects.toEqual(refused("store-outdated"));
        await admitAs(6, randomBytes(16));
        await expect(admitAs(5, tag)).rejects.toEqual(refused("store-outdated"));
      });

      it("hands out each one-time key package once, then the last resort, expired ones never", async () => {
        const { deviceId } = await admit("alice");
        const seconds = NOW / 1000;
        const upload = (byte: number, notAfter = seconds + 100) => ({
          notAfter,
          keyPackage: new Uint8Array([byte]),
        });
        const publish = (oneTime: ReturnType<typeof upload>[], lastResort?: ReturnType<typeof upload>) =>
          storage.publishKeyPackages({
            deviceId,
            oneTime,
            maxKeyPackages: 3,
            now: NOW,
            ...(lastResort && { lastResort }),
          });
        await expect(storage.takeKeyPackages("bob", NOW)).rejects.toEqual(refused("unknown-user"));
        await expect(storage.takeKeyPackages("alice", NOW)).rejects.toEqual(refused("no-key-package"));
        expect(await publish([upload(1), upload(2, seconds), upload(3)])).toBe(2);
        await expect(publish([upload(4), upload(5)])).rejects.toEqual(refused("quota-exceeded"));
        expect(await publish([upload(4, seconds + 1)], upload(9))).toBe(3);
        const taken = await Promise.all([1, 2].map(() => storage.takeKeyPackages("alice", NOW)));
        expect(taken.map(({ devices }) => devices[0]?.keyPackage[0]).sort()).toEqual([1, 3]);
        // The third has expired meanwhile.
        const later = NOW + 2000;
        expect((await storage.takeKeyPackages("alice", later)).devices[0]?.keyPackage[0]).toBe(9);
        expect((await storage.takeKeyPackages("alice", later)).devices[0]?.keyPackage[0]).toBe(9);
        await expect(storage.takeKeyPackages("alice", NOW + 200_000)).rejects.toEqual(
          refused("no-key-package"),
        );
      });

      it("holds a key package once that is published twice", async () => {
        const { deviceId } = await admit("alice");
        const upload = (byte: number) => ({ notAfter: NOW, keyPackage: new Uint8Array([byte]) });
        const publish = (...bytes: number[]) =>
          storage.publishKeyPackages({ deviceId, oneTime: bytes.map(upload), maxKeyPackages: 3, now: NOW });
        expect([await publish(1, 2), await publish(1, 2, 3, 3)]).toEqual([2, 3]);
        const taken = await Promise.all([1, 2, 3].map(() => storage.takeKeyPackages("alice", NOW)));
        expect(taken.map(({ devices }) => devices[0]?.keyPackage[0]).sort()).toEqual([1, 2, 3]);
        await expect(storage.takeKeyPackages("alice", NOW)).rejects.toEqual(refused("no-key-package"));
      });

      it("leaves the one-time key packages alone when only the last resort is wanted", async () => {
        const { deviceId } = await admit("alice");
        const upload = (byte: number) => ({ notAfter: NOW, keyPackage: new Uint8Array([byte]) });
        const command = { deviceId, maxKeyPackages: 3, now: NOW };
        await storage.publishKeyPackages({ ...command, oneTime: [upload(1)] });
        const take = async (lastResortOnly: boolean) =>
          (await storage.takeKeyPackages("alice", NOW, lastResortOnly)).devices[0]?.keyPackage[0];
        await expect(take(true)).rejects.toEqual(refused("no-key-package"));
        await storage.publishKeyPackages({ ...command, oneTime: [], lastResort: upload(9) });
        expect([await take(true), await take(true), await take(false), await take(false)]).toEqual([
          9, 9, 1, 9,
        ]);
      });

      it("remembers who has blocked whom, up to a number, until the user is removed", async () => {
        await admit("alice");
        const block = (other: string, blocked = true, userId = "alice") =>
          storage.setBlocked({ userId, other, blocked, maxBlocked: 2 });
        await block("mallory");
        await block("mallory");
        await block("nobody yet");
        await expect(block("carol")).rejects.toEqual(refused("quota-exceeded"));
        await block("mallory");
        await block("alice", true, "bob");
        // Neither's names run into the other's.
        await block("icecarol", true, "al");
        expect((await storage.listBlocked("alice")).sort()).toEqual(["mallory", "nobody yet"]);
        expect(await storage.listBlocked("al")).toEqual(["icecarol"]);
        expect(await storage.listBlocked("carol")).toEqual([]);
        expect((await storage.blockersOf("mallory", ["carol", "alice"])).sort()).toEqual(["alice"]);
        expect(await storage.blockersOf("alice", ["mallory", "bob"])).toEqual(["bob"]);
        expect(await storage.blockersOf("mallory", [])).toEqual([]);
        await block("mallory", false);
        await block("mallory", false);
        expect(await storage.blockersOf("mallory", ["alice"])).toEqual([]);
        await block("carol");
        await storage.removeUser("alice");
        expect(await storage.listBlocked("alice")).toEqual([]);
        expect(await storage.listBlocked("bob")).toEqual(["alice"]);
      });
    });

    describe("group logs", () => {
      it("chain their digests and answer an entry id again", async () => {
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
        expect((await storage.head(log)).seq).toBe(2);
      });

      it("hold to the append rule", async () => {
        const alice = await admit("alice");
        const { log } = await create(alice);
        const note = await append(alice, log, START, await application());
        const one = await append(alice, log, START, await commit([]));
        await expect(append(alice, log, START, await commit([]))).rejects.toEqual(refused("stale"));
        await expect(append(alice, log, note, await application())).rejects.toEqual(refused("stale"));
        const two = await append(alice, log, one, await commit([]));
        await expect(append(alice, log, one, await application())).rejects.toEqual(refused("stale"));
        const false1 = { seq: one.seq, digest: randomBytes(32) };
        await expect(append(alice, log, false1, await application())).rejects.toEqual(
          refused("cursor-mismatch"),
        );
        const false2 = { seq: two.seq, digest: randomBytes(32) };
        await expect(append(alice, log, false2, await application())).rejects.toEqual(
          refused("cursor-mismatch"),
        );
        const false3 = { seq: two.seq + 1, digest: two.digest };
        await expect(append(alice, log, false3, await application())).rejects.toEqual(
          refused("cursor-mismatch"),
        );
        const false4 = { seq: 0, digest: randomBytes(32) };
        await expect(append(alice, log, false4, await application())).rejects.toEqual(
          refused("cursor-mismatch"),
        );
        await append(alice, log, two, await application());
        expect((await readAll(log)).map(({ kind }) => kind)).toEqual([1, 2, 2, 1]);
      });

      it("let one of several racing commits win", async () => {
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

      it("refuse strangers, unknown groups and kinds that belong elsewhere", async () => {
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
        expect((await storage.head(log)).seq).toBe(0);
      });

      it("add devices with a pointer each, the welcome kept once", async () => {
        const [alice, bob, carol] = [await admit("alice"), await admit("bob"), await admit("carol")];
        const { log } = await create(alice);
        const welcome = randomBytes(77);
        const at = await append(alice, log, START, await commit([add(bob), add(carol, 2)], welcome));
        expect(await storage.welcome(log.id, at.seq)).toEqual(welcome);
        for (const [device, role] of [
          [bob, 1],
          [carol, 2],
        ] as const) {
          const [pointer, ...more] = await readAll(inbox(device.deviceId));
          expect(more).toEqual([]);
          expect(decode(decodePointer, pointer?.content?.payload as Bytes)).toEqual({ groupId: log.id, at });
          expect(await storage.access(log.id, device.deviceId)).toMatchObject({
            role,
            since: at,
            leavingSince: 0,
          });
          expect(await storage.listGroups(device.deviceId)).toEqual([
            { groupId: log.id, role, since: at, direct: false },
          ]);
        }
        expect(await readAll(inbox(alice.deviceId))).toEqual([]);
        await chained(inbox(bob.deviceId));
      });

      it("refuse to add a device that is not the named user's, or does not exist", async () => {
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

      it("let members add members and remove who leaves, admins do everything", async () => {
        const [alice, bob, carol, dave] = [
          await admit("alice"),
          await admit("bob"),
          await admit("carol"),
          await admit("dave"),
        ];
        const { log } = await create(alice);
        let at = await append(alice, log, START, await commit([add(bob), add(carol)]));
        const denied = [
          [add(dave, 2)],
          [remove(carol)],
          [remove(alice)],
          [setRole(bob, 2)],
          [setRole(alice, 1)],
          // Adding an admin anew would take the role away.
          [add(alice)],
          [add(carol, 2)],
          [add(dave), remove(carol)],
        ];
        for (const changes of denied) {
          await expect(append(bob, log, at, await commit(changes))).rejects.toEqual(refused("not-an-admin"));
        }
        await expect(append(bob, log, at, await plain(EntryKind.close))).rejects.toEqual(
          refused("not-an-admin"),
        );
        expect((await storage.head(log)).seq).toBe(1);
        at = await append(bob, log, at, await commit([add(dave)]));
        at = await append(carol, log, at, await plain(EntryKind.leave));
        at = await append(bob, log, at, await commit([remove(carol)]));
        at = await append(alice, log, at, await commit([setRole(bob, 2)]));
        at = await append(bob, log, at, await commit([setRole(alice, 1), remove(dave)]));
        expect((await storage.access(log.id, alice.deviceId))?.role).toBe(1);
        expect((await storage.access(log.id, carol.deviceId))?.until?.seq).toBe(4);
        expect((await storage.access(log.id, dave.deviceId))?.until).toEqual(at);
        expect(await storage.listGroups(dave.deviceId)).toEqual([]);
        await expect(append(dave, log, at, await application())).rejects.toEqual(refused("not-a-member"));
      });

      it("let no commit remove its sender, whatever its role", async () => {
        const [alice, bob] = [await admit("alice"), await admit("bob")];
        const { log } = await create(alice);
        const at = await append(alice, log, START, await commit([add(bob)]));
        for (const sender of [alice, bob]) {
          for (const changes of [[remove(sender)], [remove(sender), add(sender)]]) {
            await expect(append(sender, log, at, await commit(changes))).rejects.toEqual(
              refused("forbidden"),
            );
          }
          expect((await storage.access(log.id, sender.deviceId))?.until).toBeUndefined();
        }
      });

      it("let any member remove what a member added, until an admin vouches for it", async () => {
        const [alice, bob, carol, dave] = [
          await admit("alice"),
          await admit("bob"),
          await admit("carol"),
          await admit("dave"),
        ];
        const { log } = await create(alice);
        let at = await append(alice, log, START, await commit([add(bob), add(carol)]));
        at = await append(bob, log, at, await commit([add(dave)]));
        expect(await storage.access(log.id, dave.deviceId)).toMatchObject({ byMember: true });
        at = await append(carol, log, at, await commit([remove(dave)]));
        expect((await storage.access(log.id, dave.deviceId))?.until).toEqual(at);
        // Put right in one commit: removed and added anew.
        at = await append(bob, log, at, await commit([add(dave)]));
        at = await append(carol, log, at, await commit([remove(dave), add(dave)]));
        // A role given by an admin, and being added by one, are an admin's word.
        at = await append(alice, log, at, await commit([setRole(dave, 2)]));
        await expect(append(carol, log, at, await commit([remove(dave)]))).rejects.toEqual(
          refused("not-an-admin"),
        );
        at = await append(alice, log, at, await commit([setRole(dave, 1)]));
        await expect(append(carol, log, at, await commit([remove(dave)]))).rejects.toEqual(
          refused("not-an-admin"),
        );
        at = await append(alice, log, at, await commit([remove(dave)]));
        at = await append(bob, log, at, await commit([add(dave)]));
        at = await append(alice, log, at, await commit([remove(dave), add(dave)]));
        await expect(append(carol, log, at, await commit([remove(dave)]))).rejects.toEqual(
          refused("not-an-admin"),
        );
      });

      it("let any member make any change where no admin stays", async () => {
        const [alice, bob, carol, dave] = [
          await admit("alice"),
          await admit("bob"),
          await admit("carol"),
          await admit("dave"),
        ];
        const { log } = await create(alice);
        let at = await append(alice, log, START, await commit([add(bob), add(carol), add(dave)]));
        const heir = [setRole(bob, 2), remove(carol)];
        await expect(append(bob, log, at, await commit(heir))).rejects.toEqual(refused("not-an-admin"));
        at = await append(alice, log, at, await plain(EntryKind.leave));
        at = await append(bob, log, at, await commit(heir));
        expect(await storage.access(log.id, bob.deviceId)).toMatchObject({ role: 2 });
        expect((await storage.access(log.id, carol.deviceId))?.until).toEqual(at);
        // From here on there is an admin again, and it alone decides.
        await expect(append(dave, log, at, await commit([setRole(dave, 2)]))).rejects.toEqual(
          refused("not-an-admin"),
        );
        at = await append(bob, log, at, await commit([remove(alice), setRole(bob, 1)]));
        at = await append(dave, log, at, await commit([setRole(dave, 2)]));
        expect(await storage.access(log.id, dave.deviceId)).toMatchObject({ role: 2 });
      });

      it("let a leaving device append nothing more, not even its leave again", async () => {
        const [alice, bob] = [await admit("alice"), await admit("bob")];
        const { log } = await create(alice);
        let at = await append(alice, log, START, await commit([add(bob)]));
        at = await append(bob, log, at, await plain(EntryKind.leave));
        expect((await storage.access(log.id, bob.deviceId))?.leavingSince).toBe(2);
        await expect(append(bob, log, at, await application())).rejects.toEqual(refused("not-a-member"));
        await expect(append(bob, log, at, await commit([]))).rejects.toEqual(refused("not-a-member"));
        await expect(append(bob, log, at, await plain(EntryKind.leave))).rejects.toEqual(
          refused("not-a-member"),
        );
        expect((await storage.head(log)).seq).toBe(2);
        at = await append(alice, log, at, await commit([remove(bob)]));
        await expect(append(bob, log, at, await plain(EntryKind.leave))).rejects.toEqual(
          refused("not-a-member"),
        );
      });

      it("add anew a device that had access, from that commit on", async () => {
        const [alice, bob] = [await admit("alice"), await admit("bob")];
        const { log } = await create(alice);
        let at = await append(alice, log, START, await commit([add(bob)]));
        at = await append(bob, log, at, await plain(EntryKind.leave));
        at = await append(alice, log, at, await commit([remove(bob), add(bob)]));
        expect(await storage.access(log.id, bob.deviceId)).toEqual({
          userId: "bob",
          role: 1,
          since: at,
          from: at,
          leavingSince: 0,
          acked: 2,
          byMember: false,
        });
        expect(await readAll(inbox(bob.deviceId))).toHaveLength(2);
        await append(bob, log, at, await application());
      });

      it("let a member add anew who has access, who keeps its role and what it may read", async () => {
        const [alice, bob, carol] = [await admit("alice"), await admit("bob"), await admit("carol")];
        const { log } = await create(alice);
        const first = await append(alice, log, START, await commit([add(bob), add(carol, 2)]));
        await storage.ack(log, carol.deviceId, first);
        const at = await append(bob, log, first, await commit([add(carol, 2)]));
        expect(await storage.access(log.id, carol.deviceId)).toEqual({
          userId: "carol",
          role: 2,
          since: at,
          from: first,
          leavingSince: 0,
          acked: 1,
          byMember: false,
        });
        expect(await storage.listGroups(carol.deviceId)).toMatchObject([{ role: 2, since: at }]);
        expect(await readAll(inbox(carol.deviceId))).toHaveLength(2);
        await expect(append(bob, log, at, await commit([remove(carol)]))).rejects.toEqual(
          refused("not-an-admin"),
        );
      });

      it("complete an entry that was put back without its welcome", async () => {
        const [alice, bob] = [await admit("alice"), await admit("bob")];
        const { log } = await create(alice);
        const welcome = randomBytes(50);
        const whole = await commit([add(bob)], welcome);
        const at = await append(alice, log, START, { ...whole, welcome: new Uint8Array(0) });
        expect(await storage.welcome(log.id, at.seq)).toHaveLength(0);
        expect(await append(alice, log, START, whole)).toEqual(at);
        expect(await storage.welcome(log.id, at.seq)).toEqual(welcome);
      });

      it("close for good and free their name", async () => {
        const [alice, bob] = [await admit("alice"), await admit("bob")];
        const nameHash = randomBytes(32);
        const make = async (sender: Sender, groupId = randomBytes(32)) =>
          storage.create({ groupId, sender, nameHash, bodyDigest: groupId, now: NOW, quotas });
        const groupId = randomBytes(32);
        await make(alice, groupId);
        expect(await storage.resolveName(nameHash)).toEqual(groupId);
        await expect(make(bob)).rejects.toEqual(refused("name-taken"));
        await append(alice, group(groupId), START, await plain(EntryKind.close));
        expect((await storage.head(group(groupId))).closed).toBe(true);
        await expect(append(alice, group(groupId), START, await application())).rejects.toEqual(
          refused("unknown-group"),
        );
        expect(await storage.resolveName(nameHash)).toBeUndefined();
        expect(await storage.listGroups(alice.deviceId)).toEqual([]);
        await make(bob);
      });

      it("stop at the inbox's quota, whole commits at once", async () => {
        const [alice, bob, carol] = [await admit("alice"), await admit("bob"), await admit("carol")];
        const { log } = await create(alice);
        let at: Cursor = START;
        for (let i = 0; i < quotas.maxInboxEntries; i++) {
          at = await append(alice, log, at, await commit([remove(bob), add(bob)]));
        }
        await expect(
          append(alice, log, at, await commit([add(carol), remove(bob), add(bob)])),
        ).rejects.toEqual(refused("quota-exceeded"));
        expect(await storage.access(log.id, carol.deviceId)).toBeUndefined();
        const pointers = await readAll(inbox(bob.deviceId));
        await storage.ack(inbox(bob.deviceId), bob.deviceId, pointers[2] as Cursor);
        await append(alice, log, at, await commit([remove(bob), add(bob)]));
      });
    });

    describe("create", () => {
      it("answers the same request again and refuses another with this id", async () => {
        const [alice, bob] = [await admit("alice"), await admit("bob")];
        const groupId = randomBytes(32);
        const first = await commit([add(bob)]);
        const command = { groupId, sender: alice, bodyDigest: randomBytes(32), first, now: NOW, quotas };
        const at = await storage.create(command);
        expect(at.seq).toBe(1);
        expect(await storage.create(command)).toEqual(at);
        expect((await storage.head(group(groupId))).seq).toBe(1);
        await expect(storage.create({ ...command, bodyDigest: randomBytes(32) })).rejects.toEqual(
          refused("conflict"),
        );
        await expect(storage.create({ ...command, sender: bob })).rejects.toEqual(refused("conflict"));
      });

      it("leaves nothing behind when its first commit is refused", async () => {
        const [alice, bob] = [await admit("alice"), await admit("bob")];
        const groupId = randomBytes(32);
        const nameHash = randomBytes(32);
        const command = { groupId, sender: alice, bodyDigest: randomBytes(32), nameHash, now: NOW, quotas };
        const stranger: Sender = { userId: "bob", deviceId: randomBytes(16) };
        await expect(
          storage.create({ ...command, first: await commit([add(bob), add(stranger)]) }),
        ).rejects.toEqual(refused("unknown-user"));
        await expect(storage.create({ ...command, first: await application() })).rejects.toEqual(
          refused("forbidden"),
        );
        expect(await storage.groupExists(groupId)).toBe(false);
        expect(await storage.resolveName(nameHash)).toBeUndefined();
        expect(await readAll(inbox(bob.deviceId))).toEqual([]);
      });

      it("sets the direct slot by compare-and-set", async () => {
        const [alice, bob] = [await admit("alice"), await admit("bob")];
        const slot = randomBytes(32);
        const make = async (sender: Sender, peer: string, generation: number, first?: EntryInput) => {
          const groupId = randomBytes(32);
          await storage.create({
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
        expect(await storage.resolveDirect(slot)).toBeUndefined();
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
        const added = winner === 0 ? bob : alice;
        expect(await storage.resolveDirect(slot)).toEqual({ generation: 1, groupId });
        expect((await storage.access(groupId, added.deviceId))?.role).toBe(2);
        expect(await storage.listGroups(added.deviceId)).toMatchObject([{ groupId, direct: true }]);
        expect(await storage.listGroups(winner === 0 ? alice.deviceId : bob.deviceId)).toHaveLength(1);
        const next = await make(bob, "alice", 2);
        expect(await storage.resolveDirect(slot)).toEqual({ generation: 2, groupId: next });
      });

      it("stops at the number of groups", async () => {
        const alice = await admit("alice");
        for (let i = 0; i < quotas.maxGroups; i++) await create(alice);
        await expect(create(alice)).rejects.toEqual(refused("quota-exceeded"));
      });
    });

    describe("request boxes", () => {
      async function ask(
        sender: Sender,
        groupId: Bytes,
        named: Partial<{ userId: string; groupId: Bytes }> = {},
      ) {
        const user = { ...(await makeUser(named.userId ?? sender.userId)), deviceId: sender.deviceId };
        const account = { ...user.account, publicKey: new Uint8Array(65).fill(sender.userId.length) };
        const request = await joinRequest({ ...user, account }, named.groupId ?? groupId);
        return append(sender, box(groupId), START, await entry(request));
      }

      it("keep the newest request of each device and leave the digests of the others", async () => {
        const [alice, bob, carol] = [await admit("alice"), await admit("bob"), await admit("carol")];
        const { log } = await create(alice);
        await ask(bob, log.id);
        await ask(carol, log.id);
        await ask(bob, log.id);
        expect((await readAll(box(log.id))).map(({ content }) => content !== undefined)).toEqual([
          false,
          true,
          true,
        ]);
        await chained(box(log.id));
        const added = await append(alice, log, START, await commit([add(carol)]));
        expect(added.seq).toBe(1);
        expect((await readAll(box(log.id))).map(({ content }) => content !== undefined)).toEqual([
          false,
          false,
          true,
        ]);
        await chained(box(log.id));
      });

      it("take only requests in the sender's own name, and no more than the quota", async () => {
        const [alice, bob] = [await admit("alice"), await admit("bob")];
        const { log } = await create(alice);
        await expect(ask(bob, log.id, { userId: "alice" })).rejects.toEqual(refused("forbidden"));
        await expect(ask(bob, log.id, { groupId: randomBytes(32) })).rejects.toEqual(refused("forbidden"));
        await expect(ask(bob, randomBytes(32))).rejects.toEqual(refused("unknown-group"));
        await expect(append(bob, box(log.id), START, await application())).rejects.toEqual(
          refused("forbidden"),
        );
        await expect(append(bob, box(log.id), START, await plain(EntryKind.joinRequest))).rejects.toEqual(
          refused("malformed"),
        );
        for (const name of ["c", "d", "e"]) await ask(await admit(name), log.id);
        await expect(ask(bob, log.id)).rejects.toEqual(refused("quota-exceeded"));
      });

      it("drop a rejected request and tell who asked", async () => {
        const [alice, bob, carol] = [await admit("alice"), await admit("bob"), await admit("carol")];
        const { log } = await create(alice, await commit([add(carol)]));
        await ask(bob, log.id);
        const [request] = await readAll(box(log.id));
        const requestId = request?.entryId as Bytes;
        const reject = (sender: Sender, id = requestId) =>
          storage.rejectJoin({ groupId: log.id, requestId: id, sender, now: NOW, quotas });
        await expect(reject(bob)).rejects.toEqual(refused("not-a-member"));
        await expect(reject(carol)).rejects.toEqual(refused("not-an-admin"));
        await expect(reject(alice, randomBytes(16))).rejects.toEqual(refused("unknown-entry"));
        await reject(alice);
        await expect(reject(alice)).rejects.toEqual(refused("unknown-entry"));
        const [told] = await readAll(inbox(bob.deviceId));
        expect(told?.kind).toBe(EntryKind.rejection);
        expect(decode(decodeRejection, told?.content?.payload as Bytes)).toEqual({
          groupId: log.id,
          requestId,
        });
        expect((await readAll(box(log.id)))[0]?.content).toBeUndefined();
        await ask(bob, log.id);
      });

      it("say which entries they know and which devices wait", async () => {
        const [alice, bob] = [await admit("alice"), await admit("bob")];
        const { log } = await create(alice);
        expect(await storage.hasRequest(log.id, bob.deviceId)).toBe(false);
        await ask(bob, log.id);
        expect(await storage.hasRequest(log.id, bob.deviceId)).toBe(true);
        expect(await storage.hasRequest(log.id, alice.deviceId)).toBe(false);
        const [request] = await readAll(box(log.id));
        const id = request?.entryId as Bytes;
        expect(await storage.hasEntry(box(log.id), id)).toBe(true);
        expect(await storage.hasEntry(log, id)).toBe(false);
        expect(await storage.hasEntry(box(log.id), randomBytes(16))).toBe(false);
        const joined = await commit([add(bob)]);
        await append(alice, log, START, joined);
        expect(await storage.hasEntry(log, joined.content.entryId)).toBe(true);
        expect(await storage.hasRequest(log.id, bob.deviceId)).toBe(false);
      });
    });

    it("counts what it holds, and serves", async () => {
      await storage.check?.();
      const before = await storage.sizes?.();
      await create(await admit("alice"));
      const after = await storage.sizes?.();
      for (const [what, size] of Object.entries(after ?? {})) {
        expect(what).toMatch(/^[a-z_]+$/);
        expect(size).toBeGreaterThanOrEqual(before?.[what] ?? 0);
      }
    });

    describe("reading", () => {
      it("gives entries in order, bounded by count and by bytes, always at least one", async () => {
        const alice = await admit("alice");
        const { log } = await create(alice);
        for (let i = 0; i < 10; i++) await append(alice, log, START, await application(randomBytes(1000)));
        expect((await storage.read(log, 3, 4, 1e9)).map(({ seq }) => seq)).toEqual([4, 5, 6, 7]);
        expect((await storage.read(log, 0, 100, 2500)).map(({ seq }) => seq)).toEqual([1, 2]);
        expect((await storage.read(log, 9, 100, 1)).map(({ seq }) => seq)).toEqual([10]);
        expect(await storage.read(log, 10, 100, 1e9)).toEqual([]);
        expect((await storage.entry(log, 10))?.seq).toBe(10);
        expect(await storage.entry(log, 11)).toBeUndefined();
      });

      it("announces each entry once, in the order of its log, after it can be read", async () => {
        const alice = await admit("alice");
        const { log } = await create(alice);
        const seen: Appended[] = [];
        const missing: number[] = [];
        const stop = storage.watch((appended) => {
          seen.push(appended);
          void storage.entry(appended.log, appended.seq).then((found) => found ?? missing.push(appended.seq));
        });
        const inputs = await Promise.all(Array.from({ length: 50 }, () => application()));
        await Promise.all(inputs.map((input) => append(alice, log, START, input)));
        await append(alice, log, START, inputs[0] as EntryInput);
        stop();
        await append(alice, log, START, await application());
        expect(seen.map(({ seq }) => seq)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
        expect(missing).toEqual([]);
        await chained(log);
      });
    });

    describe("dropping", () => {
      const prune = (now: number, retention = 1000, maxLogBytes = 1e9, batch = 1000) =>
        storage.prune({ now, retention, maxLogBytes, batch });

      it("an inbox drops what was acked and keeps the digest before the rest", async () => {
        const [alice, bob] = [await admit("alice"), await admit("bob")];
        for (let i = 0; i < 3; i++) await create(alice, await commit([add(bob)]));
        const log = inbox(bob.deviceId);
        const [, second] = await readAll(log);
        const end = await chained(log);
        await storage.ack(log, bob.deviceId, { seq: 2, digest: randomBytes(32) });
        await storage.ack(log, alice.deviceId, second as Cursor);
        expect((await storage.head(log)).first).toBe(1);
        await storage.ack(log, bob.deviceId, second as Cursor);
        const head = await storage.head(log);
        expect(head.first).toBe(3);
        expect(head.tail).toEqual(second?.digest);
        expect(await chained(log, { seq: 2, digest: head.tail })).toEqual(end);
        await storage.ack(log, bob.deviceId, end);
        expect(await storage.head(log)).toMatchObject({
          first: 4,
          seq: 3,
          tail: end.digest,
          digest: end.digest,
        });
      });

      it("drops what every device with access has acked, and only that", async () => {
        const [alice, bob] = [await admit("alice"), await admit("bob")];
        const { log, at } = await create(alice, await commit([add(bob)], randomBytes(5)));
        const cursors = [at];
        for (let i = 0; i < 4; i++) cursors.push(await append(alice, log, at, await application()));
        await storage.ack(log, alice.deviceId, cursors[4] as Cursor);
        await prune(NOW);
        expect((await storage.head(log)).first).toBe(1);
        await storage.ack(log, bob.deviceId, cursors[2] as Cursor);
        await prune(NOW);
        const head = await storage.head(log);
        expect(head.first).toBe(4);
        expect(head.tail).toEqual(cursors[2]?.digest);
        expect(await storage.welcome(log.id, 1)).toHaveLength(0);
        await append(alice, log, at, await application());
      });

      it("drops by age in bounded steps, whoever has acked", async () => {
        const alice = await admit("alice");
        const { log } = await create(alice);
        for (let i = 0; i < 10; i++) await append(alice, log, START, await application(), NOW + i);
        let steps = 1;
        while (!(await prune(NOW + 1006, 1000, 1e9, 3))) steps++;
        expect(steps).toBeGreaterThan(2);
        expect((await storage.head(log)).first).toBe(8);
        await chained(log, { seq: 7, digest: (await storage.head(log)).tail });
        while (!(await prune(NOW + 5000, 1000))) {}
        expect(await storage.head(log)).toMatchObject({ first: 11, seq: 10 });
        expect((await append(alice, log, START, await application())).seq).toBe(11);
      });

      it("drops the oldest of a group log that is too large", async () => {
        const alice = await admit("alice");
        const { log } = await create(alice);
        for (let i = 0; i < 10; i++) await append(alice, log, START, await application(randomBytes(1000)));
        await prune(NOW, 1000, 5000);
        expect((await storage.head(log)).first).toBe(7);
      });
    });

    it("keeps everything over closing and opening, where it keeps anything", async () => {
      if (opened.reopen === undefined) return;
      const [alice, bob] = [await admit("alice"), await admit("bob")];
      const { log, at } = await create(alice, await commit([add(bob)], randomBytes(9)));
      const input = await application();
      const cursor = await append(alice, log, at, input);
      storage = await opened.reopen();
      expect(await chained(log)).toEqual(cursor);
      expect(await append(alice, log, at, input)).toEqual(cursor);
      expect((await append(bob, log, at, await application())).seq).toBe(3);
      expect(await storage.account("bob")).toBeDefined();
      expect(await readAll(inbox(bob.deviceId))).toHaveLength(1);
    });
  });
}
