import { expect, it } from "vitest";
import { Inflow } from "../../../src/client/session/inflow.js";
import type { LogId } from "../../../src/wire/identifiers.js";
import { LogKind } from "../../../src/wire/protocol.js";

const log = (id: number): LogId => ({ kind: LogKind.group, id: new Uint8Array(32).fill(id) });

function setUp(maxBytes: number) {
  const seen = { unsubscribed: [] as number[], resumed: [] as number[], taken: [] as string[] };
  const open: (() => void)[] = [];
  const inflow = new Inflow({
    maxBytes,
    unsubscribe: ({ id }) => seen.unsubscribed.push(id[0] as number),
    resume: ({ id }) => seen.resumed.push(id[0] as number),
  });
  const push = (id: number, bytes: number, name = "") =>
    inflow.push(log(id), bytes, () => {
      seen.taken.push(`${id}${name}`);
      return new Promise<void>((resolve) => open.push(resolve));
    });
  const finishOne = async () => {
    open.shift()?.();
    await Promise.resolve();
    await Promise.resolve();
  };
  return { inflow, seen, push, finishOne };
}

it("takes in up to its limit, then cuts the log off and drops what still comes of it", () => {
  const { seen, push } = setUp(100);
  push(1, 60);
  push(1, 40);
  push(1, 1);
  push(1, 1);
  expect(seen).toEqual({ unsubscribed: [1], resumed: [], taken: ["1", "1"] });
});

it("takes one frame larger than its limit, alone", () => {
  const { seen, push } = setUp(100);
  push(1, 500);
  push(2, 1);
  expect(seen).toEqual({ unsubscribed: [2], resumed: [], taken: ["1"] });
});

it("reads on when half is done, once, and takes entries again from the answer on", async () => {
  const { inflow, seen, push, finishOne } = setUp(100);
  push(1, 60);
  push(1, 40);
  push(1, 30);
  await finishOne();
  expect(seen.resumed).toEqual([1]);
  const answered = inflow.subscribing(log(1));
  push(1, 10, " before the answer");
  answered();
  push(1, 10, " after the answer");
  await finishOne();
  expect(seen.resumed).toEqual([1]);
  expect(seen.taken).toEqual(["1", "1", "1 after the answer"]);
});

it("does not take the answer to an earlier question for that", () => {
  const { inflow, seen, push } = setUp(100);
  const answered = inflow.subscribing(log(1));
  push(1, 100);
  push(1, 1);
  answered();
  push(1, 1);
  expect(seen.taken).toEqual(["1"]);
});

it("starts anew with a new session, but for what is still being processed", async () => {
  const { inflow, seen, push, finishOne } = setUp(100);
  push(1, 100);
  push(1, 1);
  inflow.reset();
  push(2, 1);
  expect(seen.unsubscribed).toEqual([1, 2]);
  inflow.reset();
  await finishOne();
  push(1, 100);
  expect([seen.taken, seen.resumed]).toEqual([["1", "1"], []]);
});

it("does not count what nobody processes", () => {
  const { inflow, seen, push } = setUp(100);
  for (let i = 0; i < 10; i++) inflow.push(log(1), 50, () => undefined);
  push(1, 100);
  expect(seen.taken).toEqual(["1"]);
});
