import { afterEach, describe, expect, it } from "vitest";
import { codeOf as codeOfCall } from "../harness/code-of.js";
import { OpenChannel, type Person, type Tab, TabsWorld } from "./tabs-world.js";

const NAME = "ws://relay.test/ alice";

let world: TabsWorld;

afterEach(async () => {
  await world.close();
  expect(world.failures).toEqual([]);
});

/** Two tabs of alice, and bob; all connected. */
async function scene(): Promise<{ owner: Tab; other: Tab; bob: Person }> {
  world = new TabsWorld();
  const [owner, other, bob] = [world.tab("alice"), world.tab("alice"), world.user("bob")];
  for (const one of [owner, other, bob]) await world.result(one.client.connect(), `${one.name} to connect`);
  expect(owner.isOwner).toBe(true);
  return { owner, other, bob };
}

const codeOf = (call: Promise<unknown>) => world.result(codeOfCall(call));
const callRecords = () => world.places.get("alice")?.under("call/") ?? [];

describe("the channel of the tabs", () => {
  /** Everything that is no message of this version, one part of it wrong. */
  function* malformed(): Generator<unknown> {
    yield* [
      undefined,
      null,
      1,
      "hello",
      true,
      [],
      {},
      { subrosa: 1 },
      new Uint8Array(9),
      new Map(),
      new Date(0),
    ];
    const head = { subrosa: 1, from: "f".repeat(32), tenure: 1e9 };
    for (const side of ["tab", "owner", "__proto__", "constructor", 7]) {
      for (const type of [
        "hello",
        "call",
        "settled",
        "owner",
        "event",
        "message",
        "toString",
        "__proto__",
        7,
      ]) {
        for (const body of [{ type }, { type, id: "1", to: 1, args: {}, message: 1 }])
          yield { ...head, side, body };
      }
      yield { ...head, side, body: null };
      yield { ...head, side, body: "ping" };
    }
    yield { ...head, side: "tab", from: 1, body: { type: "ping" } };
    yield { ...head, side: "tab", tenure: "1", body: { type: "ping" } };
    yield { ...head, side: "tab", subrosa: "1", body: { type: "ping" } };
    yield { ...head, side: "tab", subrosa: 2, body: { type: "bye" } };
    yield {
      ...head,
      side: "tab",
      subrosa: 2,
      body: { type: "call", id: 1, name: "leave", args: [], repeated: true },
    };
  }

  it("ignores what is malformed and what tabs of another version say", async () => {
    const { owner, other, bob } = await scene();
    for (const tab of [owner, other]) tab.listen();
    bob.listen();
    const page = new OpenChannel(world, bob, `subrosa:${NAME}`);
    let count = 0;
    for (const data of malformed()) {
      page.postMessage(data);
      count++;
    }
    expect(count).toBeGreaterThan(100);
    await world.pass(5_000);
    expect([owner, other].map(({ client }) => client.state)).toEqual(["connected", "connected"]);
    expect([owner, other].map((tab) => [tab.all("error"), tab.all("disconnect")])).toEqual([
      [[], []],
      [[], []],
    ]);
    await world.result(other.client.sendDirectMessage("bob", "still here"));
    await world.until(() => bob.texts.length === 1);
    await world.result(bob.client.sendDirectMessage("alice", "and here"));
    await world.until(() => owner.texts.length === 1 && other.texts.length === 1);
    page.close();
  });

  it("says store-in-use to a tab of another build that asks for what there is not", async () => {
    const { owner, bob } = await scene();
    const page = new OpenChannel(world, bob, `subrosa:${NAME}`);
    const from = "e".repeat(32);
    const refusals: unknown[] = [];
    page.addEventListener("message", ({ data }) => {
      const { side, tenure, body } = data as { side: string; tenure: number; body: { type: string } };
      const say = (asked: unknown) =>
        page.postMessage({ subrosa: 1, from, tenure, side: "tab", body: asked });
      if (side !== "owner") return;
      if (body.type === "owner") say({ type: "call", id: 7, name: "levitate", args: [], repeated: false });
      if (body.type === "refusal") refusals.push(body);
    });
    const hello = { type: "hello", listening: false };
    page.postMessage({ subrosa: 1, from, tenure: 0, side: "tab", body: hello });
    await world.until(() => refusals.length > 0);
    expect(refusals[0]).toMatchObject({ to: from, id: 7, error: { code: "store-in-use" } });
    expect(owner.client.state).toBe("connected");
    page.close();
  });

  it("says store-in-use where the owner is of another version, and waits for it to go when it is open", async () => {
    world = new TabsWorld();
    const stranger = world.user("stranger");
    const page = new OpenChannel(world, stranger, `subrosa:${NAME}`);
    page.addEventListener("message", () =>
      page.postMessage({ subrosa: 2, side: "owner", says: "something" }),
    );
    let leave = () => {};
    const held = new Promise<void>((resolve) => {
      leave = resolve;
    });
    void world.locks.of(stranger).request(`subrosa-owner:${NAME}`, {}, () => held);
    const tab = world.tab("alice");
    expect(await codeOf(tab.client.connect())).toBe("store-in-use");
    leave();
    page.close();
    expect(await codeOf(tab.client.connect())).toBe("done");
  });
});

