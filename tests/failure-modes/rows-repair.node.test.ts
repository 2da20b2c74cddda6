import { describe, expect, it } from "vitest";
import { systemClock } from "../../src/base/clock.js";
import { layout } from "../../src/client/layout.js";
import { memoryStore } from "../../src/index.js";
import { openMemoryStorage } from "../../src/relay.js";
import type { RelayFrame } from "../../src/wire/frames.js";
import { EntryKind, LogKind } from "../../src/wire/protocol.js";
import { damageableMemory } from "../client/damaged-store.js";
import {
  type Actor,
  connectAll,
  connected,
  eventually,
  makeActor,
  makeGroup,
  settledMembers,
  startRelay,
} from "../client/harness.js";
import { numbered } from "../client/relay-backup.js";
import { settle } from "../client/skip-clock.js";
import { TamperedConnector } from "../client/tamper.js";

const DAY = 86_400_000;

async function goesOn(...actors: Actor[]): Promise<void> {
  const mark = `${Math.random()}`;
  for (const { client, userId } of actors) await client.sendGroupMessage("team", `${userId} ${mark}`);
  for (const reader of actors) {
    for (const { userId } of actors) if (userId !== reader.userId) await reader.message(`${userId} ${mark}`);
  }
}

const hasCommit = (frame: RelayFrame) =>
  frame.type === "entries" &&
  frame.log.kind === LogKind.group &&
  frame.entries.some((entry) => entry.form === "full" && entry.content.kind === EntryKind.commit);

/** A relay whose log of everything so far can be dropped, as after its retention. */
async function forgetfulRelay() {
  const storage = openMemoryStorage();
  const relay = await startRelay({ storage });
  const forget = async () => {
    for (let i = 0; i < 20; i++) {
      await storage.prune({ now: Date.now() + 1, retention: 0, maxLogBytes: 1e9, batch: 1000 } as never);
    }
  };
  return { relay, forget };
}

describe("C4 a commit that was missed", () => {
  it("is asked for again: what comes after it is not read without it", async () => {
    const relay = await startRelay();
    const connector = new TamperedConnector();
    const [alice] = await connectAll(relay, ["alice"]);
    await connected(relay, "carol");
    const bob = await connected(relay, "bob", { seams: { connector, random: () => 0.1 } });
    await makeGroup("team", [alice, bob]);
    let withheld = 0;
    connector.tamper = {
      fromRelay: (frame) => {
        if (withheld > 0 || !hasCommit(frame)) return undefined;
        withheld++;
        return [];
      },
    };
    await alice.client.invite("team", "carol");
    await alice.client.sendGroupMessage("team", "behind the commit");
    await bob.message("behind the commit");
    expect(withheld).toBe(1);
    expect((await bob.client.members("team")).map(({ userId }) => userId)).toContain("carol");
    expect(bob.all("undecryptable")).toEqual([]);
    await goesOn(alice, bob);
  });

  it("and that the relay has dropped: the member is added anew, and told how much is gone", async () => {
    const { relay, forget } = await forgetfulRelay();
    const [alice, carol] = await connectAll(relay, ["alice", "carol"]);
    const store = memoryStore();
    const first = await connected(relay, "bob", { store });
    await makeGroup("team", [alice, carol, first]);
    await goesOn(alice, carol, first);
    await first.client.close();
    await alice.client.sendGroupMessage("team", "never seen by bob");
    await carol.message("never seen by bob");
    await alice.client.remove("team", "carol");
    await forget();
    const bob = makeActor(relay, "bob", { store });
    await bob.client.connect();
    await bob.event("undecryptable", ({ group, missed }) => group === "team" && (missed ?? 0) > 0);
    await goesOn(alice, bob);
    expect(bob.texts).not.toContain("never seen by bob");
    expect(bob.all("groupLeave")).toEqual([]);
    await settledMembers("team", [alice, bob]);
  });
});

describe("C9 a repair that the relay does not take now", () => {
  it.each(["quota-exceeded", "rate-limited"] as const)(
    "(%s) is asked for again: the group is not given up",
    async (code) => {
      const { relay, forget } = await forgetfulRelay();
      const [alice, carol] = await connectAll(relay, ["alice", "carol"]);
      const store = memoryStore();
      const first = await connected(relay, "bob", { store });
      await makeGroup("team", [alice, first]);
      await first.client.close();
      await alice.client.sendGroupMessage("team", "never seen by bob");
      await alice.client.invite("team", "carol");
      await (await carol.event("invitation")).accept();
      await alice.client.remove("team", "carol");
      await forget();
      let refused = 0;
      const connector = new TamperedConnector({
        fromClient(frame) {
          const isAppend = frame.type === "request" && frame.name === "append";
          if (!isAppend || frame.body.log.kind !== LogKind.requestBox) return undefined;
          refused++;
          setImmediate(() => connector.inject({ type: "refuse", id: frame.id, code, reason: "" }));
          return [];
        },
      });
      const second = makeActor(relay, "bob", { store, seams: { connector, random: () => 0.1 } });
      await second.client.connect();
      await eventually(() => refused > 0);
      await settle(second);
      await second.client.close();
      const bob = await connected(relay, "bob", { store });
      await bob.event("undecryptable", ({ missed }) => (missed ?? 0) > 0);
      await goesOn(alice, bob);
      expect(second.all("groupLeave").concat(bob.all("groupLeave"))).toEqual([]);
    },
  );
});

