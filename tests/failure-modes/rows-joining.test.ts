import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { SubrosaError } from "../../src/base/errors.js";
import { decodeRelayFrame } from "../../src/wire/frames.js";
import { LogKind } from "../../src/wire/protocol.js";
import { agreeable, grouped, invite, joinGroup, registered } from "../client/crash-scenes.js";
import type { World } from "../client/crash-world.js";
import { goesOn, recover, sentBy } from "./tools.js";

const eventsOf = (world: World, user: string, name: string) =>
  world.device(user).events.filter((one) => one.name === name);

async function online(world: World, ...users: string[]): Promise<World> {
  for (const user of users) world.start(user);
  await world.settle();
  return world;
}

describe("C6 a welcome that was lost, or of a commit that lost", () => {
  it("stays at the relay: whose pointer never came joins with the next start, by what the relay lists", async () => {
    const world = await online(await grouped(["alice", "bob"], ["carol"])(), "alice", "bob", "carol");
    // The relay has lost everything in carol's inbox.
    world.transform = (user, direction, bytes) => {
      if (user !== "carol" || direction !== "in") return bytes;
      const frame = decodeRelayFrame(bytes.slice() as Bytes);
      return frame.type === "entries" && frame.log.kind === LogKind.inbox ? undefined : bytes;
    };
    invite(world, "alice", "carol");
    await world.settle();
    world.send("alice", ["bob", "carol"], "before carol knows of it", "team");
    await world.settle();
    expect(eventsOf(world, "carol", "invitation")).toEqual([]);
    world.kill("carol");
    await recover(world);
    expect(eventsOf(world, "carol", "invitation")).toHaveLength(1);
    await goesOn(world, { group: "team", members: ["alice", "bob", "carol"] });
  });

  it("a device that starts for the first time asks for nothing of the kind in vain", async () => {
    const world = await online(await registered("alice")(), "alice");
    expect(
      sentBy(world, "alice").filter((frame) => frame.type === "request" && frame.name === "listGroups"),
    ).toHaveLength(1);
  });

  it("a direct conversation is found that way too", async () => {
    const world = await online(await registered("alice", "bob")(), "alice", "bob");
    world.transform = (user, direction, bytes) => {
      if (user !== "bob" || direction !== "in") return bytes;
      const frame = decodeRelayFrame(bytes.slice() as Bytes);
      return frame.type === "entries" && frame.log.kind === LogKind.inbox ? undefined : bytes;
    };
    world.send("alice", ["bob"], "hello");
    await world.settle();
    expect(world.device("bob").taken).toEqual([]);
    world.kill("bob");
    await recover(world);
    expect(world.device("bob").taken.map(({ content }) => content)).toEqual(["hello"]);
    await goesOn(world, { members: ["alice", "bob"] });
  });
});

describe("C11 a double join, a join race", () => {
  it("who asks to join and is invited at the same moment becomes a member once", async () => {
    const world = await online(await grouped(["alice", "bob"], ["carol"])(), "alice", "bob", "carol");
    joinGroup(world, "carol");
    world.call("alice", (client) =>
      client.invite("team", "carol").catch((error) => {
        if (!SubrosaError.is(error) || error.code !== "already-a-member") throw error;
      }),
    );
    await world.settle();
    const members = await world.device("alice").life?.client.members("team");
    expect(members?.filter(({ userId }) => userId === "carol")).toHaveLength(1);
    expect(eventsOf(world, "carol", "groupJoin")).toHaveLength(1);
    await goesOn(world, { group: "team", members: ["alice", "bob", "carol"] });
  });

  it("the same welcome twice, by the inbox and by the relay's list, is one conversation", async () => {
    const world = await online(await grouped(["alice", "bob"], ["carol"])(), "alice", "bob");
    invite(world, "alice", "carol");
    await world.settle();
    // Both ways at once, with this start.
    world.start("carol");
    await world.settle();
    expect(eventsOf(world, "carol", "invitation")).toHaveLength(1);
    world.kill("carol");
    await recover(world);
    await goesOn(world, { group: "team", members: ["alice", "bob", "carol"] });
  });
});

describe("C22 two direct conversations of the same two users", () => {
  it("both write first at once: the relay takes one, the loser's messages go into it", async () => {
    const world = await online(await registered("alice", "bob")(), "alice", "bob");
    for (const n of [1, 2, 3]) {
      world.send("alice", ["bob"], `alice ${n}`);
      world.send("bob", ["alice"], `bob ${n}`);
    }
    await world.settle();
    for (const [user, other] of [
      ["alice", "bob"],
      ["bob", "alice"],
    ] as const) {
      expect(await world.device(user).life?.client.conversations()).toMatchObject([{ user: other }]);
    }
    await goesOn(world, { members: ["alice", "bob"] });
  });
});

describe("C26 an invitation that nobody accepted", () => {
  const invited = async () => {
    const world = await grouped(["alice", "bob"], ["carol"])();
    world.app = () => {};
    await online(world, "alice", "bob", "carol");
    invite(world, "alice", "carol");
    world.send("alice", ["bob", "carol"], "can carol read this?", "team");
    await world.settle();
    return world;
  };
  const answer = async (world: World, how: "accept" | "reject") => {
    const [invitation] = eventsOf(world, "carol", "invitation");
    const event = invitation?.event as Record<typeof how, () => Promise<void>> | undefined;
    world.call("carol", async () => event?.[how]());
    await world.settle();
  };

  it("is followed in the background: nothing is shown, and all of it once accepted", async () => {
    const world = await invited();
    expect(world.device("carol").taken).toEqual([]);
    expect(await world.device("carol").life?.client.groups()).toEqual([]);
    await answer(world, "accept");
    expect(world.device("carol").taken.map(({ content }) => content)).toEqual(["can carol read this?"]);
    await goesOn(world, { group: "team", members: ["alice", "bob", "carol"] });
  });

  it("leaves no leaf behind when it is refused", async () => {
    const world = await invited();
    world.sends.splice(0);
    await answer(world, "reject");
    expect(world.device("carol").taken).toEqual([]);
    const members = await world.device("bob").life?.client.members("team");
    expect(members?.map(({ userId }) => userId)).toEqual(["alice", "bob"]);
    agreeable(world);
    world.device("bob").taken.splice(0);
    await goesOn(world, { group: "team", members: ["alice", "bob"] });
  });
});
