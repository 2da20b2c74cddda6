import { expect, it } from "vitest";
import { fromHex } from "../../src/base/encoding.js";
import { layout } from "../../src/client/layout.js";
import { encode } from "../../src/codec/writer.js";
import { randomBytes } from "../../src/crypto/random.js";
import { memoryStore } from "../../src/index.js";
import { DEFAULT_LIMITS } from "../../src/relay/limits.js";
import { quotasOf } from "../../src/relay/operations.js";
import { openMemoryStorage } from "../../src/relay.js";
import { encodeUserNamed } from "../../src/wire/operator.js";
import { EntryKind } from "../../src/wire/protocol.js";
import { connected, eventually, startRelay } from "./harness.js";
import { TamperedConnector } from "./tamper.js";

it("a relay that says over and over that accounts have changed changes nothing by it", async () => {
  const storage = openMemoryStorage();
  const relay = await startRelay({ storage });
  let asked = 0;
  const connector = new TamperedConnector({ replies: { fetchAccount: () => void asked++ } });
  const store = memoryStore();
  const bob = await connected(relay, "bob", { store, seams: { connector, random: () => 0.1 } });
  const alice = await connected(relay, "alice");
  await alice.client.sendDirectMessage("bob", "before");
  await bob.message("before");
  const before = asked;
  const hint = (userId: string) =>
    storage.deposit({
      devices: [fromHex(bob.client.deviceId)],
      content: {
        kind: EntryKind.accountChanged,
        entryId: randomBytes(16),
        payload: encode(encodeUserNamed, { userId }),
      },
      now: Date.now(),
      quotas: quotasOf(DEFAULT_LIMITS),
    });
  for (let round = 0; round < 50; round++)
    for (const userId of ["alice", "bob", "nobody"]) await hint(userId);
  await alice.client.sendDirectMessage("bob", "after");
  await bob.message("after");
  await bob.client.sendDirectMessage("alice", "answer");
  await alice.message("answer");
  await eventually(() => asked > before, "a look at the account");
  expect(bob.all("identityChanged")).toEqual([]);
  expect(bob.all("userCreated")).toEqual([{ userId: "alice" }]);
  await bob.client.close();
  expect(asked - before).toBeLessThan(5);
  const session = await store.open(`${new URL(relay.url).href} bob`);
  expect((await session.list(layout.questions)).length).toBeLessThanOrEqual(1);
  await session.close();
});
