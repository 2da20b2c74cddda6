import { describe, expect, it } from "vitest";
import { asBytes } from "../../src/base/bytes.js";
import { decodeClientFrame, decodeRelayFrame } from "../../src/wire/frames.js";
import { EntryKind, LogKind } from "../../src/wire/protocol.js";
import { grouped, invite } from "../client/crash-scenes.js";
import type { World } from "../client/crash-world.js";
import { appendIn, goesOn, openGroup, refusalsOf, sentBy } from "./tools.js";

async function trio(): Promise<World> {
  const world = await grouped(["alice", "bob"], ["carol"])();
  for (const user of ["alice", "bob", "carol"]) world.start(user);
  await world.settle();
  // Both have renewed their keys: what is sent from here on needs no commit first.
  world.send("alice", ["bob"], "first of alice", "team");
  await world.settle();
  world.send("bob", ["alice"], "first of bob", "team");
  await world.settle();
  world.frames.length = 0;
  return world;
}

const isGroupPush = (bytes: Uint8Array) => {
  const frame = decodeRelayFrame(asBytes(bytes.slice()));
  return frame.type === "entries" && frame.log.kind === LogKind.group;
};

const textsOf = (world: World, user: string) => world.device(user).taken.map(({ content }) => content);

describe("C5 a message that is late or out of order", () => {
  it("sealed in an epoch that ended before it reached the relay: sealed anew, once and in its order", async () => {
    const world = await trio();
    const late: Uint8Array[] = [];
    world.transform = (user, direction, bytes) => {
      const isAppend =
        user === "bob" &&
        direction === "out" &&
        appendIn(decodeClientFrame(asBytes(bytes.slice())), EntryKind.application) !== undefined;
      if (!isAppend || late.length === 3) return bytes;
      late.push(bytes.slice());
      return undefined;
    };
    for (const n of [1, 2, 3]) world.send("bob", ["alice"], `late ${n}`, "team");
    await world.settle(100);
    expect(late).toHaveLength(3);
    invite(world, "alice", "carol");
    await world.settle(100);
    for (const frame of late) world.wire("bob").smuggle(frame);
    await world.settle();
    expect(refusalsOf(world, "bob")).toEqual(["stale", "stale", "stale"]);
    expect(textsOf(world, "alice").slice(-3)).toEqual(["late 1", "late 2", "late 3"]);
    const carol = textsOf(world, "carol");
    expect(carol.every((text) => String(text).startsWith("late"))).toBe(true);
    for (const sent of world.sends)
      if (sent.text.startsWith("late")) Object.assign(sent, { to: ["alice", "carol"] });
    await goesOn(world, { group: "team", members: ["alice", "bob", "carol"] });
  });

  it("sealed before a commit that is read with the next session: stays before what was written meanwhile", async () => {
    const world = await openGroup(["alice", "bob"], ["carol"]);
    for (const [from, to] of [
      ["alice", "bob"],
      ["bob", "alice"],
    ] as const) {
      world.send(from, [to], `first of ${from}`, "team");
      await world.settle();
    }
    // What alice sends is lost on its way, and with it the connection.
    world.transform = (user, direction, bytes) => {
      if (user !== "alice" || direction !== "out") return bytes;
      return appendIn(decodeClientFrame(asBytes(bytes.slice())), EntryKind.application) ? undefined : bytes;
    };
    for (const text of ["one", "two", "three"]) world.send("alice", ["bob", "carol"], text, "team");
    await world.settle(100);
    world.disconnect("alice");
    world.transform = (_user, _direction, bytes) => bytes;
    invite(world, "bob", "carol");
    await world.settle(100);
    world.send("alice", ["bob", "carol"], "fourth", "team");
    world.reconnect("alice");
    await world.settle();
    expect(textsOf(world, "bob").slice(-4)).toEqual(["one", "two", "three", "fourth"]);
    await goesOn(world, { group: "team", members: ["alice", "bob", "carol"] });
  });

  it("put out of order by the relay: read again in the log's order, once", async () => {
    const world = await trio();
    let held: Uint8Array | undefined;
    let swapped = false;
    world.transform = (user, direction, bytes) => {
      if (user !== "bob" || direction !== "in" || swapped || !isGroupPush(bytes)) return bytes;
      if (held === undefined) {
        held = bytes.slice();
        return undefined;
      }
      swapped = true;
      const late = held;
      queueMicrotask(() => world.wire("bob").inject(late));
      return bytes;
    };
    world.send("alice", ["bob"], "one", "team");
    await world.settle(100);
    world.send("alice", ["bob"], "two", "team");
    await world.settle();
    expect(swapped).toBe(true);
    expect(textsOf(world, "bob").slice(-2)).toEqual(["one", "two"]);
    // Told as what it is, a relay that does not keep to the protocol; nothing else comes of it.
    const errors = world.device("bob").events.filter(({ name }) => name === "error");
    expect(errors.map(({ event }) => (event as { code: string }).code)).toEqual(["protocol-error"]);
    world.device("bob").events.splice(0);
    await goesOn(world, { group: "team", members: ["alice", "bob"] });
  });
});

describe("C13 a replay", () => {
  it("by the relay, of every frame it ever sent: each message comes once", async () => {
    const world = await trio();
    const sent: Uint8Array[] = [];
    world.transform = (user, direction, bytes) => {
      if (user === "bob" && direction === "in" && isGroupPush(bytes)) sent.push(bytes.slice());
      return bytes;
    };
    for (const n of [1, 2, 3]) world.send("alice", ["bob"], `text ${n}`, "team");
    await world.settle();
    expect(sent.length).toBeGreaterThan(0);
    for (const frame of sent) world.wire("bob").inject(frame);
    await world.settle();
    world.kill("bob");
    world.revive();
    await world.settle();
    for (const frame of sent) world.wire("bob").inject(frame);
    await world.settle();
    expect(textsOf(world, "bob").slice(-3)).toEqual(["text 1", "text 2", "text 3"]);
    await goesOn(world, { group: "team", members: ["alice", "bob"] });
  });
});

describe("C20 an acknowledgement of something that was not processed", () => {
  it("there is none: what is not durable is not acknowledged, and what is comes never again", async () => {
    const world = await trio();
    const bob = world.device("bob");
    let open = () => {};
    bob.gate = new Promise((resolve) => {
      open = resolve;
    });
    const acks = () =>
      sentBy(world, "bob").filter((frame) => frame.type === "ack" && frame.log.kind === LogKind.group);
    world.send("alice", ["bob"], "not written yet", "team");
    await world.settle();
    expect(acks()).toEqual([]);
    // It dies with the write: the relay still has the message.
    world.kill("bob");
    bob.gate = undefined;
    open();
    world.revive();
    await world.settle();
    expect(acks().length).toBeGreaterThan(0);
    expect(textsOf(world, "bob").filter((text) => text === "not written yet")).toHaveLength(1);
    await goesOn(world, { group: "team", members: ["alice", "bob"] });
  });
});
