import { expect, it } from "vitest";
import { memoryStore } from "../../src/index.js";
import { openMemoryStorage } from "../../src/relay.js";
import { connected, startRelay } from "./harness.js";

it("a first pointer that retention dropped leaves the inbox alive", async () => {
  const storage = openMemoryStorage();
  const relay = await startRelay({ storage });
  const store = memoryStore();
  const one = await connected(relay, "bob", { store });
  const alice = await connected(relay, "alice");
  await one.client.close();
  await alice.client.createGroup("g1");
  await alice.client.invite("g1", "bob");
  for (let i = 0; i < 20; i++)
    await storage.prune({ now: Date.now() + 1, retention: 0, maxLogBytes: 1e9, batch: 1000 } as never);
  const bob = await connected(relay, "bob", { store });
  await alice.client.sendDirectMessage("bob", "hello");
  await bob.message("hello");
  expect(bob.errors).toEqual([]);
});
