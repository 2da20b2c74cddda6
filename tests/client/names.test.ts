import { afterEach, describe, expect, it, vi } from "vitest";
import { Conversations } from "../../src/client/conversations.js";
import { connectAll, startRelay } from "./harness.js";

afterEach(() => {
  vi.restoreAllMocks();
});

/** Lets clients make and administer a group whose name their own checks would refuse, under another name. */
function disguise(as: string, name: string): void {
  const { createGroup, invite } = Conversations.prototype;
  vi.spyOn(Conversations.prototype, "createGroup").mockImplementation(function (
    this: Conversations,
    given,
    join,
  ) {
    return createGroup.call(this, given === as ? name : given, join);
  });
  vi.spyOn(Conversations.prototype, "invite").mockImplementation(function (
    this: Conversations,
    given,
    ...rest
  ) {
    return invite.call(this, given === as ? name : given, ...rest);
  });
}

describe("names", () => {
  it.each([
    ["with a direction mark", "team\u202e"],
    ["in another normal form", "te\u0301am"],
  ])("of a group %s are nothing one is invited under", async (_what, name) => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    disguise("team", name);
    await alice.client.createGroup("team");
    await alice.client.invite("team", "bob");
    await alice.client.createGroup("honest");
    await alice.client.invite("honest", "bob");
    expect(await bob.event("invitation")).toMatchObject({ group: "honest" });
    expect(bob.all("invitation")).toHaveLength(1);
    expect(bob.errors).toEqual(["name-taken"]);
  });
});
