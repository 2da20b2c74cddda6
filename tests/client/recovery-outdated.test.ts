import { cp } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { asBytes, type Bytes } from "../../src/base/bytes.js";
import { fromHex } from "../../src/base/encoding.js";
import { JOIN_MODES } from "../../src/client/conversation/membership/policy.js";
import { memoryStore } from "../../src/index.js";
import { openStore } from "../../src/node.js";
import { openMemoryStorage } from "../../src/relay.js";
import type { Account } from "../../src/wire/identity.js";
import { LogKind } from "../../src/wire/protocol.js";
import { codeOf } from "../harness/code-of.js";
import {
  connected,
  eventually,
  makeActor,
  makeGroup,
  settledMembers,
  startRelay,
  temporaryFolder,
} from "./harness.js";
import { copied, exchange } from "./older-copy.js";
import { SkipClock, settle } from "./skip-clock.js";
import { TamperedConnector } from "./tamper.js";

describe("an older copy of a store", () => {
  it("goes on as another device: told of, with its contacts, and heard by everyone again", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob", { ack: { direct: true, group: true } });
    const { copy } = await copied(
      relay,
      async (alice) => {
        await exchange(alice, bob, "one");
        await alice.client.markVerified("bob");
        await makeGroup("team", [bob, alice]);
      },
      (alice) => exchange(alice, bob, "two"),
    );
    const alice = makeActor(relay, "alice", { store: await openStore(copy) });
    await alice.client.connect();
    const recovered = await alice.event("storeRecovered");
    expect(recovered).toMatchObject({
      reason: "outdated",
      newDevice: true,
      lost: { contacts: 0, unsent: 0 },
    });
    expect(alice.errors).toEqual([]);
    await exchange(alice, bob, "three");
    expect((await alice.client.safetyNumber("bob")).verified).toBe(true);
    const added = await bob.event("deviceAdded");
    expect(added).toEqual({ userId: "alice", deviceId: alice.client.deviceId });
    await bob.event("deviceRemoved", ({ userId }) => userId === "alice");
    expect(bob.all("identityChanged")).toEqual([]);
    // The group takes the new device in by itself.
    await alice.client.sendGroupMessage("team", "back again");
    await bob.message("back again");
    await bob.client.sendGroupMessage("team", "welcome back");
    await alice.message("welcome back");
    await settledMembers("team", [alice, bob]);
    expect(alice.texts.filter((text) => text === "one from bob")).toEqual([]);
  });

  it("is let into its groups again though a relay shows once to who does it the list of devices of before", async () => {
    const relay = await startRelay();
    let before: Account | undefined;
    let lies = 0;
    const connector = new TamperedConnector({
      replies: {
        fetchKeyPackages: (result) => {
          before ??= result.account;
          return undefined;
        },
        fetchAccount: () => (lies++ === 0 ? before : undefined),
      },
    });
    const bob = await connected(relay, "bob", { seams: { connector, random: () => 0.1 } });
    const { copy } = await copied(
      relay,
      (alice) => makeGroup("team", [bob, alice]),
      (alice) => exchange(alice, bob, "two"),
    );
    lies = 0;
    const alice = makeActor(relay, "alice", { store: await openStore(copy) });
    await alice.client.connect();
    await alice.event("storeRecovered");
    const written = alice.client.sendGroupMessage("team", "back again");
    await eventually(() => lies > 0);
    await settle(bob, alice);
    connector.inject(new Uint8Array(0));
    await bob.message("back again");
    await written;
    expect(lies).toBeGreaterThan(1);
    expect(alice.all("groupLeave")).toEqual([]);
    await settledMembers("team", [alice, bob]);
  });

  it("ends a group that was closed meanwhile, though the new device was never let into its log", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    const { copy } = await copied(
      relay,
      (alice) => makeGroup("team", [bob, alice]),
      (alice) => exchange(alice, bob, "two"),
    );
    await bob.client.deleteGroup("team");
    const clock = new SkipClock();
    const store = await openStore(copy);
    const alice = makeActor(relay, "alice", { store, seams: { clock, random: () => 0.1 } });
    await alice.client.connect();
    await alice.event("storeRecovered");
    const id = await alice.client.sendGroupMessage("team", "to nobody");
    // How soon it has asked for the first time is the machine's affair; each time it asks it waits for a while.
    for (let skips = 0; skips < 10 && alice.all("groupLeave").length === 0; skips++)
      await clock.skip(120_000, () => alice.client.blocked());
    expect(await alice.event("groupLeave")).toEqual({ group: "team", reason: "lost" });
    const failed = await alice.event("receipt", ({ state }) => state === "failed");
    expect(failed).toMatchObject({ ids: [id], code: "not-a-member" });
  });

  it.each(JOIN_MODES)(
    "of the only admin: the members take the new device in, and it is the admin again (%s)",
    async (join) => {
      const relay = await startRelay();
      const [bob, carol] = [await connected(relay, "bob"), await connected(relay, "carol")];
      const { copy } = await copied(
        relay,
        async (alice) => {
          await makeGroup("team", [alice, bob, carol]);
          await alice.client.setJoinMode("team", join);
        },
        (alice) => exchange(alice, bob, "two"),
      );
      const alice = makeActor(relay, "alice", { store: await openStore(copy) });
      await alice.client.connect();
      await alice.event("storeRecovered");
      await alice.client.sendGroupMessage("team", "back again");
      await Promise.all([bob.message("back again"), carol.message("back again")]);
      await settledMembers("team", [alice, bob, carol]);
      await alice.client.remove("team", "carol");
      expect(await carol.event("groupLeave")).toMatchObject({
        group: "team",
        reason: "removed",
        by: "alice",
      });
    },
  );

  it("of a member of a closed group: its admin takes the new device in", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    const { copy } = await copied(
      relay,
      async (alice) => {
        await makeGroup("team", [bob, alice]);
        await bob.client.setJoinMode("team", "closed");
      },
      (alice) => exchange(alice, bob, "two"),
    );
    const alice = makeActor(relay, "alice", { store: await openStore(copy) });
    await alice.client.connect();
    await alice.client.sendGroupMessage("team", "back again");
    await bob.message("back again");
    await settledMembers("team", [alice, bob]);
  });

  it("in which an invitation waits: it is asked for, and waits again, though it has been accepted since", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    const { copy } = await copied(
      relay,
      async (alice) => {
        await bob.client.createGroup("team");
        await bob.client.invite("team", "alice");
        await alice.event("invitation");
      },
      async (alice) => {
        await (await alice.event("invitation")).accept();
        await alice.client.sendGroupMessage("team", "I am in");
        await bob.message("I am in");
      },
    );
    const alice = makeActor(relay, "alice", { store: await openStore(copy) });
    await alice.client.connect();
    await alice.event("storeRecovered");
    const invitation = await alice.event("invitation");
    expect(invitation).toMatchObject({ group: "team", from: "bob" });
    expect(await alice.client.groups()).toEqual([]);
    await invitation.accept();
    await bob.client.sendGroupMessage("team", "once more");
    await alice.message("once more");
    await settledMembers("team", [alice, bob]);
    expect([...alice.errors, ...bob.errors, ...bob.all("joinRequest")]).toEqual([]);
  });

  it("of the only admin from before anybody came: who lets the new device in is nobody it knows, and invites it", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    const { copy } = await copied(
      relay,
      async (alice) => void (await alice.client.createGroup("team")),
      async (alice) => {
        await alice.client.invite("team", "bob");
        await (await bob.event("invitation")).accept();
      },
    );
    const alice = makeActor(relay, "alice", { store: await openStore(copy) });
    await alice.client.sendGroupMessage("team", "written before");
    await alice.client.connect();
    const invitation = await alice.event("invitation");
    expect(invitation).toMatchObject({ group: "team", from: "bob" });
    // Who knows who that is: nothing is said there before it is accepted.
    await exchange(alice, bob, "who are you?");
    expect(bob.texts).toEqual(["who are you? from alice"]);
    await invitation.accept();
    await bob.message("written before");
    await settledMembers("team", [alice, bob]);
    expect(alice.errors).toEqual([]);
  });

  it("has its request to join answered no more once another device has its place, which may ask itself", async () => {
    const relay = await startRelay();
    const store = memoryStore();
    const bob = await connected(relay, "bob", { store });
    await bob.client.createGroup("asked");
    await bob.client.createGroup("open");
    const { copy } = await copied(
      relay,
      (alice) => exchange(alice, bob, "one"),
      async (alice) => {
        for (const group of ["asked", "open"]) {
          void codeOf(alice.client.joinGroup(group));
          await bob.event("joinRequest", (request) => request.group === group);
        }
      },
    );
    await bob.client.setJoinMode("open", "open");
    await bob.client.close();
    const alice = makeActor(relay, "alice", { store: await openStore(copy) });
    await alice.client.connect();
    await alice.event("storeRecovered");
    const back = await connected(relay, "bob", { store });
    const request = await back.event("joinRequest");
    expect(request.group).toBe("asked");
    expect(await codeOf(request.approve())).toBe("unknown-user");
    for (const group of ["asked", "open"]) {
      const joined = alice.client.joinGroup(group);
      if (group === "asked") {
        const again = await back.event("joinRequest", (one) => one !== request);
        await again.approve();
      }
      await joined;
      await settledMembers(group, [back, alice]);
    }
    expect(back.errors).toEqual([]);
    // Both requests led to the same news at once.
    expect([back.all("deviceAdded").length, back.all("deviceRemoved").length]).toEqual([1, 1]);
  });

  it.each(["a log", "what it has acknowledged of a log that is gone"])(
    "of a run that had met the relay already, which only %s tells from it: it connects as another device",
    async (what) => {
      const storage = openMemoryStorage();
      const relay = await startRelay({ storage });
      const bob = await connected(relay, "bob");
      const [original, copy] = [await temporaryFolder(), await temporaryFolder()];
      const first = await connected(relay, "alice", { store: await openStore(original) });
      await makeGroup("team", [first, bob]);
      await first.client.sendGroupMessage("team", "one");
      await bob.message("one");
      await settledMembers("team", [first, bob]);
      // As a snapshot of the disk takes it, while everything runs.
      await cp(original, copy, { recursive: true, filter: (from) => !from.includes("lock") });
      await first.client.sendGroupMessage("team", "two");
      await bob.message("two");
      await bob.client.sendGroupMessage("team", "two and a half");
      await first.message("two and a half");
      if (what !== "a log") {
        // Everybody has acknowledged it.
        const limits = { retention: 1e12, uploadTimeout: 1e12, maxLogBytes: 1e9, batch: 1000 };
        const rounds = async () => {
          while (!(await storage.prune({ now: Date.now(), ...limits })));
        };
        const group = [...(await storage.listGroups(asBytes(fromHex(bob.client.deviceId))))].find(
          ({ peer }) => peer === undefined,
        );
        await eventually(async () => {
          await rounds();
          const { first: from, seq } = await storage.head({
            kind: LogKind.group,
            id: group?.groupId as Bytes,
          });
          return from > seq;
        });
      }
      await first.client.close();
      // What follows what this state cannot read comes by itself.
      const connector = new TamperedConnector({
        fromRelay: (frame) =>
          frame.type === "entries" && frame.log.kind === LogKind.group
            ? frame.entries.map((entry) => ({ ...frame, entries: [entry] }))
            : undefined,
      });
      const alice = makeActor(relay, "alice", { store: await openStore(copy), seams: { connector } });
      await alice.client.connect();
      await alice.event("storeRecovered", ({ reason }) => reason === "outdated");
      await alice.client.sendGroupMessage("team", "three");
      await bob.message("three");
      await bob.client.sendGroupMessage("team", "four");
      await alice.message("four");
      expect(alice.client.state).toBe("connected");
      expect(alice.all("disconnect")).toMatchObject([{ willReconnect: true }]);
      expect(alice.errors).toEqual([]);
    },
  );

  it("takes the place of the original, which is told so and never comes back by itself", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    const { original, copy } = await copied(
      relay,
      (alice) => exchange(alice, bob, "one"),
      (alice) => exchange(alice, bob, "two"),
    );
    const running = await connected(relay, "alice", { store: await openStore(original) });
    const restored = makeActor(relay, "alice", { store: await openStore(copy) });
    const reading = codeOf(running.client.messages().next());
    await restored.client.connect();
    await running.event("error", ({ code }) => code === "revoked");
    expect(await reading).toBe("revoked");
    expect(await codeOf(running.client.messages().next())).toBe("revoked");
    await running.event("disconnect", ({ willReconnect }) => !willReconnect);
    expect(await codeOf(running.client.connect())).toBe("revoked");
    // Nothing is taken that would never go out.
    expect(await codeOf(running.client.sendDirectMessage("bob", "never"))).toBe("revoked");
    expect(await codeOf(running.client.sendGroupMessage("team", "never"))).toBe("revoked");
    await running.client.close();
    const { deviceId } = restored.client;
    for (let opened = 0; opened < 2; opened++) {
      const again = makeActor(relay, "alice", { store: await openStore(original) });
      const waiting = codeOf(again.client.messages().next());
      expect(await codeOf(again.client.connect())).toBe("revoked");
      expect(await waiting).toBe("revoked");
      expect(await codeOf(again.client.messages().next())).toBe("revoked");
      expect(again.all("storeRecovered")).toEqual([]);
      await again.client.close();
    }
    await exchange(restored, bob, "three");
    expect([restored.client.deviceId, restored.client.state]).toEqual([deviceId, "connected"]);
  });

  it("takes in nothing that was on its way to the device whose place another has taken", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    const [original, copy] = [await temporaryFolder(), await temporaryFolder()];
    const first = await connected(relay, "alice", { store: await openStore(original) });
    await first.client.close();
    await cp(original, copy, { recursive: true });
    const late: Bytes[] = [];
    const seams = {
      connector: new TamperedConnector({
        fromRelay(frame, bytes) {
          if (frame.type === "entries" && frame.log.kind === LogKind.inbox) late.push(bytes);
          return undefined;
        },
      }),
      random: () => 0.1,
    };
    const second = await connected(relay, "alice", { store: await openStore(original), seams });
    for (const group of ["one", "two"]) await makeGroup(group, [bob, second]);
    await second.client.close();
    expect(late).toHaveLength(2);
    const connector = new TamperedConnector();
    const store = await openStore(copy);
    const alice = makeActor(relay, "alice", { store, seams: { connector, random: () => 0.1 } });
    await alice.client.connect();
    for (const frame of [...late].reverse()) connector.inject(frame);
    await exchange(alice, bob, "three");
    expect(alice.errors).toEqual([]);
  });

  it("sends what waited in it, and nothing twice", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    const { copy } = await copied(
      relay,
      (alice) => exchange(alice, bob, "one"),
      (alice) => exchange(alice, bob, "two"),
    );
    const alice = makeActor(relay, "alice", { store: await openStore(copy) });
    await alice.client.sendDirectMessage("bob", "written offline");
    await alice.client.connect();
    await bob.message("written offline");
    await exchange(alice, bob, "three");
    const expected = ["one from alice", "two from alice", "written offline", "three from alice"];
    expect(bob.texts).toEqual(expected);
  });
});
