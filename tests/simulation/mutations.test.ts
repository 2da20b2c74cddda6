import { describe, expect, it } from "vitest";
import { layout } from "../../src/client/layout.js";
import { seedThatShows } from "./mutation.js";
import { orderCrypto } from "./ordered-crypto.js";

orderCrypto();

/** The most runs until a planted bug must have shown. */
const RUNS = 15;

describe("the oracle sees a planted bug", { timeout: 120_000 }, () => {
  it("a write is acknowledged before it is durable", async () => {
    const rates = { "client killed at rest": 0.01, "client killed before a write": 0.02 };
    const options = { planted: { earlyWrites: true }, rates };
    const shown = await seedThatShows(1, RUNS, options, /has \[|never got|is a member|was lost/);
    expect(shown).toBeDefined();
  });

  it("a process that was replaced still writes", async () => {
    const rates = { "process frozen and replaced": 0.02, "write held up": 0.5 };
    const options = { planted: { ownerUnchecked: true }, rates };
    expect(await seedThatShows(1, RUNS, options, /./)).toBeDefined();
  });

  it("it is not noted which messages were received", async () => {
    const forgets = (key: string) => key.startsWith(layout.seen);
    const options = { planted: { forgets }, backups: true };
    expect(await seedThatShows(16, RUNS, options, /twice in one life|again, unmarked/)).toBeDefined();
  });

  it("the relay takes the same entry twice", async () => {
    const options = {
      planted: { relayForgets: (key: string) => key.startsWith("i") },
      rates: { "request repeated": 0.2 },
    };
    expect(await seedThatShows(1, RUNS, options, /has an entry twice/)).toBeDefined();
    expect(await seedThatShows(1, RUNS, options, /undecryptable|protocol-error/)).toBeDefined();
  });

  it("it is not noted who has said what of a message", async () => {
    const options = { planted: { forgets: (key: string) => key.startsWith(layout.ticksOf("")) } };
    expect(await seedThatShows(1, RUNS, options, /was told twice/)).toBeDefined();
  });
});
