import type { Bytes } from "../../base/bytes.js";
import { decode } from "../../codec/reader.js";
import { randomBytes } from "../../crypto/random.js";
import { decodeRejection } from "../../wire/entries.js";
import { START } from "../../wire/identifiers.js";
import { EntryKind, RejectionReason } from "../../wire/protocol.js";
import type { Sender } from "../storage.js";
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
  type World,
} from "./world.js";

/** Join requests. */
export function requestBoxCases(it: Define, world: World): void {
  const { admit, admitAll, append, create, readAll, chained } = world;
  async function ask(
    sender: Sender,
    groupId: Bytes,
    named: Partial<{ userId: string; groupId: Bytes }> = {},
  ) {
    return append(sender, box(groupId), START, await requestOf(sender, groupId, named));
  }

  it("request boxes: keep the newest request of each device and leave the digests of the others", async () => {
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

  it("request boxes: give what was answered and comes again the first answer, until it is dropped", async () => {
    const [alice, bob, carol] = [await admit("alice"), await admit("bob"), await admit("carol")];
    const { log } = await create(alice);
    const requests = [await requestOf(bob, log.id), await requestOf(carol, log.id)] as const;
    const askBoth = async () => [
      await append(bob, box(log.id), START, requests[0]),
      await append(carol, box(log.id), START, requests[1]),
    ];
    const answers = await askBoth();
    const added = await append(alice, log, START, await commit([add(bob)]));
    const requestId = requests[1].content.entryId;
    const reason = RejectionReason.refused;
    await world.storage.rejectJoin({ groupId: log.id, requestId, reason, sender: alice, now: NOW, quotas });
    expect(await askBoth()).toEqual(answers);
    await append(alice, log, added, await commit([remove(bob)]));
    expect(await askBoth()).toEqual(answers);
    expect((await readAll(box(log.id))).map(({ content }) => content)).toEqual([undefined, undefined]);
    await chained(box(log.id));
    const limits = { retention: 1000, uploadTimeout: 1000, maxLogBytes: 1e9, batch: 100 };
    while (!(await world.storage.prune({ now: NOW + 2000, ...limits })));
    expect((await askBoth()).map(({ seq }) => seq)).toEqual([3, 4]);
  });

  it("request boxes: take only requests in the sender's own name, and no more than the quota", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const { log } = await create(alice);
    await expect(ask(bob, log.id, { userId: "alice" })).rejects.toEqual(refused("forbidden"));
    await expect(ask(bob, log.id, { groupId: randomBytes(32) })).rejects.toEqual(refused("forbidden"));
    await expect(ask(bob, randomBytes(32))).rejects.toEqual(refused("unknown-group"));
    await expect(append(bob, box(log.id), START, await application())).rejects.toEqual(refused("forbidden"));
    await expect(append(bob, box(log.id), START, await plain(EntryKind.joinRequest))).rejects.toEqual(
      refused("malformed"),
    );
    for (const name of ["c", "d", "e"]) await ask(await admit(name), log.id);
    await expect(ask(bob, log.id)).rejects.toEqual(refused("quota-exceeded"));
  });

  it("request boxes: shut for nobody by what was replaced, and lose nothing that waits", async () => {
    const [alice, bob, carol, eve] = await admitAll("alice", "bob", "carol", "eve");
    const { log } = await create(alice);
    const waiting = await requestOf(carol, log.id);
    await append(carol, box(log.id), START, waiting);
    const most = 16 * quotas.maxRequests;
    const seqs: number[] = [];
    for (let i = 0; i < 2 * most; i++) seqs.push((await ask(eve, log.id)).seq);
    const { first, tail, seq } = await world.storage.head(box(log.id));
    expect(first > most).toBe(true);
    expect(seqs.at(-1)).toBe(seq);
    const kept = await readAll(box(log.id), first - 1);
    // What stands at the beginning has made room as well: nothing is kept but so many, and the two that wait.
    expect(kept.length <= most + 3).toBe(true);
    await chained(box(log.id), { seq: first - 1, digest: tail });
    const full = kept.filter(({ content }) => content !== undefined);
    expect(full.map(({ sender }) => sender)).toEqual([carol.deviceId, eve.deviceId]);
    expect(full[0]?.content).toEqual(waiting.content);
    const again = await append(carol, box(log.id), START, waiting);
    expect(again).toEqual({ seq: full[0]?.seq as number, digest: full[0]?.digest as Bytes });
    expect((await world.storage.head(box(log.id))).seq).toBe(seq);
    await ask(bob, log.id);
    const requestId = waiting.content.entryId;
    const reason = RejectionReason.refused;
    await world.storage.rejectJoin({ groupId: log.id, requestId, reason, sender: alice, now: NOW, quotas });
    expect(await readAll(inbox(carol.deviceId))).toHaveLength(1);
    expect(await world.storage.hasRequest(log.id, carol.deviceId)).toBe(false);
    await append(alice, log, START, await commit([add(bob), add(eve)]));
    expect((await readAll(box(log.id), first - 1)).every(({ content }) => content === undefined)).toBe(true);
  });

  it("request boxes: are full for strangers before they are for who is in the group", async () => {
    const [alice, bob, carol] = [await admit("alice"), await admit("bob"), await admit("carol")];
    const { log, at } = await create(alice, await commit([add(carol)]));
    for (const name of ["c", "d", "e"]) await ask(await admit(name), log.id);
    await expect(ask(bob, log.id)).rejects.toEqual(refused("quota-exceeded"));
    await ask(carol, log.id);
    await ask(alice, log.id);
    await ask(carol, log.id);
    await expect(ask(bob, log.id)).rejects.toEqual(refused("quota-exceeded"));
    await append(carol, log, at, await plain(EntryKind.leave));
    await expect(ask(carol, log.id)).rejects.toEqual(refused("quota-exceeded"));
  });

  it("request boxes: drop a rejected request and tell who asked", async () => {
    const [alice, bob, carol] = [await admit("alice"), await admit("bob"), await admit("carol")];
    const { log } = await create(alice, await commit([add(carol)]));
    await ask(bob, log.id);
    const [request] = await readAll(box(log.id));
    const requestId = request?.entryId as Bytes;
    const reject = (sender: Sender, id = requestId) =>
      world.storage.rejectJoin({
        groupId: log.id,
        requestId: id,
        reason: RejectionReason.banned,
        sender,
        now: NOW,
        quotas,
      });
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
      reason: RejectionReason.banned,
    });
    expect((await readAll(box(log.id)))[0]?.content).toBeUndefined();
    await ask(bob, log.id);
  });

  it("request boxes: say which entries they know and which devices wait", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const { log } = await create(alice);
    expect(await world.storage.hasRequest(log.id, bob.deviceId)).toBe(false);
    await ask(bob, log.id);
    expect(await world.storage.hasRequest(log.id, bob.deviceId)).toBe(true);
    expect(await world.storage.hasRequest(log.id, alice.deviceId)).toBe(false);
    const [request] = await readAll(box(log.id));
    const id = request?.entryId as Bytes;
    expect(await world.storage.hasEntry(box(log.id), id)).toBe(true);
    expect(await world.storage.hasEntry(log, id)).toBe(false);
    expect(await world.storage.hasEntry(box(log.id), randomBytes(16))).toBe(false);
    const joined = await commit([add(bob)]);
    await append(alice, log, START, joined);
    expect(await world.storage.hasEntry(log, joined.content.entryId)).toBe(true);
    expect(await world.storage.hasRequest(log.id, bob.deviceId)).toBe(false);
  });
}
