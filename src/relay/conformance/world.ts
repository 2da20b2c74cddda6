import type { Bytes } from "../../base/bytes.js";
import { encode } from "../../codec/writer.js";
import { sha256 } from "../../crypto/hash.js";
import { randomBytes } from "../../crypto/random.js";
import {
  type AccessChange,
  chainDigestInput,
  contentDigestInput,
  type EntryContent,
  encodeJoinRequest,
} from "../../wire/entries.js";
import { type Cursor, type LogId, START } from "../../wire/identifiers.js";
import type { Account } from "../../wire/identity.js";
import { EntryKind, LogKind, type Role } from "../../wire/protocol.js";
import type { EntryInput, RelayStorage, Sender } from "../storage.js";
import { expect } from "./expectations.js";

/** Declares a case. */
export type Define = (name: string, body: () => Promise<void>) => void;

/** A storage that holds nothing yet. */
export interface OpenedStorage {
  readonly storage: RelayStorage;
  /** Closes it and opens the same data again; absent where data does not outlive closing. */
  reopen?(): Promise<RelayStorage>;
  /** Closes it for good. */
  dispose(): Promise<void>;
}

export const quotas = { maxInboxEntries: 5, maxInboxBytes: 10_000, maxRequests: 3, maxGroups: 4 };
export const NOW = 1_700_000_000_000;
export const group = (id: Bytes): LogId => ({ kind: LogKind.group, id });
export const inbox = (id: Bytes): LogId => ({ kind: LogKind.inbox, id });
export const box = (id: Bytes): LogId => ({ kind: LogKind.requestBox, id });

export async function entry(content: EntryContent, welcome: Bytes = new Uint8Array(0)): Promise<EntryInput> {
  return { content, welcome, contentDigest: await sha256(contentDigestInput(content)) };
}

export const application = (
  payload: Bytes = randomBytes(20),
  entryId: Bytes = randomBytes(16),
): Promise<EntryInput> => entry({ kind: EntryKind.application, entryId, payload });

export const plain = (kind: EntryKind): Promise<EntryInput> =>
  entry({ kind, entryId: randomBytes(16), payload: randomBytes(20) });

export async function commit(
  access: readonly AccessChange[],
  welcome: Bytes = new Uint8Array(0),
): Promise<EntryInput> {
  const welcomeHash = welcome.length > 0 ? await sha256(welcome) : new Uint8Array(0);
  const bundle = { access, welcomeHash };
  return entry(
    { kind: EntryKind.commit, entryId: randomBytes(16), payload: randomBytes(30), bundle },
    welcome,
  );
}

/** A join request, with what it names in place of its sender or its group. */
export function requestOf(
  sender: Sender,
  groupId: Bytes,
  named: Partial<{ userId: string; groupId: Bytes }> = {},
): Promise<EntryInput> {
  const payload = encode(encodeJoinRequest, {
    groupId: named.groupId ?? groupId,
    userId: named.userId ?? sender.userId,
    deviceId: sender.deviceId,
    accountKey: new Uint8Array(65).fill(sender.userId.length),
    keyPackage: randomBytes(100),
    signature: randomBytes(70),
  });
  return entry({ kind: EntryKind.joinRequest, entryId: randomBytes(16), payload });
}

export function accountOf(userId: string, devices: readonly Bytes[], version = 1): Account {
  const list = {
    userId,
    version,
    previous: new Uint8Array(32),
    devices: devices.map((deviceId) => ({ deviceId, deviceKey: new Uint8Array(65).fill(4) })),
  };
  const accountKey = new Uint8Array(65).fill(userId.length);
  return { userId, accountKey, deviceList: { list, signature: new Uint8Array([version]) } };
}

export const add = (sender: Sender, role: Role = 1): AccessChange => ({ type: "add", ...sender, role });
export const remove = (sender: Sender): AccessChange => ({ type: "remove", ...sender });
export const setRole = (sender: Sender, role: Role): AccessChange => ({ type: "role", ...sender, role });

/** One case's storage, and what the cases do with it again and again. */
export class World {
  readonly #opened: OpenedStorage;
  storage: RelayStorage;

  constructor(opened: OpenedStorage) {
    this.#opened = opened;
    this.storage = opened.storage;
  }

  /** False where data does not outlive closing. */
  async reopen(): Promise<boolean> {
    const storage = await this.#opened.reopen?.();
    if (storage !== undefined) this.storage = storage;
    return storage !== undefined;
  }

  readonly admit = (userId: string): Promise<Sender> => this.admitDevice(userId, randomBytes(16));

  /** Several, one after the other. */
  readonly admitAll = async <const Names extends readonly string[]>(
    ...userIds: Names
  ): Promise<{ -readonly [Index in keyof Names]: Sender }> => {
    const senders: Sender[] = [];
    for (const userId of userIds) senders.push(await this.admit(userId));
    return senders as { -readonly [Index in keyof Names]: Sender };
  };

  /** The user's only device, from that version of its list on. */
  readonly admitDevice = async (userId: string, deviceId: Bytes, version = 1): Promise<Sender> => {
    const account = accountOf(userId, [deviceId], version);
    const session = { deviceId, incarnation: 1, incarnationTag: randomBytes(16), now: NOW };
    await this.storage.admit({ account, ...session });
    return { userId, deviceId };
  };

  readonly append = (
    sender: Sender,
    log: LogId,
    after: Cursor,
    input: EntryInput,
    now: number = NOW,
  ): Promise<Cursor> => this.storage.append({ log, sender, after, entry: input, now, quotas });

  readonly create = async (sender: Sender, first?: EntryInput): Promise<{ log: LogId; at: Cursor }> => {
    const groupId = randomBytes(32);
    const command = { groupId, sender, bodyDigest: await sha256(groupId), now: NOW, quotas };
    const at = await this.storage.create({ ...command, ...(first && { first }) });
    return { log: group(groupId), at };
  };

  readonly readAll = (log: LogId, from = 0) => this.storage.read(log, from, 1000, 1e9);

  /** Where the log stands by its entries, whose digests it checks. */
  readonly chained = async (log: LogId, from: Cursor = START): Promise<Cursor> => {
    let cursor = from;
    for (const stored of await this.readAll(log, from.seq)) {
      expect(stored.seq).toBe(cursor.seq + 1);
      if (stored.content)
        expect(await sha256(contentDigestInput(stored.content))).toEqual(stored.contentDigest);
      const input = chainDigestInput(log, stored.seq, cursor.digest, stored.contentDigest);
      cursor = { seq: stored.seq, digest: await sha256(input) };
      expect(stored.digest).toEqual(cursor.digest);
    }
    return cursor;
  };
}
