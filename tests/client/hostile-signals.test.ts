import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { concat } from "../../src/base/bytes.js";
import { openSignal, SIGNAL_LENGTH, SignalKind, sealSignal } from "../../src/client/signals/cipher.js";
import { randomBytes } from "../../src/crypto/random.js";
import { whenCryptoIdle } from "../../src/crypto/subtle.js";
import type { GroupState } from "../../src/mls/group/index.js";
import type { LeafIndex } from "../../src/mls/structs/indices.js";
import { type Actor, connectAll, eventually, startRelay, temporaryFolder } from "./harness.js";
import { RawMember } from "./raw-member.js";
import { Haystack } from "./secrets-search.js";
import { watchVerifications } from "./verifications.js";

const verified = watchVerifications();

/** Alice and bob, who keep to the rules, and mallory, who is in the group with them and does not. */
async function world(options: Parameters<typeof startRelay>[0] = {}) {
  const relay = await startRelay(options);
  const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
  const mallory = await RawMember.connect(relay, "mallory");
  await alice.client.createGroup("team");
  await alice.client.invite("team", "mallory");
  await mallory.join();
  await alice.client.invite("team", "bob");
  await (await bob.event("invitation")).accept();
  await alice.client.sendGroupMessage("team", "welcome");
  await bob.message("welcome");
  await mallory.hears("welcome");
  await bob.client.sendGroupMessage("team", "thanks");
  await alice.message("thanks");
  await mallory.hears("thanks");
  return { relay, alice, bob, mallory };
}

/** Until all that mallory has sent was dealt with at both. */
async function settle(mallory: RawMember, ...actors: Actor[]): Promise<void> {
  await mallory.client.request("listGroups", {});
  for (const { client } of actors) await client.blocked();
  await whenCryptoIdle();
}

const send = (mallory: RawMember, payload: Uint8Array<ArrayBuffer>) =>
  mallory.client.send({ type: "signal", groupId: mallory.group.groupContext.groupId, payload });

/** Mallory's own signal, in order but for what is given. */
const seal = (
  mallory: RawMember,
  time = Date.now(),
  group: GroupState = mallory.group,
  privateKey = mallory.user.device.privateKey,
) => sealSignal(group, { kind: SignalKind.typing, value: true, time }, privateKey);

const heardSignals = (mallory: RawMember) =>
  mallory.client.frames.flatMap((frame) => (frame.type === "signal" ? [frame.payload] : []));

