import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { Relay } from "../../src/relay.js";
import { encodeClientFrame } from "../../src/wire/frames.js";
import { EntryKind } from "../../src/wire/protocol.js";
import { add, chain, commit, groupLog, makeUser, RawClient } from "./raw-client.js";

it("does not take a reader for slow because much was appended at once", async () => {
  const data = await mkdtemp(join(tmpdir(), "subrosa-relay-"));
  const relay = new Relay({ data, limits: { maxQueuedBytes: 256 * 1024 } });
  const { url } = await relay.listen();
  const [alice, bob] = await Promise.all([makeUser("alice"), makeUser("bob")]);
  const [a, b] = await Promise.all([RawClient.connect(url, alice), RawClient.connect(url, bob)]);
  const log = groupLog(randomBytes(32));
  const after = await a.request("create", { groupId: log.id, first: commit([add(bob)]) });
  await b.subscribe(log, after);
  // At once: what gathers while the first of it is written passes on together, more than may wait for a reader.
  const appends = Array.from({ length: 24 }, (_, n) => {
    const entry = { kind: EntryKind.application, entryId: randomBytes(16), payload: randomBytes(32 * 1024) };
    return encodeClientFrame({ type: "request", id: 1000 + n, name: "append", body: { log, after, entry } });
  });
  for (const bytes of appends) a.sendBytes(bytes);
  expect((await chain(log, await b.untilEntries(log, 24), after)).seq).toBe(25);
  await relay.close();
  await rm(data, { recursive: true });
});