describe("C8 an orphan welcome", () => {
  it("in a group is no error: the members add the device anew by themselves", async () => {
    const relay = await startRelay();
    const [alice] = await connectAll(relay, ["alice"]);
    const bobs = damageableMemory();
    await (await connected(relay, "bob", { store: bobs.store })).client.close();
    await alice.client.createGroup("team");
    await alice.client.invite("team", "bob");
    for (const key of await bobs.keys()) {
      if (key.startsWith(layout.keyPackages)) await bobs.damage(key, "delete", key);
    }
    const bob = makeActor(relay, "bob", { store: bobs.store });
    await Promise.all(
      numbered("lost", 3).map(async (text) =>
        alice.receipts([await alice.client.sendGroupMessage("team", text)], "sent"),
      ),
    );
    await bob.client.connect();
    // Bob has not asked to be in the group: that is for bob to say.
    const invitation = await bob.event("invitation");
    expect(bob.all("undecryptable")).toEqual([]);
    await invitation.accept();
    expect(await bob.event("undecryptable")).toEqual({ group: "team", reason: "no-key-package", missed: 3 });
    await goesOn(alice, bob);
    await settledMembers("team", [alice, bob]);
    expect(bob.errors).toEqual([]);
  });

  it("in a group that was asked for ends in the group", async () => {
    const relay = await startRelay();
    const alice = await connected(relay, "alice");
    const bobs = damageableMemory();
    await (await connected(relay, "bob", { store: bobs.store })).client.close();
    await alice.client.createGroup("team", { join: "open" });
    await alice.client.invite("team", "bob");
    for (const key of await bobs.keys()) {
      if (key.startsWith(layout.keyPackages)) await bobs.damage(key, "delete", key);
    }
    const bob = makeActor(relay, "bob", { store: bobs.store });
    const id = await alice.client.sendGroupMessage("team", "lost");
    await alice.receipts([id], "sent");
    const joined = bob.client.joinGroup("team");
    await bob.client.connect();
    await joined;
    expect(await bob.event("undecryptable")).toEqual({ group: "team", reason: "no-key-package", missed: 1 });
    await goesOn(alice, bob);
    expect(bob.errors).toEqual([]);
  });

  it("in a direct conversation makes it begin anew, and what was written comes", async () => {
    const relay = await startRelay();
    const [alice] = await connectAll(relay, ["alice"]);
    const bobs = damageableMemory();
    await (await connected(relay, "bob", { store: bobs.store })).client.close();
    const id = await alice.client.sendDirectMessage("bob", "by a key that is gone");
    await alice.receipts([id], "sent");
    for (const key of await bobs.keys()) {
      if (key.startsWith(layout.keyPackages)) await bobs.damage(key, "delete", key);
    }
    const bob = makeActor(relay, "bob", { store: bobs.store });
    await bob.client.connect();
    await bob.message("by a key that is gone");
    await alice.receipts([id], "delivered", "bob");
    await bob.client.sendDirectMessage("alice", "it came");
    await alice.message("it came");
    expect(bob.texts).toEqual(["by a key that is gone"]);
  });
});

describe("C9 a fork", () => {
  it("cannot come of commits that race: the log orders them, and every message names its history", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await alice.client.createGroup("team", { join: "open" });
    await Promise.all([bob.client.joinGroup("team"), carol.client.joinGroup("team")]);
    await connectAll(relay, ["dave", "erin"]);
    await Promise.all([
      alice.client.invite("team", "dave"),
      bob.client.invite("team", "erin"),
      carol.client.sendGroupMessage("team", "in between"),
    ]);
    await goesOn(alice, bob, carol);
    const members = await Promise.all([alice, bob, carol].map(({ client }) => client.members("team")));
    expect(members[1]).toEqual(members[0]);
    expect(members[2]).toEqual(members[0]);
    for (const actor of [alice, bob, carol]) {
      expect(actor.all("equivocation").concat(actor.all("undecryptable") as never)).toEqual([]);
    }
  });
});

