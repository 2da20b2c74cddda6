import { type Bytes, concat } from "../base/bytes.js";
import { fromHex, toHex } from "../base/encoding.js";
import { SubrosaError } from "../base/errors.js";

/** Bytes of a scalar and of a coordinate (Nsk). */
export const SCALAR_LENGTH = 32;
/** Bytes of an uncompressed point (Npk). */
export const POINT_LENGTH = 65;

/** SEC 2 §2.4.2. */
const P = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;

/** The uncompressed base point. */
export function basePoint(): Bytes {
  return fromHex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296" +
      "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
  );
}

function toBigInt(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes)}`);
}

function fromBigInt(value: bigint): Bytes {
  return fromHex(value.toString(16).padStart(2 * SCALAR_LENGTH, "0"));
}

function curveEquation(x: bigint): bigint {
  return (((((x * x) % P) * x) % P) + P * 3n - 3n * x + B) % P;
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  let square = base;
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % P;
    square = (square * square) % P;
  }
  return result;
}

const ORDER = fromBigInt(N);

/** Whether 0 < d < n. Takes the same time for every `scalar`; no integer is made of it. */
export function isValidScalar(scalar: Uint8Array): boolean {
  if (scalar.length !== SCALAR_LENGTH) return false;
  let any = 0;
  let borrow = 0;
  for (let i = SCALAR_LENGTH - 1; i >= 0; i--) {
    const byte = scalar[i] as number;
    any |= byte;
    borrow = ((byte - (ORDER[i] as number) - borrow) >> 8) & 1;
  }
  return any !== 0 && borrow === 1;
}

/** SEC 1 §3.2.2.1: whether `point` is an uncompressed point on the curve. (Its cofactor is 1: no subgroup check.) */
export function isValidPublicKey(point: Uint8Array): boolean {
  if (point.length !== POINT_LENGTH || point[0] !== 4) return false;
  const x = toBigInt(point.subarray(1, 33));
  const y = toBigInt(point.subarray(33));
  return x < P && y < P && (y * y) % P === curveEquation(x);
}

/** The uncompressed point with coordinates `x` and `y`, 32 bytes each. */
export function pointOf(x: Uint8Array, y: Uint8Array): Bytes {
  return concat(Uint8Array.of(4), x, y);
}

/** The two points with this x coordinate, which is public. Throws `invalid-key` when there are none. */
export function pointsWithX(x: Uint8Array): [Bytes, Bytes] {
  const square = curveEquation(toBigInt(x));
  const y = power(square, (P + 1n) / 4n);
  if ((y * y) % P !== square) throw new SubrosaError("invalid-key", "not a coordinate of the curve");
  return [pointOf(x, fromBigInt(y)), pointOf(x, fromBigInt(P - y))];
}
