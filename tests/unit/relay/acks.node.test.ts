import { describe, expect, it } from "vitest";
import { randomBytes } from "../../../src/crypto/random.js";
import { Acks } from "../../../src/relay/acks.js";
import type { LogId } from "../../../src/wire/identifiers.js";
import { LogKind } from "../../../src/wire/protocol.js";
import { ManualClock } from "../../relay/manual-clock.js";

function setUp() {
  const clock = new ManualClock();
  const written: [LogId, number][] = [];
  const acks = new Acks(clock, (log, { seq }) => void written.push([log, seq]));
  const ack = (log: LogId, seq: number) => acks.take(log, { seq, digest: randomBytes(32) });
  const log = (): LogId => ({ kind: LogKind.group, id: randomBytes(32) });
  return { clock, written, acks, ack, one: log(), other: log() };
}

describe("Acks", () => {
  it("passes on the first ack of each log at once and then the newest of each second", () => {
    const { clock, written, ack, one, other } = setUp();
    for (let seq = 1; seq <= 5; seq++) ack(one, seq);
    ack(other, 7);
    expect(written).toEqual([
      [one, 1],
      [other, 7],
    ]);
    clock.advance(999);
    expect(written).toHaveLength(2);
    clock.advance(1);
    expect(written.slice(2)).toEqual([[one, 5]]);
    // The other log was quiet: its next ack passes at once; this one's waits again.
    ack(other, 8);
    ack(one, 6);
    expect(written.slice(3)).toEqual([[other, 8]]);
    clock.advance(1000);
    expect(written.slice(4)).toEqual([[one, 6]]);
    clock.advance(10_000);
    expect(written).toHaveLength(5);
  });

  it("passes on what waits when it is told to, once", () => {
    const { clock, written, acks, ack, one } = setUp();
    ack(one, 1);
    ack(one, 2);
    acks.flush();
    acks.flush();
    clock.advance(5000);
    expect(written.map(([, seq]) => seq)).toEqual([1, 2]);
    ack(one, 3);
    expect(written.map(([, seq]) => seq)).toEqual([1, 2, 3]);
  });
});
