import { describe, expect, it } from "vitest";
import { type Bytes, concat } from "../../src/base/bytes.js";
import {
  POLICY_EXTENSION,
  policyExtension,
  policyOf,
} from "../../src/client/conversation/membership/policy.js";
import { randomBytes } from "../../src/crypto/random.js";
import { memoryStore } from "../../src/index.js";
import {
  createExternalCommit,
  exportGroupInfo,
  exportRatchetTree,
  externalPskProposal,
  readKeyPackage,
  reInitProposal,
} from "../../src/mls/group/index.js";
import type { Proposal } from "../../src/mls/structs/proposal.js";
import type { AccessChange } from "../../src/wire/entries.js";
import { EntryKind, LogKind, Role } from "../../src/wire/protocol.js";
import { sendCommit, unreadablePath } from "../rejects/builder.js";
import { type Actor, connectAll, connected, makeGroup, startRelay, type TestRelay } from "./harness.js";
import { keyPackageOf, RawMember } from "./raw-member.js";
import { TamperedConnector } from "./tamper.js";

/** Alice (admin), bob and the hostile mallory in one group. */
async function world() {
  const relay = await startRelay();
  const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
  const mallory = await RawMember.connect(relay, "mallory");
  await makeGroup("team", [alice, bob]);
  await alice.client.invite("team", "mallory");
  await mallory.join();
  return { relay, alice, bob, mallory };
}

/** The conversation goes on: all three can write, the honest two read everything. */
async function goesOn(alice: Actor, bob: Actor, mallory?: RawMember): Promise<void> {
  const mark = `${alice.texts.length}/${bob.texts.length}/${Math.random()}`;
  await alice.client.sendGroupMessage("team", `alice ${mark}`);
  await bob.client.sendGroupMessage("team", `bob ${mark}`);
  await Promise.all([bob.message(`alice ${mark}`), alice.message(`bob ${mark}`)]);
  if (mallory !== undefined) {
    await mallory.follow();
    await mallory.say(`mallory ${mark}`);
    await Promise.all([alice.message(`mallory ${mark}`), bob.message(`mallory ${mark}`)]);
  }
  expect(await alice.client.members("team")).toEqual(await bob.client.members("team"));
}

const rules = (actor: Actor) => actor.all("error").map(({ code, rule }) => rule ?? code);

describe("a member that speaks by itself", () => {
  it("is understood as long as it keeps the rules", async () => {
    const { alice, bob, mallory } = await world();
    await mallory.say("hello");
    await bob.message("hello");
    await mallory.append(await mallory.commit());
    await goesOn(alice, bob, mallory);
    expect(rules(alice).concat(rules(bob))).toEqual([]);
  });
});

