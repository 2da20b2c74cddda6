import { type Bytes, compareBytes, concat } from "../../base/bytes.js";
import { toBase64Url, toHex } from "../../base/encoding.js";
import { assertArgument } from "../../base/errors.js";
import { sha256 } from "../../crypto/hash.js";
import { fingerprintInput } from "../../wire/identity.js";

/** What two people compare to know that nobody stands between them. */
export interface SafetyNumber {
  /** 60 digits, the same on both sides; show them in groups of five. */
  readonly digits: string;
  /** For a QR code: both full fingerprints, the same text on both sides. */
  readonly qr: string;
  /** The other account's fingerprint: what the `fingerprint` options and `acceptIdentity` take. */
  readonly fingerprint: string;
}

/** SHA-256 over the user id and the account key. */
async function accountHash(userId: string, accountKey: Bytes): Promise<Bytes> {
  return sha256(fingerprintInput(userId, accountKey));
}

/** An account's fingerprint: 64 hexadecimal digits. */
export async function fingerprintOf(userId: string, accountKey: Bytes): Promise<string> {
  return toHex(await accountHash(userId, accountKey));
}

/** 30 digits of 240 bits: about 2^99 keys have to be tried to meet someone's. */
function digitsOf(hash: Bytes): string {
  let digits = "";
  for (let i = 0; i < 30; i += 5) {
    const chunk = hash.subarray(i, i + 5).reduce((sum, byte) => sum * 256 + byte, 0);
    digits += String(chunk % 100_000).padStart(5, "0");
  }
  return digits;
}

/** The safety number of two accounts, whichever of them asks. */
export async function safetyNumberOf(
  own: { userId: string; accountKey: Bytes },
  other: { userId: string; accountKey: Bytes },
): Promise<SafetyNumber> {
  const [ours, theirs] = await Promise.all([
    accountHash(own.userId, own.accountKey),
    accountHash(other.userId, other.accountKey),
  ]);
  const [first, second] = compareBytes(ours, theirs) < 0 ? [ours, theirs] : [theirs, ours];
  return {
    digits: digitsOf(first) + digitsOf(second),
    qr: `subrosa:1:${toBase64Url(concat(first, second))}`,
    fingerprint: toHex(theirs),
  };
}

/** Throws `invalid-argument` for what can be no account's fingerprint. */
export function assertFingerprint(fingerprint: unknown): void {
  assertArgument(
    fingerprint === undefined || (typeof fingerprint === "string" && /^[0-9a-f]{64}$/i.test(fingerprint)),
    "fingerprint: 64 hexadecimal digits",
  );
}
