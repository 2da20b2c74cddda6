import { expect, it, vi } from "vitest";
import { seedThatShows } from "./mutation.js";
import { orderCrypto } from "./ordered-crypto.js";
import { runSeed } from "./run.js";

const bug = vi.hoisted(() => ({ planted: false }));

/** With the bug, everybody passes for an admin, at all members. */
vi.mock("../../src/client/conversation/membership/policy.js", async (original) => {
  const real = await original<typeof import("../../src/client/conversation/membership/policy.js")>();
  const isAdmin: typeof real.isAdmin = (...args) => bug.planted || real.isAdmin(...args);
  return { ...real, isAdmin };
});

orderCrypto();

it("the oracle sees a group changed by who is no admin of it", { timeout: 120_000 }, async () => {
  bug.planted = true;
  const shown = await seedThatShows(1, 15, {}, /no admin, and changed the policy/, async (seed) => {
    bug.planted = false;
    const result = await runSeed(seed);
    bug.planted = true;
    return result;
  });
  expect(shown).toBeDefined();
});
