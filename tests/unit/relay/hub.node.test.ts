import { expect, it } from "vitest";
import { randomBytes } from "../../../src/crypto/random.js";
import { Hub } from "../../../src/relay/hub.js";
import type { Subscription } from "../../../src/relay/subscription.js";
import type { LogId } from "../../../src/wire/identifiers.js";
import { LogKind } from "../../../src/wire/protocol.js";

it("passes entries on to the other readers when one fails", async () => {
  const reported: unknown[] = [];
  const hub = new Hub(10_000, (error) => void reported.push(error));
  const log: LogId = { kind: LogKind.group, id: randomBytes(32) };
  const failure = new Error("this reader fails");
  const told: number[] = [];
  const reader = (offer: (last: number) => void) =>
    ({ log, offer: (run: { last: number }) => offer(run.last) }) as unknown as Subscription;
  hub.add(
    reader(() => {
      throw failure;
    }),
  );
  hub.add(reader((last) => void told.push(last)));
  hub.announce({ log, seq: 1 });
  await Promise.resolve();
  expect(told).toEqual([1]);
  expect(reported).toEqual([failure]);
});
