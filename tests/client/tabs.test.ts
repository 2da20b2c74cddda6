import { afterEach, describe, expect, it } from "vitest";
import type { ClientEvents } from "../../src/client/events.js";
import type { ClientOptions } from "../../src/client/options.js";
import { type Tab, TabsWorld } from "./tabs-world.js";

type TypingEvent = ClientEvents["typing"];

let world: TabsWorld;

afterEach(async () => {
  await world.close();
  expect(world.failures).toEqual([]);
});

/** Three tabs of alice, connected, and bob; all of them take messages. */
async function scene(options: Partial<ClientOptions> = {}) {
  world = new TabsWorld();
  const tabs = [1, 2, 3].map(() => world.tab("alice", options)) as [Tab, Tab, Tab];
  const bob = world.user("bob", options);
  for (const one of [...tabs, bob]) {
    one.listen();
    await world.result(one.client.connect(), `${one.name} to connect`);
  }
  return { tabs, bob };
}

describe("three tabs of one user", () => {
  it("send and receive at once, as one device", async () => {
    const { tabs, bob } = await scene();
    const sends = tabs.flatMap((tab) =>
      [1, 2, 3].map((n) => tab.client.sendDirectMessage("bob", `${tab.name} ${n}`)),
    );
    const ids = await world.result(Promise.all(sends));
    await world.until(() => bob.messages.length === 9);
    expect(bob.messages.map(({ id }) => id).sort()).toEqual([...ids].sort());
    for (const tab of tabs) {
      expect(bob.texts.filter((text) => text.startsWith(tab.name))).toEqual(
        [1, 2, 3].map((n) => `${tab.name} ${n}`),
      );
    }
    await world.result(bob.client.sendDirectMessage("alice", "to all"));
    await world.until(() => tabs.every((tab) => tab.texts.length === 1));
    expect(new Set(tabs.map(({ client }) => client.deviceId)).size).toBe(1);
    expect(tabs.map(({ client }) => client.state)).toEqual(["connected", "connected", "connected"]);
    expect(tabs.map((tab) => tab.all("connect").length)).toEqual([1, 1, 1]);
    await world.until(() => tabs.every((tab) => tab.all("receipt").length === tabs[0].all("receipt").length));
  });
});

describe("what is not stored", () => {
  it("comes from any tab, and to all of them: typing and presence, also when the owner is another", async () => {
    const { tabs, bob } = await scene({ presence: true });
    const [one, other] = tabs.filter((tab) => !tab.isOwner) as [Tab, Tab];
    await world.result(one.client.sendDirectMessage("bob", "hello"));
    await world.until(() => bob.messages.length === 1);
    await world.result(bob.client.sendDirectMessage("alice", "hello"));
    await world.until(() =>
      tabs.every((tab) => tab.messages.length === 1 && tab.all("presence").length === 1),
    );
    await world.until(() => bob.all("presence").length === 1);

    await world.result(one.client.setTyping("bob", true));
    await world.until(() => bob.all("typing").length === 1);
    await world.result(bob.client.setTyping("alice", true));
    await world.until(() => tabs.every((tab) => tab.all("typing").length === 1));
    const owner = tabs.find((tab) => tab.isOwner) as Tab;
    owner.crash();
    await world.until(() => one.isOwner || other.isOwner);
    // The new owner has not heard of it.
    await world.until(() => [one, other].every((tab) => tab.all("typing").length === 2));
    await world.pass(10_000);
    await world.result(other.client.setTyping("bob", true));
    await world.until(() => bob.all("typing").length === 3);
    await world.result(bob.client.setTyping("alice", true));
    await world.until(() => [one, other].every((tab) => tab.all("typing").length === 3));
    const typed = [true, false, true];
    expect(bob.all("typing").map((event) => (event as TypingEvent).typing)).toEqual(typed);
    for (const tab of [one, other]) {
      expect(tab.all("typing").slice(0, 3)).toEqual(typed.map((typing) => ({ userId: "bob", typing })));
    }
    // Who stays is there all the time, and who went without a word has gone for both of them.
    await world.pass(200_000);
    expect([one, other].map((tab) => tab.all("presence").length)).toEqual([1, 1]);
    bob.crash();
    const next = [one, other].find((tab) => tab.isOwner) as Tab;
    next.crash();
    const last = next === one ? other : one;
    await world.pass(200_000);
    expect(last.all("presence")).toMatchObject([true, false].map((online) => ({ userId: "bob", online })));
  });
});

/** Every text once, and in the order of each tab that sent it. */
function expectOnceInOrder(texts: readonly string[], tabs: readonly { name: string }[], each: number): void {
  for (const { name } of tabs) {
    const own = texts.filter((text) => text.startsWith(`${name} `));
    expect(own).toEqual(Array.from({ length: each }, (_, n) => `${name} ${n}`));
  }
}