describe("messages that are not in order", () => {
  it("are reported, and nothing else happens", async () => {
    const { alice, bob, mallory } = await world();
    const good = await mallory.message(mallory.text("good"));
    const application = EntryKind.application;
    const payloads: Bytes[] = [
      randomBytes(300),
      new Uint8Array(0),
      good.slice(0, -1),
      concat(good, Uint8Array.of(0)),
      Uint8Array.from(good, (byte, i) => (i === good.length - 3 ? byte ^ 1 : byte)),
      await mallory.message(mallory.text("wrong data"), new Uint8Array(0)),
      await mallory.message(mallory.text("other epoch"), concat(Uint8Array.of(1), new Uint8Array(8))),
      await mallory.message(randomBytes(40)),
      await mallory.message(Uint8Array.of(1, 9)),
      await mallory.message({ type: "close", id: randomBytes(16), sentAt: 1 }),
      await mallory.proposal({ kind: "remove", removed: mallory.group.ownLeafIndex }),
      (await mallory.commit()).payload,
    ];
    for (const payload of payloads) await mallory.append({ kind: application, payload });
    await mallory.append({ kind: application, payload: good });
    await Promise.all([alice.message("good"), bob.message("good")]);
    for (const actor of [alice, bob]) {
      expect(actor.texts).toEqual(["good"]);
      expect(actor.all("undecryptable")).toHaveLength(payloads.length);
      expect(actor.all("undecryptable").every(({ group }) => group === "team")).toBe(true);
    }
    await goesOn(alice, bob, mallory);
  });

  it("come once, however often they are sent again: in the same bytes or under the same id", async () => {
    const { alice, bob, mallory } = await world();
    const id = randomBytes(16);
    const first = await mallory.message(mallory.text("once", id));
    await mallory.append({ kind: EntryKind.application, payload: first });
    await mallory.append({ kind: EntryKind.application, payload: first });
    const again = await mallory.message(mallory.text("twice", id));
    await mallory.append({ kind: EntryKind.application, payload: again });
    await mallory.append(await mallory.commit());
    await mallory.follow();
    await mallory.append({ kind: EntryKind.application, payload: first });
    const later = await mallory.message(mallory.text("thrice", id));
    await mallory.append({ kind: EntryKind.application, payload: later });
    await goesOn(alice, bob, mallory);
    for (const actor of [alice, bob]) {
      expect(actor.texts.filter((text) => ["once", "twice", "thrice"].includes(text as string))).toEqual([
        "once",
      ]);
    }
  });

  it("cannot speak for another: an id that somebody else used is another message", async () => {
    const { alice, bob, mallory } = await world();
    const sent = await alice.client.sendGroupMessage("team", "alice's");
    await bob.message("alice's");
    await mallory.follow();
    const id = Uint8Array.from(sent.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
    const stolen = await mallory.message(mallory.text("mallory's", id));
    await mallory.append({ kind: EntryKind.application, payload: stolen });
    expect(await bob.message("mallory's")).toMatchObject({ id: sent, from: "mallory" });
    await goesOn(alice, bob, mallory);
  });

  it("with skipped keys are read, with too many skipped are not", async () => {
    const { alice, bob, mallory } = await world();
    for (let i = 0; i < 20; i++) await mallory.message(mallory.text("never sent"));
    await mallory.say("after a gap of twenty");
    await bob.message("after a gap of twenty");
    for (let i = 0; i < 1200; i++) await mallory.message(mallory.text("never sent"));
    await mallory.append({
      kind: EntryKind.application,
      payload: await mallory.message(mallory.text("too far")),
    });
    await bob.event("undecryptable");
    expect(bob.texts).not.toContain("too far");
    await goesOn(alice, bob);
  });

  it("false receipts claim nothing about messages of others, nor do they crash", async () => {
    const { alice, bob, mallory } = await world();
    const id = await alice.client.sendGroupMessage("team", "hello");
    await bob.message("hello");
    await mallory.follow();
    const ids = [
      randomBytes(16),
      Uint8Array.from(id.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)),
    ];
    for (const type of ["delivered", "read", "read"] as const) {
      const receipts = ["alice", "bob", "nobody"].map((of) => ({ of, ids: [...ids, ...ids] }));
      const content = { type, id: randomBytes(16), sentAt: 0, receipts } as const;
      await mallory.append({ kind: EntryKind.application, payload: await mallory.message(content) });
    }
    await goesOn(alice, bob, mallory);
    // What mallory says is said in mallory's name, once, and only of what there is.
    const claimed = alice.all("receipt").filter(({ by }) => by !== "alice");
    expect(claimed.map(({ by, state, ids }) => [by, state, ids])).toEqual([
      ["mallory", "delivered", [id]],
      ["mallory", "read", [id]],
    ]);
    expect(bob.all("receipt").every(({ by }) => by === "bob")).toBe(true);
  });
});

