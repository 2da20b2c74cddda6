import type { Bytes } from "../../base/bytes.js";
import { EMPTY } from "../../base/bytes.js";
import type { Cursor, LogId } from "../../wire/identifiers.js";
import type { Account } from "../../wire/identity.js";
import { GROUP_ID_LENGTH, LogKind } from "../../wire/protocol.js";
import type { DirectBinding, GroupMembership } from "../../wire/requests.js";
import type {
  Access,
  AdmitCommand,
  AppendCommand,
  Appended,
  BlockCommand,
  CreateCommand,
  DepositCommand,
  GroupInfo,
  LogHead,
  NameCommand,
  Page,
  PageCommand,
  PruneCommand,
  PublishCommand,
  RejectCommand,
  RelayStorage,
  Sender,
  StoredEntry,
} from "../storage.js";
import {
  accountRecord,
  admitDevice,
  isOwnDevice,
  publishPackages,
  removeAccount,
  takePackages,
} from "./accounts.js";
import { blockedBy, setBlocked } from "./blocks.js";
import { EmbeddedBlobs } from "./embedded-blobs.js";
import { GroupCommit } from "./group-commit.js";
import { appendToGroup, createGroup, groupLog, membershipOf } from "./groups.js";
import { after, bytesOf, keys } from "./keys.js";
import type { Kv } from "./kv.js";
import { listAllGroups, listUsers, membersOf } from "./listing.js";
import { headOf } from "./logs.js";
import { claimName, releaseName } from "./names.js";
import { closeByOperator, depositInto } from "./operator.js";
import {
  accessRecord,
  deviceRecord,
  directRecord,
  entryRecord,
  groupIdRecord,
  groupRecord,
} from "./records.js";
import { appendRequest, rejectRequest } from "./requests.js";
import { acknowledge, pruneLogs } from "./retention.js";
import { Records, refuse, type Transaction } from "./transaction.js";

/** What is written to see whether there is room again: as much as an entry may have, and some more. */
const PROBE_BYTES = 1024 * 1024;

/** The relay's storage over ordered keys and values in one process. */
export class EmbeddedStorage implements RelayStorage {
  readonly #kv: Kv;
  readonly #records: Records;
  readonly #commit: GroupCommit;
  readonly blobs: EmbeddedBlobs;
  readonly #listeners = new Set<(appended: Appended) => void>();
  /** Where pruning goes on: first through the logs, then through the blobs. */
  #pruneFrom: string | undefined = keys.heads;
  #probing: Promise<void> | undefined;

