import { expect, it, vi } from "vitest";
import { seedThatShows } from "./mutation.js";
import { orderCrypto } from "./ordered-crypto.js";
import { runSeed } from "./run.js";

const bug = vi.hoisted(() => ({ planted: false }));

/** With the bug, whoever makes a commit is in the new epoch at once, whoever comes first in the log. */
vi.mock("../../src/mls/group/index.js", async (original) => {
  const real = await original<typeof import("../../src/mls/group/index.js")>();
  const createCommit: typeof real.createCommit = async (...args) => {
    const made = await real.createCommit(...args);
    if (!bug.planted) return made;
    const { state } = made.staged;
    return { ...made, state, changes: real.encodeRatchets(state.secretTree) };
  };
  return { ...real, createCommit };
});

orderCrypto();

it("the oracle sees commits that are merged before their turn in the log", { timeout: 120_000 }, async () => {
  bug.planted = true;
  const shown = await seedThatShows(
    1,
    15,
    {},
    /undecryptable|do not agree|never got|invalid-message/,
    async (seed) => {
      bug.planted = false;
      const result = await runSeed(seed);
      bug.planted = true;
      return result;
    },
  );
  expect(shown).toBeDefined();
});
