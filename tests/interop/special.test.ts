import { describe, expect, it } from "vitest";
import { toHex, toUtf8 } from "../../src/base/encoding.js";
import type { Actor } from "./actor.js";
import { Group } from "./group.js";
import { SubrosaActor } from "./subrosa-actor.js";
import { TsMlsActor } from "./ts-mls-actor.js";

type Maker = (name: string) => Promise<Actor>;
const SIDES: [string, Maker, Maker][] = [
  ["first subrosa, second ts-mls", SubrosaActor.create, TsMlsActor.create],
  ["first ts-mls, second subrosa", TsMlsActor.create, SubrosaActor.create],
];

/** required_capabilities: no extension and no proposal types, credential type basic. */
const REQUIRED = { type: 3, data: Uint8Array.of(0, 0, 2, 0, 1) };

describe.each(SIDES)("%s", (_title, makeFirst, makeSecond) => {
  /** Two of each kind, alternating; everybody has committed once. */
  const four = async () => {
    const [alice, bob] = [await makeFirst("alice"), await makeSecond("bob")];
    const [carol, dave] = [await makeFirst("carol"), await makeSecond("dave")];
    const group = await Group.of([alice, bob, carol, dave]);
    for (const actor of group.members) await group.commit(actor);
    return { group, alice, bob, carol, dave };
  };

  it("external PSKs, by value and by reference, also for one who is added", async () => {
    const { group, alice, bob, carol } = await four();
    const erin = await makeSecond("erin");
    for (const actor of [...group.members, erin]) {
      actor.psks.set(toHex(toUtf8("one")), new Uint8Array(32).fill(1));
      actor.psks.set(toHex(toUtf8("two")), new Uint8Array(16).fill(2));
    }
    await group.commit(alice, { changes: [{ kind: "psk", id: toUtf8("one") }] });
    await group.propose(bob, { kind: "psk", id: toUtf8("two") });
    await group.commit(carol, { changes: [{ kind: "psk", id: toUtf8("one") }] });
    await group.add(bob, [erin], { changes: [{ kind: "psk", id: toUtf8("two") }] });
    await group.talk();
  });

  it("a wrong PSK is noticed", async () => {
    const { alice, bob } = await four();
    alice.psks.set(toHex(toUtf8("one")), new Uint8Array(32).fill(1));
    bob.psks.set(toHex(toUtf8("one")), new Uint8Array(32).fill(2));
    const { commit } = await alice.commit({ changes: [{ kind: "psk", id: toUtf8("one") }] });
    await expect(bob.receive(commit)).rejects.toThrow();
  });

  it("resumption PSKs of this and of past epochs", async () => {
    const { group, alice, bob, carol } = await four();
    for (const [actor, back] of [
      [alice, 0n],
      [bob, 1n],
      [carol, 2n],
    ] as const) {
      const epoch = actor.epoch - back;
      await group.commit(actor, { changes: [{ kind: "resumption", groupId: toUtf8("group"), epoch }] });
    }
    await group.talk();
  });

  it.each([true, false])("external commits, tree inside %s", async (treeInside) => {
    const { group, alice, bob } = await four();
    for (const [inside, outside] of [
      [alice, await makeSecond("erin")],
      [bob, await makeFirst("frank")],
    ] as const) {
      await outside.renewKeyPackage();
      const groupInfo = await inside.groupInfo(treeInside);
      const tree = treeInside ? {} : { tree: inside.encodedTree() };
      const sent = await outside.joinByCommit(groupInfo, tree);
      await group.deliver(undefined, sent.commit, "commit");
      sent.accept();
      const grown = new Group([...group.members, outside]);
      await grown.agree();
      await grown.talk();
      await grown.commit(outside, { changes: [{ kind: "remove", leaf: inside.leaf }] });
      await grown.add(outside, [inside]);
      await grown.commit(inside, { changes: [{ kind: "remove", leaf: outside.leaf }] });
      await group.agree();
    }
  });

  it("a member comes back by an external commit", async () => {
    const { group, alice, bob } = await four();
    const resync = async (actor: Actor, helper: Actor) => {
      const sent = await actor.joinByCommit(await helper.groupInfo(true), { isResync: true });
      await group.deliver(actor, sent.commit, "commit");
      sent.accept();
      await group.agree();
      await group.talk();
    };
    await resync(alice, bob);
  });

  it("somebody outside proposes to be added", async () => {
    const { group, alice, bob } = await four();
    for (const [helper, committer, outside] of [
      [alice, bob, await makeSecond("erin")],
      [bob, alice, await makeFirst("frank")],
    ] as const) {
      await outside.renewKeyPackage();
      const proposal = await outside.proposeOwnAddition(await helper.groupInfo(true));
      await group.deliver(undefined, proposal, "proposal");
      expect(await group.commit(committer, {}, [outside])).toBe(true);
      await group.talk();
    }
  });

  it("a ReInit, and the group that follows", async () => {
    const { group, alice, bob, carol, dave } = await four();
    const groupId = toUtf8("next");
    await group.propose(bob, { kind: "reinit", groupId });
    await group.commit(alice);
    await expect(bob.send("late")).rejects.toThrow();
    const joiners = [bob, carol, dave];
    const keyPackages = await Promise.all(joiners.map((joiner) => joiner.renewKeyPackage()));
    const welcome = await alice.reinitialize(keyPackages, groupId);
    const tree = alice.encodedTree();
    for (const joiner of joiners) await joiner.joinSuccessor(welcome, tree);
    await group.agree();
    await group.talk();
    await group.commit(dave);
    expect(alice.epoch).toBe(2n);
  });

  it("a group branches off", async () => {
    const { group, alice, bob, carol, dave } = await four();
    const keyPackages = await Promise.all([bob, carol].map((joiner) => joiner.renewKeyPackage()));
    const welcome = await alice.branch(keyPackages, toUtf8("branch"));
    const tree = alice.encodedTree();
    for (const joiner of [bob, carol]) await joiner.joinSuccessor(welcome, tree);
    const branch = new Group([alice, bob, carol]);
    await branch.agree();
    await branch.talk();
    expect(dave.authenticator()).not.toBe(alice.authenticator());
    expect(group.members.length).toBe(4);
  });

  it("required capabilities from the start", async () => {
    const alice = await makeFirst("alice");
    const bob = await makeSecond("bob");
    await alice.createGroup(toUtf8("group"), [REQUIRED]);
    const group = new Group([alice]);
    await group.add(alice, [bob]);
    await group.commit(bob);
    await group.talk();
  });
});

describe("group context extensions", () => {
  it("are proposed by both, and committed by subrosa", async () => {
    const alice = await SubrosaActor.create("alice");
    const bob = await TsMlsActor.create("bob");
    const group = await Group.of([alice, bob, await SubrosaActor.create("carol")]);
    await group.commit(alice, { changes: [{ kind: "extensions", extensions: [REQUIRED] }] });
    await group.talk();
    await group.propose(bob, { kind: "extensions", extensions: [REQUIRED] });
    await group.commit(alice);
    await group.add(bob, [await SubrosaActor.create("dave")]);
    await group.talk();
  });
});
