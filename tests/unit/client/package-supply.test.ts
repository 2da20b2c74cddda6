import { expect, it } from "vitest";
import { SubrosaError } from "../../../src/base/errors.js";
import { KeyPackages } from "../../../src/client/identity/key-packages.js";
import { loadIdentity } from "../../../src/client/identity/own-identity.js";
import { PackageSupply } from "../../../src/client/identity/package-supply.js";
import { memoryStore } from "../../../src/index.js";
import type { BodyOf } from "../../../src/wire/requests.js";
import { ManualClock, settle } from "../transport/manual-clock.js";

/** A device with a store, and a relay of this test that counts what it is given. */
async function setUp() {
  const store = await memoryStore().open("x");
  const loaded = await loadIdentity(store, "bob");
  const identity =
    "identity" in (loaded as object) ? (loaded as unknown as { identity: never }).identity : loaded;
  const write = async (
    changes: readonly (Parameters<typeof store.write>[0][number] & { applied?: () => void })[],
  ) => {
    await store.write(changes);
    for (const { applied } of changes) applied?.();
  };
  const keyPackages = await KeyPackages.load(store, write as never, identity as never);
  const clock = new ManualClock();
  const relay = { held: 0, lastResorts: 0, requests: 0, error: undefined as SubrosaError | undefined };
  const errors: unknown[] = [];
  const supply = new PackageSupply({
    keyPackages,
    clock,
    identity: { userId: "bob" },
    relay: {
      isReady: true,
      request: (async (name: string, body: unknown) => {
        if (name === "fetchKeyPackages") {
          relay.held--;
          return { devices: [] };
        }
        const { oneTime, lastResort } = body as BodyOf<"publishKeyPackages">;
        relay.requests++;
        if (relay.error !== undefined) throw relay.error;
        relay.held += oneTime.length;
        if (lastResort) relay.lastResorts++;
        return { oneTime: relay.held };
      }) as never,
    },
    background: (work) => void work.catch((error) => errors.push(error)),
  });
  const ready = (registered = false) =>
    supply.begin({ registered, keyPackages: relay.held, maxFrameBytes: 1e6, time: clock.now() });
  const stored = async () => (await store.list("key-package/")).length;
  return { supply, relay, clock, ready, stored, errors, keyPackages };
}

/** Crypto is not made of microtasks: looks again until it is so. */
async function until(test: () => boolean): Promise<void> {
  while (!test()) await new Promise((resolve) => setImmediate(resolve));
}

it("publishes a few before anything else, then the rest, and a last resort", async () => {
  const { supply, relay, ready } = await setUp();
  await ready(true);
  expect([relay.held, relay.lastResorts]).toEqual([8, 1]);
  await supply.complete();
  expect([relay.held, relay.lastResorts]).toEqual([32, 1]);
});

it("looks every hour of a long session, and fills up below the mark only", async () => {
  const { supply, relay, clock, ready } = await setUp();
  await ready(true);
  await supply.complete();
  relay.held = 16;
  const asked = relay.requests;
  await clock.advance(3_600_000);
  expect([relay.held, relay.requests]).toEqual([16, asked + 1]);
  relay.held = 15;
  await clock.advance(3_600_000);
  await until(() => relay.held === 32);
});

it("asks soon after a sign, but not more often than every ten seconds", async () => {
  const { supply, relay, clock, ready } = await setUp();
  await ready(true);
  await supply.complete();
  const asked = relay.requests;
  for (let i = 0; i < 10; i++) supply.check();
  await clock.advance(10_000);
  expect(relay.requests).toBe(asked + 1);
  for (let i = 0; i < 10; i++) supply.check();
  await clock.advance(9_999);
  expect(relay.requests).toBe(asked + 1);
  await clock.advance(1);
  expect(relay.requests).toBe(asked + 2);
});

it("keeps what was published without an answer, and drops what was refused", async () => {
  const { relay, ready, stored } = await setUp();
  relay.error = new SubrosaError("connection-failed", "lost");
  await expect(ready(true)).rejects.toMatchObject({ code: "connection-failed" });
  expect(await stored()).toBe(9);
  relay.error = new SubrosaError("quota-exceeded", "no");
  await expect(ready()).rejects.toMatchObject({ code: "quota-exceeded" });
  expect(await stored()).toBe(9);
});

it("publishes a last resort again until the relay has said that it has it", async () => {
  const { supply, relay, ready } = await setUp();
  relay.error = new SubrosaError("connection-failed", "lost");
  await ready(true).catch(() => {});
  relay.error = undefined;
  relay.held = 20;
  await ready();
  expect(relay.lastResorts).toBe(1);
  await ready();
  await supply.complete();
  expect(relay.lastResorts).toBe(1);
});

it("does nothing more once the session has ended", async () => {
  const { supply, relay, clock, ready } = await setUp();
  await ready(true);
  supply.ended();
  const asked = relay.requests;
  await clock.advance(10 * 3_600_000);
  await supply.complete();
  await settle();
  expect(relay.requests).toBe(asked);
});

it("takes back what the relay holds when the keys of it are lost, and publishes others", async () => {
  const { supply, relay, clock, ready } = await setUp();
  relay.held = 20;
  await ready();
  expect([relay.held, relay.lastResorts]).toEqual([8, 1]);
  await supply.complete();
  expect(relay.held).toBe(32);
  relay.held = 40;
  await ready();
  expect(relay.held).toBe(8);
  await clock.advance(0);
});

it("does so as well when a welcome comes for a package that is not here, once in a session", async () => {
  const { supply, relay, clock, ready, keyPackages } = await setUp();
  await ready(true);
  await supply.complete();
  const made = relay.lastResorts;
  keyPackages.onMissing();
  await clock.advance(10_000);
  await until(() => relay.lastResorts === made + 1 && relay.held === 32);
  keyPackages.onMissing();
  await clock.advance(10_000);
  expect([relay.lastResorts, relay.held]).toEqual([made + 1, 32]);
});