describe("commits that are not in order", () => {
  const carolIn = async (relay: TestRelay) => {
    const carol = await RawMember.connect(relay, "carol");
    const bundle = await keyPackageOf(carol.user);
    await carol.publish([bundle]);
    return { carol, add: { kind: "add", keyPackage: bundle.keyPackage } as Proposal };
  };

  it("a stale one is refused by the relay, and what is behind the head too", async () => {
    const { alice, bob, mallory } = await world();
    const before = mallory.handshake;
    const { merges: _, ...stale } = await mallory.commit();
    await alice.client.remove("team", "bob");
    await bob.event("groupLeave");
    await expect(mallory.append(stale, before)).rejects.toMatchObject({ code: "stale" });
    await expect(mallory.append(stale, { seq: 999, digest: randomBytes(32) })).rejects.toMatchObject({
      code: "cursor-mismatch",
    });
    await mallory.follow();
    await expect(
      mallory.append(stale, { ...mallory.handshake, digest: randomBytes(32) }),
    ).rejects.toMatchObject({
      code: "cursor-mismatch",
    });
    // Named correctly it is taken, since the relay counts no epochs; to the members it is void.
    await mallory.append(stale, mallory.handshake);
    await alice.event("error");
    expect(await alice.client.members("team")).toHaveLength(2);
    await alice.client.sendGroupMessage("team", "goes on");
    await mallory.hears("goes on");
  });

  it("one whose access changes differ from its proposals is void, and undone by the next", async () => {
    const { relay, alice, bob, mallory } = await world();
    const spy = await RawMember.connect(relay, "spy");
    const smuggle = (right: AccessChange[]): AccessChange[] => [
      ...right,
      { type: "add", userId: "spy", deviceId: spy.user.deviceId, role: Role.member },
    ];
    await mallory.append(await mallory.commit({ access: smuggle }));
    await alice.event("error", ({ rule }) => rule === "access changes are not those of the proposals");
    await bob.event("error");
    // The spy has access at the relay until an honest commit takes it away; it can read nothing.
    await alice.client.sendGroupMessage("team", "not for the spy");
    await bob.message("not for the spy");
    const inbox = { kind: 1, id: spy.user.deviceId } as const;
    await spy.client.subscribe(inbox);
    await spy.client.untilEntries(inbox, 1);
    await expect(
      spy.client.request("fetchBundle", { groupId: mallory.log.id, seq: mallory.handshake.seq }),
    ).rejects.toBeTruthy();
    const { groups } = await spy.client.request("listGroups", {});
    expect(groups).toEqual([]);
    await goesOn(alice, bob);
    expect(await alice.client.members("team")).toHaveLength(3);
  });

  it("one that is consistent with itself but smuggles access is void all the same", async () => {
    const { relay, alice, bob, mallory } = await world();
    const spy = await RawMember.connect(relay, "spy");
    await mallory.append(
      await mallory.commit({
        consistent: true,
        access: (right) => [
          ...right,
          { type: "add", userId: "spy", deviceId: spy.user.deviceId, role: Role.member },
        ],
      }),
    );
    await bob.event("error", ({ rule }) => rule === "access changes are not those of the proposals");
    // Bob, who is no admin, undoes it as well.
    await bob.client.sendGroupMessage("team", "from bob");
    await alice.message("from bob");
    await goesOn(alice, bob);
    const { groups } = await spy.client.request("listGroups", {});
    expect(groups).toEqual([]);
  });

  it("one by a member without the right is void for all: adding, removing, making itself admin", async () => {
    const { relay, alice, bob, mallory } = await world();
    const { carol, add } = await carolIn(relay);
    await mallory.append(await mallory.commit({ proposals: [add] }));
    await alice.event("error", ({ rule }) => rule === "only admins admit members");
    await bob.event("error", ({ rule }) => rule === "only admins admit members");
    await goesOn(alice, bob);
    expect((await alice.client.members("team")).map(({ userId }) => userId)).not.toContain("carol");
    expect((await carol.client.request("listGroups", {})).groups).toEqual([]);
    await mallory.follow();
    const remove = { kind: "remove", removed: mallory.leaf("bob") } as Proposal;
    await mallory.append(await mallory.commit({ proposals: [remove] }));
    await bob.event("error", ({ rule }) => rule === "only admins remove members");
    await mallory.follow();
    const policy = policyOf(mallory.group.groupContext.extensions);
    if (policy.kind !== "group") throw new Error("no group");
    const crowned = policyExtension({ ...policy, admins: [...policy.admins, "mallory"] });
    const crown = { kind: "groupContextExtensions", extensions: [crowned] } as Proposal;
    await mallory.append(await mallory.commit({ proposals: [crown], access: () => [] }));
    await alice.event(
      "error",
      ({ rule }) => rule === "only admins change the policy, and admins are members",
    );
    await goesOn(alice, bob, mallory);
    expect(await alice.client.members("team")).toEqual([
      { userId: "alice", admin: true },
      { userId: "bob", admin: false },
      { userId: "mallory", admin: false },
    ]);
  });

  it("one with proposals that the product does not use is void: PSK, ReInit, extensions, external", async () => {
    const { alice, bob, mallory } = await world();
    const psk = randomBytes(32);
    const withPsk = await mallory.commit({
      proposals: [externalPskProposal(randomBytes(8))],
      options: { psks: () => psk },
    });
    await mallory.append(withPsk);
    await bob.until(() => bob.all("error").length >= 1);
    await mallory.follow();
    const reInit = reInitProposal(randomBytes(32));
    await mallory.append(await mallory.commit({ proposals: [reInit], access: () => [] }));
    await mallory.follow();
    const none = { kind: "groupContextExtensions", extensions: [] } as Proposal;
    await mallory.append(await mallory.commit({ proposals: [none], access: () => [] }));
    await alice.until(() => rules(alice).length >= 3);
    await goesOn(alice, bob, mallory);
    expect(rules(alice)).toEqual(rules(bob));
    expect(await alice.client.members("team")).toHaveLength(3);
  });

  it("an external commit is void", async () => {
    const { relay, alice, bob, mallory } = await world();
    const groupInfo = await exportGroupInfo(mallory.group, {
      signer: mallory.user.device,
      externalPub: true,
      ratchetTree: true,
    } as never);
    const outsider = await RawMember.connect(relay, "outsider");
    const bundle = await keyPackageOf(outsider.user);
    const { leafNode } = bundle.keyPackage;
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
    const payload = (made as unknown as { commit: Bytes }).commit;
    await mallory.append({
      kind: EntryKind.commit,
      payload,
      bundle: {
        access: [{ type: "add", userId: "outsider", deviceId: outsider.user.deviceId, role: Role.member }],
        welcome: new Uint8Array(0),
      },
    });
    await alice.event("error", ({ rule }) => rule === "no external commits");
    await goesOn(alice, bob);
    expect(await bob.client.members("team")).toHaveLength(3);
    expect(rules(alice)).toEqual(rules(bob));
  });

  it("garbage, and a commit that is none, are void", async () => {
    const { alice, bob, mallory } = await world();
    const none = { access: [], welcome: new Uint8Array(0) };
    const right = await mallory.commit();
    const payloads = [
      randomBytes(200),
      new Uint8Array(0),
      right.payload.slice(0, 100),
      Uint8Array.from(right.payload, (byte, i) => (i === right.payload.length - 1 ? byte ^ 1 : byte)),
      await mallory.message(mallory.text("a message as a commit")),
    ];
    for (const payload of payloads) {
      await mallory.append({ kind: EntryKind.commit, payload, bundle: none });
      await mallory.follow();
    }
    await bob.until(() => bob.all("error").length >= payloads.length);
    await goesOn(alice, bob);
    expect(alice.texts).not.toContain("a message as a commit");
  });

  it("one with garbage in a member's path strands only that one, whom the others add anew by themselves", async () => {
    const { relay, alice, bob, mallory } = await world();
    const carol = await connected(relay, "carol");
    await alice.client.invite("team", "carol");
    await (await carol.event("invitation")).accept();
    await mallory.follow();
    // Carol's leaf stands beside mallory's: the lowest node of the path has one ciphertext, which is hers.
    const actor = { state: mallory.group, signer: mallory.user.device } as never;
    const payload = await sendCommit(actor, [], {
      updatePath: unreadablePath((level) => level === 0),
    });
    const bundle = { access: [], welcome: new Uint8Array(0) };
    await mallory.append({ kind: EntryKind.commit, payload, bundle });
    await carol.event("error", (error) => error.code === "decryption-failed");
    // Nothing for carol to do: what she writes waits until she is back.
    await carol.client.sendGroupMessage("team", "carol is back");
    await Promise.all([alice.message("carol is back"), bob.message("carol is back")]);
    await goesOn(alice, bob);
    await carol.count(2);
    expect(carol.all("groupLeave")).toEqual([]);
    for (const actor of [alice, bob, carol]) expect(await actor.client.members("team")).toHaveLength(4);
  });

  it("one that adds a member anew by a key package it has used up strands nobody: the others add it anew", async () => {
    const { alice, bob, mallory } = await world();
    const fetched = await mallory.client.request("fetchKeyPackages", { userId: "bob" });
    const keyPackage = readKeyPackage(fetched.devices[0]?.keyPackage as Uint8Array);
    const again = await mallory.client.request("fetchKeyPackages", { userId: "bob" });
    const other = readKeyPackage(again.devices[0]?.keyPackage as Uint8Array);
    for (const [round, used] of [keyPackage, other, keyPackage].entries()) {
      await mallory.follow();
      const proposals = [
        { kind: "remove", removed: mallory.leaf("bob") },
        { kind: "add", keyPackage: used },
      ] as never[];
      await mallory.append(await mallory.commit({ merge: true, proposals }));
      await mallory.follow();
      if (round < 2) await goesOn(alice, bob);
    }
    // The third welcome is for keys that bob has not any more.
    await bob.client.sendGroupMessage("team", "from bob");
    await alice.message("from bob");
    await goesOn(alice, bob);
    expect(bob.all("groupLeave")).toEqual([]);
  });

  it("one that passes over a pending leave is void, and the leaver is removed by the next", async () => {
    const relay = await startRelay();
    const stores = { alice: memoryStore(), bob: memoryStore() };
    let alice = await connected(relay, "alice", { store: stores.alice });
    let bob = await connected(relay, "bob", { store: stores.bob });
    await makeGroup("team", [alice, bob]);
    const [mallory, carol] = [
      await RawMember.connect(relay, "mallory"),
      await RawMember.connect(relay, "carol"),
    ];
    for (const one of [mallory, carol]) {
      await alice.client.invite("team", one.user.userId);
      await one.join();
    }
    // Only mallory is there when carol leaves, so that nobody commits it first.
    await alice.client.close();
    await bob.client.close();
    const own = { kind: "remove", removed: carol.group.ownLeafIndex } as Proposal;
    await carol.append({ kind: EntryKind.leave, payload: await carol.proposal(own) });
    await mallory.follow();
    await mallory.append(await mallory.commit({ options: { includePending: false } }));
    alice = await connected(relay, "alice", { store: stores.alice });
    bob = await connected(relay, "bob", { store: stores.bob });
    for (const actor of [alice, bob]) {
      await actor.event("error", ({ rule }) => rule === "a proposal to leave was passed over");
      await actor.event("memberLeave", ({ userId }) => userId === "carol");
    }
    await goesOn(alice, bob, mallory);
    expect(await alice.client.members("team")).toHaveLength(3);
  });
});