describe("signals that are not in order", () => {
  it("change nothing and raise nothing: forged, altered, old, of another epoch or group", async () => {
    const { alice, bob, mallory } = await world();
    const before = mallory.group;
    // An epoch later.
    await alice.client.setJoinMode("team", "closed");
    await mallory.follow();
    expect(mallory.group.groupContext.epoch).toBe(before.groupContext.epoch + 1n);
    const own = await seal(mallory);
    const asBob = { ...mallory.group, ownLeafIndex: mallory.leaf("bob") as LeafIndex };
    const nobody = { ...mallory.group, ownLeafIndex: 77 as LeafIndex };
    const elsewhere = {
      ...mallory.group,
      groupContext: { ...mallory.group.groupContext, groupId: randomBytes(32) },
    };
    const bad = [
      await seal(mallory, Date.now(), asBob),
      await seal(mallory, Date.now(), nobody),
      await seal(mallory, Date.now(), before),
      await seal(mallory, Date.now(), elsewhere),
      await seal(mallory, Date.now() - 40_000),
      await seal(mallory, Date.now() + 40_000),
      Uint8Array.from(own, (byte, i) => (i === 40 ? byte ^ 1 : byte)),
      own.slice(0, -1),
      concat(own, Uint8Array.of(0)),
      randomBytes(SIGNAL_LENGTH),
      new Uint8Array(0),
    ];
    for (const payload of bad) send(mallory, payload);
    await settle(mallory, alice, bob);
    for (const one of [alice, bob]) {
      expect(one.all("typing")).toEqual([]);
      expect(one.errors).toEqual([]);
      expect(one.all("undecryptable")).toEqual([]);
    }
    // And one that is in order is heard.
    send(mallory, own);
    await alice.event("typing", ({ userId }) => userId === "mallory");
  });

  it("are not heard again: another's by a member, nor one's own older ones", async () => {
    const { alice, bob, mallory } = await world();
    await bob.client.setTyping({ group: "team" }, true);
    await alice.event("typing", ({ typing }) => typing);
    await mallory.client.until(() => heardSignals(mallory).length > 0);
    const said = heardSignals(mallory)[0] as Uint8Array<ArrayBuffer>;
    await bob.client.setTyping({ group: "team" }, false);
    await alice.event("typing", ({ typing }) => !typing);
    send(mallory, said);
    const now = Date.now();
    send(mallory, await seal(mallory, now));
    await alice.event("typing", ({ userId }) => userId === "mallory");
    await settle(mallory, alice);
    const count = verified.done;
    send(mallory, await seal(mallory, now));
    send(mallory, await seal(mallory, now - 1));
    await settle(mallory, alice, bob);
    // Not even verified.
    expect(verified.done).toBe(count);
    expect(alice.all("typing").map(({ userId, typing }) => `${userId} ${typing}`)).toEqual([
      "bob true",
      "bob false",
      "mallory true",
    ]);
  });

  it("cost little, however many they are, and others are heard meanwhile", async () => {
    const limits = {
      signalsPerSecond: 1e6,
      signalBurst: 1e6,
      groupSignalsPerSecond: 1e6,
      groupSignalBurst: 1e6,
    };
    const { alice, bob, mallory } = await world({ limits });
    const asBob = { ...mallory.group, ownLeafIndex: mallory.leaf("bob") as LeafIndex };
    const forged = [];
    for (let i = 0; i < 400; i++) forged.push(await seal(mallory, Date.now(), i % 2 ? asBob : mallory.group));
    await settle(mallory, alice, bob);
    const count = verified.done;
    const from = Date.now();
    for (const payload of forged) send(mallory, payload);
    await settle(mallory, alice, bob);
    // Two receivers, of whom each verifies ten of each leaf in a second.
    const seconds = Math.ceil((Date.now() - from) / 1000) + 1;
    expect(verified.done - count).toBeLessThanOrEqual(2 * 2 * 10 * seconds);
    expect(verified.done - count).toBeLessThan(2 * 400);
    expect(alice.errors).toEqual([]);
    await eventually(async () => {
      await alice.client.setTyping({ group: "team" }, true);
      return bob.all("typing").some(({ userId }) => userId === "alice");
    }, "bob hears alice again");
  });
});

describe("a signal", () => {
  it("shows the relay nothing of what it says, is as long as any other, and is stored nowhere", async () => {
    const data = await temporaryFolder();
    const wire: Uint8Array[] = [];
    const { relay, alice, bob, mallory } = await world({
      data,
      onFrame: ({ bytes }) => void wire.push(bytes.slice()),
    });
    await alice.client.setTyping({ group: "team" }, true);
    await bob.event("typing", ({ typing }) => typing);
    await alice.client.setTyping({ group: "team" }, false);
    await bob.event("typing", ({ typing }) => !typing);
    await mallory.client.until(() => heardSignals(mallory).length === 2);
    const payloads = heardSignals(mallory);
    const opened = await Promise.all(payloads.map((payload) => openSignal(mallory.group, payload)));
    expect(opened.map(({ value }) => value)).toEqual([true, false]);
    expect(payloads.map(({ length }) => length)).toEqual([SIGNAL_LENGTH, SIGNAL_LENGTH]);
    await Promise.all([alice, bob].map(({ client }) => client.close()));
    await relay.stop();
    const said = opened.map(({ signature }, i) => ({ name: `signature ${i}`, bytes: signature }));
    const sealed = payloads.map((bytes, i) => ({ name: `payload ${i}`, bytes }));
    const onTheWire = new Haystack(wire);
    expect(onTheWire.find(said)).toEqual([]);
    // What is looked for would be found.
    expect(onTheWire.find(sealed)).toEqual(["payload 0 (raw)", "payload 1 (raw)"]);
    const files = (await readdir(data, { recursive: true, withFileTypes: true })).filter((one) =>
      one.isFile(),
    );
    const stored = new Haystack(
      await Promise.all(files.map(({ parentPath, name }) => readFile(join(parentPath, name)))),
    );
    expect(stored.size).toBeGreaterThan(1000);
    expect(stored.find([...said, ...sealed])).toEqual([]);
  });
});
