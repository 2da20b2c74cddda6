import { type Bytes, equalBytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import { decode } from "../../codec/reader.js";
import { encode } from "../../codec/writer.js";
import { type Account, decodeAccount, encodeAccount, encodeSignedDeviceList } from "../../wire/identity.js";
import type { KeyPackageUpload } from "../../wire/requests.js";
import type { AdmitCommand, PublishCommand } from "../storage.js";
import { forgetBlocks } from "./blocks.js";
import { after, bytesOf, keys } from "./keys.js";
import { type DeviceRecord, deviceRecord, keyPackageRecord, type RecordType } from "./records.js";
import { type Records, refuse, type Transaction } from "./transaction.js";

export const accountRecord: RecordType<Account> = {
  encode: (account) => encode(encodeAccount, account),
  decode: (bytes) => decode(decodeAccount, bytes),
};

/** PROTOCOL.md, "A session": the checks that need what the relay knows already. */
export function admitDevice(
  transaction: Transaction,
  command: AdmitCommand,
): { registered: boolean; keyPackages: number } {
  const { account, deviceId } = command;
  const key = keys.account(account.userId);
  const bound = transaction.get(accountRecord, key);
  const { replaces } = command;
  const isOther = bound !== undefined && !equalBytes(bound.accountKey, account.accountKey);
  const isReplaced = isOther && replaces !== undefined && equalBytes(bound.accountKey, replaces);
  const known = isReplaced ? undefined : bound;
  if (known !== undefined) {
    if (isOther) {
      refuse("user-id-taken", "another account has this user id; the relay's operator can remove it");
    }
    const { version } = account.deviceList.list;
    const stored = known.deviceList.list;
    const isAnother = () => {
      const [ours, theirs] = [known, account].map((one) => encode(encodeSignedDeviceList, one.deviceList));
      return !equalBytes(ours as Bytes, theirs as Bytes);
    };
    if (version < stored.version || (version === stored.version && isAnother())) {
      if (!isListed(known, deviceId))
        refuse("revoked", "the device list that the relay knows lacks the device");
      refuse("conflict", "the relay knows a newer device list, or another one of this version");
    }
  }
  // None of the devices of the account before can be one of this account's.
  if (isReplaced)
    for (const { deviceId: old } of bound.deviceList.list.devices) removeDevice(transaction, old);
  for (const listed of account.deviceList.list.devices) {
    const device = transaction.get(deviceRecord, keys.device(listed.deviceId));
    if (device === undefined) {
      const fresh = {
        userId: account.userId,
        accountKey: account.accountKey,
        removed: false,
        incarnation: 0,
        incarnationTag: new Uint8Array(0),
      };
      transaction.put(deviceRecord, keys.device(listed.deviceId), fresh);
    } else if (device.removed && device.userId === account.userId && bound === undefined) {
      refuse("user-removed", "the operator removed the user with its devices");
    } else if (device.removed || !isOf(device, account)) {
      refuse("conflict", "a device id of the list is taken");
    }
  }
  const device =
    transaction.get(deviceRecord, keys.device(deviceId)) ?? refuse("conflict", "unlisted device");
  const { incarnation, incarnationTag } = command;
  const again = incarnation === device.incarnation && equalBytes(incarnationTag, device.incarnationTag);
  const first = device.incarnationTag.length === 0;
  if (!first && !again && incarnation <= device.incarnation) {
    refuse("store-outdated", "the relay has seen a newer state of this device");
  }
  for (const listed of known?.deviceList.list.devices ?? []) {
    if (!isListed(account, listed.deviceId)) removeDevice(transaction, listed.deviceId);
  }
  transaction.put(accountRecord, key, account);
  transaction.put(deviceRecord, keys.device(deviceId), { ...device, incarnation, incarnationTag });
  const keyPackages = dropExpired(transaction, deviceId, command.now);
  return { registered: known === undefined, keyPackages };
}

/** Forgets a user. The device ids stay taken: whoever had them could read what is addressed to them. */
export function removeAccount(transaction: Transaction, userId: string): boolean {
  const account = transaction.get(accountRecord, keys.account(userId));
  if (account === undefined) return false;
  transaction.delete(keys.account(userId));
  for (const { deviceId } of account.deviceList.list.devices) removeDevice(transaction, deviceId);
  forgetBlocks(transaction, userId);
  return true;
}

/** Whether it is by this account key, too, that the user has the device: a freed user id can be another person's. */
function isOf(device: DeviceRecord, { userId, accountKey }: Pick<Account, "userId" | "accountKey">): boolean {
  return device.userId === userId && equalBytes(device.accountKey, accountKey);
}

/** See `RelayStorage.isOwn`. */
export function isOwnDevice(device: DeviceRecord | undefined, other: DeviceRecord | undefined): boolean {
  return device !== undefined && other !== undefined && !device.removed && isOf(other, device);
}

/** Whether the account's device list holds the device. */
function isListed(account: Account, deviceId: Bytes): boolean {
  return account.deviceList.list.devices.some((listed) => equalBytes(listed.deviceId, deviceId));
}

function removeDevice(transaction: Transaction, deviceId: Bytes): void {
  const device = transaction.get(deviceRecord, keys.device(deviceId));
  if (device) transaction.put(deviceRecord, keys.device(deviceId), { ...device, removed: true });
  for (const [key] of oneTime(transaction, deviceId)) transaction.delete(key);
  transaction.delete(keys.lastResort(deviceId));
}

function oneTime(records: Records, deviceId: Bytes): (readonly [string, KeyPackageUpload])[] {
  return [...records.all(keyPackageRecord, keys.keyPackages(deviceId))];
}

const usable = (upload: KeyPackageUpload, now: number) => upload.notAfter * 1000 > now;

/** Drops expired one-time key packages and counts the others. */
function dropExpired(transaction: Transaction, deviceId: Bytes, now: number): number {
  let held = 0;
  for (const [key, upload] of oneTime(transaction, deviceId)) {
    if (usable(upload, now)) held++;
    else transaction.delete(key);
  }
  return held;
}

export function publishPackages(transaction: Transaction, command: PublishCommand): number {
  const { deviceId, lastResort } = command;
  const held = dropExpired(transaction, deviceId, command.now);
  const taken = new Set(oneTime(transaction, deviceId).map(([, { keyPackage }]) => toHex(keyPackage)));
  const fresh = command.oneTime.filter((upload) => {
    const isNew = !taken.has(toHex(upload.keyPackage));
    taken.add(toHex(upload.keyPackage));
    return isNew && usable(upload, command.now);
  });
  if (held + fresh.length > command.maxKeyPackages) refuse("quota-exceeded", "too many key packages");
  const last = oneTime(transaction, deviceId).at(-1)?.[0];
  // The number is the key's last eight bytes; those handed out leave gaps at the beginning.
  let number = last === undefined ? 0 : numberOf(bytesOf(last, last.length - 8)) + 1;
  for (const upload of fresh) transaction.put(keyPackageRecord, keys.keyPackage(deviceId, number++), upload);
  if (lastResort) transaction.put(keyPackageRecord, keys.lastResort(deviceId), lastResort);
  return held + fresh.length;
}

function numberOf(bytes: Uint8Array): number {
  return bytes.reduce((number, byte) => number * 256 + byte, 0);
}

export function takePackages(
  transaction: Transaction,
  userId: string,
  now: number,
  lastResortOnly: boolean,
): { account: Account; devices: { deviceId: Bytes; keyPackage: Bytes }[] } {
  const account =
    transaction.get(accountRecord, keys.account(userId)) ?? refuse("unknown-user", "no such user");
  const devices: { deviceId: Bytes; keyPackage: Bytes }[] = [];
  for (const { deviceId } of account.deviceList.list.devices) {
    const keyPackage = takePackage(transaction, deviceId, now, lastResortOnly);
    if (keyPackage) devices.push({ deviceId, keyPackage });
  }
  if (devices.length === 0) refuse("no-key-package", "the user has no key packages left");
  return { account, devices };
}

function takePackage(
  transaction: Transaction,
  deviceId: Bytes,
  now: number,
  lastResortOnly: boolean,
): Bytes | undefined {
  const prefix = keys.keyPackages(deviceId);
  const oneTimeOnes = lastResortOnly ? [] : transaction.view.range(prefix, after(prefix));
  for (const [key, bytes] of oneTimeOnes) {
    const upload = keyPackageRecord.decode(bytes);
    transaction.delete(key);
    if (usable(upload, now)) return upload.keyPackage;
  }
  const last = transaction.get(keyPackageRecord, keys.lastResort(deviceId));
  return last && usable(last, now) ? last.keyPackage : undefined;
}
