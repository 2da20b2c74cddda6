import { afterEach, describe, expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { Relay, type RelayOptions } from "../../src/relay.js";
import { ManualClock } from "./manual-clock.js";
import { add, commit, groupLog, leave, makeUser, message, RawClient, remove } from "./raw-client.js";

const relays: Relay[] = [];
afterEach(async () => {
  await Promise.all(relays.splice(0).map((relay) => relay.close()));
});

/** A group of three users on three connections, who all follow it. */
async function threesome(options: RelayOptions = {}) {
  const relay = new Relay(options);
  relays.push(relay);
  const { url } = await relay.listen();
  const users = await Promise.all(["alice", "bob", "carol"].map((name) => makeUser(name)));
  const clients = await Promise.all(users.map((user) => RawClient.connect(url, user)));
  const [alice, bob, carol] = clients as [RawClient, RawClient, RawClient];
  const groupId = randomBytes(32);
  const first = commit([add(bob.user), add(carol.user)]);
  const at = await alice.request("create", { groupId, first });
  for (const one of clients) await one.subscribe(groupLog(groupId), at);
  return { relay, url, groupId, at, alice, bob, carol };
}

const say = (client: RawClient, groupId: Uint8Array<ArrayBuffer>, ...payload: number[]) =>
  client.send({ type: "signal", groupId, payload: Uint8Array.from(payload) });

const heard = (client: RawClient) =>
  client.frames.flatMap((frame) => (frame.type === "signal" ? [[...frame.payload]] : []));

/** What was heard once the last one has come. */
async function heardUpTo(client: RawClient, last: number): Promise<number[][]> {
  await client.until(() => heard(client).some(([first]) => first === last));
  return heard(client);
}

describe("a signal", () => {
  it("goes to who reads the group now, but not to its sender, and is nowhere afterwards", async () => {
    const { url, groupId, at, alice, bob, carol } = await threesome();
    await carol.request("unsubscribe", { log: groupLog(groupId) });
    say(alice, groupId, 1, 2, 3);
    say(bob, groupId, 9);
    expect(await heardUpTo(bob, 1)).toEqual([[1, 2, 3]]);
    expect(await heardUpTo(alice, 9)).toEqual([[9]]);
    const again = await RawClient.connect(url, carol.user);
    const { head } = await again.subscribe(groupLog(groupId), at);
    expect(head).toEqual(at);
    say(alice, groupId, 4);
    expect(await heardUpTo(again, 4)).toEqual([[4]]);
  });

  it("of a device without access is dropped: from outside, after a removal, while it leaves", async () => {
    const { url, groupId, at, alice, bob, carol } = await threesome();
    const mallory = await RawClient.connect(url, await makeUser("mallory"));
    say(mallory, groupId, 66);
    say(mallory, randomBytes(32), 66);
    await mallory.request("listGroups", {});
    const log = groupLog(groupId);
    const removal = await alice.append(log, at, commit([remove(bob.user)]));
    say(bob, groupId, 67);
    await bob.request("listGroups", {});
    await carol.append(log, removal, leave());
    say(carol, groupId, 68);
    for (const one of [carol, alice]) await one.request("listGroups", {});
    expect(heard(alice)).toEqual([]);
    // And nobody of them hears any more.
    say(alice, groupId, 1);
    for (const one of [alice, bob, carol]) await one.request("listGroups", {});
    expect([heard(bob), heard(carol)]).toEqual([[], []]);
    expect(mallory.frames.map(({ type }) => type)).toEqual(["challenge", "ready", "reply"]);
  });

  it("is dropped where it is too large, or comes too often from one device or in one group", async () => {
    const clock = new ManualClock();
    const limits = {
      ...{ maxSignalBytes: 4, signalsPerSecond: 1, signalBurst: 2 },
      ...{ groupSignalsPerSecond: 1, groupSignalBurst: 3 },
    };
    const { relay, groupId, alice, bob, carol } = await threesome({ clock, limits });
    say(alice, groupId, 0, 0, 0, 0, 0);
    for (const number of [1, 2, 3]) say(alice, groupId, number);
    await alice.request("listGroups", {});
    for (const number of [4, 5]) say(bob, groupId, number);
    for (const one of [bob, carol]) await one.request("listGroups", {});
    expect(heard(carol)).toEqual([[1], [2], [4]]);
    clock.advance(1000);
    for (const number of [6, 7]) say(alice, groupId, number);
    for (const one of [alice, carol]) await one.request("listGroups", {});
    expect(await heardUpTo(carol, 6)).toEqual([[1], [2], [4], [6]]);
    expect(await relay.metrics()).toContain('signals_total{outcome="dropped"} 4');
  });

  it("stands in nobody's way: what is appended comes as before", async () => {
    const { groupId, at, alice, bob } = await threesome();
    for (let i = 0; i < 300; i++) say(alice, groupId, 7);
    await alice.append(groupLog(groupId), at, message("hello"));
    expect(await bob.untilEntries(groupLog(groupId), 1)).toHaveLength(1);
    expect(heard(bob).length).toBeLessThan(150);
  });
});
