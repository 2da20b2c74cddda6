import type { Bytes } from "../base/bytes.js";
import { fromUtf8, toUtf8 } from "../base/encoding.js";
import type { Reader } from "../codec/reader.js";
import { encode, type Writer } from "../codec/writer.js";
import { decodeName, encodeName } from "./identifiers.js";
import { DEVICE_ID_LENGTH, DIGEST_LENGTH, NONCE_LENGTH, PUBLIC_KEY_LENGTH } from "./protocol.js";

/** The longest signature: ECDSA P-256 in DER takes at most 72 bytes. */
const MAX_SIGNATURE_BYTES = 80;
const MAX_DEVICES = 64;

function toBeSigned<T>(label: string, encoder: (writer: Writer, value: T) => void, value: T): Bytes {
  return encode((writer) => {
    writer.opaque(toUtf8(`Subrosa 1 ${label}`));
    encoder(writer, value);
  }, undefined);
}

/** What an account key certifies: this device key is this user's device. */
export interface DeviceIdentity {
  readonly userId: string;
  readonly deviceId: Bytes;
  readonly deviceKey: Bytes;
}

/** The bytes that the account key signs for a device certificate. */
export function certificateToBeSigned(device: DeviceIdentity): Bytes {
  return toBeSigned(
    "device certificate",
    (writer, value) => {
      encodeName(writer, value.userId);
      writer.fixed(value.deviceId).fixed(value.deviceKey);
    },
    device,
  );
}

/** The versioned, hash-chained list of an account's devices. Version 1 has a `previous` of zeros. */
export interface DeviceList {
  readonly userId: string;
  readonly version: number;
  /** SHA-256 of the encoding of the signed list before this one. */
  readonly previous: Bytes;
  readonly devices: readonly { readonly deviceId: Bytes; readonly deviceKey: Bytes }[];
}

export interface SignedDeviceList {
  readonly list: DeviceList;
  readonly signature: Bytes;
}

function encodeDeviceList(writer: Writer, list: DeviceList): void {
  encodeName(writer, list.userId);
  writer.uint53(list.version).fixed(list.previous);
  writer.vector(list.devices, (w, device) => w.fixed(device.deviceId).fixed(device.deviceKey));
}

function decodeDeviceList(reader: Reader): DeviceList {
  return {
    userId: decodeName(reader),
    version: reader.uint53(),
    previous: reader.fixed(DIGEST_LENGTH),
    devices: reader.vector(
      (r) => ({ deviceId: r.fixed(DEVICE_ID_LENGTH), deviceKey: r.fixed(PUBLIC_KEY_LENGTH) }),
      MAX_DEVICES,
    ),
  };
}

/** The bytes that the account key signs for a device list. */
export function deviceListToBeSigned(list: DeviceList): Bytes {
  return toBeSigned("device list", encodeDeviceList, list);
}

export function encodeSignedDeviceList(writer: Writer, signed: SignedDeviceList): void {
  encodeDeviceList(writer, signed.list);
  writer.opaque(signed.signature);
}

export function decodeSignedDeviceList(reader: Reader): SignedDeviceList {
  return { list: decodeDeviceList(reader), signature: reader.opaque(MAX_SIGNATURE_BYTES) };
}

/** What the relay says of a user: its account key and its newest device list. */
export interface Account {
  readonly userId: string;
  readonly accountKey: Bytes;
  readonly deviceList: SignedDeviceList;
}

export function encodeAccount(writer: Writer, account: Account): void {
  encodeName(writer, account.userId);
  writer.fixed(account.accountKey);
  encodeSignedDeviceList(writer, account.deviceList);
}

export function decodeAccount(reader: Reader): Account {
  return {
    userId: decodeName(reader),
    accountKey: reader.fixed(PUBLIC_KEY_LENGTH),
    deviceList: decodeSignedDeviceList(reader),
  };
}

/** What a device signs to open a session: bound to the relay's name and its fresh nonce. */
export interface SessionClaim {
  readonly relayName: string;
  readonly nonce: Bytes;
  readonly userId: string;
  readonly deviceId: Bytes;
  /** Grows with each opening of the device's store; a copy of an older state is refused. */
  readonly incarnation: number;
  /** Random, chosen when the store was opened: tells two copies of one incarnation apart. */
  readonly incarnationTag: Bytes;
}

/** The bytes that the device key signs to open a session. */
export function sessionToBeSigned(claim: SessionClaim): Bytes {
  return toBeSigned(
    "session",
    (writer, value) => {
      writer.opaque(toUtf8(value.relayName)).fixed(value.nonce);
      encodeName(writer, value.userId);
      writer.fixed(value.deviceId).uint53(value.incarnation).fixed(value.incarnationTag);
    },
    claim,
  );
}

/** The relay's first frame. */
export interface Challenge {
  readonly relayName: string;
  readonly nonce: Bytes;
}

/** The client's first frame. */
export interface Authentication {
  readonly account: Account;
  readonly deviceId: Bytes;
  /** The account key's signature over the device certificate. */
  readonly certificate: Bytes;
  readonly incarnation: number;
  readonly incarnationTag: Bytes;
  /** What the app's own login needs; empty without one. */
  readonly token: string;
  /** The device key's signature over {@link sessionToBeSigned}. */
  readonly signature: Bytes;
}

export const INCARNATION_TAG_LENGTH = 16;
const MAX_TOKEN_BYTES = 16384;

export function encodeAuthentication(writer: Writer, value: Authentication): void {
  encodeAccount(writer, value.account);
  writer.fixed(value.deviceId).opaque(value.certificate);
  writer.uint53(value.incarnation).fixed(value.incarnationTag);
  writer.opaque(toUtf8(value.token)).opaque(value.signature);
}

export function decodeAuthentication(reader: Reader): Authentication {
  return {
    account: decodeAccount(reader),
    deviceId: reader.fixed(DEVICE_ID_LENGTH),
    certificate: reader.opaque(MAX_SIGNATURE_BYTES),
    incarnation: reader.uint53(),
    incarnationTag: reader.fixed(INCARNATION_TAG_LENGTH),
    token: fromUtf8(reader.opaque(MAX_TOKEN_BYTES)),
    signature: reader.opaque(MAX_SIGNATURE_BYTES),
  };
}

export function encodeChallenge(writer: Writer, challenge: Challenge): void {
  writer.opaque(toUtf8(challenge.relayName)).fixed(challenge.nonce);
}

export function decodeChallenge(reader: Reader): Challenge {
  return { relayName: fromUtf8(reader.opaque(256)), nonce: reader.fixed(NONCE_LENGTH) };
}

/** The bytes whose SHA-256 is an account's fingerprint. */
export function fingerprintInput(userId: string, accountKey: Bytes): Bytes {
  return encode((writer) => {
    writer.opaque(toUtf8("Subrosa 1 fingerprint"));
    encodeName(writer, userId);
    writer.fixed(accountKey);
  }, undefined);
}
