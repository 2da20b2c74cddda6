import { cp } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { asBytes } from "../../src/base/bytes.js";
import { JOIN_MODES } from "../../src/client/conversation/membership/policy.js";
import { memoryStore } from "../../src/index.js";
import { openStore } from "../../src/node.js";
import { encodeResult } from "../../src/wire/frames.js";
import { LogKind } from "../../src/wire/protocol.js";
import type { ResultOf } from "../../src/wire/requests.js";
import { codeOf } from "../harness/code-of.js";
import {
  type Actor,
  connected,
  eventually,
  makeActor,
  makeGroup,
  settledMembers,
  startRelay,
  temporaryFolder,
} from "./harness.js";
import { copied, exchange } from "./older-copy.js";
import { SkipClock } from "./skip-clock.js";
import { TamperedConnector } from "./tamper.js";

type Groups = ResultOf<"listGroups">["groups"];

const invitation = (to: Actor, name: string) => to.event("invitation", ({ group }) => group === name);

/** What is said in the group from here on comes to all of them, and nobody else is in it. */
async function heard(group: string, members: readonly Actor[], text: string): Promise<void> {
  await settledMembers(group, members);
  for (const one of members) {
    await one.client.sendGroupMessage(group, `${text} from ${one.userId}`);
    const others = members.filter((other) => other !== one);
    await Promise.all(others.map((other) => other.message(`${text} from ${one.userId}`)));
  }
}

