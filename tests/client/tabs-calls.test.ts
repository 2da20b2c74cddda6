import { afterEach, describe, expect, it } from "vitest";
import { SubrosaError } from "../../src/base/errors.js";
import { Client } from "../../src/client/client.js";
import type { InvitationEvent, JoinRequestEvent } from "../../src/client/events.js";
import { codeOf as codeOfCall } from "../harness/code-of.js";
import { type Person, type Tab, TabsWorld } from "./tabs-world.js";

let world: TabsWorld;

afterEach(async () => {
  await world?.close();
  expect(world?.failures ?? []).toEqual([]);
});

interface Scene {
  readonly owner: Tab;
  readonly other: Tab;
  readonly bob: Person;
}

/** Two tabs of alice, and bob; all connected. */
async function scene(): Promise<Scene> {
  world = new TabsWorld();
  const [owner, other, bob] = [world.tab("alice"), world.tab("alice"), world.user("bob")];
  for (const one of [owner, other, bob]) await world.result(one.client.connect(), `${one.name} to connect`);
  expect(owner.isOwner).toBe(true);
  return { owner, other, bob };
}

const codeOf = (call: Promise<unknown>) => world.result(codeOfCall(call));
const groupsOf = async ({ client }: Person) =>
  (await world.result(client.groups())).map(({ name }) => name).sort();
const membersOf = async ({ client }: Person) =>
  (await world.result(client.members("team"))).map(({ userId }) => userId).sort();

async function bobComes({ other, bob }: Scene): Promise<void> {
  await world.result(other.client.invite("team", "bob"));
  await world.until(() => bob.all("invitation").length === 1);
  await world.result((bob.all("invitation")[0] as InvitationEvent).accept());
}

/** Asks for something from the tab that is not the owner, which crashes at each of its writes in turn. */
async function tryEach(
  prepare: (scene: Scene) => Promise<void>,
  ask: (scene: Scene) => Promise<unknown>,
  check: (scene: Scene) => Promise<void>,
): Promise<void> {
  let at = 0;
  for (; ; at++) {
    const now = await scene();
    await prepare(now);
    let left = at;
    world.beforeWrite = (tab) => {
      if (tab === now.owner && left-- === 0) now.owner.crash();
    };
    await world.result(ask(now), `an answer after a crash at write ${at}`);
    world.beforeWrite = () => {};
    const isHit = left < 0;
    if (!isHit) now.owner.crash();
    await check(now);
    if (!isHit) break;
    await world.close();
  }
  expect(at).toBeGreaterThan(0);
}

describe("what a tab asked for when the owner crashes is done once", () => {
  const createGroup = async ({ other }: Scene) => world.result(other.client.createGroup("team"));

  it("createGroup", async () => {
    await tryEach(
      async () => {},
      ({ other }) => other.client.createGroup("team"),
      async ({ other }) => expect(await groupsOf(other)).toEqual(["team"]),
    );
  });

  it("joinGroup", async () => {
    await tryEach(
      ({ bob }) => world.result(bob.client.createGroup("team", { join: "open" })),
      ({ other }) => other.client.joinGroup("team"),
      async ({ other, bob }) => {
        expect(await groupsOf(other)).toEqual(["team"]);
        expect(await membersOf(bob)).toEqual(["alice", "bob"]);
      },
    );
  });

  it("invite", async () => {
    await tryEach(
      createGroup,
      ({ other }) => other.client.invite("team", "bob"),
      async ({ other, bob }) => {
        await world.until(() => bob.all("invitation").length === 1);
        expect(await membersOf(other)).toEqual(["alice", "bob"]);
      },
    );
  });

  it("remove", async () => {
    await tryEach(
      async (now) => {
        await createGroup(now);
        await bobComes(now);
      },
      ({ other }) => other.client.remove("team", "bob"),
      async ({ other, bob }) => {
        await world.until(() => bob.all("groupLeave").length === 1);
        expect(await membersOf(other)).toEqual(["alice"]);
      },
    );
  });

  it("leaveGroup", async () => {
    await tryEach(
      async ({ other, bob }) => {
        await world.result(bob.client.createGroup("team", { join: "open" }));
        await world.result(other.client.joinGroup("team"));
      },
      ({ other }) => other.client.leaveGroup("team"),
      async ({ other, bob }) => {
        expect(await groupsOf(other)).toEqual([]);
        await world.until(() => bob.all("memberLeave").length === 1);
        expect(await membersOf(bob)).toEqual(["bob"]);
      },
    );
  });

  it("deleteGroup", async () => {
    await tryEach(
      async (now) => {
        await createGroup(now);
        await bobComes(now);
      },
      ({ other }) => other.client.deleteGroup("team"),
      async ({ other, bob }) => {
        expect(await groupsOf(other)).toEqual([]);
        await world.until(() => bob.all("groupDeleted").length === 1);
      },
    );
  });

  it("joinRequest.approve", async () => {
    await tryEach(
      async (now) => {
        await createGroup(now);
        now.bob.client.joinGroup("team", { timeout: 1e6 }).catch(() => {});
        await world.until(() => now.other.all("joinRequest").length === 1);
      },
      ({ other }) => (other.all("joinRequest")[0] as JoinRequestEvent).approve(),
      async ({ other, bob }) => {
        await world.until(() => bob.all("groupJoin").length === 1);
        await world.pass(20_000);
        expect(await membersOf(other)).toEqual(["alice", "bob"]);
        expect(other.all("joinRequest").length).toBe(1);
      },
    );
  });

  it("invitation.accept", async () => {
    await tryEach(
      async ({ other, bob }) => {
        await world.result(bob.client.createGroup("team"));
        await world.result(bob.client.invite("team", "alice"));
        await world.until(() => other.all("invitation").length === 1);
      },
      ({ other }) => (other.all("invitation")[0] as InvitationEvent).accept(),
      async ({ other }) => {
        expect(await groupsOf(other)).toEqual(["team"]);
        await world.pass(20_000);
        expect(other.all("invitation").length).toBe(1);
      },
    );
  });
});

