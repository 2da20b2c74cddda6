import { type Bytes, concat } from "../base/bytes.js";

function integer(half: Uint8Array): Bytes {
  let start = 0;
  while (start < half.length - 1 && half[start] === 0) start++;
  const digits = half.subarray(start);
  const sign = (digits[0] as number) & 0x80 ? Uint8Array.of(0) : new Uint8Array(0);
  return concat(Uint8Array.of(2, sign.length + digits.length), sign, digits);
}

/** RFC 3279 §2.2.3 ECDSA-Sig-Value in DER, from the 64 bytes r ‖ s that engines make. */
export function encodeEcdsaSignature(raw: Uint8Array): Bytes {
  const r = integer(raw.subarray(0, 32));
  const s = integer(raw.subarray(32));
  return concat(Uint8Array.of(0x30, r.length + s.length), r, s);
}

/** r ‖ s of a signature in its one DER form; undefined for anything else (X.690 §8.3, §10.1). */
export function decodeEcdsaSignature(der: Uint8Array): Bytes | undefined {
  if (der.length < 2 || der[0] !== 0x30 || der[1] !== der.length - 2) return undefined;
  const out = new Uint8Array(64);
  let at = 2;
  for (const end of [32, 64]) {
    const length = der[at + 1];
    if (der[at] !== 2 || length === undefined || length === 0 || length > 33) return undefined;
    const digits = der.subarray(at + 2, at + 2 + length);
    if (digits.length !== length) return undefined;
    const first = digits[0] as number;
    if (first & 0x80) return undefined;
    if (first === 0 && length > 1 && !((digits[1] as number) & 0x80)) return undefined;
    if (length === 33 && first !== 0) return undefined;
    const value = length === 33 ? digits.subarray(1) : digits;
    out.set(value, end - value.length);
    at += 2 + length;
  }
  return at === der.length ? out : undefined;
}