describe("leaving that is not in order", () => {
  it("for someone else, twice, or as anything else is refused", async () => {
    const { alice, bob, mallory } = await world();
    const other = await mallory.proposal({ kind: "remove", removed: mallory.leaf("bob") } as Proposal);
    await mallory.append({ kind: EntryKind.leave, payload: other });
    await bob.event("error", ({ rule }) => rule === "leave");
    await alice.event("error", ({ rule }) => rule === "leave");
    // The relay counts mallory as leaving, whatever the members think of it.
    await expect(
      mallory.append({ kind: EntryKind.application, payload: randomBytes(300) }),
    ).rejects.toBeTruthy();
    await goesOn(alice, bob);
    expect((await alice.client.members("team")).map(({ userId }) => userId)).toContain("bob");
    await alice.client.remove("team", "mallory");
    await goesOn(alice, bob);
  });

  it("a leave that is none marks nobody, and the members go on", async () => {
    const { alice, bob, mallory } = await world();
    await mallory.append({ kind: EntryKind.leave, payload: randomBytes(300) });
    await bob.event("error");
    await goesOn(alice, bob);
  });

  it("a leave that is in order is committed by others", async () => {
    const { alice, bob, mallory } = await world();
    const own = { kind: "remove", removed: mallory.group.ownLeafIndex } as Proposal;
    await mallory.append({ kind: EntryKind.leave, payload: await mallory.proposal(own) });
    const again = { kind: EntryKind.leave, payload: randomBytes(300) };
    await mallory.follow();
    await expect(mallory.append(again)).rejects.toMatchObject({ code: "not-a-member" });
    await alice.event("memberLeave", ({ userId }) => userId === "mallory");
    await bob.event("memberLeave", ({ userId }) => userId === "mallory");
    await goesOn(alice, bob);
    expect(rules(alice).concat(rules(bob))).toEqual([]);
  });
});

