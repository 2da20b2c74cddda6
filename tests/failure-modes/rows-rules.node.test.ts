import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { systemClock } from "../../src/base/clock.js";
import { randomBytes } from "../../src/crypto/random.js";
import { Client, memoryStore } from "../../src/index.js";
import {
  createExternalCommit,
  exportGroupInfo,
  exportRatchetTree,
  reInitProposal,
} from "../../src/mls/group/index.js";
import { EntryKind, Role } from "../../src/wire/protocol.js";
import { type Actor, connectAll, connected, makeActor, makeGroup, startRelay } from "../client/harness.js";
import { keyPackageOf, RawMember } from "../client/raw-member.js";
import { TamperedConnector } from "../client/tamper.js";

const DAY = 86_400_000;

/** Alice (admin), bob, and mallory, who keeps to no rule, in one group. */
async function world() {
  const relay = await startRelay();
  const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
  const mallory = await RawMember.connect(relay, "mallory");
  await makeGroup("team", [alice, bob]);
  await alice.client.invite("team", "mallory");
  await mallory.join();
  return { relay, alice, bob, mallory };
}

async function goesOn(...actors: Actor[]): Promise<void> {
  const mark = `${Math.random()}`;
  for (const { client, userId } of actors) await client.sendGroupMessage("team", `${userId} ${mark}`);
  for (const reader of actors) {
    for (const { userId } of actors) if (userId !== reader.userId) await reader.message(`${userId} ${mark}`);
  }
}

/** Everything an app can call. */
const calls = Object.getOwnPropertyNames(Client.prototype);

describe("C10 an external rejoin that is abused", () => {
  it("cannot be: an external commit, made with a member's help, is void for everyone, and no call makes one", async () => {
    const { relay, alice, bob, mallory } = await world();
    const outsider = await RawMember.connect(relay, "outsider");
    const { leafNode } = (await keyPackageOf(outsider.user)).keyPackage;
    const groupInfo = await exportGroupInfo(mallory.group, {
      signer: mallory.user.device,
      externalPub: true,
      ratchetTree: true,
    } as never);
    const made = await createExternalCommit(
      groupInfo as never,
      {
        signer: outsider.user.device,
        credential: leafNode.credential,
        capabilities: leafNode.capabilities,
        authenticate: async () => {},
        ratchetTree: exportRatchetTree(mallory.group),
        now: BigInt(Math.floor(Date.now() / 1000)),
      } as never,
    );
    const { deviceId } = outsider.user;
    await mallory.append({
      kind: EntryKind.commit,
      payload: (made as unknown as { commit: Bytes }).commit,
      bundle: {
        access: [{ type: "add", userId: "outsider", deviceId, role: Role.member }],
        welcome: new Uint8Array(0),
      },
    });
    for (const actor of [alice, bob])
      await actor.event("error", ({ rule }) => rule === "no external commits");
    await goesOn(alice, bob);
    expect((await bob.client.members("team")).map(({ userId }) => userId)).not.toContain("outsider");
    // Nor is a GroupInfo to be had by which one could be made: the relay has no request for it, the client no call.
    expect(calls.filter((name) => /external|groupInfo|rejoin/i.test(name))).toEqual([]);
  });
});

describe("C13 a replay by a member", () => {
  it("of the same bytes, or of other bytes under the same id, is received once, in a later epoch too", async () => {
    const { alice, bob, mallory } = await world();
    const id = randomBytes(16);
    const first = await mallory.message(mallory.text("once", id));
    const say = (payload: Bytes) => mallory.append({ kind: EntryKind.application, payload });
    await say(first);
    await say(first);
    await say(await mallory.message(mallory.text("once more", id)));
    await mallory.append(await mallory.commit());
    await mallory.follow();
    await say(first);
    await say(await mallory.message(mallory.text("and again", id)));
    await goesOn(alice, bob);
    for (const { texts } of [alice, bob]) {
      expect(texts.filter((text) => /once|again/.test(String(text)))).toEqual(["once"]);
    }
  });

  it("content is taken from no PublicMessage, nor is a commit of that form in force", async () => {
    const { alice, bob, mallory } = await world();
    const commit = await mallory.commit({ options: { wireFormat: "public" } });
    await mallory.append({ ...commit, kind: EntryKind.application });
    for (const actor of [alice, bob]) await actor.event("undecryptable");
    await goesOn(alice, bob);
  });
});

