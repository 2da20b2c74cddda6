import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SubrosaError } from "../../../src/base/errors.js";
import { Backoff } from "../../../src/transport/backoff.js";
import { Link, type LinkEnd, type LinkOptions } from "../../../src/transport/link.js";
import { pairConnector } from "../../../src/transport/pair.js";
import type { Connection, Connector } from "../../../src/transport/transport.js";
import { ManualClock, settle } from "./manual-clock.js";

const PING = Uint8Array.of(0xff);
const frame = (...bytes: number[]) => Uint8Array.from(bytes);

/** A link to a relay of this test: everything that happened, and the relay's ends of the connections. */
function setUp(options: Partial<LinkOptions> = {}) {
  const clock = new ManualClock();
  const seen = { opened: 0, frames: [] as number[][], ends: [] as LinkEnd[] };
  const relay = { connections: [] as Connection[], got: [] as number[][], refuse: undefined as unknown };
  let respond = () => {};
  const connector = pairConnector((_url, connection) => {
    if (relay.refuse !== undefined) throw relay.refuse;
    relay.connections.push(connection);
    connection.onframe = (bytes) => {
      relay.got.push([...bytes]);
      respond();
    };
  });
  const link: Link = new Link({
    url: "memory://relay",
    connector,
    clock,
    random: () => 0.5,
    handler: {
      opened() {
        seen.opened++;
      },
      frame(bytes) {
        if (bytes[0] === 66) throw new SubrosaError("malformed", "bad frame");
        seen.frames.push([...bytes]);
      },
      ended: (end) => seen.ends.push(end),
      ping: () => PING,
    },
    ...options,
  });
  const answer = () => {
    respond = () => last(relay.connections).send(frame(0xfe));
  };
  return { clock, seen, relay, link, answer };
}

function last<T>(items: readonly T[]): T {
  return items[items.length - 1] as T;
}

async function openReady(options: Partial<LinkOptions> = {}) {
  const all = setUp(options);
  all.link.open();
  await settle();
  all.link.ready();
  await settle();
  return all;
}

