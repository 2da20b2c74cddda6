import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SubrosaError } from "../../../src/base/errors.js";
import { type Decoder, decode } from "../../../src/codec/reader.js";
import { type Encoder, encode } from "../../../src/codec/writer.js";
import {
  decodeJoinRequest,
  decodePointer,
  decodeRejection,
  encodeJoinRequest,
  encodePointer,
  encodeRejection,
} from "../../../src/wire/entries.js";
import {
  decodeClientFrame,
  decodeRelayFrame,
  decodeResult,
  encodeClientFrame,
  encodeRelayFrame,
  encodeResult,
} from "../../../src/wire/frames.js";
import { operations } from "../../../src/wire/requests.js";
import { bodies, clientFrame, operationNames, relayFrame, results } from "./arbitraries.js";

/** A decoder of whole inputs and the encoder that undoes it. */
interface Codec {
  readonly name: string;
  decode(bytes: Uint8Array): unknown;
  encode(value: never): Uint8Array;
}

const struct = <T>(name: string, decoder: Decoder<T>, encoder: Encoder<T>): Codec => ({
  name,
  decode: (bytes) => decode(decoder, bytes),
  encode: (value) => encode(encoder, value),
});

const codecs: Codec[] = [
  { name: "client frames", decode: decodeClientFrame, encode: encodeClientFrame },
  { name: "relay frames", decode: decodeRelayFrame, encode: encodeRelayFrame },
  struct("pointers", decodePointer, encodePointer),
  struct("join requests", decodeJoinRequest, encodeJoinRequest),
  struct("rejections", decodeRejection, encodeRejection),
  ...operationNames.map((name) => ({
    name: `results of ${name}`,
    decode: (bytes: Uint8Array) => decodeResult(name, bytes),
    encode: (value: never) => encodeResult(name, value),
  })),
];

/** What `bytes` decode to, if they do; fails on anything thrown but `malformed`. */
function total({ decode: decodeAll, encode: encodeAll }: Codec, bytes: Uint8Array): boolean {
  let value: unknown;
  try {
    value = decodeAll(bytes);
  } catch (error) {
    if (SubrosaError.is(error) && error.code === "malformed") return false;
    throw error;
  }
  // There is one encoding of each value: what decodes is what the encoder writes.
  expect(encodeAll(value as never)).toEqual(new Uint8Array(bytes));
  return true;
}

/** Bytes of a valid input with some of them changed, left out, repeated or put in. */
function mutated(valid: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  const edit = fc.record({
    at: fc.nat(),
    kind: fc.constantFrom("set", "cut", "insert", "end"),
    byte: fc.integer({ min: 0, max: 255 }),
  });
  return fc.tuple(valid, fc.array(edit, { minLength: 1, maxLength: 4 })).map(([bytes, edits]) => {
    let out = [...bytes];
    for (const { at, kind, byte } of edits) {
      const index = out.length === 0 ? 0 : at % out.length;
      if (kind === "set") out[index] = byte;
      else if (kind === "cut") out.splice(index, 1 + (byte % 8));
      else if (kind === "insert") out.splice(index, 0, byte);
      else out = out.slice(0, index);
    }
    return Uint8Array.from(out);
  });
}

const runs = { numRuns: 400 };

describe("round trips", () => {
  it("of every client frame", () => {
    fc.assert(
      fc.property(clientFrame, (frame) => {
        expect(decodeClientFrame(encodeClientFrame(frame))).toEqual(frame);
      }),
      runs,
    );
  });

  it("of every relay frame", () => {
    fc.assert(
      fc.property(relayFrame, (frame) => {
        expect(decodeRelayFrame(encodeRelayFrame(frame))).toEqual(frame);
      }),
      runs,
    );
  });

  it.each(operationNames)("of the body and the result of %s", (name) => {
    const { encode: encodeBody, decode: decodeBody } = operations[name];
    fc.assert(
      fc.property(bodies[name] as fc.Arbitrary<never>, (body) => {
        expect(decode(decodeBody as Decoder<unknown>, encode(encodeBody as Encoder<never>, body))).toEqual(
          body,
        );
      }),
      { numRuns: 100 },
    );
    fc.assert(
      fc.property(results[name] as fc.Arbitrary<never>, (result) => {
        expect(decodeResult(name, encodeResult(name, result))).toEqual(result);
      }),
      { numRuns: 100 },
    );
  });
});

describe.each(codecs)("decoding $name", (codec) => {
  it("ends on random bytes with a value or `malformed`", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void total(codec, bytes)),
      runs,
    );
  });
});

describe("decoding frames", () => {
  const [client, relay] = codecs as [Codec, Codec];
  const encodedClient = clientFrame.map(encodeClientFrame);
  const encodedRelay = relayFrame.map(encodeRelayFrame);

  it.each([
    ["client", client, encodedClient],
    ["relay", relay, encodedRelay],
  ] as const)(
    "ends on mutated %s frames with a value or `malformed`, and some of each",
    (_name, codec, valid) => {
      const outcomes = new Set<boolean>();
      fc.assert(
        fc.property(mutated(valid), (bytes) => void outcomes.add(total(codec, bytes))),
        { numRuns: 2000 },
      );
      expect(outcomes.size).toBe(2);
    },
  );

  it("refuses every client frame that is cut short or followed by a byte", () => {
    fc.assert(
      fc.property(encodedClient, fc.nat(), (bytes, at) => {
        expect(total(client, bytes.subarray(0, at % bytes.length))).toBe(false);
        expect(total(client, Uint8Array.from([...bytes, at % 256]))).toBe(false);
      }),
      runs,
    );
  });

  it("refuses every relay frame but a reply that is cut short or followed by a byte", () => {
    const framed = relayFrame.filter(({ type }) => type !== "reply").map(encodeRelayFrame);
    fc.assert(
      fc.property(framed, fc.nat(), (bytes, at) => {
        expect(total(relay, bytes.subarray(0, at % bytes.length))).toBe(false);
        expect(total(relay, Uint8Array.from([...bytes, at % 256]))).toBe(false);
      }),
      runs,
    );
  });

  it("does not let a length claim more memory than the frame has", () => {
    // append, inbox, START, application, then a payload that says it is 2^30 - 1 bytes long.
    const head = [0x10, 0, 0, 0, 1, 1, ...Array(16).fill(0), ...Array(40).fill(0), 1, ...Array(16).fill(0)];
    expect(total(client, Uint8Array.from([...head, 0xbf, 0xff, 0xff, 0xff]))).toBe(false);
  });
});
