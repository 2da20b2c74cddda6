import { expect, it } from "vitest";
import { SubrosaError } from "../../../src/base/errors.js";
import { Link } from "../../../src/transport/link.js";

function manual() {
  let wall = 1_700_000_000_000;
  let mono = 0;
  let n = 0;
  let timers: { at: number; cb: () => void; id: number }[] = [];
  return {
    jump: (ms: number) => {
      wall += ms;
    },
    clock: {
      now: () => wall,
      after: (ms: number, cb: () => void) => {
        const id = n++;
        timers.push({ at: mono + ms, cb, id });
        return () => {
          timers = timers.filter((t) => t.id !== id);
        };
      },
    },
    async run(ms: number) {
      const end = mono + ms;
      for (;;) {
        await new Promise((r) => setImmediate(r));
        const t = timers.filter((x) => x.at <= end).sort((a, b) => a.at - b.at)[0];
        if (!t) break;
        timers = timers.filter((x) => x !== t);
        wall += t.at - mono;
        mono = t.at;
        t.cb();
      }
      wall += end - mono;
      mono = end;
    },
  };
}

it("a clock set back by a day and a wake do not keep the client offline", async () => {
  const m = manual();
  let attempts = 0;
  const link = new Link({
    url: "ws://x",
    clock: m.clock,
    random: () => 0.5,
    connector: {
      connect: async () => {
        attempts++;
        throw new SubrosaError("connection-failed", "no");
      },
    },
    handler: { opened() {}, frame() {}, ended() {}, ping: () => new Uint8Array(1) },
  });
  link.open();
  await m.run(60_000);
  const before = attempts;
  m.jump(-86_400_000);
  link.wake();
  await m.run(10 * 60_000);
  expect(attempts - before).toBeGreaterThan(5);
});

it("a clock set back by a day: a dead socket is still noticed", async () => {
  const m = manual();
  let ends = 0;
  const connection = { onframe: undefined, onclose: undefined, bufferedAmount: 0, send() {}, close() {} };
  const link = new Link({
    url: "ws://x",
    clock: m.clock,
    random: () => 0.5,
    connector: { connect: async () => ({ ...connection }) as never },
    handler: {
      opened() {
        link.ready();
      },
      frame() {},
      ended() {
        ends++;
      },
      ping: () => new Uint8Array(1),
    },
  });
  link.open();
  await m.run(5_000);
  m.jump(-86_400_000);
  await m.run(10 * 60_000);
  expect(ends).toBeGreaterThan(0);
});
