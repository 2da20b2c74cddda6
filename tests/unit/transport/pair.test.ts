import { describe, expect, it } from "vitest";
import { connectionPair, pairConnector } from "../../../src/transport/pair.js";
import type { CloseInfo, Connection } from "../../../src/transport/transport.js";
import { settle } from "./manual-clock.js";

function record(connection: Connection): { frames: number[][]; ends: CloseInfo[] } {
  const log = { frames: [] as number[][], ends: [] as CloseInfo[] };
  connection.onframe = (frame) => log.frames.push([...frame]);
  connection.onclose = (info) => log.ends.push(info);
  return log;
}

describe("connectionPair", () => {
  it("carries copies of frames, in order and never inside send", async () => {
    const [a, b] = connectionPair();
    const log = record(b);
    const frame = Uint8Array.of(1, 2);
    a.send(frame);
    frame[0] = 9;
    a.send(Uint8Array.of(3));
    expect(log.frames).toEqual([]);
    expect(a.bufferedAmount).toBe(3);
    await settle();
    expect(log.frames).toEqual([[1, 2], [3]]);
    expect(a.bufferedAmount).toBe(0);
  });

  it("keeps frames and the end until there is a handler", async () => {
    const [a, b] = connectionPair();
    a.send(Uint8Array.of(1));
    a.close(4000, "over");
    await settle();
    const log = record(b);
    await settle();
    expect(log).toEqual({ frames: [[1]], ends: [{ code: 4000, reason: "over" }] });
  });

  it("tells both sides of the end once, and delivers nothing to the side that closed", async () => {
    const [a, b] = connectionPair();
    const [logA, logB] = [record(a), record(b)];
    b.send(Uint8Array.of(1));
    a.close(4001, "bye");
    a.close(4002);
    b.close(4003);
    await settle();
    expect(logA).toEqual({ frames: [], ends: [{ code: 4001, reason: "bye" }] });
    expect(logB.ends).toEqual([{ code: 4001, reason: "bye" }]);
    expect(() => a.send(Uint8Array.of(1))).toThrow(expect.objectContaining({ code: "closed" }));
    expect(() => b.send(Uint8Array.of(1))).toThrow(expect.objectContaining({ code: "closed" }));
  });

  it("delivers when the scheduler says so, in order whatever order that is", async () => {
    const due: (() => void)[] = [];
    const [a, b] = connectionPair({ schedule: (deliver) => due.push(deliver) });
    const log = record(b);
    a.send(Uint8Array.of(1));
    a.send(Uint8Array.of(2));
    await settle();
    expect(log.frames).toEqual([]);
    for (const deliver of due.reverse()) deliver();
    expect(log.frames).toEqual([[1], [2]]);
  });
});

describe("pairConnector", () => {
  it("gives the other end to who accepts", async () => {
    const accepted: string[] = [];
    const connector = pairConnector((url, connection) => {
      accepted.push(url);
      connection.send(Uint8Array.of(7));
    });
    const log = record(await connector.connect("memory://relay"));
    await settle();
    expect([accepted, log.frames]).toEqual([["memory://relay"], [[7]]]);
  });

  it("refuses when who accepts throws, or when aborted", async () => {
    const connector = pairConnector(() => {
      throw new Error("full");
    });
    await expect(connector.connect("memory://relay")).rejects.toMatchObject({ code: "connection-failed" });
    const signal = AbortSignal.abort();
    await expect(connector.connect("memory://relay", { signal })).rejects.toMatchObject({ code: "aborted" });
  });
});
