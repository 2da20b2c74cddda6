import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SubrosaError } from "../../../src/base/errors.js";
import { AttachmentCipher } from "../../../src/client/attachments/cipher.js";
import {
  type AttachmentReference,
  CHUNK_LENGTH,
  chunkLength,
  chunksOf,
  decodeReference,
  encodeReference,
} from "../../../src/client/attachments/reference.js";
import { decode } from "../../../src/codec/reader.js";
import { encode } from "../../../src/codec/writer.js";
import { randomBytes } from "../../../src/crypto/random.js";

const ids = () => ({ blobId: randomBytes(32), key: randomBytes(32) });

describe("sizes of attachments", () => {
  /** All that the relay sees of the size, in bytes of plaintext. */
  const padded = (size: number) =>
    (chunksOf(size) - 1) * CHUNK_LENGTH + chunkLength(size, chunksOf(size) - 1);

  it("are padded to classes, within the last chunk", () => {
    expect([0, 1, 256].map(padded)).toEqual([256, 256, 256]);
    expect([257, 288, 289].map(padded)).toEqual([288, 288, 320]);
    // Above two megabytes a class is wider than a chunk, and all that shows is how many of these there are.
    for (const size of [3_000_000, 3_000_001, 3_010_000]) expect(padded(size)).toBe(12 * CHUNK_LENGTH);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 40 }), (size) => {
        expect(padded(size)).toBeGreaterThanOrEqual(size);
        expect(padded(size)).toBeLessThanOrEqual(Math.max(256, size * 1.125));
        for (let i = 0; i < Math.min(3, chunksOf(size) - 1); i++)
          expect(chunkLength(size, i)).toBe(CHUNK_LENGTH);
      }),
    );
  });
});

describe("chunks of attachments", () => {
  it("open at their own place only, with their own key, blob and size", async () => {
    const size = 2 * CHUNK_LENGTH + 1000;
    const reference = { ...ids(), size };
    const cipher = await AttachmentCipher.make(reference);
    const plain = [0, 1, 2].map((i) => randomBytes(chunkLength(size, i)));
    const chunks = await Promise.all(plain.map((bytes, i) => cipher.seal(i, i === 2, bytes)));
    for (const [i, chunk] of chunks.entries()) {
      const opened = await cipher.open(reference, i, chunk);
      expect(Buffer.compare(opened, (plain[i] as Uint8Array).subarray(0, opened.length))).toBe(0);
      expect(opened.length).toBe(i < 2 ? CHUNK_LENGTH : 1000);
    }
    const refused = async (other: Partial<AttachmentReference>, index: number, chunk: number) => {
      const changed = { ...reference, ...other };
      const opening = (await AttachmentCipher.make(changed)).open(
        changed,
        index,
        chunks[chunk] as Uint8Array,
      );
      await expect(opening).rejects.toMatchObject({ code: "decryption-failed" });
    };
    await refused({}, 0, 1);
    await refused({}, 1, 2);
    await refused({ key: randomBytes(32) }, 0, 0);
    await refused({ blobId: randomBytes(32) }, 0, 0);
    // The end is where the message says, or nowhere.
    await refused({ size: 2 * CHUNK_LENGTH }, 1, 1);
    await refused({ size: 3 * CHUNK_LENGTH + 1 }, 2, 2);
    await refused({ size: 2 * CHUNK_LENGTH + 100_000 }, 2, 2);
  });
});

describe("what a message says of an attachment", () => {
  const text = (max: number) => fc.string({ minLength: 1, maxLength: max });
  const reference = fc.record(
    {
      size: fc.integer({ min: 0, max: 2 ** 45 }),
      name: text(60).filter((name) => !/[/\\]|^\.\.?$/.test(name)),
      mimeType: text(60),
    },
    { requiredKeys: ["size"] },
  );

  it("comes back as it was", () => {
    fc.assert(
      fc.property(reference, (rest) => {
        const value = { ...ids(), ...rest } as AttachmentReference;
        expect(decode(decodeReference, encode(encodeReference, value))).toEqual(value);
      }),
    );
  });

  it("is refused with a name that leads elsewhere, and with more chunks than there can be", () => {
    for (const name of ["..", ".", "a/b", "..\\x", "", "a\nb", "x".repeat(256)]) {
      const bytes = encode(encodeReference, { ...ids(), size: 1, name });
      expect(() => decode(decodeReference, bytes)).toThrow(SubrosaError);
    }
    const huge = encode(encodeReference, { ...ids(), size: 2 ** 32 * CHUNK_LENGTH });
    expect(() => decode(decodeReference, huge)).toThrow(SubrosaError);
  });

  it("ends on random bytes with a value or `malformed`", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 60, maxLength: 120 }), (bytes) => {
        try {
          decode(decodeReference, bytes);
        } catch (error) {
          expect(error).toMatchObject({ code: "malformed" });
        }
      }),
    );
  });
});
