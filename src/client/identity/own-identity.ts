import type { Bytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { sha256 } from "../../crypto/hash.js";
import { publicKeyOf, scalarOfPkcs8 } from "../../crypto/p256.js";
import { randomBytes } from "../../crypto/random.js";
import {
  exportSignaturePrivateKey,
  generateSignatureKeyPair,
  importSignaturePrivateKey,
  sign,
} from "../../crypto/signature.js";
import type { Change, StoreSession } from "../../stores/store.js";
import {
  type Account,
  certificateToBeSigned,
  type DeviceList,
  decodeAccount,
  deviceListToBeSigned,
  encodeAccount,
  encodeSignedDeviceList,
} from "../../wire/identity.js";
import { DEVICE_ID_LENGTH, DIGEST_LENGTH, PUBLIC_KEY_LENGTH } from "../../wire/protocol.js";
import { layout } from "../layout.js";
import { credentialIdentity } from "./credential.js";
import { replacedChange } from "./replaced-devices.js";

/** This device's account, keys and certificate. */
export interface OwnIdentity {
  readonly userId: string;
  readonly account: Account;
  readonly deviceId: Bytes;
  readonly certificate: Bytes;
  /** Signs sessions and everything in MLS. */
  readonly device: { readonly privateKey: CryptoKey; readonly publicKey: Bytes };
  /** The account's private key; a linked device has none. */
  readonly accountPrivateKey: CryptoKey;
  /** The identity bytes of this device's MLS credential. */
  readonly credential: Bytes;
}

const RECORD = layout.identity;
const ACCOUNT_KEY = layout.accountKey;
const DEVICE_KEY = layout.deviceKey;

interface IdentityRecord {
  readonly account: Account;
  readonly deviceId: Bytes;
  readonly deviceKey: Bytes;
  readonly certificate: Bytes;
}

function encodeRecord(writer: Writer, record: IdentityRecord): void {
  writer.u8(1);
  encodeAccount(writer, record.account);
  writer.fixed(record.deviceId).fixed(record.deviceKey).opaque(record.certificate);
}

function decodeRecord(reader: Reader): IdentityRecord {
  if (reader.u8() !== 1) reader.fail("unknown version of identity");
  return {
    account: decodeAccount(reader),
    deviceId: reader.fixed(DEVICE_ID_LENGTH),
    deviceKey: reader.fixed(PUBLIC_KEY_LENGTH),
    certificate: reader.opaque(),
  };
}

/** The identity in the store, made on first use. Throws `store-damaged` when a part of it is missing. */
export async function loadIdentity(
  store: StoreSession,
  userId: string,
  randomId: (length: number) => Bytes = randomBytes,
): Promise<OwnIdentity> {
  if (store.firstUse) await store.write(await newAccount(userId, randomId(DEVICE_ID_LENGTH)));
  const [record, accountKey, devicePrivateKey] = await Promise.all([
    store.get(RECORD),
    store.get(ACCOUNT_KEY),
    store.getKey(DEVICE_KEY),
  ]);
  if (accountKey === undefined) throw accountKeyGone();
  if (record === undefined || devicePrivateKey === undefined) {
    throw new SubrosaError("store-damaged", "a part of the identity is missing from the store");
  }
  const { account, deviceId, deviceKey, certificate } = decode(decodeRecord, record);
  if (account.userId !== userId) throw new SubrosaError("store-failed", "the store holds another user");
  return {
    userId,
    account,
    deviceId,
    certificate,
    device: { privateKey: devicePrivateKey, publicKey: deviceKey },
    accountPrivateKey: await importSignaturePrivateKey(accountKey),
    credential: credentialIdentity({ userId, deviceId, accountKey: account.accountKey, certificate }),
  };
}

/** Whether this device's identity can be read. */
export async function isWholeIdentity(store: StoreSession): Promise<boolean> {
  const [record, deviceKey] = await Promise.all([store.get(RECORD), store.getKey(DEVICE_KEY)]);
  return record !== undefined && readRecord(record) !== undefined && deviceKey !== undefined;
}

async function newAccount(userId: string, deviceId: Bytes): Promise<Change[]> {
  // Extractable only until it is stored: as an encrypted record, so that it can go into a recovery file.
  const { privateKey, publicKey } = await generateSignatureKeyPair({ extractable: true });
  const previous = new Uint8Array(DIGEST_LENGTH);
  const device = await newDevice({ userId, privateKey, publicKey }, deviceId, { version: 1, previous });
  return [{ put: ACCOUNT_KEY, value: await exportSignaturePrivateKey(privateKey) }, ...device];
}

/**
 * The changes by which another device takes the place of this one, by itself in the account's next device list. Throws
 * `store-damaged` when the account's key is gone. `now`: milliseconds since 1970.
 */
export async function replaceDevice(
  store: StoreSession,
  userId: string,
  deviceId: Bytes,
  now: number,
): Promise<Change[]> {
  const [record, accountKey] = await Promise.all([store.get(RECORD), store.get(ACCOUNT_KEY)]);
  if (accountKey === undefined) throw accountKeyGone();
  const privateKey = await importSignaturePrivateKey(accountKey);
  const before = record && readRecord(record);
  const known = before?.account;
  if (known !== undefined && known.userId !== userId) {
    throw new SubrosaError("store-failed", "the store holds another user");
  }
  const publicKey = known?.accountKey ?? (await publicKeyOf(scalarOfPkcs8(accountKey)));
  // Without the last list its version is not known; seconds are more than versions ever come to.
  const next =
    known === undefined
      ? { version: Math.floor(now / 1000), previous: new Uint8Array(DIGEST_LENGTH) }
      : {
          version: known.deviceList.list.version + 1,
          previous: await sha256(encode(encodeSignedDeviceList, known.deviceList)),
        };
  const changes = await newDevice({ userId, privateKey, publicKey }, deviceId, next);
  return before === undefined ? changes : [...changes, await replacedChange(store, before.deviceId)];
}

function readRecord(record: Uint8Array): IdentityRecord | undefined {
  try {
    return decode(decodeRecord, record);
  } catch {
    return undefined;
  }
}

/** A device, the only one of its account's list of this version. */
async function newDevice(
  account: { readonly userId: string; readonly privateKey: CryptoKey; readonly publicKey: Bytes },
  deviceId: Bytes,
  { version, previous }: Pick<DeviceList, "version" | "previous">,
): Promise<Change[]> {
  const { userId, privateKey, publicKey: accountKey } = account;
  // Extractable only until it is stored, as one that never leaves.
  const { publicKey: deviceKey, ...device } = await generateSignatureKeyPair({ extractable: true });
  const list: DeviceList = { userId, version, previous, devices: [{ deviceId, deviceKey }] };
  const [certificate, signature] = await Promise.all([
    sign(privateKey, certificateToBeSigned({ userId, deviceId, deviceKey })),
    sign(privateKey, deviceListToBeSigned(list)),
  ]);
  const record: IdentityRecord = {
    account: { userId, accountKey, deviceList: { list, signature } },
    deviceId,
    deviceKey,
    certificate,
  };
  return [
    { put: RECORD, value: encode(encodeRecord, record) },
    { putKey: DEVICE_KEY, privateKey: device.privateKey },
  ];
}

function accountKeyGone(): SubrosaError {
  return new SubrosaError(
    "store-damaged",
    "the account's key is gone from the store: the user needs a new account, in a new store",
  );
}
