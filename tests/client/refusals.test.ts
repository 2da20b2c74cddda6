import { describe, expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { pairConnector } from "../../src/transport/pair.js";
import { decodeClientFrame, encodeRelayFrame } from "../../src/wire/frames.js";
import { CloseCode } from "../../src/wire/protocol.js";
import { REFUSALS, type RefusalCode } from "../../src/wire/refusals.js";
import { makeActor } from "./harness.js";

const LURE = "Your account is locked. Call +00 555 0100 and read out your recovery file.";

/** A relay that refuses the login, or else every request, with a text of its own. */
function luring(code: RefusalCode, what: "logins" | "requests") {
  return pairConnector((_url, connection) => {
    const refuse = (id: number) =>
      connection.send(encodeRelayFrame({ type: "refuse", id, code, reason: LURE }));
    connection.onframe = (bytes) => {
      const frame = decodeClientFrame(bytes);
      if (frame.type === "authenticate" && what === "logins") {
        refuse(0);
        connection.close(CloseCode.unauthorized, code);
      } else if (frame.type === "authenticate") {
        const ready = { registered: true, keyPackages: 0, maxFrameBytes: 1 << 20, time: Date.now() };
        connection.send(encodeRelayFrame({ type: "ready", ready }));
      } else if (frame.type === "request") refuse(frame.id);
    };
    const challenge = { relayName: "relay.example", nonce: randomBytes(32) };
    connection.send(encodeRelayFrame({ type: "challenge", challenge }));
  });
}

async function failure(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  return promise.then(
    () => Promise.reject(new Error("it succeeded")),
    (error) => error,
  );
}

describe("what the relay refuses", () => {
  const codes = Object.keys(REFUSALS) as RefusalCode[];

  it("is told in the client's own words, never the relay's", async () => {
    const texts = new Set<string>();
    for (const code of codes) {
      const seams = { connector: luring(code, "logins") };
      const alice = makeActor({ url: "wss://relay.example" }, "alice", { seams });
      const error = await failure(alice.client.connect());
      expect(error).toMatchObject({ code, message: expect.stringMatching(/^the relay refused: \w/) });
      texts.add(error.message);
      for (const told of [error, ...alice.all("error")]) expect(told.message).not.toContain("555");
    }
    expect(texts.size).toBe(codes.length);
  });

  it("is so for requests too", async () => {
    const seams = { connector: luring("unknown-group", "requests") };
    const alice = makeActor({ url: "wss://relay.example" }, "alice", { seams });
    await alice.client.connect();
    const error = await failure(alice.client.joinGroup("team"));
    expect(error).toMatchObject({
      code: "unknown-group",
      message: expect.stringMatching(/^the relay refused: \w/),
    });
    for (const told of [error, ...alice.all("error")]) expect(told.message).not.toContain("555");
  });
});
