import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Client } from "../../src/index.js";
import { openLmdbStorage, Relay } from "../../src/relay.js";

it("closes when another relay has taken over its data folder, so that nobody waits for it in vain", async () => {
  const data = await mkdtemp(join(tmpdir(), "subrosa-fenced-"));
  const errors: unknown[] = [];
  const first = new Relay({ data, onError: (error) => errors.push(error) });
  const { url } = await first.listen();
  const alice = new Client({ url, userId: "alice" });
  await alice.connect();
  const second = await openLmdbStorage(data, { as: "successor" });
  const ended = new Promise((resolve) => alice.on("disconnect", resolve));
  // The next write is where the first finds out.
  await alice.createGroup("team", { timeout: 1 }).catch(() => {});
  await ended;
  expect(errors).toContainEqual(
    expect.objectContaining({ cause: expect.objectContaining({ code: "store-in-use" }) }),
  );
  await expect(
    new Client({ url, userId: "bob" }).connect({ signal: AbortSignal.timeout(500) }),
  ).rejects.toThrow();
  await alice.close();
  await Promise.all([first.close(), second.close()]);
  await rm(data, { recursive: true });
});
