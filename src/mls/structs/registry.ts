import type { Reader } from "../../codec/reader.js";

/** RFC 9420 §6 `ProtocolVersion`: mls10. */
export const MLS10 = 1;

/** RFC 9420 §17.1: MLS_128_DHKEMP256_AES128GCM_SHA256_P256, the one suite that this engine computes with. */
export const CIPHER_SUITE = 2;

/** RFC 9420 §17.3. */
export const ExtensionType = {
  applicationId: 1,
  ratchetTree: 2,
  requiredCapabilities: 3,
  externalPub: 4,
  externalSenders: 5,
} as const;

/** RFC 9420 §17.4. */
export const ProposalType = {
  add: 1,
  update: 2,
  remove: 3,
  psk: 4,
  reInit: 5,
  externalInit: 6,
  groupContextExtensions: 7,
} as const;

/** RFC 9420 §17.5. */
export const CredentialType = { basic: 1, x509: 2 } as const;

/** RFC 9420 §13.5: reserved values that everyone must tolerate where they have no meaning. */
export function isGrease(value: number): boolean {
  return (value & 0x0f0f) === 0x0a0a && value >> 8 === (value & 0xff) && value !== 0xfafa;
}

/** The names of a closed enumeration by their number; anything else is malformed. */
export function decodeName<T extends string>(
  names: Readonly<Record<T, number>>,
  value: number,
  reader: Reader,
  what: string,
): T {
  for (const name in names) if (names[name] === value) return name;
  return reader.fail(`unknown ${what}`);
}