describe("C17 two processes or tabs with one state", () => {
  it("the second is refused the store, and the first goes on", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const [alice] = await connectAll(relay, ["alice"]);
    const bob = await connected(relay, "bob", { store });
    await makeGroup("team", [alice, bob]);
    const second = makeActor(relay, "bob", { store });
    await expect(second.client.connect()).rejects.toMatchObject({ code: "store-in-use" });
    await goesOn(alice, bob);
  });
});

describe("C18 a member who was removed", () => {
  it("is told by whom, can send no more, keeps no keys, and hears nothing of what follows", async () => {
    const relay = await startRelay();
    const [alice, carol] = await connectAll(relay, ["alice", "carol"]);
    const store = damageableMemory();
    const bob = await connected(relay, "bob", { store: store.store, history: true });
    await makeGroup("team", [alice, bob, carol]);
    await goesOn(alice, bob, carol);
    const heard = bob.texts.length;
    await alice.client.remove("team", "bob");
    expect(await bob.event("groupLeave")).toMatchObject({ group: "team", reason: "removed", by: "alice" });
    await expect(bob.client.sendGroupMessage("team", "still here?")).rejects.toMatchObject({
      code: "not-a-member",
    });
    await alice.client.sendGroupMessage("team", "not for bob");
    await carol.message("not for bob");
    expect(bob.texts).toHaveLength(heard);
    expect((await bob.client.history({ group: "team" })).length).toBeGreaterThan(0);
    expect(bob.errors).toEqual([]);
    await bob.client.close();
    const secrets = (await store.keys()).filter((key) =>
      [layout.epochs, layout.allRatchets].some((prefix) => key.startsWith(prefix)),
    );
    expect(secrets).toEqual([]);
  });

  it("away when it happened, learns of it on return, and what waited to be sent is told as failed", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const [alice, carol] = await connectAll(relay, ["alice", "carol"]);
    const first = await connected(relay, "bob", { store });
    await makeGroup("team", [alice, first, carol]);
    await first.client.close();
    await alice.client.remove("team", "bob");
    const bob = makeActor(relay, "bob", { store });
    const id = await bob.client.sendGroupMessage("team", "written offline");
    await bob.client.connect();
    await bob.event("groupLeave", ({ reason }) => reason === "removed");
    await bob.receipts([id], "failed");
    await goesOn(alice, carol);
    expect(alice.texts.concat(carol.texts)).not.toContain("written offline");
  });
});

describe("C19 members that are idle", () => {
  const timed = () => {
    const time = { ahead: 0 };
    const clock = { now: () => Date.now() + time.ahead, after: systemClock.after };
    return { time, clock, seams: { clock, random: () => 0.1 } };
  };

  it("a member from whom nothing comes for four weeks is removed by an admin's client, for all to see", async () => {
    const { time, clock, seams } = timed();
    const relay = await startRelay({ clock });
    const [alice, carol] = await connectAll(relay, ["alice", "carol"], { seams });
    const bob = await connected(relay, "bob", { seams });
    await makeGroup("team", [alice, carol, bob]);
    await goesOn(alice, carol, bob);
    await bob.client.close();
    // Carol is heard in between, bob is not.
    time.ahead = 20 * DAY;
    await carol.client.sendGroupMessage("team", "carol is there");
    await alice.message("carol is there");
    time.ahead = 29 * DAY;
    await alice.client.sendGroupMessage("team", "who is left?");
    await carol.event("memberLeave", ({ userId, by }) => userId === "bob" && by === "alice");
    await settledMembers("team", [alice, carol]);
    await goesOn(alice, carol);
  });

  it("a member that only reads renews its keys by itself, which also says that it is there", async () => {
    const { time, clock, seams } = timed();
    const relay = await startRelay({ clock });
    const connector = new TamperedConnector();
    const [alice] = await connectAll(relay, ["alice"], { seams });
    const bob = await connected(relay, "bob", { seams: { ...seams, connector } });
    await makeGroup("team", [alice, bob]);
    let commits = 0;
    connector.tamper = {
      fromClient: (frame) => {
        const isCommit = frame.type === "request" && frame.name === "append";
        if (isCommit && (frame.body as { entry: { kind: number } }).entry.kind === EntryKind.commit)
          commits++;
        return undefined;
      },
    };
    time.ahead = 8 * DAY;
    await alice.client.sendGroupMessage("team", "anybody reading?");
    await bob.message("anybody reading?");
    await eventually(() => commits === 1, "bob renews his keys");
    await goesOn(alice, bob);
    expect(alice.errors.concat(bob.errors)).toEqual([]);
  });
});