describe("join requests and invitations", () => {
  it("are shown once in each tab, whichever owns the store, and a new one at once", async () => {
    const { owner, other, bob } = await scene();
    await world.result(other.client.createGroup("team"));
    const refused = codeOf(bob.client.joinGroup("team", { timeout: 1e6 }));
    await world.until(() => other.all("joinRequest").length === 1);
    const late = world.tab("alice");
    await world.result(late.client.connect());
    await world.until(() => late.all("joinRequest").length === 1);
    owner.crash();
    await world.until(() => other.all("connect").length === 2 && late.all("connect").length === 2);
    const request = late.all("joinRequest")[0] as JoinRequestEvent;
    await world.result(request.reject());
    expect(await refused).toBe("join-rejected");
    bob.client.joinGroup("team", { timeout: 1e6 }).catch(() => {});
    await world.until(() => [other, late].every((tab) => tab.all("joinRequest").length === 2));
    await world.result((other.all("joinRequest")[1] as JoinRequestEvent).approve());
    await world.until(() => bob.all("groupJoin").length === 1);
    await world.pass(20_000);
    expect([other, late].map((tab) => tab.all("joinRequest").length)).toEqual([2, 2]);
    // It is answered: who comes later is not asked.
    const last = world.tab("alice");
    await world.result(last.client.connect());
    await world.pass(5_000);
    expect(last.all("joinRequest")).toEqual([]);
  });

  it("are not shown to a tab that comes later than an invitation was withdrawn, and refused in the others", async () => {
    const { other, bob } = await scene();
    await world.result(bob.client.createGroup("team"));
    await world.result(bob.client.invite("team", "alice"));
    await world.until(() => other.all("invitation").length === 1);
    await world.result(bob.client.remove("team", "alice"));
    await world.pass(5_000);
    const late = world.tab("alice");
    await world.result(late.client.connect());
    await world.pass(5_000);
    expect(late.all("invitation")).toEqual([]);
    expect(await codeOf((other.all("invitation")[0] as InvitationEvent).accept())).toBe("not-a-member");
    await world.result(bob.client.invite("team", "alice"));
    await world.until(() => [other, late].every((tab) => tab.all("invitation").length > 0));
    await world.result((late.all("invitation")[0] as InvitationEvent).accept());
    expect(await groupsOf(other)).toEqual(["team"]);
  });
});

describe("where the page may not use IndexedDB", () => {
  afterEach(() => {
    Reflect.deleteProperty(globalThis, "indexedDB");
  });

  it.each([
    [
      "its getter throws",
      () => {
        throw new DOMException("denied", "SecurityError");
      },
    ],
    ["it is null", () => null],
  ])("a client says storage-refused: %s", async (_, get) => {
    Object.defineProperty(globalThis, "indexedDB", { configurable: true, get });
    const client = new Client({ url: "ws://127.0.0.1:9", userId: "alice" });
    await expect(client.groups()).rejects.toMatchObject({ code: "storage-refused" });
    expect(await client.close()).toBe(0);
    await expect(client.groups()).rejects.toBeInstanceOf(SubrosaError);
  });
});
