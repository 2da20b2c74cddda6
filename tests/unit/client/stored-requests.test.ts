import { expect, it } from "vitest";
import type { Context } from "../../../src/client/context.js";
import {
  answered,
  storedRequest,
  waitingRequests,
} from "../../../src/client/conversation/membership/stored-requests.js";
import { DAY, layout } from "../../../src/client/layout.js";
import { randomBytes } from "../../../src/crypto/random.js";
import { memoryStore } from "../../../src/index.js";

it("requests are kept until they are answered, and that they were, for as long as they could be granted", async () => {
  const store = await memoryStore().open("requests");
  let now = 1_700_000_000_000;
  const context = { store, clock: { now: () => now }, write: store.write.bind(store) } as unknown as Context;
  const [groupId, other] = [randomBytes(32), randomBytes(32)];
  const ids = [randomBytes(16), randomBytes(16), randomBytes(16)] as const;
  const request = {
    groupId,
    userId: "bob",
    deviceId: randomBytes(16),
    accountKey: randomBytes(65),
    keyPackage: randomBytes(300),
    signature: randomBytes(64),
  };
  const key = (at: 0 | 1 | 2) => layout.request(groupId, ids[at]);
  await store.write([
    { put: key(0), value: storedRequest(request) },
    { put: key(1), value: storedRequest(request, true) },
    answered(context, groupId, ids[2]),
    answered(context, other, ids[2]),
  ]);
  const waiting = async () =>
    (await waitingRequests(context, groupId)).map((one) => [one.key, one.isWithdrawn]);
  const both = [
    [key(0), false],
    [key(1), true],
  ].sort();
  expect((await waiting()).sort()).toEqual(both);
  now += 99 * DAY;
  await waiting();
  expect(await store.get(key(2))).toBeDefined();
  now += 2 * DAY;
  expect((await waiting()).sort()).toEqual(both);
  expect(await store.get(key(2))).toBeUndefined();
  expect(await store.get(layout.request(other, ids[2]))).toBeDefined();
});
