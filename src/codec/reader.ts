import { asBytes, type Bytes } from "../base/bytes.js";
import { SubrosaError } from "../base/errors.js";

/** Decodes a value of `T`, throwing `malformed`; `decodeX` functions have this shape. */
export type Decoder<T> = (reader: Reader) => T;

/**
 * Reads the TLS presentation language (RFC 8446 §3) with the vectors of RFC 9420 §2.1.2, strictly:
 * anything but the one canonical form throws `malformed`. Byte strings are views on the input, not copies.
 */
export class Reader {
  readonly #bytes: Bytes;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = asBytes(bytes);
  }

  /** Bytes not read yet. */
  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  /** Where the next byte is read. */
  get offset(): number {
    return this.#at;
  }

  /** Throws `malformed`, with the offset. */
  fail(what: string): never {
    throw new SubrosaError("malformed", `${what} at byte ${this.#at}`);
  }

  #take(count: number): number {
    if (count > this.remaining) this.fail("input ends too early");
    const at = this.#at;
    this.#at += count;
    return at;
  }

  u8(): number {
    return this.#bytes[this.#take(1)] as number;
  }

  u16(): number {
    return this.u8() * 0x100 + this.u8();
  }

  u32(): number {
    return this.u16() * 0x10000 + this.u16();
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** An unsigned 64-bit integer that must not exceed 2^53 - 1. */
  uint53(): number {
    const high = this.u32();
    if (high >= 2 ** 21) this.fail("integer too large");
    return high * 2 ** 32 + this.u32();
  }

  /** `opaque x[n]`. */
  fixed(length: number): Bytes {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  /** The length of a vector; only the shortest form is accepted (RFC 9420 §2.1.2). */
  varint(): number {
    const first = this.u8();
    const prefix = first >> 6;
    if (prefix === 0) return first;
    if (prefix === 1) {
      const length = (first & 0x3f) * 0x100 + this.u8();
      return length >= 0x40 ? length : this.fail("length not in its shortest form");
    }
    if (prefix === 2) {
      const length = ((first & 0x3f) * 0x100 + this.u8()) * 0x10000 + this.u16();
      return length >= 0x4000 ? length : this.fail("length not in its shortest form");
    }
    return this.fail("invalid length prefix");
  }

  /** `opaque x<V>`, of `max` bytes at most. */
  opaque(max = Number.POSITIVE_INFINITY): Bytes {
    const length = this.varint();
    if (length > max) this.fail("byte string too long");
    return this.fixed(length);
  }

  /** `T x<V>`, of `max` items at most. */
  vector<T>(decode: Decoder<T>, max = Number.POSITIVE_INFINITY): T[] {
    const inner = new Reader(this.opaque());
    const items: T[] = [];
    while (inner.remaining > 0) {
      if (items.length >= max) this.fail("too many items");
      const before = inner.#at;
      items.push(decode(inner));
      if (inner.#at === before) this.fail("empty item");
    }
    return items;
  }

  /** `optional<T> x` (RFC 9420 §2.1.1). */
  optional<T>(decode: Decoder<T>): T | undefined {
    const present = this.u8();
    if (present === 0) return undefined;
    if (present === 1) return decode(this);
    return this.fail("invalid presence octet");
  }

  /** The bytes from `start`, an earlier {@link offset}, to here. */
  since(start: number): Bytes {
    return this.#bytes.subarray(start, this.#at);
  }

  /** Throws `malformed` unless everything was read. */
  end(): void {
    if (this.remaining > 0) this.fail(`${this.remaining} bytes too many`);
  }
}

/** The one value that `bytes` encode; throws `malformed` on anything else, trailing bytes included. */
export function decode<T>(decoder: Decoder<T>, bytes: Uint8Array): T {
  const reader = new Reader(bytes);
  const value = decoder(reader);
  reader.end();
  return value;
}
