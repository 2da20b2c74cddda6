import type { Bytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { randomBytes } from "../../crypto/random.js";
import {
  exportSignaturePrivateKey,
  generateSignatureKeyPair,
  importSignaturePrivateKey,
  sign,
} from "../../crypto/signature.js";
import type { StoreSession } from "../../stores/store.js";
import {
  type Account,
  certificateToBeSigned,
  type DeviceList,
  decodeAccount,
  deviceListToBeSigned,
  encodeAccount,
} from "../../wire/identity.js";
import { DEVICE_ID_LENGTH, DIGEST_LENGTH, PUBLIC_KEY_LENGTH } from "../../wire/protocol.js";
import { credentialIdentity } from "./credential.js";

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

const RECORD = "identity";
const ACCOUNT_KEY = "account-key";
const DEVICE_KEY = "device-key";

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

/** The identity in the store, made anew on first use. Throws `store-failed` when a part of it is missing. */
export async function loadIdentity(
  store: StoreSession,
  userId: string,
  randomId: (length: number) => Bytes = randomBytes,
): Promise<OwnIdentity> {
  if (store.firstUse || (await store.get(RECORD)) === undefined)
    await createIdentity(store, userId, randomId(DEVICE_ID_LENGTH));
  const [record, accountKey, devicePrivateKey] = await Promise.all([
    store.get(RECORD),
    store.get(ACCOUNT_KEY),
    store.getKey(DEVICE_KEY),
  ]);
  if (record === undefined || accountKey === undefined || devicePrivateKey === undefined) {
    throw new SubrosaError("store-failed", "a part of the identity is missing from the store");
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

async function createIdentity(store: StoreSession, userId: string, deviceId: Bytes): Promise<void> {
  // Extractable only until they are stored: the account key as an encrypted record, so that it can go into a recovery
  // file, the device key as one that never leaves.
  const [account, device] = await Promise.all([
    generateSignatureKeyPair({ extractable: true }),
    generateSignatureKeyPair({ extractable: true }),
  ]);
  const list: DeviceList = {
    userId,
    version: 1,
    previous: new Uint8Array(DIGEST_LENGTH),
    devices: [{ deviceId, deviceKey: device.publicKey }],
  };
  const [certificate, signature, accountKey] = await Promise.all([
    sign(account.privateKey, certificateToBeSigned({ userId, deviceId, deviceKey: device.publicKey })),
    sign(account.privateKey, deviceListToBeSigned(list)),
    exportSignaturePrivateKey(account.privateKey),
  ]);
  const record: IdentityRecord = {
    account: { userId, accountKey: account.publicKey, deviceList: { list, signature } },
    deviceId,
    deviceKey: device.publicKey,
    certificate,
  };
  await store.write([
    { put: RECORD, value: encode(encodeRecord, record) },
    { put: ACCOUNT_KEY, value: accountKey },
    { putKey: DEVICE_KEY, privateKey: device.privateKey },
  ]);
}