describe("a tab that is not the owner", () => {
  it("gives up connecting when it is told to, and then nobody connects", async () => {
    world = new TabsWorld();
    const [owner, other] = [world.tab("alice"), world.tab("alice")];
    await world.result(owner.client.groups());
    await world.result(other.client.groups());
    expect(await codeOf(other.client.connect({ signal: AbortSignal.abort() }))).toBe("aborted");
    await world.pass(5_000);
    expect([owner, other].map(({ client }) => client.state)).toEqual(["idle", "idle"]);
    world.isOffline = true;
    const abort = new AbortController();
    const connecting = codeOf(other.client.connect({ signal: abort.signal }));
    await world.until(() => owner.client.state === "connecting");
    abort.abort();
    expect(await connecting).toBe("aborted");
    await world.pass(5_000);
    expect([owner, other].map(({ client }) => client.state)).toEqual(["idle", "idle"]);
    world.isOffline = false;
    await world.pass(60_000);
    expect([owner, other].map(({ client }) => client.state)).toEqual(["idle", "idle"]);
    await world.result(other.client.connect());
    expect([owner, other].map(({ client }) => client.state)).toEqual(["connected", "connected"]);
  });

  it("closes alone: what it has sent goes out, what it waits for ends, nobody waits for it", async () => {
    const { owner, other, bob } = await scene();
    bob.listen();
    owner.listen();
    // This one never is done with a message.
    other.listen(() => new Promise(() => {}));
    await world.result(bob.client.createGroup("team"));
    const joining = codeOf(other.client.joinGroup("team", { timeout: 1e6 }));
    await world.result(bob.client.sendDirectMessage("alice", "first"));
    await world.result(bob.client.sendDirectMessage("alice", "second"));
    await world.until(() => other.texts.length === 1);
    await world.result(other.client.sendDirectMessage("bob", "last words"));
    expect(await world.result(other.client.close())).toBe(0);
    expect(await joining).toBe("closed");
    await world.until(() => bob.texts.length === 1 && owner.texts.length === 2);
    expect(other.texts).toEqual(["first"]);
    expect(await codeOf(other.client.groups())).toBe("closed");
    expect(owner.client.state).toBe("connected");
    await world.pass(1_000);
    expect(world.locks.names().filter((name) => name.startsWith("subrosa-tab:")).length).toBe(1);
    expect(callRecords()).toEqual([]);
  });

  it("iterates over messages across a change of the owner: each once, in order", async () => {
    const { owner, other, bob } = await scene();
    const got: unknown[] = [];
    const waits: (() => void)[] = [];
    const abort = new AbortController();
    const loop = (async () => {
      for await (const { content } of other.client.messages({ signal: abort.signal })) {
        got.push(content);
        await new Promise<void>((resolve) => waits.push(resolve));
      }
    })();
    for (const text of ["1", "2", "3"]) await world.result(bob.client.sendDirectMessage("alice", text));
    await world.until(() => got.length === 1);
    owner.crash();
    await world.until(() => other.isOwner && other.all("connect").length === 2);
    await world.pass(5_000);
    expect(got).toEqual(["1"]);
    await world.result(bob.client.sendDirectMessage("alice", "4"));
    for (const count of [2, 3, 4]) {
      waits.shift()?.();
      await world.until(() => got.length === count);
    }
    waits.shift()?.();
    await world.pass(5_000);
    abort.abort();
    await world.result(loop);
    expect(got).toEqual(["1", "2", "3", "4"]);
    const next = world.tab("alice");
    next.listen();
    await world.result(next.client.connect());
    await world.pass(5_000);
    expect(next.texts).toEqual([]);
  });
});

describe("records of calls", () => {
  it("go with the answer, or with the tab that asked", async () => {
    const { owner, other, bob } = await scene();
    let most = 0;
    world.afterWrite = () => {
      most = Math.max(most, callRecords().length);
    };
    const send = (n: number) => world.result(other.client.sendDirectMessage("bob", `${n}`));
    for (let n = 0; n < 20; n++) await send(n);
    await world.pass(1_000);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThan(5);
    // What was answered last goes with the next send.
    expect(callRecords().length).toBe(1);
    other.crash();
    await world.until(() => callRecords().length === 0);
    // The owner's own need none.
    most = 0;
    await world.result(owner.client.sendDirectMessage("bob", "own"));
    await world.pass(1_000);
    expect(most).toBe(0);
    expect(bob.client.state).toBe("connected");
  });

  it("go when nobody is left of those who asked", async () => {
    const { owner, other } = await scene();
    await world.result(other.client.sendDirectMessage("bob", "hello"));
    expect(callRecords().length).toBe(1);
    for (const tab of [other, owner]) tab.crash();
    const next = world.tab("alice");
    await world.result(next.client.groups());
    await world.until(() => callRecords().length === 0);
  });
});

describe("a device that is enrolled anew", () => {
  it("is known in all tabs by its new id, and why", async () => {
    const { owner, other, bob } = await scene();
    bob.listen();
    const place = world.places.get("alice");
    await world.result(other.client.sendDirectMessage("bob", "one"));
    await world.until(() => bob.texts.length === 1);
    const before = owner.client.deviceId;
    for (const tab of [owner, other]) await world.result(tab.client.close());
    const restore = place?.backup();
    const later = world.tab("alice");
    await world.result(later.client.connect());
    await world.result(later.client.sendDirectMessage("bob", "two"));
    await world.until(() => bob.texts.length === 2);
    await world.result(later.client.close());
    restore?.();
    const tabs = [world.tab("alice"), world.tab("alice")];
    for (const tab of tabs) {
      await world.result(tab.client.groups());
      expect(tab.client.deviceId).toBe(before);
    }
    await world.result(Promise.all(tabs.map((tab) => tab.client.connect())));
    await world.until(() => tabs.every((tab) => tab.all("storeRecovered").length === 1));
    const ids = tabs.map(({ client }) => client.deviceId);
    expect(ids[0]).not.toBe(before);
    expect(ids[1]).toBe(ids[0]);
    await world.result((tabs[1] as Tab).client.sendDirectMessage("bob", "three"));
    await world.until(() => bob.texts.includes("three"));
  });
});
