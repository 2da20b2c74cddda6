import { afterEach, describe, expect, it } from "vitest";
import { type Tab, TabsWorld } from "./tabs-world.js";

let world: TabsWorld;

afterEach(async () => {
  await world.close();
  expect(world.failures).toEqual([]);
});

/** Three tabs of alice, connected, and bob; all of them take messages. */
async function scene() {
  world = new TabsWorld();
  const tabs = [world.tab("alice"), world.tab("alice"), world.tab("alice")] as [Tab, Tab, Tab];
  const bob = world.user("bob");
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
