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
