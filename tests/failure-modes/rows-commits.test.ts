import { describe, expect, it } from "vitest";
import { toHex } from "../../src/base/encoding.js";
import { decodeClientFrame } from "../../src/wire/frames.js";
import { EntryKind } from "../../src/wire/protocol.js";
import { run } from "../client/crash-enumeration.js";
import { grouped, invite, leaveGroup } from "../client/crash-scenes.js";
import type { World } from "../client/crash-world.js";
import { appendIn, commitsBy, goesOn, openGroup, receivedBy, recover, refusalsOf } from "./tools.js";

const users = (world: World, user: string) =>
  world
    .device(user)
    .life?.client.members("team")
    .then((members) => members.map(({ userId }) => userId).sort());

describe("C1 two commits for one epoch", () => {
  it("the relay takes one; the other member reads it, and carries out what it wanted after it", async () => {
    const world = await openGroup(["alice", "bob"], ["carol", "dave"]);
    world.call("alice", (client) => client.invite("team", "carol"));
    world.call("bob", (client) => client.invite("team", "dave"));
    await world.settle();
    expect(refusalsOf(world, "alice").concat(refusalsOf(world, "bob"))).toContain("stale");
    // Made anew, not sent again: the intent is carried out, not the bytes.
    const bytes = [...commitsBy(world, "alice"), ...commitsBy(world, "bob")].map(({ entry }) =>
      toHex(entry.payload),
    );
    expect(bytes.length).toBeGreaterThan(2);
    expect(new Set(bytes).size).toBe(bytes.length);
    for (const user of ["alice", "bob", "carol", "dave"]) {
      expect(await users(world, user)).toEqual(["alice", "bob", "carol", "dave"]);
    }
    await goesOn(world, { group: "team", members: ["alice", "bob", "carol", "dave"] });
  });
});

/** Lets something happen to alice as soon as her next commit has reached the relay. */
function whenCommitted(world: World, what: () => void): void {
  const before = world.transform;
  world.transform = (user, direction, bytes) => {
    const frame = user === "alice" && direction === "out" && decodeClientFrame(bytes.slice());
    if (frame && appendIn(frame, EntryKind.commit)) {
      world.transform = before;
      queueMicrotask(what);
    }
    return before(user, direction, bytes);
  };
}

describe("C2 a crash or a lost reply between send and confirm", () => {
  const cases = [
    [
      "the reply is lost",
      (world: World) => {
        world.disconnect("alice");
        setImmediate(() => world.reconnect("alice"));
      },
    ],
    ["the process dies", (world: World) => world.kill("alice")],
  ] as const;
  it.each(cases)("%s: the commit is in force once, and nothing stays pending", async (_, fail) => {
    const world = await openGroup(["alice", "bob"], ["carol"]);
    whenCommitted(world, () => fail(world));
    invite(world, "alice", "carol");
    world.send("alice", ["bob", "carol"], "behind the commit", "team");
    await recover(world);
    expect(await users(world, "alice")).toEqual(["alice", "bob", "carol"]);
    expect(world.device("carol").events.filter(({ name }) => name === "invitation")).toHaveLength(1);
    await goesOn(world, { group: "team", members: ["alice", "bob", "carol"] });
  });

  it("the process dies before anything was sent, and another commit wins meanwhile: what was staged is dropped", async () => {
    const world = await openGroup(["alice", "bob"], ["carol", "dave"]);
    world.transform = (user, direction, bytes) => {
      if (user !== "alice" || direction !== "out") return bytes;
      if (appendIn(decodeClientFrame(bytes.slice()), EntryKind.commit) === undefined) return bytes;
      queueMicrotask(() => world.kill("alice"));
      return undefined;
    };
    invite(world, "alice", "carol");
    await world.settle();
    expect(world.device("alice").life).toBeUndefined();
    invite(world, "bob", "dave");
    await world.settle();
    world.transform = (_user, _direction, bytes) => bytes;
    await recover(world);
    for (const user of ["alice", "bob"]) {
      expect(await users(world, user)).toEqual(["alice", "bob", "carol", "dave"]);
    }
    await goesOn(world, { group: "team", members: ["alice", "bob", "carol", "dave"] });
  });
});

describe("C3 a torn write", () => {
  const scene = {
    name: "a commit and messages",
    base: grouped(["alice", "bob"], ["carol"]),
    online: ["alice", "bob", "carol"],
    steps: [
      (world: World) => {
        world.send("alice", ["bob"], "one", "team");
        world.send("bob", ["alice"], "two", "team");
      },
      (world: World) => invite(world, "alice", "carol"),
    ],
    victims: ["bob"],
    standing: [{ group: "team", members: ["alice", "bob", "carol"] }],
  };
  // Every write of every scene, before and after, is in tests/client/crash-*.test.ts.
  it("there is none: a process that dies before any write leaves a state that goes on", {
    timeout: 120_000,
  }, async () => {
    let points = 0;
    for (let at = 1; ; at++) {
      const { hit, problems } = await run(scene, { kind: "before-write", user: "bob", at });
      expect(problems, `write ${at}`).toEqual([]);
      if (!hit) break;
      points++;
    }
    expect(points).toBeGreaterThan(5);
  });
});

describe("C7 a welcome before its commit is accepted", () => {
  it("is out of reach: of two commits that add the same user, only the accepted one's welcome leads anywhere", async () => {
    const world = await openGroup(["alice", "bob"], ["carol"]);
    for (const user of ["alice", "bob"]) {
      world.call(user, (client) => client.invite("team", "carol").catch(() => {}));
    }
    await world.settle();
    const pointers = receivedBy(world, "carol").flatMap((frame) =>
      frame.type === "entries"
        ? frame.entries.filter((entry) => entry.form === "full" && entry.content.kind === EntryKind.pointer)
        : [],
    );
    expect(pointers).toHaveLength(1);
    await goesOn(world, { group: "team", members: ["alice", "bob", "carol"] });
  });
});

describe("C23 two members add the same user; a proposal that vanished", () => {
  it("one adds, the other is told that the user is a member", async () => {
    const world = await openGroup(["alice", "bob"], ["carol"]);
    const ends: string[] = [];
    for (const user of ["alice", "bob"]) {
      world.call(user, (client) =>
        client.invite("team", "carol").then(
          () => ends.push("added"),
          (error: { code: string }) => ends.push(error.code),
        ),
      );
    }
    await world.settle();
    expect(ends.sort()).toEqual(["added", "already-a-member"]);
    await goesOn(world, { group: "team", members: ["alice", "bob", "carol"] });
  });

  it("who proposed to leave while a commit won proposes again, until removed", async () => {
    const world = await openGroup(["alice", "bob", "carol"], ["dave"]);
    leaveGroup(world, "bob");
    invite(world, "alice", "dave");
    await world.settle();
    expect(refusalsOf(world, "bob").concat(refusalsOf(world, "alice"))).toContain("stale");
    expect(await users(world, "alice")).toEqual(["alice", "carol", "dave"]);
    await goesOn(world, { group: "team", members: ["alice", "carol", "dave"] });
  });
});