describe("closing without the right", () => {
  it("is refused by the relay", async () => {
    const { alice, bob, mallory } = await world();
    const close = await mallory.message({ type: "close", id: randomBytes(16), sentAt: 1 });
    await expect(mallory.append({ kind: EntryKind.close, payload: close })).rejects.toMatchObject({
      code: "not-an-admin",
    });
    await goesOn(alice, bob, mallory);
  });
});

describe("closing with the relay's help, but without the right", () => {
  it("deletes nothing", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const connector = new TamperedConnector();
    const bob = await connected(relay, "bob", { seams: { random: () => 0.1, connector } });
    const mallory = await RawMember.connect(relay, "mallory");
    await makeGroup("team", [alice, bob]);
    await alice.client.invite("team", "mallory");
    await mallory.join();
    connector.tamper = {
      fromRelay(frame) {
        if (frame.type !== "entries" || frame.log.kind !== LogKind.group) return undefined;
        const entries = frame.entries.map((entry) =>
          entry.form === "full" ? { ...entry, content: { ...entry.content, kind: EntryKind.close } } : entry,
        );
        return [{ ...frame, entries }];
      },
    };
    const close = await mallory.message({ type: "close", id: randomBytes(16), sentAt: 1 });
    await mallory.append({ kind: EntryKind.application, payload: close });
    await bob.event("undecryptable", ({ group }) => group === "team");
    expect(bob.all("groupDeleted")).toEqual([]);
    expect(await bob.client.groups()).toHaveLength(1);
  });
});