describe("a group that was joined after a copy of the store was made", () => {
  it.each(JOIN_MODES)(
    "is an invitation to the device that takes the place of the other (%s)",
    async (join) => {
      const relay = await startRelay();
      const [bob, carol] = [await connected(relay, "bob"), await connected(relay, "carol")];
      const { copy } = await copied(
        relay,
        (alice) => exchange(alice, bob, "one"),
        async (alice) => {
          await makeGroup("team", [bob, alice, carol]);
          await bob.client.setJoinMode("team", join);
          await heard("team", [alice, bob, carol], "two");
        },
      );
      await bob.client.sendGroupMessage("team", "to nobody there");
      const alice = makeActor(relay, "alice", { store: await openStore(copy) });
      await alice.client.connect();
      const invited = await invitation(alice, "team");
      expect(invited.from).toBe("bob");
      expect(await alice.client.groups()).toEqual([]);
      await invited.accept();
      await heard("team", [alice, bob, carol], "three");
      expect(alice.texts).toEqual(["three from bob", "three from carol"]);
      expect([alice, bob, carol].flatMap(({ errors }) => errors)).toEqual([]);
      expect([...bob.all("joinRequest"), ...carol.all("joinRequest")]).toEqual([]);
    },
  );

  it("is asked for beside others, and left if the app declines; who made one is its admin again", async () => {
    const relay = await startRelay();
    const bobs = memoryStore();
    const [bob, carol] = [await connected(relay, "bob", { store: bobs }), await connected(relay, "carol")];
    const { copy } = await copied(
      relay,
      async (alice) => {
        await makeGroup("again", [bob, alice]);
        await alice.client.leaveGroup("again");
        await bob.event("memberLeave", ({ group }) => group === "again");
      },
      async (alice) => {
        await makeGroup("made", [alice, carol]);
        await makeGroup("declined", [carol, bob, alice]);
        await bob.client.invite("again", "alice");
        await (await alice.event("invitation", ({ group }) => group === "again")).accept();
        await heard("again", [alice, bob], "two");
        await heard("made", [alice, carol], "two");
        await heard("declined", [alice, bob, carol], "two");
      },
    );
    await bob.client.close();
    const store = await openStore(copy);
    const alice = makeActor(relay, "alice", { store });
    await alice.client.connect();
    await (await invitation(alice, "declined")).reject();
    await (await invitation(alice, "made")).accept();
    await heard("made", [alice, carol], "three");
    // Who can let the device in comes back later, as does the device itself.
    await alice.client.close();
    const back = await connected(relay, "bob", { store: bobs });
    await settledMembers("declined", [back, carol]);
    const opened = await connected(relay, "alice", { store: await openStore(copy) });
    await (await invitation(opened, "again")).accept();
    await heard("again", [opened, back], "three");
    expect((await opened.client.groups()).map(({ name, admin }) => `${name} ${admin}`).sort()).toEqual([
      "again false",
      "made true",
    ]);
    expect([alice, opened, bob, back, carol].flatMap(({ errors }) => errors)).toEqual([]);
  });

  it("does not come back where the user had left it, though nobody has seen that yet", async () => {
    const relay = await startRelay();
    const bobs = memoryStore();
    const bob = await connected(relay, "bob", { store: bobs });
    const { copy } = await copied(
      relay,
      (alice) => exchange(alice, bob, "one"),
      async (alice) => {
        await makeGroup("team", [bob, alice]);
        await heard("team", [alice, bob], "two");
        await bob.client.close();
        await alice.client.leaveGroup("team");
      },
    );
    const refused: string[] = [];
    const connector = new TamperedConnector({
      fromClient(frame) {
        if (frame.type === "request" && frame.name === "rejectJoin") refused.push("rejectJoin");
        return undefined;
      },
    });
    const alice = makeActor(relay, "alice", { store: await openStore(copy) });
    await alice.client.connect();
    const back = await connected(relay, "bob", { store: bobs, seams: { connector, random: () => 0.1 } });
    await settledMembers("team", [back]);
    await exchange(alice, back, "three");
    await expect.poll(() => refused).toEqual(["rejectJoin"]);
    await exchange(alice, back, "four");
    await settledMembers("team", [back]);
    expect(alice.all("invitation")).toEqual([]);
    expect([...alice.errors, ...back.errors, ...back.all("joinRequest")]).toEqual([]);
  });

  it("by the word of a relay brings the device into none that its user was not in", async () => {
    const relay = await startRelay();
    const ids: Uint8Array[] = [];
    const watch = new TamperedConnector({
      fromClient(frame) {
        if (frame.type === "request" && frame.name === "create") ids.push(frame.body.groupId);
        return undefined;
      },
    });
    const bob = await connected(relay, "bob", { seams: { connector: watch, random: () => 0.1 } });
    await bob.client.createGroup("private");
    await makeGroup("open", [bob, await connected(relay, "carol")]);
    await bob.client.setJoinMode("open", "open");
    const { copy } = await copied(
      relay,
      (alice) => exchange(alice, bob, "one"),
      async (alice) => {
        await makeGroup("team", [bob, alice]);
        await heard("team", [alice, bob], "two");
      },
    );
    const asked = new Set<string>();
    const taken = encodeResult("append", { seq: 1, digest: new Uint8Array(32) });
    const connector = new TamperedConnector({
      fromClient(frame) {
        if (frame.type === "request" && frame.name === "append" && frame.body.log.kind === LogKind.requestBox)
          asked.add(String(frame.body.log.id));
        return undefined;
      },
      // What is asked of groups that there are not waits for ever.
      fromRelay: (frame) =>
        frame.type === "refuse" && frame.code === "unknown-group"
          ? [{ type: "reply", id: frame.id, result: taken }]
          : undefined,
      replies: {
        listGroups({ groups }, { of }): { groups: Groups } {
          if (of === undefined) return { groups };
          const [one] = groups.filter(({ peer }) => peer === undefined) as [Groups[number]];
          const made = Array.from({ length: 200 }, (_, at) => new Uint8Array(32).fill(at));
          return { groups: [one, ...[...ids, ...made].map((id) => ({ ...one, groupId: asBytes(id) }))] };
        },
      },
    });
    const alice = makeActor(relay, "alice", {
      store: await openStore(copy),
      seams: { connector, random: () => 0.1 },
    });
    await alice.client.connect();
    await (await invitation(alice, "team")).accept();
    await heard("team", [alice, bob], "three");
    await eventually(() => asked.size >= 64, "as many requests as may stand");
    await exchange(alice, bob, "four");
    expect(alice.all("invitation")).toHaveLength(1);
    // Those of the three groups that there are have been answered.
    expect(asked.size).toBeLessThanOrEqual(64 + 3);
    expect((await bob.client.members("private")).length).toBe(1);
    expect((await bob.client.members("open")).length).toBe(2);
    expect([...alice.errors, ...bob.errors, ...bob.all("joinRequest")]).toEqual([]);
  });

  it("shows that the copy is one, where the device has made the group and was not opened since", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    const [original, copy] = [await temporaryFolder(), await temporaryFolder()];
    const first = await connected(relay, "alice", { store: await openStore(original) });
    // As a snapshot of the disk takes it, while everything runs.
    await cp(original, copy, { recursive: true, filter: (from) => !from.includes("lock") });
    await makeGroup("team", [first, bob]);
    await heard("team", [first, bob], "two");
    await first.client.close();
    const alice = makeActor(relay, "alice", { store: await openStore(copy) });
    await alice.client.connect();
    await alice.event("storeRecovered", ({ reason }) => reason === "outdated");
    await (await invitation(alice, "team")).accept();
    await heard("team", [alice, bob], "three");
    await exchange(alice, bob, "three");
    await alice.client.remove("team", "bob");
    expect([...alice.errors, ...bob.errors]).toEqual([]);
  });

  it.each(["asked to join", "was invited"])(
    "shows that the copy is one, where the device %s and was not opened since",
    async (how) => {
      const relay = await startRelay();
      const [bob, carol] = [await connected(relay, "bob"), await connected(relay, "carol")];
      await bob.client.createGroup("team", { join: "open" });
      const [original, copy] = [await temporaryFolder(), await temporaryFolder()];
      const first = await connected(relay, "alice", { store: await openStore(original) });
      // As a snapshot of the disk takes it, while everything runs.
      await cp(original, copy, { recursive: true, filter: (from) => !from.includes("lock") });
      if (how === "asked to join") await first.client.joinGroup("team");
      else {
        await bob.client.invite("team", "alice");
        await (await invitation(first, "team")).accept();
      }
      // By its own commit the members know that the device had the keys.
      await first.client.invite("team", "carol");
      await (await invitation(carol, "team")).accept();
      await settledMembers("team", [first, bob, carol]);
      await first.client.close();
      const alice = makeActor(relay, "alice", { store: await openStore(copy) });
      await alice.client.connect();
      await alice.event("storeRecovered", ({ reason }) => reason === "outdated");
      // What it has shown before it noticed is taken back.
      await eventually(async () => {
        const last = alice.all("invitation").at(-1);
        return last !== undefined && (await codeOf(last.accept())) === "done";
      });
      await heard("team", [alice, bob, carol], "three");
      await exchange(alice, bob, "three");
      expect([...alice.errors, ...bob.errors, ...carol.errors]).toEqual([]);
    },
  );
});