  constructor(kv: Kv) {
    this.#kv = kv;
    this.#records = new Records(kv);
    this.#commit = new GroupCommit(kv, (appended) => {
      for (const listener of this.#listeners) listener(appended);
    });
    this.blobs = new EmbeddedBlobs(kv);
  }

  admit(command: AdmitCommand): Promise<{ registered: boolean; keyPackages: number }> {
    return this.#commit.run((transaction) => admitDevice(transaction, command));
  }

  async account(userId: string): Promise<Account | undefined> {
    return this.#records.get(accountRecord, keys.account(userId));
  }

  removeUser(userId: string): Promise<boolean> {
    return this.#commit.run((transaction) => removeAccount(transaction, userId));
  }

  async listUsers(page: PageCommand): Promise<Page<Account>> {
    return listUsers(this.#records, page);
  }

  publishKeyPackages(command: PublishCommand): Promise<number> {
    return this.#commit.run((transaction) => publishPackages(transaction, command));
  }

  takeKeyPackages(
    userId: string,
    now: number,
    lastResortOnly = false,
  ): Promise<{ account: Account; devices: { deviceId: Bytes; keyPackage: Bytes }[] }> {
    return this.#commit.run((transaction) => takePackages(transaction, userId, now, lastResortOnly));
  }

  setBlocked(command: BlockCommand): Promise<void> {
    return this.#commit.run((transaction) => setBlocked(transaction, command));
  }

  async listBlocked(userId: string): Promise<string[]> {
    return blockedBy(this.#records, userId);
  }

  async blockersOf(userId: string, among: readonly string[]): Promise<string[]> {
    return among.filter((other) => this.#records.has(keys.block(other, userId)));
  }

  append(command: AppendCommand): Promise<Cursor> {
    return this.#commit.run((transaction) => appendTo(transaction, command));
  }

  create(command: CreateCommand): Promise<Cursor> {
    return this.#commit.run((transaction) => createGroup(transaction, command));
  }

  rejectJoin(command: RejectCommand): Promise<void> {
    return this.#commit.run((transaction) => rejectRequest(transaction, command));
  }

  claimName(command: NameCommand): Promise<void> {
    return this.#commit.run((transaction) => claimName(transaction, command));
  }

  releaseName(command: NameCommand): Promise<void> {
    return this.#commit.run((transaction) => releaseName(transaction, command));
  }

  closeGroup(groupId: Bytes, now: number): Promise<boolean> {
    return this.#commit.run((transaction) => closeByOperator(transaction, groupId, now));
  }

  deposit({ devices, ...entry }: DepositCommand): Promise<number> {
    return this.#commit.run(
      (transaction) => devices.filter((deviceId) => depositInto(transaction, deviceId, entry)).length,
    );
  }

  ack(log: LogId, deviceId: Bytes, cursor: Cursor): Promise<void> {
    return this.#commit.run((transaction) => acknowledge(transaction, log, deviceId, cursor));
  }

  /** Once a write has failed, as on a full disk, whether one goes through: one at a time, however many ask. */
  async check(): Promise<void> {
    if (!this.#commit.failed) return;
    this.#probing ??= this.#probe().finally(() => {
      this.#probing = undefined;
    });
    return this.#probing;
  }

  async #probe(): Promise<void> {
    await this.#commit.run((transaction) => transaction.putBytes(keys.probe, new Uint8Array(PROBE_BYTES)));
    await this.#commit.run((transaction) => transaction.delete(keys.probe));
  }

  async resolveName(nameHash: Bytes): Promise<Bytes | undefined> {
    return this.#records.get(groupIdRecord, keys.name(nameHash));
  }

  async resolveDirect(slot: Bytes): Promise<DirectBinding | undefined> {
    return this.#records.get(directRecord, keys.direct(slot));
  }

  async isOwn(deviceId: Bytes, other: Bytes): Promise<boolean> {
    const [own, asked] = [deviceId, other].map((id) => this.#records.get(deviceRecord, keys.device(id)));
    return isOwnDevice(own, asked);
  }

  async listGroups(deviceId: Bytes): Promise<GroupMembership[]> {
    const memberships = keys.memberships(deviceId);
    const groups: GroupMembership[] = [];
    for (const [key] of [...this.#kv.range(memberships, after(memberships))]) {
      const groupId = bytesOf(key, key.length - GROUP_ID_LENGTH);
      const access = this.#records.get(accessRecord, keys.access(groupId, deviceId));
      const group = this.#records.get(groupRecord, keys.group(groupId));
      if (access === undefined || group === undefined || headOf(this.#records, groupLog(groupId)).closed)
        continue;
      groups.push(membershipOf(groupId, access, group));
    }
    return groups;
  }

  async listAllGroups(page: PageCommand): Promise<Page<GroupInfo>> {
    return listAllGroups(this.#records, page);
  }

  async members(groupId: Bytes): Promise<Sender[]> {
    return membersOf(this.#records, groupId);
  }

  async groupExists(groupId: Bytes): Promise<boolean> {
    return this.#records.has(keys.group(groupId));
  }

  async access(groupId: Bytes, deviceId: Bytes): Promise<Access | undefined> {
    return this.#records.get(accessRecord, keys.access(groupId, deviceId));
  }

  async head(log: LogId): Promise<LogHead> {
    return headOf(this.#records, log);
  }

  async read(log: LogId, seq: number, maxEntries: number, maxBytes: number): Promise<StoredEntry[]> {
    const entries: StoredEntry[] = [];
    let bytes = 0;
    for (const [, value] of this.#kv.range(keys.entry(log, seq + 1), after(keys.entries(log)))) {
      if (entries.length >= maxEntries || (entries.length > 0 && bytes + value.length > maxBytes)) break;
      bytes += value.length;
      entries.push(entryRecord.decode(value));
    }
    return entries;
  }

  async entry(log: LogId, seq: number): Promise<StoredEntry | undefined> {
    return this.#records.get(entryRecord, keys.entry(log, seq));
  }

  async welcome(groupId: Bytes, seq: number): Promise<Bytes> {
    return this.#kv.get(keys.welcome(groupId, seq)) ?? EMPTY;
  }

  async hasEntry(log: LogId, entryId: Bytes): Promise<boolean> {
    return this.#records.has(keys.entryId(log, entryId));
  }

  async hasRequest(groupId: Bytes, deviceId: Bytes): Promise<boolean> {
    return this.#records.has(keys.request(groupId, deviceId));
  }

  watch(listener: (appended: Appended) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async prune(command: PruneCommand): Promise<boolean> {
    const from = this.#pruneFrom;
    if (from !== undefined) {
      this.#pruneFrom = await this.#commit.run((transaction) => pruneLogs(transaction, command, from));
      if (this.#pruneFrom !== undefined) return false;
    }
    const through = await this.blobs.prune(command);
    if (through) this.#pruneFrom = keys.heads;
    return through;
  }

  async sizes(): Promise<Readonly<Record<string, number>>> {
    return { ...this.#kv.sizes(), ...this.blobs.sizes() };
  }

  async close(): Promise<void> {
    await this.blobs.idle();
    await this.#commit.idle();
    await this.#kv.close();
  }
}

function appendTo(transaction: Transaction, command: AppendCommand): Cursor {
  switch (command.log.kind) {
    case LogKind.group:
      return appendToGroup(transaction, command);
    case LogKind.requestBox:
      return appendRequest(transaction, command);
    default:
      return refuse("forbidden", "nobody appends to an inbox");
  }
}