describe("Link", () => {
  it("opens once, sends nothing from the queue before it is ready, then all of it in order", async () => {
    const { link, relay, seen } = setUp();
    expect(link.state).toBe("closed");
    link.send(frame(1));
    link.open();
    link.open();
    expect(link.state).toBe("connecting");
    await settle();
    expect([link.state, link.isReady, seen.opened]).toEqual(["open", false, 1]);
    link.send(frame(2, 2));
    link.sendNow(frame(9));
    await settle();
    expect(relay.got).toEqual([[9]]);
    expect(link.bufferedBytes).toBe(3);
    link.ready();
    link.send(frame(3));
    await settle();
    expect(relay.got).toEqual([[9], [1], [2, 2], [3]]);
    expect([link.isReady, link.bufferedBytes]).toEqual([true, 0]);
    last(relay.connections).send(frame(5));
    await settle();
    expect(seen.frames).toEqual([[5]]);
  });

  it("keeps what waits over a reconnect", async () => {
    const { link, relay, clock, seen } = setUp();
    link.open();
    await settle();
    link.send(frame(1));
    last(relay.connections).close(1001, "restart");
    await settle();
    expect(link.state).toBe("waiting");
    expect(seen.ends).toEqual([{ code: 1001, reason: "restart", willReconnect: true, wasReady: false }]);
    expect(() => link.sendNow(frame(1))).toThrow(expect.objectContaining({ code: "closed" }));
    await clock.advance(125);
    expect(link.state).toBe("open");
    expect(relay.got).toEqual([]);
    link.ready();
    await settle();
    expect(relay.got).toEqual([[1]]);
  });

  it("keeps what a closing socket does not take", async () => {
    const got: number[][] = [];
    let ours: Connection | undefined;
    const inner = pairConnector((_url, connection) => {
      connection.onframe = (bytes) => got.push([...bytes]);
    });
    const connector: Connector = {
      async connect(url) {
        ours = await inner.connect(url);
        return ours;
      },
    };
    const { link, clock } = await openReady({ connector });
    ours?.close(1001); // Its end is on the way.
    link.send(frame(1));
    await settle();
    expect([link.state, link.bufferedBytes]).toEqual(["waiting", 1]);
    await clock.advance(1_000);
    link.ready();
    await settle();
    expect(got).toEqual([[1]]);
  });

  it("doubles the bound of its delays up to the cap, with full jitter", () => {
    const highest = new Backoff({ random: () => 1 - Number.EPSILON });
    const bounds = Array.from({ length: 10 }, () => Math.ceil(highest.next()));
    expect(bounds).toEqual([250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
    const lowest = new Backoff({ random: () => 0 });
    expect(Array.from({ length: 5 }, () => lowest.next())).toEqual([0, 0, 0, 0, 0]);
    const many = new Backoff({ baseDelay: 1, maxDelay: 10 });
    for (let i = 0; i < 2000; i++) expect(many.next()).toBeLessThan(10);
  });

  it("waits longer after each failure and starts anew only after a session that lasted", async () => {
    const { link, relay, clock } = setUp();
    const delays: number[] = [];
    relay.refuse = new Error("down");
    link.open();
    for (let i = 0; i < 4; i++) {
      await settle();
      expect(link.state).toBe("waiting");
      const [delay] = clock.pending as [number];
      delays.push(delay);
      if (i === 3) relay.refuse = undefined;
      await clock.advance(delay);
    }
    expect(delays).toEqual([125, 250, 500, 1000]);
    // Open for long, but never announced ready: the failures still count.
    await clock.advance(6_000);
    last(relay.connections).close(1001);
    await settle();
    expect(clock.pending).toEqual([2000]);
    await clock.advance(2000);
    link.ready();
    await clock.advance(4_999);
    last(relay.connections).close(1001);
    await settle();
    expect(clock.pending).toEqual([4000]);
    await clock.advance(4000);
    link.ready();
    await clock.advance(5_000);
    last(relay.connections).close(1001);
    await settle();
    expect(clock.pending).toEqual([125]);
  });

  it("reports what a failed attempt threw", async () => {
    const { link, relay, seen } = setUp();
    relay.refuse = new SubrosaError("timeout", "no answer");
    link.open();
    await settle();
    expect(seen.ends).toEqual([
      { code: 1006, reason: "", error: relay.refuse, willReconnect: true, wasReady: false },
    ]);
  });

  it("gives up on an attempt's permanent error", async () => {
    const { link, relay, seen, clock } = setUp();
    relay.refuse = new SubrosaError("protocol-error", "not our protocol");
    link.open();
    await settle();
    expect(seen.ends).toMatchObject([{ willReconnect: false }]);
    expect([link.state, clock.pending]).toEqual(["closed", []]);
    expect(() => link.open()).toThrow(expect.objectContaining({ code: "closed" }));
    expect(() => link.send(frame(1))).toThrow(expect.objectContaining({ code: "closed" }));
  });

  it.each([
    [1001, true],
    [1006, true],
    [4401, false],
    [4409, false],
  ])("after close code %i it reconnects: %s", async (code, willReconnect) => {
    const { link, relay, seen, clock } = await openReady();
    last(relay.connections).close(code, "why");
    await settle();
    expect(seen.ends).toEqual([{ code, reason: "why", willReconnect, wasReady: true }]);
    expect(link.state).toBe(willReconnect ? "waiting" : "closed");
    expect(clock.pending.length).toBe(willReconnect ? 1 : 0);
  });

  it("asks the owner which ends are permanent", async () => {
    const { link, relay } = await openReady({ isPermanent: ({ code }) => code === 4999 });
    last(relay.connections).close(4401);
    await settle();
    expect(link.state).toBe("waiting");
    link.wake();
    await settle();
    // The gap between two attempts holds against wake.
    expect(link.state).toBe("waiting");
  });

  it("ends a connection whose frame the owner refuses", async () => {
    const { link, relay, seen } = await openReady();
    last(relay.connections).send(frame(66));
    await settle();
    expect(seen.ends).toMatchObject([
      { code: 1002, error: { code: "malformed" }, willReconnect: true, wasReady: true },
    ]);
    expect(link.state).toBe("waiting");
  });

  it("drops a session that does not become ready in time", async () => {
    const { link, seen, clock } = setUp({ readyTimeout: 3_000 });
    link.open();
    await clock.advance(2_999);
    expect(link.state).toBe("open");
    await clock.advance(1);
    expect(seen.ends).toMatchObject([{ code: 1006, wasReady: false, willReconnect: true }]);
  });
});

describe("heartbeat", () => {
  it("pings after silence and notices a dead socket", async () => {
    const { link, relay, seen, clock } = await openReady();
    await clock.advance(14_999);
    expect(relay.got).toEqual([]);
    await clock.advance(1);
    expect(relay.got).toEqual([[...PING]]);
    await clock.advance(9_999);
    expect(link.state).toBe("open");
    await clock.advance(1);
    expect(seen.ends).toEqual([{ code: 1006, reason: "no answer", willReconnect: true, wasReady: true }]);
    expect(link.state).toBe("waiting");
  });

  it("is content with any frame as an answer, and counts silence from the last one", async () => {
    const { link, relay, clock, answer } = await openReady();
    answer();
    await clock.advance(10_000);
    last(relay.connections).send(frame(1));
    await clock.advance(14_999);
    expect(relay.got).toEqual([]);
    await clock.advance(1);
    expect(relay.got.length).toBe(1);
    await clock.advance(600_000);
    expect(link.state).toBe("open");
    expect(relay.got.length).toBe(41);
  });

  it("does not run before the session is ready", async () => {
    const { link, relay, clock } = setUp({ readyTimeout: 60_000 });
    link.open();
    await clock.advance(59_000);
    expect([link.state, relay.got]).toEqual(["open", []]);
  });
});

describe("wake", () => {
  it("connects at once when it was waiting", async () => {
    const { link, relay, clock } = await openReady({ baseDelay: 30_000 });
    await clock.advance(2_000);
    last(relay.connections).close(1001);
    await settle();
    expect([link.state, clock.pending]).toEqual(["waiting", [15_000]]);
    link.wake();
    expect(link.state).toBe("connecting");
    await settle();
    expect(link.state).toBe("open");
  });

  it("leaves a second between two attempts, and never puts one off", async () => {
    const { link, relay, clock } = setUp({ baseDelay: 30_000 });
    relay.refuse = new Error("down");
    link.open();
    await settle();
    expect(clock.pending).toEqual([15_000]);
    link.wake();
    link.wake();
    expect([link.state, clock.pending]).toEqual(["waiting", [1_000]]);
    await clock.advance(400);
    link.wake();
    expect(clock.pending).toEqual([600]);

    const quick = setUp({ baseDelay: 20 });
    quick.relay.refuse = new Error("down");
    quick.link.open();
    await settle();
    quick.link.wake();
    expect(quick.clock.pending).toEqual([10]);
  });

  it("asks an open connection for a sign of life, due soon; asking again puts nothing off", async () => {
    const { link, relay, clock, seen } = await openReady({ wakeWithin: 5_000 });
    link.wake();
    await clock.advance(4_000);
    link.wake();
    await clock.advance(999);
    expect([link.state, relay.got.length]).toEqual(["open", 1]);
    await clock.advance(1);
    expect(seen.ends).toMatchObject([{ code: 1006, reason: "no answer" }]);
  });

  it("leaves a connection that answers alone", async () => {
    const { link, clock, answer } = await openReady();
    answer();
    link.wake();
    await clock.advance(60_000);
    expect(link.state).toBe("open");
  });
});

describe("the queue", () => {
  it("refuses rather than drops, counting bytes here and in the socket", async () => {
    const due: (() => void)[] = [];
    const got: number[] = [];
    const { link, relay } = setUp({
      maxBufferedBytes: 10,
      connector: pairConnector(
        (_url, connection) => {
          connection.onframe = (bytes) => got.push(bytes.length);
        },
        { schedule: (deliver) => due.push(deliver) },
      ),
    });
    expect(relay.connections).toEqual([]);
    link.open();
    await settle();
    link.send(new Uint8Array(6));
    expect(() => link.send(new Uint8Array(5))).toThrow(expect.objectContaining({ code: "queue-full" }));
    expect(() => link.send(new Uint8Array(11))).toThrow(expect.objectContaining({ code: "too-large" }));
    link.ready();
    expect(link.bufferedBytes).toBe(6);
    expect(() => link.send(new Uint8Array(5))).toThrow(expect.objectContaining({ code: "queue-full" }));
    for (const deliver of due.splice(0)) deliver();
    link.send(new Uint8Array(10));
    for (const deliver of due.splice(0)) deliver();
    expect(got).toEqual([6, 10]);
    link.send(new Uint8Array(10));
    expect(link.bufferedBytes).toBe(10);
    link.drop(1001, "gone with what was in it");
    expect(link.bufferedBytes).toBe(0);
  });

  it("tells when it has drained to half", async () => {
    const due: (() => void)[] = [];
    const { link, clock } = setUp({
      maxBufferedBytes: 10,
      connector: pairConnector(() => {}, { schedule: (deliver) => due.push(deliver) }),
    });
    await link.drained();
    link.open();
    await settle();
    link.send(new Uint8Array(3));
    link.send(new Uint8Array(5));
    let drained = 0;
    const wait = link.drained().then(() => drained++);
    link.ready();
    await clock.advance(1_000);
    expect(drained).toBe(0);
    due.shift()?.();
    await clock.advance(1_000);
    expect(drained).toBe(1);
    await wait;
  });
});

describe("close", () => {
  let unhandled: unknown[];
  const note = (error: unknown) => unhandled.push(error);
  beforeEach(() => {
    unhandled = [];
    globalThis.process?.on("unhandledRejection", note);
  });
  afterEach(() => {
    globalThis.process?.off("unhandledRejection", note);
    expect(unhandled).toEqual([]);
  });

  it("says goodbye, reports the end once and stops every timer", async () => {
    const { link, relay, seen, clock } = await openReady();
    const ends: number[] = [];
    last(relay.connections).onclose = ({ code }) => ends.push(code);
    link.close();
    link.close();
    await settle();
    expect(ends).toEqual([1000]);
    expect(seen.ends).toEqual([{ code: 1000, reason: "", willReconnect: false, wasReady: true }]);
    expect([link.state, clock.pending]).toEqual(["closed", []]);
    expect(() => link.open()).toThrow(expect.objectContaining({ code: "closed" }));
  });

  it("aborts the attempt under way and closes a connection that comes too late", async () => {
    const { link, relay, seen, clock } = setUp();
    const ends: number[] = [];
    link.open();
    link.close();
    for (const connection of relay.connections) connection.onclose = ({ code }) => ends.push(code);
    await settle();
    expect([seen.opened, seen.ends, ends]).toEqual([0, [], [1001]]);
    expect([link.state, clock.pending]).toEqual(["closed", []]);
  });

  it("rejects who waits for the queue", async () => {
    const { link } = setUp({ maxBufferedBytes: 10 });
    link.send(new Uint8Array(9));
    const drained = link.drained();
    link.close();
    await expect(drained).rejects.toMatchObject({ code: "closed" });
    await expect(link.drained()).rejects.toMatchObject({ code: "closed" });
  });
});
