import { describe, expect, it } from "vitest";
import { toUtf8 } from "../../src/base/encoding.js";
import type { Actor } from "./actor.js";
import { Group } from "./group.js";
import { SubrosaActor } from "./subrosa-actor.js";
import { TsMlsActor } from "./ts-mls-actor.js";

type Maker = (name: string) => Promise<Actor>;
const SIDES: [string, Maker, Maker][] = [
  ["subrosa creates, ts-mls joins", SubrosaActor.create, TsMlsActor.create],
  ["ts-mls creates, subrosa joins", TsMlsActor.create, SubrosaActor.create],
];
const FRAMINGS = [
  { isPublic: false, treeInside: true },
  { isPublic: false, treeInside: false },
  { isPublic: true, treeInside: true },
  { isPublic: true, treeInside: false },
];

describe.each(SIDES)("%s", (_title, makeFirst, makeSecond) => {
  const pair = async () => [await makeFirst("alice"), await makeSecond("bob")] as [Actor, Actor];

  describe.each(FRAMINGS)("public handshakes: $isPublic, tree inside: $treeInside", (request) => {
    it("add, message, update and remove, by each of the two", async () => {
      const [alice, bob] = await pair();
      await alice.createGroup(toUtf8("group"));
      const group = new Group([alice]);
      await group.add(alice, [bob], request);
      await group.talk();

      // A commit of nothing, for its path.
      for (const actor of [alice, bob]) await group.commit(actor, request);
      await group.talk();

      // An Update by each, committed by the other.
      for (const [proposer, committer] of [
        [alice, bob],
        [bob, alice],
      ] as const) {
        await group.propose(proposer, { kind: "update" }, request);
        await group.commit(committer, request);
        await group.talk();
      }

      // An addition by each, of each kind.
      const carol = await makeFirst("carol");
      const dave = await makeSecond("dave");
      await group.add(bob, [carol], request);
      await group.add(alice, [dave], request);
      await group.talk();
      const erin = await makeSecond("erin");
      const frank = await makeFirst("frank");
      await group.add(dave, [erin, frank], request);
      await group.talk();
      for (const actor of group.members) await group.commit(actor, request);

      // A removal by each, by value and by reference.
      await group.commit(alice, { ...request, changes: [{ kind: "remove", leaf: carol.leaf }] });
      expect(carol.isMember).toBe(false);
      await group.talk();
      await group.propose(bob, { kind: "remove", leaf: erin.leaf }, request);
      await group.commit(frank, request);
      expect(erin.isMember).toBe(false);
      await group.propose(alice, { kind: "remove", leaf: alice.leaf }, request);
      await group.commit(bob, request);
      expect(alice.isMember).toBe(false);
      await group.talk();
      expect(group.members.map(({ name }) => name)).toEqual(["bob", "dave", "frank"]);

      // The blank leaves are taken again.
      const grace = await makeSecond("grace");
      await group.add(frank, [grace], request);
      expect(grace.leaf).toBe(0);
      await group.talk();
    });
  });

  it("additions proposed by each, committed by the other", async () => {
    const [alice, bob] = await pair();
    const group = await Group.of([alice, bob]);
    for (const [proposer, committer, name, make] of [
      [alice, bob, "carol", makeSecond],
      [bob, alice, "dave", makeFirst],
    ] as const) {
      const joiner = await make(name);
      await group.propose(proposer, { kind: "add", keyPackage: await joiner.renewKeyPackage() });
      expect(await group.commit(committer, {}, [joiner])).toBe(true);
      await group.talk();
    }
  });

  it("several proposals of all kinds in one commit", async () => {
    const [alice, bob] = await pair();
    // ts-mls does not notice its own removal when somebody gets its leaf in the same commit.
    const erin = await SubrosaActor.create("erin");
    const others = [await makeFirst("carol"), await makeSecond("dave"), erin] as const;
    const group = await Group.of([alice, bob, ...others]);
    for (const actor of group.members) await group.commit(actor);
    const [carol, dave] = others;
    const frank = await makeFirst("frank");
    await group.propose(carol, { kind: "update" });
    await group.propose(dave, { kind: "update" }, { isPublic: true });
    await group.propose(alice, { kind: "remove", leaf: erin.leaf });
    const keyPackage = await frank.renewKeyPackage();
    expect(await group.commit(bob, { changes: [{ kind: "add", keyPackage }] }, [frank])).toBe(true);
    await group.talk();
  });

  it("messages out of order, of every size, padded, with authenticated data", async () => {
    const [alice, bob] = await pair();
    const group = await Group.of([alice, bob]);
    for (const [sender, reader] of [
      [alice, bob],
      [bob, alice],
    ] as const) {
      const texts = ["", "a", "b".repeat(255), "c".repeat(20_000), "d", "e", "f", "g"];
      const sent: [string, Uint8Array][] = [];
      for (const text of texts) sent.push([text, await sender.send(text, toUtf8(`data ${text.length}`))]);
      const order = [5, 0, 7, 2, 1, 6, 3, 4];
      for (const position of order) {
        const [content, message] = sent[position] as [string, Uint8Array];
        expect(await reader.receive(message)).toEqual({ kind: "application", content });
      }
      for (const [, message] of sent) await expect(reader.receive(message)).rejects.toThrow();
    }
    expect(await group.commit(bob, { authenticatedData: toUtf8("why") })).toBe(true);
    await group.talk();
  });

  it("a message with a changed byte is refused by both", async () => {
    const [alice, bob] = await pair();
    await Group.of([alice, bob]);
    for (const [sender, reader] of [
      [alice, bob],
      [bob, alice],
    ] as const) {
      const message = await sender.send("hello");
      const changed = message.slice();
      changed[changed.length - 1] = (changed.at(-1) as number) ^ 1;
      await expect(reader.receive(changed)).rejects.toThrow();
      expect(await reader.receive(message)).toEqual({ kind: "application", content: "hello" });
    }
  });
});
