import { describe, expect, it } from "vitest";
import { SubrosaError } from "../../../src/base/errors.js";
import { Link } from "../../../src/transport/link.js";
import type { Connection, Connector } from "../../../src/transport/transport.js";
import { SleepingClock } from "./sleeping-clock.js";

const HOURS = 3_600_000;

/** A link over connections on which nothing comes; `answers`: whether pings are answered. */
function setUp({ answers = false, connect }: { answers?: boolean; connect?: Connector["connect"] } = {}) {
  const clock = new SleepingClock();
  const seen = { pings: 0, ends: 0, attempts: 0, answers };
  const open = async (): Promise<Connection> => {
    const connection: Connection = {
      onframe: undefined,
      onclose: undefined,
      bufferedAmount: 0,
      send() {
        seen.pings++;
        if (seen.answers) queueMicrotask(() => connection.onframe?.(new Uint8Array(1)));
      },
      close() {},
    };
    return connection;
  };
  const link: Link = new Link({
    url: "ws://x",
    clock,
    random: () => 0.5,
    connector: {
      connect: (url, options) => {
        seen.attempts++;
        return (connect ?? open)(url, options);
      },
    },
    handler: {
      opened: () => link.ready(),
      frame() {},
      ended: () => seen.ends++,
      ping: () => new Uint8Array(1),
    },
  });
  link.open();
  return { clock, link, seen };
}

describe("a clock set back by a day", () => {
  it("and a wake do not keep the client offline", async () => {
    const { clock, link, seen } = setUp({
      connect: async () => {
        throw new SubrosaError("connection-failed", "no");
      },
    });
    await clock.run(60_000);
    const before = seen.attempts;
    clock.jump(-24 * HOURS);
    link.wake();
    await clock.run(10 * 60_000);
    expect(seen.attempts - before).toBeGreaterThan(5);
  });

  it("a dead socket is still noticed", async () => {
    const { clock, seen } = setUp();
    await clock.run(5_001);
    clock.jump(-24 * HOURS);
    await clock.run(10_000);
    expect(seen.ends).toBe(1);
  });
});

describe("a machine that slept for hours", () => {
  it("asks with the first tick, and has another connection within ten seconds of waking", async () => {
    const { clock, seen } = setUp();
    await clock.run(1_000);
    clock.jump(8 * HOURS);
    await clock.run(3_999);
    expect(seen.pings).toBe(0);
    await clock.run(1);
    expect(seen.pings).toBe(1);
    await clock.run(4_999);
    expect(seen.ends).toBe(0);
    await clock.run(1);
    expect([seen.ends, seen.attempts]).toEqual([1, 1]);
    await clock.run(250);
    expect(seen.attempts).toBe(2);
  });

  it("keeps a connection that still answers", async () => {
    const { clock, seen, link } = setUp({ answers: true });
    await clock.run(1_000);
    clock.jump(8 * HOURS);
    await clock.run(60_000);
    expect([seen.ends, link.state]).toEqual([0, "open"]);
  });

  it("asks once more when it slept while an answer was due, and does not do so for ever", async () => {
    const { clock, seen } = setUp();
    await clock.run(15_000);
    expect(seen.pings).toBe(1);
    clock.jump(8 * HOURS);
    await clock.run(10_000);
    expect([seen.pings, seen.ends]).toEqual([2, 0]);
    // Timers that are late every time, as those of a page in the background are.
    clock.jump(60_000);
    await clock.run(5_000);
    expect(seen.ends).toBe(1);
  });

  it("forgets that it asked once more as soon as something came", async () => {
    const { clock, seen } = setUp();
    await clock.run(15_000);
    clock.jump(8 * HOURS);
    seen.answers = true;
    await clock.run(10_000);
    seen.answers = false;
    // Answered: asked again only after the next silence, with a pardon of its own.
    await clock.run(15_000);
    clock.jump(8 * HOURS);
    await clock.run(10_000);
    expect(seen.ends).toBe(0);
    await clock.run(5_000);
    expect(seen.ends).toBe(1);
  });
});

describe("a wake in the middle of connecting", () => {
  it("begins anew when the attempt has taken long, and leaves a young one alone", async () => {
    const aborted: boolean[] = [];
    const { clock, link, seen } = setUp({
      connect: (_url, options) =>
        new Promise(() => {
          options?.signal?.addEventListener("abort", () => aborted.push(true));
        }),
    });
    await clock.run(4_999);
    link.wake();
    expect(seen.attempts).toBe(1);
    await clock.run(1);
    link.wake();
    expect([seen.attempts, aborted, link.state]).toEqual([2, [true], "connecting"]);
  });

  it("gives up a connection on which no session comes about", async () => {
    const clock = new SleepingClock();
    const seen = { opened: 0, ends: 0 };
    const link = new Link({
      url: "ws://x",
      clock,
      random: () => 0.5,
      connector: {
        connect: async () => ({
          onframe: undefined,
          onclose: undefined,
          bufferedAmount: 0,
          send() {},
          close() {},
        }),
      },
      handler: {
        opened: () => seen.opened++,
        frame() {},
        ended: () => seen.ends++,
        ping: () => new Uint8Array(1),
      },
    });
    link.open();
    await clock.run(6_000);
    link.wake();
    await clock.run(0);
    expect(seen).toEqual({ opened: 2, ends: 1 });
  });
});
