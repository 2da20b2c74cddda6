import { asBytes, type Bytes, concat, wipe } from "../base/bytes.js";
import { fromBase64Url, fromHex, toBase64Url } from "../base/encoding.js";
import { SubrosaError } from "../base/errors.js";
import { basePoint, isValidPublicKey, isValidScalar, pointOf, pointsWithX } from "./p256-field.js";
import { subtle } from "./subtle.js";

export { isValidPublicKey, isValidScalar, POINT_LENGTH, SCALAR_LENGTH } from "./p256-field.js";

/** A key pair for ECDH whose private scalar has to be known because MLS derives, stores and sends it. */
export interface DhKeyPair {
  /** 32 bytes. */
  readonly privateKey: Bytes;
  /** The uncompressed point, 65 bytes. */
  readonly publicKey: Bytes;
}

const ECDH = { name: "ECDH", namedCurve: "P-256" };
const ECDSA = { name: "ECDSA", namedCurve: "P-256" };
const ECDSA_SHA256 = { name: "ECDSA", hash: "SHA-256" };

/** RFC 5958 PrivateKeyInfo of a P-256 key without its public key, up to the scalar. */
const PKCS8_PREFIX = "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420";
/** The same with the public key after the scalar, as engines write it. */
const PKCS8_LONG_PREFIX = "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420";

/** Throws `invalid-key` unless `point` is an uncompressed point on the curve. */
export function assertPublicKey(point: Uint8Array): void {
  if (!isValidPublicKey(point)) throw new SubrosaError("invalid-key", "not a P-256 public key");
}

/** Throws `invalid-key` unless 0 < d < n. */
export function assertScalar(scalar: Uint8Array): void {
  if (!isValidScalar(scalar)) throw new SubrosaError("invalid-key", "not a P-256 private key");
}

/** PKCS #8 of a scalar. */
export function pkcs8Of(scalar: Uint8Array): Bytes {
  assertScalar(scalar);
  return concat(fromHex(PKCS8_PREFIX), scalar);
}

/** The scalar in a PKCS #8 key as `exportKey` writes them. Throws `invalid-key` on any other form. */
export function scalarOfPkcs8(pkcs8: Uint8Array): Bytes {
  for (const text of [PKCS8_PREFIX, PKCS8_LONG_PREFIX]) {
    const prefix = fromHex(text);
    if (pkcs8.length < prefix.length + 32 || prefix.some((byte, i) => pkcs8[i] !== byte)) continue;
    const scalar = asBytes(pkcs8.slice(prefix.length, prefix.length + 32));
    assertScalar(scalar);
    return scalar;
  }
  throw new SubrosaError("invalid-key", "not a P-256 private key");
}

/** What an engine throws about a key, as `invalid-key`. */
export async function importing(key: Promise<CryptoKey>): Promise<CryptoKey> {
  try {
    return await key;
  } catch (cause) {
    throw new SubrosaError("invalid-key", "the engine refused a P-256 key", { cause });
  }
}

const importedPoints = new WeakMap<Uint8Array, Promise<CryptoKey>>();

/**
 * Imports a received point for ECDH after checking it (WebKitGTK imports points that are not on the curve).
 * Checked and imported once per array, so the array must not be changed afterwards. Throws `invalid-key`.
 */
export function importDhPublicKey(point: Uint8Array): Promise<CryptoKey> {
  let key = importedPoints.get(point);
  if (key === undefined) {
    key = importChecked(point);
    importedPoints.set(point, key);
  }
  return key;
}

async function importChecked(point: Uint8Array): Promise<CryptoKey> {
  assertPublicKey(point);
  return importing(subtle().importKey("raw", asBytes(point), ECDH, false, []));
}

/**
 * Imports a private key for ECDH. With its public key, which must be its own (engines differ in checking that),
 * this is three times faster in Node. Throws `invalid-key`.
 */