describe("a direct conversation", () => {
  async function direct() {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const mallory = await RawMember.connect(relay, "mallory");
    await alice.client.sendDirectMessage("mallory", "hi mallory");
    await mallory.join();
    await mallory.hears("hi mallory");
    return { relay, alice, mallory };
  }

  it("never takes a third account", async () => {
    const { relay, alice, mallory } = await direct();
    const third = await RawMember.connect(relay, "third");
    const bundle = await keyPackageOf(third.user);
    const add = { kind: "add", keyPackage: bundle.keyPackage } as Proposal;
    const sneaky = await mallory.commit({ proposals: [add] });
    await mallory.append(sneaky);
    await alice.event("error", ({ rule }) => rule === "a leaf of a third account in a direct conversation");
    await alice.client.sendDirectMessage("mallory", "for two only");
    await mallory.hears("for two only");
    expect((await third.client.request("listGroups", {})).groups).toEqual([]);
    await mallory.say("still here");
    await alice.message("still here");
  });

  it("keeps both users in: a removal or another policy is void", async () => {
    const { alice, mallory } = await direct();
    const out = { kind: "remove", removed: mallory.leaf("alice") } as Proposal;
    await mallory.append(await mallory.commit({ proposals: [out], access: () => [] }));
    await alice.event("error", ({ rule }) => rule === "removal in a direct conversation");
    await mallory.follow();
    const rules = { name: "x", join: "open", admins: ["mallory"], banned: [], disappearAfter: 0 } as const;
    const policy = policyExtension({ kind: "group", ...rules });
    const change = { kind: "groupContextExtensions", extensions: [policy] } as Proposal;
    await mallory.append(await mallory.commit({ proposals: [change], access: () => [] }));
    await alice.event("error", ({ rule }) => rule === "the kind of a conversation never changes");
    await mallory.follow();
    await mallory.say("goes on");
    await alice.message("goes on");
    expect(POLICY_EXTENSION).toBe(0xf5b0);
  });
});

describe("a hostile member's traces", () => {
  it("do not outlive a restart: the log was passed by, for good", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const alice = await connected(relay, "alice");
    let bob = await connected(relay, "bob", { store });
    const mallory = await RawMember.connect(relay, "mallory");
    await makeGroup("team", [alice, bob]);
    await alice.client.invite("team", "mallory");
    await mallory.join();
    await bob.client.close();
    for (let i = 0; i < 5; i++)
      await mallory.append({ kind: EntryKind.application, payload: randomBytes(400) });
    await mallory.append({
      kind: EntryKind.commit,
      payload: randomBytes(400),
      bundle: { access: [], welcome: new Uint8Array(0) },
    });
    await mallory.follow();
    await mallory.say("in order");
    bob = await connected(relay, "bob", { store });
    await bob.message("in order");
    expect(bob.all("undecryptable")).toHaveLength(5);
    expect(bob.all("error")).toHaveLength(1);
    await bob.client.close();
    bob = await connected(relay, "bob", { store });
    await goesOn(alice, bob, mallory);
    expect(bob.all("undecryptable").length + bob.all("error").length).toBe(0);
  });
});
