import { type Bytes, equalBytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import { SubrosaError } from "../../base/errors.js";
import { SerialQueue } from "../../base/serial-queue.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { sha256 } from "../../crypto/hash.js";
import { verify } from "../../crypto/signature.js";
import type { Change, StoreSession } from "../../stores/store.js";
import { decodeName, encodeName } from "../../wire/identifiers.js";
import { type Account, deviceListToBeSigned, encodeSignedDeviceList } from "../../wire/identity.js";
import { DEVICE_ID_LENGTH, DIGEST_LENGTH, PUBLIC_KEY_LENGTH } from "../../wire/protocol.js";
import { layout } from "../layout.js";
import { fingerprintOf } from "./safety-number.js";

/** Another user as this device knows it. */
export interface Contact {
  readonly userId: string;
  /** Names the record. */
  readonly number: number;
  /** The account key seen first, or accepted since. */
  readonly pinnedKey: Bytes;
  readonly verified: boolean;
  /** The highest device list version seen; 0 if none was. */
  readonly listVersion: number;
  /** SHA-256 of that signed list: what the next one has to name as the one before it. */
  readonly listHash?: Bytes;
  /** The devices in that list. */
  readonly devices: readonly Bytes[];
  /** The relay says that its operator removed the user; that changes nothing but what is shown. */
  readonly removed?: boolean;
  /** Another key that the relay or a peer offered and that was not accepted yet. */
  readonly offeredKey?: Bytes;
}

function encodeContact(writer: Writer, contact: Contact): void {
  writer.u8(2);
  encodeName(writer, contact.userId);
  writer
    .fixed(contact.pinnedKey)
    .u8((contact.verified ? 1 : 0) + (contact.removed ? 2 : 0))
    .uint53(contact.listVersion);
  writer.optional(contact.offeredKey, (w, key) => w.fixed(key));
  writer.optional(contact.listHash, (w, hash) => w.fixed(hash));
  writer.vector(contact.devices, (w, device) => w.fixed(device));
}

function decodeContact(reader: Reader, number: number): Contact {
  const version = reader.u8();
  if (version !== 1 && version !== 2) reader.fail("unknown version of contact");
  const userId = decodeName(reader);
  const pinnedKey = reader.fixed(PUBLIC_KEY_LENGTH);
  const flags = reader.u8();
  const [verified, removed] = [(flags & 1) !== 0, (flags & 2) !== 0];
  const listVersion = reader.uint53();
  const offeredKey = reader.optional((r) => r.fixed(PUBLIC_KEY_LENGTH));
  const contact = {
    userId,
    number,
    pinnedKey,
    verified,
    listVersion,
    removed,
    ...(offeredKey && { offeredKey }),
  };
  if (version === 1) return { ...contact, listVersion: 0, devices: [] };
  const listHash = reader.optional((r) => r.fixed(DIGEST_LENGTH));
  const devices = reader.vector((r) => r.fixed(DEVICE_ID_LENGTH));
  return { ...contact, ...(listHash && { listHash }), devices };
}

/** Told what changes about a user who is known. */
export interface ContactsListener {
  /** A user whose account key was pinned: the first one, or a new one after the operator had removed the user. */
  met(userId: string): void;
  /** A key that differs from the pinned one; both as fingerprints. */
  identityChanged(userId: string, pinned: string, offered: string): void;
  /** The user's device list has a device that it had not before; 32 hexadecimal digits. */
  deviceAdded(userId: string, deviceId: string): void;
  deviceRemoved(userId: string, deviceId: string): void;
}

/** The pinned accounts: trust on first use, changed only by {@link Contacts.accept}. */
export class Contacts {
  readonly #write: (changes: readonly Change[]) => Promise<void>;
  readonly #byUser = new Map<string, Contact>();
  /** Changes come one after the other, each made of what the one before left: none undoes another. */
  readonly #changes = new SerialQueue();
  readonly #listener: ContactsListener;
  /** Users whose offered identity was told of in this process. */
  readonly #announced = new Set<string>();
  #next = 1;
  /** How many there should be besides; who they were is not known. */
  #missing = 0;

  private constructor(write: (changes: readonly Change[]) => Promise<void>, listener: ContactsListener) {
    this.#write = write;
    this.#listener = listener;
  }

  static async load(
    store: StoreSession,
    write: (changes: readonly Change[]) => Promise<void>,
    listener: ContactsListener,
  ): Promise<Contacts> {
    const contacts = new Contacts(write, listener);
    for (const [key, value] of await store.list(layout.contacts)) {
      const number = Number(key.slice(layout.contacts.length));
      const contact = decode((reader) => decodeContact(reader, number), value);
      contacts.#byUser.set(contact.userId, contact);
      contacts.#next = Math.max(contacts.#next, number + 1);
    }
    const stored = await store.get(layout.contactCount);
    const count = stored === undefined ? 0 : decode((reader) => reader.uint53(), stored);
    contacts.#missing = Math.max(0, count - contacts.#byUser.size);
    return contacts;
  }

  /** How many contacts were lost from the store. */
  get missing(): number {
    return this.#missing;
  }

  /** The change that notes how many there are. */
  countChange(more = 0): Change {
    const count = this.#byUser.size + more;
    return { put: layout.contactCount, value: encode((writer) => void writer.uint53(count), undefined) };
  }

  get(userId: string): Contact | undefined {
    return this.#byUser.get(userId);
  }

  /** Whether this is the account key by which the user is known. */
  isPinned(userId: string, accountKey: Uint8Array): boolean {
    const contact = this.#byUser.get(userId);
    return contact !== undefined && equalBytes(contact.pinnedKey, accountKey);
  }

  /** Changes a contact as it stands when it is its turn. */
  #update(contact: Contact, change: (current: Contact) => Contact): Promise<Contact> {
    return this.#changes.run(async () => {
      const changed = change(this.#byUser.get(contact.userId) ?? contact);
      await this.#put(changed);
      return changed;
    });
  }

  /** Pins the key of a user whom nobody knew before its turn came. */
  #meet(userId: string, pinnedKey: Bytes): Promise<Contact> {
    return this.#changes.run(async () => {
      const known = this.#byUser.get(userId);
      if (known !== undefined) return known;
      const number = this.#next++;
      const contact = { userId, number, pinnedKey, verified: false, listVersion: 0, devices: [] };
      await this.#put(contact);
      return contact;
    });
  }

  async #put(contact: Contact): Promise<void> {
    const isNew = !this.#byUser.has(contact.userId);
    await this.#write([this.#change(contact), ...(isNew ? [this.countChange(1)] : [])]);
    this.#byUser.set(contact.userId, contact);
    if (isNew) this.#listener.met(contact.userId);
  }

  #change(contact: Contact): Change {
    return { put: layout.contact(contact.number), value: encode(encodeContact, contact) };
  }

  /**
   * Checks a key against the pin, pinning it at first contact. With `expected`, the fingerprint must match too.
   * Throws `identity-changed` (once with an event) for another key than the pinned one, `identity-mismatch` for
   * another fingerprint than the expected one.
   */
  async check(userId: string, accountKey: Bytes, expected?: string): Promise<Contact> {
    if (expected !== undefined && (await fingerprintOf(userId, accountKey)) !== expected.toLowerCase()) {
      throw new SubrosaError("identity-mismatch", "the account's fingerprint is not the expected one");
    }
    const known = this.#byUser.get(userId) ?? (await this.#meet(userId, accountKey));
    if (equalBytes(known.pinnedKey, accountKey)) return known;
    if (known.offeredKey === undefined || !equalBytes(known.offeredKey, accountKey)) {
      await this.#update(known, (current) => ({ ...current, offeredKey: accountKey }));
      await this.#announce(userId, known.pinnedKey, accountKey);
    }
    throw new SubrosaError("identity-changed", "the account key differs from the one known");
  }

  async #announce(userId: string, pinnedKey: Bytes, offeredKey: Bytes): Promise<void> {
    this.#announced.add(userId);
    const [pinned, offered] = await Promise.all([
      fingerprintOf(userId, pinnedKey),
      fingerprintOf(userId, offeredKey),
    ]);
    this.#listener.identityChanged(userId, pinned, offered);
  }

  /** Tells of the identities that were offered before this process began and wait for an answer still. */
  announce(): void {
    for (const { userId, pinnedKey, offeredKey } of this.#byUser.values()) {
      if (offeredKey === undefined || this.#announced.has(userId)) continue;
      void this.#announce(userId, pinnedKey, offeredKey);
    }
  }

  /**
   * Checks what the relay says of a user: the pin, the list's signature, that its version never falls, that a list
   * names the one before it, and that there is one list of a version. Throws `data-lost` for an older list than the one
   * known, `protocol-error`, `invalid-signature`, `invalid-message`, and what {@link check} throws.
   */
  async checkAccount(account: Account, userId: string, expected?: string): Promise<Contact> {
    const { list, signature } = account.deviceList;
    if (account.userId !== userId || list.userId !== userId) {
      throw new SubrosaError("protocol-error", "the relay answered for another user");
    }
    if (!(await verify(account.accountKey, signature, deviceListToBeSigned(list)))) {
      throw new SubrosaError("invalid-signature", "a device list is not by the account it names");
    }
    const contact = await this.check(userId, account.accountKey, expected);
    if (list.version < contact.listVersion) {
      throw new SubrosaError("data-lost", "the relay offers an older device list than the one known", {
        rule: "device list version",
      });
    }
    const listHash = await sha256(encode(encodeSignedDeviceList, account.deviceList));
    const { listHash: known = listHash, listVersion } = contact;
    const isNext = list.version === listVersion + 1 && contact.listHash !== undefined;
    if (
      list.version === listVersion
        ? !equalBytes(listHash, known)
        : isNext && !equalBytes(list.previous, known)
    ) {
      throw new SubrosaError("invalid-message", "a device list that does not follow from the one known", {
        rule: "device list chain",
      });
    }
    if (list.version === listVersion) return contact;
    const devices = list.devices.map(({ deviceId }) => deviceId);
    let isNews = false;
    const newer = await this.#update(contact, (current) => {
      // What was learnt meanwhile of this user stands, also a newer list, or that the key is another one now.
      const isSame = current.listVersion === listVersion && equalBytes(current.pinnedKey, contact.pinnedKey);
      isNews = isSame && listVersion > 0;
      return isSame ? { ...current, listVersion: list.version, listHash, devices } : current;
    });
    if (isNews) this.#announceDevices(contact, newer);
    return newer;
  }

  #announceDevices(before: Contact, after: Contact): void {
    const [earlier, later] = [before, after].map(({ devices }) => new Set(devices.map(toHex)));
    for (const deviceId of later ?? []) {
      if (!earlier?.has(deviceId)) this.#listener.deviceAdded(after.userId, deviceId);
    }
    for (const deviceId of earlier ?? []) {
      if (!later?.has(deviceId)) this.#listener.deviceRemoved(after.userId, deviceId);
    }
  }

  /** Whether the newest device list seen of the user holds the device. */
  hasDevice(userId: string, deviceId: Uint8Array): boolean {
    return this.#byUser.get(userId)?.devices.some((device) => equalBytes(device, deviceId)) ?? false;
  }

  /** Pins the offered key whose fingerprint this is; throws `identity-mismatch` if none has it. */
  async accept(userId: string, fingerprint: string): Promise<void> {
    const contact = this.#byUser.get(userId);
    const key = contact?.offeredKey;
    if (
      contact === undefined ||
      key === undefined ||
      (await fingerprintOf(userId, key)) !== fingerprint.toLowerCase()
    ) {
      throw new SubrosaError("identity-mismatch", "no identity with this fingerprint was offered");
    }
    await this.#update(contact, ({ offeredKey: _, listHash: __, ...rest }) => ({
      ...rest,
      pinnedKey: key,
      verified: false,
      removed: false,
      listVersion: 0,
      devices: [],
    }));
    if (contact.removed) this.#listener.met(userId);
  }

  /** All who are known, in any order. */
  all(): Contact[] {
    return [...this.#byUser.values()];
  }

  /** Whether the user is known here, and the operator has not removed it: then a relay that knows nothing of it has lost it. */
  isExpected(userId: string): boolean {
    const contact = this.get(userId);
    return contact !== undefined && !contact.removed;
  }

  /** Notes whether the relay says that the user was removed; false if that was noted, or nobody knows the user here. */
  async setRemoved(userId: string, removed: boolean): Promise<boolean> {
    const contact = this.#byUser.get(userId);
    if (contact === undefined || (contact.removed ?? false) === removed) return false;
    await this.#update(contact, (current) => ({ ...current, removed }));
    return true;
  }

  /** Marks the pinned key as compared with the person; throws `unknown-user` without a pin. */
  async markVerified(userId: string): Promise<void> {
    const contact = this.#byUser.get(userId);
    if (contact === undefined) throw new SubrosaError("unknown-user", "nothing is known of this user yet");
    const { pinnedKey } = contact;
    await this.#update(contact, (current) => {
      // What was compared was this key, and no other that was accepted meanwhile.
      return equalBytes(current.pinnedKey, pinnedKey) ? { ...current, verified: true } : current;
    });
  }
}