export async function importDhPrivateKey(scalar: Uint8Array, publicKey?: Uint8Array): Promise<CryptoKey> {
  assertScalar(scalar);
  if (publicKey === undefined) {
    return importing(subtle().importKey("pkcs8", pkcs8Of(scalar), ECDH, false, ["deriveBits"]));
  }
  assertPublicKey(publicKey);
  const jwk: JsonWebKey = {
    kty: "EC",
    crv: "P-256",
    d: toBase64Url(scalar),
    x: toBase64Url(publicKey.subarray(1, 33)),
    y: toBase64Url(publicKey.subarray(33)),
    ext: true,
  };
  return importing(subtle().importKey("jwk", jwk, ECDH, false, ["deriveBits"]));
}

/** RFC 9180 §4.1 `DH`: the x coordinate, 32 bytes. Throws `invalid-key`, too, when the result is zero. */
export async function dh(privateKey: CryptoKey | Uint8Array, publicKey: Uint8Array): Promise<Bytes> {
  const [own, peer] = await Promise.all([
    privateKey instanceof Uint8Array ? importDhPrivateKey(privateKey) : privateKey,
    importDhPublicKey(publicKey),
  ]);
  try {
    return new Uint8Array(await subtle().deriveBits({ name: "ECDH", public: peer }, own, 256));
  } catch (cause) {
    throw new SubrosaError("invalid-key", "ECDH failed", { cause });
  }
}

/** Coordinates by the engine's own arithmetic. Firefox refuses this export. */
export async function publicKeyByJwk(scalar: Uint8Array): Promise<Bytes> {
  const key = await importing(subtle().importKey("pkcs8", pkcs8Of(scalar), ECDH, true, ["deriveBits"]));
  const { x, y } = await subtle().exportKey("jwk", key);
  if (x === undefined || y === undefined) throw new SubrosaError("invalid-key", "no coordinates exported");
  const point = pointOf(fromBase64Url(x), fromBase64Url(y));
  assertPublicKey(point);
  return point;
}

/**
 * The same where the export fails: x is the ECDH of the scalar with the base point, y one of two square roots,
 * and a signature tells which. Only public values meet JavaScript arithmetic.
 */
export async function publicKeyByRecipe(scalar: Uint8Array): Promise<Bytes> {
  const pkcs8 = pkcs8Of(scalar);
  const message = new Uint8Array(1);
  const [x, signature] = await Promise.all([
    dh(scalar, basePoint()),
    importing(subtle().importKey("pkcs8", pkcs8, ECDSA, false, ["sign"])).then((key) =>
      subtle().sign(ECDSA_SHA256, key, message),
    ),
  ]);
  wipe(pkcs8);
  for (const candidate of pointsWithX(x)) {
    const key = await importing(subtle().importKey("raw", candidate, ECDSA, false, ["verify"]));
    if (await subtle().verify(ECDSA_SHA256, key, signature, message)) return candidate;
  }
  throw new SubrosaError("invalid-key", "no public key fits");
}

let exportRefused = false;

/** The public key of a scalar: `scalar * G`, uncompressed. Throws `invalid-key`. */
export async function publicKeyOf(scalar: Uint8Array): Promise<Bytes> {
  assertScalar(scalar);
  if (!exportRefused) {
    try {
      return await publicKeyByJwk(scalar);
    } catch {
      const point = await publicKeyByRecipe(scalar);
      exportRefused = true;
      return point;
    }
  }
  return publicKeyByRecipe(scalar);
}

/** A new ECDH key pair whose scalar is known. */
export async function generateDhKeyPair(): Promise<DhKeyPair> {
  const pair = (await subtle().generateKey(ECDH, true, ["deriveBits"])) as CryptoKeyPair;
  const { d, x, y } = await subtle().exportKey("jwk", pair.privateKey);
  return {
    privateKey: fromBase64Url(d as string),
    publicKey: pointOf(fromBase64Url(x as string), fromBase64Url(y as string)),
  };
}

/** A new ECDH key pair for one use, its private half in the engine only. */
export async function generateEphemeralKeyPair(): Promise<{ privateKey: CryptoKey; publicKey: Bytes }> {
  const pair = (await subtle().generateKey(ECDH, false, ["deriveBits"])) as CryptoKeyPair;
  return {
    privateKey: pair.privateKey,
    publicKey: new Uint8Array(await subtle().exportKey("raw", pair.publicKey)),
  };
}