describe("a group that nobody else is in, of a device whose place another takes", () => {
  it.each(["is known to", "was made after"])("%s the copy: it ends, and its name is free", async (how) => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    const createGroup = async (alice: Actor) => void (await alice.client.createGroup("team"));
    const isKnown = how === "is known to";
    const { copy } = await copied(
      relay,
      async (alice) => {
        await exchange(alice, bob, "one");
        if (isKnown) await createGroup(alice);
      },
      async (alice) => {
        await exchange(alice, bob, "two");
        if (!isKnown) await createGroup(alice);
      },
    );
    const clock = new SkipClock();
    const store = await openStore(copy);
    const alice = makeActor(relay, "alice", { store, seams: { clock, random: () => 0.1 } });
    const ids = isKnown ? [await alice.client.sendGroupMessage("team", "to nobody")] : [];
    await alice.client.connect();
    await alice.event("storeRecovered");
    for (let skips = 0; isKnown && skips < 10 && alice.all("groupLeave").length === 0; skips++)
      await clock.skip(120_000, () => alice.client.blocked());
    await eventually(async () => (await codeOf(alice.client.createGroup("team"))) === "done");
    expect(alice.all("groupLeave")).toEqual(isKnown ? [{ group: "team", reason: "lost" }] : []);
    const failed = alice.all("receipt").filter(({ state }) => state === "failed");
    expect(failed.flatMap((receipt) => receipt.ids)).toEqual(ids);
    await alice.client.invite("team", "bob");
    await (await invitation(bob, "team")).accept();
    await heard("team", [alice, bob], "three");
    expect([...alice.errors, ...bob.errors]).toEqual([]);
  });
});
