import { expect, it } from "vitest";
import { nameHash } from "../../src/client/conversation/membership/directory-names.js";
import { encode } from "../../src/codec/writer.js";
import { randomBytes } from "../../src/crypto/random.js";
import { memoryStore } from "../../src/index.js";
import { openMemoryStorage } from "../../src/relay.js";
import { encodeJoinRequest } from "../../src/wire/entries.js";
import { START } from "../../src/wire/identifiers.js";
import { EntryKind, LogKind } from "../../src/wire/protocol.js";
import { codeOf } from "../harness/code-of.js";
import { makeUser, RawClient } from "../relay/raw-client.js";
import { connected, eventually, makeActor, settledMembers, startRelay } from "./harness.js";

it("a stranger who asks without end keeps nobody from asking, and takes the place of nobody who waits", async () => {
  const [maxRequests, store, storage] = [3, memoryStore(), openMemoryStorage()];
  const relay = await startRelay({ storage, limits: { maxRequests, joinRequestsPerHour: 1_000 } });
  const first = await connected(relay, "alice", { store });
  await first.client.createGroup("team");
  const session = await RawClient.connect(relay.url, await makeUser("mallory"));
  const { groupId } = await session.request("resolveName", { nameHash: await nameHash("team") });
  const log = { kind: LogKind.requestBox, id: groupId };
  const crowd = async () => {
    const { user } = session;
    const { userId, deviceId } = user;
    for (let i = 0; i < 20 * maxRequests; i++) {
      const made = { keyPackage: randomBytes(100), signature: randomBytes(70) };
      const asked = { groupId, userId, deviceId, accountKey: user.account.publicKey, ...made };
      const payload = encode(encodeJoinRequest, asked);
      await session.append(log, START, { kind: EntryKind.joinRequest, entryId: randomBytes(16), payload });
    }
  };
  // Before the only one comes back who can say yes, and while it reads.
  await first.client.close();
  const carol = await connected(relay, "carol");
  const carols = codeOf(carol.client.joinGroup("team"));
  await eventually(async () => (await storage.head(log)).seq > 0, "carol has asked");
  await crowd();
  expect((await storage.head(log)).first).toBeGreaterThan(1);
  const alice = makeActor(relay, "alice", { store });
  const ask = alice.event("joinRequest", ({ userId }) => userId === "carol");
  await Promise.all([crowd(), alice.client.connect()]);
  await (await ask).approve();
  const dave = await connected(relay, "dave");
  const daves = codeOf(dave.client.joinGroup("team"));
  await (await alice.event("joinRequest", ({ userId }) => userId === "dave")).approve();
  expect([await carols, await daves]).toEqual(["done", "done"]);
  await settledMembers("team", [alice, carol, dave]);
  // Each was shown once, of what came several times.
  expect(alice.all("joinRequest").map(({ userId }) => userId)).toEqual(["carol", "dave"]);
  expect([...alice.errors, ...carol.errors, ...dave.errors]).toEqual([]);
});
