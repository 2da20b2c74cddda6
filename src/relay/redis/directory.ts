import type { Bytes } from "../../base/bytes.js";
import { equalBytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import type { Account } from "../../wire/identity.js";
import { accountRecord, admitDevice, isOwnDevice, removeAccount } from "../embedded/accounts.js";
import { keys } from "../embedded/keys.js";
import { deviceRecord, keyPackageRecord } from "../embedded/records.js";
import { refuse, Transaction } from "../embedded/transaction.js";
import type { AdmitCommand, PublishCommand } from "../storage.js";
import { deviceTag, placeOf } from "./places.js";
import type { RecordsLink } from "./records-link.js";
import { PUBLISH_PACKAGES, TAKE_PACKAGE } from "./scripts.js";
import { Missing, Snapshot } from "./snapshot.js";

const MAX_ATTEMPTS = 32;

/** Accounts, devices and key packages. An account and each of its devices lie in slots of their own. */
export class Directory {
  readonly #records: RecordsLink;
  readonly #revoked: (tag: string) => Promise<void>;

  /** `revoked` is called with the slot of each device that was removed from its user's list. */
  constructor(records: RecordsLink, revoked: (tag: string) => Promise<void>) {
    this.#records = records;
    this.#revoked = revoked;
  }

  async admit(command: AdmitCommand): Promise<{ registered: boolean; keyPackages: number }> {
    const { account, deviceId } = command;
    const hints = account.deviceList.list.devices.map((device) => keys.device(device.deviceId));
    const { registered } = await this.#run(
      (transaction) => admitDevice(transaction, command),
      [keys.account(account.userId), ...hints],
    );
    const none = { deviceId, oneTime: [], maxKeyPackages: Number.MAX_SAFE_INTEGER, now: command.now };
    return { registered, keyPackages: await this.publish(none) };
  }

  remove(userId: string): Promise<boolean> {
    return this.#run((transaction) => removeAccount(transaction, userId), [keys.account(userId)]);
  }

  /**
   * Runs a command of the rules. Devices are written before the account that lists them: a crash between them
   * leaves device ids that nobody else can take, and the repeated command finds them its own.
   */
  async #run<T>(command: (transaction: Transaction) => T, hints: readonly string[]): Promise<T> {
    const snapshot = new Snapshot(() => undefined);
    await Promise.all(hints.map((key) => this.#fetch(snapshot, key, false)));
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const { result, changes } = await this.#draft(command, snapshot);
      const tags = [...changes.keys()];
      const devices = tags.filter((tag) => tag.startsWith("d:"));
      const done = await Promise.all(devices.map((tag) => this.#write(snapshot, tag, changes)));
      const accounts = done.includes(false) ? undefined : tags.filter((tag) => !devices.includes(tag));
      if (accounts === undefined) continue;
      const rest = await Promise.all(accounts.map((tag) => this.#write(snapshot, tag, changes)));
      if (!rest.includes(false)) return result;
    }
    throw new SubrosaError("store-failed", "other nodes were faster too many times");
  }

  async #draft<T>(
    command: (transaction: Transaction) => T,
    snapshot: Snapshot,
  ): Promise<{ result: T; changes: Map<string, Map<string, Bytes | undefined>> }> {
    for (;;) {
      snapshot.beginReading();
      const transaction = new Transaction(() => snapshot);
      try {
        const result = command(transaction);
        const changes = new Map<string, Map<string, Bytes | undefined>>();
        for (const [key, value] of transaction.overlay.changes) {
          const { tag } = placeOf(key);
          const before = snapshot.values.get(key);
          if (before !== undefined && value !== undefined && equalBytes(before, value)) continue;
          const ofTag = changes.get(tag) ?? new Map<string, Bytes | undefined>();
          changes.set(tag, ofTag.set(key, value));
        }
        return { result, changes };
      } catch (error) {
        if (!(error instanceof Missing)) throw error;
        await this.#fetch(snapshot, error.key, error.range);
      }
    }
  }

  async #fetch(snapshot: Snapshot, key: string, range: boolean): Promise<void> {
    // One-time key packages are a list, which the scripts below look after.
    if (range && key.startsWith("k")) snapshot.ranges.set(key, []);
    else if (range) snapshot.ranges.set(key, await this.#records.range(key));
    else snapshot.values.set(key, await this.#records.get(key));
  }

  async #write(
    snapshot: Snapshot,
    tag: string,
    changes: ReadonlyMap<string, ReadonlyMap<string, Bytes | undefined>>,
  ): Promise<boolean> {
    const values = changes.get(tag) ?? new Map<string, Bytes | undefined>();
    for (const prefix of snapshot.readRanges) if (prefix.startsWith("k")) snapshot.readRanges.delete(prefix);
    if (!(await this.#records.commit(snapshot, { tag, values, outbox: [] }))) return false;
    for (const [key, value] of values) {
      snapshot.values.set(key, value);
      // Where the last resort goes the others go too, and the device itself.
      if (!key.startsWith("l") || value !== undefined) continue;
      await this.#records.delete(tag, "k");
      await this.#revoked(tag);
    }
    return true;
  }

  async account(userId: string): Promise<Account | undefined> {
    const bytes = await this.#records.get(keys.account(userId));
    return bytes && accountRecord.decode(bytes);
  }

  async isOwn(deviceId: Bytes, other: Bytes): Promise<boolean> {
    const found = [deviceId, other].map((id) => this.#records.get(keys.device(id)));
    const [own, asked] = (await Promise.all(found)).map((bytes) => bytes && deviceRecord.decode(bytes));
    return isOwnDevice(own, asked);
  }

  async publish(command: PublishCommand): Promise<number> {
    const { deviceId, lastResort, now } = command;
    const fresh = command.oneTime.filter((upload) => upload.notAfter * 1000 > now);
    const encoded = fresh.map((upload) => Buffer.from(keyPackageRecord.encode(upload)));
    const last = lastResort ? Buffer.from(keyPackageRecord.encode(lastResort)) : "";
    const tag = deviceTag(deviceId);
    const held = Number(
      await this.#records.link.write({
        tag,
        script: PUBLISH_PACKAGES,
        keys: [this.#records.names.key("k", tag), this.#records.names.key("l", tag)],
        args: [String(now), String(command.maxKeyPackages), last, ...encoded],
      }),
    );
    return held < 0 ? refuse("quota-exceeded", "too many key packages") : held;
  }

  async take(
    userId: string,
    now: number,
    lastResortOnly: boolean,
  ): Promise<{ account: Account; devices: { deviceId: Bytes; keyPackage: Bytes }[] }> {
    const account = (await this.account(userId)) ?? refuse("unknown-user", "no such user");
    const { devices: listed } = account.deviceList.list;
    const taken = await Promise.all(
      listed.map(async ({ deviceId }) => {
        const tag = deviceTag(deviceId);
        const reply = await this.#records.link.write({
          tag,
          script: TAKE_PACKAGE,
          keys: [this.#records.names.key("k", tag), this.#records.names.key("l", tag)],
          args: [String(now), lastResortOnly ? "1" : "0"],
        });
        if (reply === null) return [];
        const { keyPackage } = keyPackageRecord.decode(new Uint8Array(reply as Buffer));
        return [{ deviceId, keyPackage }];
      }),
    );
    const devices = taken.flat();
    if (devices.length === 0) refuse("no-key-package", "the user has no key packages left");
    return { account, devices };
  }
}