describe("the owner", () => {
  const EACH = 6;
  /** Every so many-th write is tried. */
  const STEP = 9;

  /** All tabs and bob send; at the owner's write number `at` from here, `fate` befalls it. */
  async function story(fate: "crash" | "freeze" | "told", when: "before" | "after", at: number) {
    const { tabs, bob } = await scene();
    await world.result(tabs[1].client.sendDirectMessage("bob", "hello"));
    await world.until(() => bob.messages.length === 1);
    await world.result(bob.client.sendDirectMessage("alice", "hello"));
    await world.until(() => tabs.every((tab) => tab.messages.length === 1));
    const owner = tabs.find((tab) => tab.isOwner) as Tab;
    let left = at;
    world[when === "before" ? "beforeWrite" : "afterWrite"] = (tab) => {
      if (tab !== owner || left-- !== 0) return;
      if (fate === "crash") owner.crash();
      else if (fate === "freeze") owner.freeze();
      else owner.freezeTold();
    };
    const results: Promise<unknown>[] = [];
    for (let n = 0; n < EACH; n++) {
      for (const tab of tabs) {
        const sending = tab.client.sendDirectMessage("bob", `${tab.name} ${n}`);
        sending.catch(() => {});
        if (tab !== owner || fate !== "crash") results.push(sending);
      }
      results.push(bob.client.sendDirectMessage("alice", `bob1 ${n}`));
    }
    const others = tabs.filter((tab) => tab !== owner);
    return { tabs, owner, others, bob, results, hit: () => left < 0 };
  }

  for (const when of ["before", "after"] as const) {
    it(`is followed by another when it crashes ${when} any write: nothing is lost, nothing comes twice`, async () => {
      let at = 0;
      for (; ; at += STEP) {
        const { owner, others, bob, results, hit } = await story("crash", when, at);
        await world.until(() => hit() || bob.texts.length === 1 + 3 * EACH);
        if (!hit()) break;
        await world.result(Promise.all(results), `sends after a crash at ${at}`);
        await world.until(() => others.every((tab) => tab.texts.length === 1 + EACH), `all messages ${at}`);
        await world.until(() => others.every((tab) => expectable(bob.texts, tab)), `bob has all ${at}`);
        await world.pass(20_000);
        expectOnceInOrder(bob.texts, others, EACH);
        for (const tab of others) expectOnceInOrder(tab.texts, [bob], EACH);
        // What the dead one was promised arrives as well; what it was not may.
        const own = bob.texts.filter((text) => text.startsWith(`${owner.name} `));
        expect(own).toEqual(own.map((_, n) => `${owner.name} ${n}`));
        await world.close();
      }
      console.log(`${when}: ${at / STEP} crashes`);
      expect(at).toBeGreaterThan(4 * STEP);
    }, 120_000);

    it.each(["freeze", "told"] as const)(
      `follows another after it was frozen ${when} any write and thawed: nothing is lost, nothing comes twice (%s)`,
      async (fate) => {
        let at = 0;
        for (; ; at += STEP) {
          const { tabs, owner, others, bob, results, hit } = await story(fate, when, at);
          await world.until(() => hit() || bob.texts.length === 1 + 3 * EACH);
          if (!hit()) break;
          await world.until(() => others.every((tab) => tab.texts.length === 1 + EACH), `all messages ${at}`);
          await world.until(() => others.every((tab) => expectable(bob.texts, tab)), `bob has all ${at}`);
          if (fate === "told") owner.thawTold();
          else owner.thaw();
          await world.result(Promise.all(results), `sends after a thaw at ${at}`);
          await world.until(
            () => tabs.every((tab) => expectable(bob.texts, tab)),
            `bob has the owner's ${at}`,
          );
          const more = tabs.map((tab) => tab.client.sendDirectMessage("bob", `${tab.name} ${EACH}`));
          await world.result(Promise.all(more));
          await world.result(bob.client.sendDirectMessage("alice", `bob1 ${EACH}`));
          await world.until(() => tabs.every((tab) => tab.texts.includes(`bob1 ${EACH}`)), `the last ${at}`);
          await world.pass(20_000);
          expectOnceInOrder(bob.texts, tabs, EACH + 1);
          for (const tab of tabs) expectOnceInOrder(tab.texts, [bob], EACH + 1);
          expect(tabs.filter((tab) => tab.isOwner).length).toBe(1);
          expect(tabs.map(({ client }) => client.state)).toEqual(["connected", "connected", "connected"]);
          for (const tab of tabs) {
            expect(tab.all("error")).toEqual([]);
            expect(tab.all("connect").length - tab.all("disconnect").length).toBe(1);
          }
          await world.close();
        }
        console.log(`${when}: ${at / STEP} freezes`);
        expect(at).toBeGreaterThan(4 * STEP);
      },
      120_000,
    );
  }

  const expectable = (texts: readonly string[], { name }: Tab) => texts.includes(`${name} ${EACH - 1}`);
});
