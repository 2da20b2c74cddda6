import { type Bytes, concat } from "../base/bytes.js";
import { SubrosaError } from "../base/errors.js";

/** The largest length a variable-size vector can have (RFC 9420 §2.1.2: 30 bits). */
export const MAX_VECTOR_LENGTH = 0x3fffffff;

/** Encodes a value of `T`; `encodeX` functions have this shape. */
export type Encoder<T> = (writer: Writer, value: T) => void;

/** Writes the TLS presentation language (RFC 8446 §3) with the vectors of RFC 9420 §2.1.2. */
export class Writer {
  #buffer: Bytes = new Uint8Array(128);
  #length = 0;

  #reserve(count: number): number {
    const at = this.#length;
    const needed = at + count;
    if (needed > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(needed, this.#buffer.length * 2));
      larger.set(this.#buffer.subarray(0, at));
      this.#buffer = larger;
    }
    this.#length = needed;
    return at;
  }

  #integer(value: number, size: 1 | 2 | 4): this {
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * size)) {
      throw new SubrosaError("internal", `integer does not fit ${size} bytes`);
    }
    const at = this.#reserve(size);
    for (let i = 0; i < size; i++) this.#buffer[at + i] = (value / 2 ** (8 * (size - 1 - i))) & 255;
    return this;
  }

  u8(value: number): this {
    return this.#integer(value, 1);
  }

  u16(value: number): this {
    return this.#integer(value, 2);
  }

  u32(value: number): this {
    return this.#integer(value, 4);
  }

  u64(value: bigint): this {
    if (value < 0n || value >= 1n << 64n) throw new SubrosaError("internal", "integer does not fit 8 bytes");
    return this.u32(Number(value >> 32n)).u32(Number(value & 0xffffffffn));
  }

  /** An unsigned 64-bit integer held as a number: a whole one from 0 to 2^53 - 1. */
  uint53(value: number): this {
    if (!Number.isSafeInteger(value) || value < 0) throw new SubrosaError("internal", "not a whole number");
    return this.u32(Math.floor(value / 2 ** 32)).u32(value % 2 ** 32);
  }

  /** Bytes of a length that the reader knows: `opaque x[n]`. */
  fixed(bytes: Uint8Array): this {
    // Reserving may replace the buffer, so it comes first.
    const at = this.#reserve(bytes.length);
    this.#buffer.set(bytes, at);
    return this;
  }

  /** The length of a vector in bytes, in the shortest form (RFC 9420 §2.1.2). */
  varint(length: number): this {
    if (length < 0x40) return this.u8(length);
    if (length < 0x4000) return this.u16(0x4000 | length);
    if (length <= MAX_VECTOR_LENGTH) return this.u32(0x80000000 + length);
    throw new SubrosaError("too-large", "vector longer than 2^30 - 1 bytes");
  }

  /** `opaque x<V>`. */
  opaque(bytes: Uint8Array): this {
    return this.varint(bytes.length).fixed(bytes);
  }

  /** `T x<V>`. */
  vector<T>(items: readonly T[], encode: Encoder<T>): this {
    const inner = new Writer();
    for (const item of items) encode(inner, item);
    return this.opaque(inner.finish());
  }

  /** `optional<T> x` (RFC 9420 §2.1.1). */
  optional<T>(value: T | undefined, encode: Encoder<T>): this {
    if (value === undefined) return this.u8(0);
    this.u8(1);
    encode(this, value);
    return this;
  }

  /** A nested value. */
  struct<T>(value: T, encode: Encoder<T>): this {
    encode(this, value);
    return this;
  }

  /** What was written. The writer must not be used afterwards. */
  finish(): Bytes {
    return this.#buffer.subarray(0, this.#length);
  }
}

/** The encoding of one value. */
export function encode<T>(encoder: Encoder<T>, value: T): Bytes {
  const writer = new Writer();
  encoder(writer, value);
  return concat(writer.finish());
}