describe("C15 a malicious or buggy commit", () => {
  it("garbage, and what its maker has no right to, is void for all alike, and the log goes on", async () => {
    const { relay, alice, bob, mallory } = await world();
    await connected(relay, "carol");
    const right = await mallory.commit();
    await mallory.append({ ...right, payload: randomBytes(400) });
    await mallory.follow();
    const { keyPackage } = await keyPackageOf((await RawMember.connect(relay, "eve")).user);
    await mallory.append(
      await mallory.commit({ proposals: [{ kind: "add", keyPackage }], access: () => [] }),
    );
    await mallory.follow();
    const bobsLeaf = mallory.leaf("bob");
    await mallory.append(
      await mallory.commit({ proposals: [{ kind: "remove", removed: bobsLeaf as never }], access: () => [] }),
    );
    await goesOn(alice, bob);
    const codes = ({ errors }: Actor) => errors.filter((code) => code !== "protocol-error");
    expect(codes(alice).length).toBe(3);
    expect(codes(alice)).toEqual(codes(bob));
    for (const { client } of [alice, bob]) {
      expect((await client.members("team")).map(({ userId }) => userId)).toEqual(["alice", "bob", "mallory"]);
    }
    await alice.client.remove("team", "mallory");
    await goesOn(alice, bob);
  });
});

describe("C21 clocks that differ", () => {
  const off = (ms: number) => ({ now: () => Date.now() + ms, after: systemClock.after });
  const YEAR = 365 * DAY;

  it.each([
    ["a year ahead", YEAR],
    ["still in 1970", -Date.now() + 1],
  ])(
    "a device whose clock is %s is added, reads and writes: lifetimes go by the relay's clock",
    async (_, ms) => {
      const relay = await startRelay();
      const [alice] = await connectAll(relay, ["alice"]);
      const bob = await connected(relay, "bob", { seams: { clock: off(ms), random: () => 0.1 } });
      await makeGroup("team", [alice, bob]);
      await goesOn(alice, bob);
      await alice.client.sendDirectMessage("bob", "direct");
      await bob.message("direct");
      expect(alice.errors.concat(bob.errors)).toEqual([]);
    },
  );

  it("what has expired is not added by a member whose clock is right, whatever the relay hands out", async () => {
    const relay = await startRelay();
    const connector = new TamperedConnector();
    const alice = await connected(relay, "alice", { seams: { connector, random: () => 0.1 } });
    await alice.client.createGroup("team");
    const mallory = await RawMember.connect(relay, "mallory", []);
    const seconds = BigInt(Math.floor(Date.now() / 1000));
    const stale = await keyPackageOf(mallory.user, {
      lifetime: { notBefore: seconds - 9000n, notAfter: seconds - 4000n },
    });
    await mallory.publish([stale]);
    await expect(alice.client.invite("team", "mallory")).rejects.toMatchObject({ code: "invalid-message" });
    await alice.client.sendGroupMessage("team", "the group goes on");
  });

  it("a lifetime that has passed since does not matter to who reads the log, or joins, later", async () => {
    let ahead = 0;
    const clock = { now: () => Date.now() + ahead, after: systemClock.after };
    // Neither the relay's retention nor idle members are what is looked at here.
    const relay = await startRelay({ clock, limits: { retention: 365 * DAY } });
    const seams = { clock, random: () => 0.1 };
    const limits = { evictIdleAfter: Number.POSITIVE_INFINITY };
    const stores = { alice: memoryStore(), bob: memoryStore() };
    const alice = await connected(relay, "alice", { seams, limits, store: stores.alice });
    const bob = await connected(relay, "bob", { seams, store: stores.bob });
    await makeGroup("team", [alice, bob]);
    await bob.client.close();
    await alice.client.sendGroupMessage("team", "for later");
    // Every key package in the tree has expired.
    ahead = 120 * DAY;
    const carol = await connected(relay, "carol", { seams });
    await alice.client.invite("team", "carol");
    await (await carol.event("invitation")).accept();
    const later = makeActor(relay, "bob", { seams, store: stores.bob });
    await later.client.connect();
    await later.message("for later");
    await goesOn(alice, later, carol);
  });
});

describe("C24 a ReInit that is half done", () => {
  it("cannot be: a commit with one is void for everyone, the group goes on, and no call makes one", async () => {
    const { alice, bob, mallory } = await world();
    const reInit = reInitProposal(randomBytes(32));
    await mallory.append(await mallory.commit({ proposals: [reInit], access: () => [] }));
    for (const actor of [alice, bob]) await actor.event("error", ({ code }) => code === "invalid-message");
    await goesOn(alice, bob);
    expect(calls.filter((name) => /reinit|branch/i.test(name))).toEqual([]);
  });
});
