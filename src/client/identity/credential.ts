import type { Bytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { verify } from "../../crypto/signature.js";
import { decodeName, encodeName } from "../../wire/identifiers.js";
import { certificateToBeSigned } from "../../wire/identity.js";
import { DEVICE_ID_LENGTH, PUBLIC_KEY_LENGTH } from "../../wire/protocol.js";

const VERSION = 1;

/** What the basic credential (RFC 9420 §5.3) of every leaf says. */
export interface DeviceCredential {
  readonly userId: string;
  readonly deviceId: Bytes;
  readonly accountKey: Bytes;
  /** The account key's signature over user id, device id and the leaf's signature key. */
  readonly certificate: Bytes;
}

function encodeDeviceCredential(writer: Writer, credential: DeviceCredential): void {
  writer.u8(VERSION);
  encodeName(writer, credential.userId);
  writer.fixed(credential.deviceId).fixed(credential.accountKey).opaque(credential.certificate);
}

function decodeDeviceCredential(reader: Reader): DeviceCredential {
  if (reader.u8() !== VERSION) reader.fail("unknown version of credential");
  return {
    userId: decodeName(reader),
    deviceId: reader.fixed(DEVICE_ID_LENGTH),
    accountKey: reader.fixed(PUBLIC_KEY_LENGTH),
    certificate: reader.opaque(80),
  };
}

/** The identity bytes of a basic credential. */
export function credentialIdentity(credential: DeviceCredential): Bytes {
  return encode(encodeDeviceCredential, credential);
}

/** What a leaf's credential says, unverified; throws `malformed`. */
export function parseIdentity(identity: Uint8Array): DeviceCredential {
  return decode(decodeDeviceCredential, identity);
}

/** Throws `invalid-signature` unless the account in the credential certified `signatureKey` as its device's. */
export async function verifyCredential(credential: DeviceCredential, signatureKey: Bytes): Promise<void> {
  const { userId, deviceId, accountKey, certificate } = credential;
  const signed = certificateToBeSigned({ userId, deviceId, deviceKey: signatureKey });
  if (!(await verify(accountKey, certificate, signed))) {
    throw new SubrosaError("invalid-signature", "a device certificate is not by the account it names");
  }
}
