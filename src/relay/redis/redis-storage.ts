import { type Bytes, copyBytes, EMPTY } from "../../base/bytes.js";
import type { Clock } from "../../base/clock.js";
import { fromUtf8 } from "../../base/encoding.js";
import type { Cursor, LogId } from "../../wire/identifiers.js";
import type { Account } from "../../wire/identity.js";
import { GROUP_ID_LENGTH, LogKind } from "../../wire/protocol.js";
import type { DirectBinding, GroupMembership } from "../../wire/requests.js";
import { setBlocked } from "../embedded/blocks.js";
import { appendToGroup, createGroup, groupLog, inboxLog, membershipOf } from "../embedded/groups.js";
import { bytesOf, keys } from "../embedded/keys.js";
import { claimName, releaseName } from "../embedded/names.js";
import { closeByOperator, depositInto } from "../embedded/operator.js";
import {
  accessRecord,
  directRecord,
  EMPTY_HEAD,
  entryRecord,
  groupIdRecord,
  headRecord,
} from "../embedded/records.js";
import { appendRequest, rejectRequest } from "../embedded/requests.js";
import { refuse, type Transaction } from "../embedded/transaction.js";
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
import { Blobs } from "./blobs.js";
import { Broadcasts } from "./broadcasts.js";
import { Claims } from "./claims.js";
import { Directory } from "./directory.js";
import { Errands } from "./errands.js";
import { Feeds } from "./feeds.js";
import { hintsOfChanges, hintsOfName } from "./group-records.js";
import { Groups } from "./groups.js";
import type { RedisLink } from "./link.js";
import { Listing } from "./listing.js";
import { encodeMessage } from "./news.js";
import { deviceTag, groupTag, logTag, type Names, placeOf } from "./places.js";
import { RecordsLink } from "./records-link.js";
import { Retention } from "./retention.js";
import { READ } from "./scripts.js";
import { Sessions } from "./sessions.js";
import { Slots } from "./slots.js";
import { Recent } from "./snapshot.js";

export interface RedisStorageParts {
  readonly link: RedisLink;
  readonly names: Names;
  /** Distinguishes the relays that share the storage. */
  readonly node: Bytes;
  readonly clock: Clock;
  /** Whether answers wait for replicas. */
  readonly waits: boolean;
  readonly report: (error: unknown) => void;
}

/** Records this node remembers, and milliseconds between two looks for news that were lost. */
const RECENT_RECORDS = 50_000;
const CHECK_INTERVAL = 10_000;

/**
 * The relay's storage in Redis, which several relays can share. Redis shows a change to all as soon as its primary has
 * it: readers at other relays may see an entry that replicas do not have yet, and that is not answered before they do.
 * If a failover loses it then, they are sent away and find that out when they come again.
 */
export class RedisStorage implements RelayStorage {
  readonly #link: RedisLink;
  readonly #records: RecordsLink;
  readonly #claims: Claims;
  readonly #slots: Slots;
  readonly #errands: Errands;
  readonly #directory: Directory;
  readonly blobs: Blobs;
  readonly #retention: Retention;
  readonly #feeds: Feeds;
  readonly #sessions: Sessions;
  readonly #broadcasts: Broadcasts;
  readonly #groups: Groups;
  readonly #listing: Listing;
  readonly #listeners = new Set<(appended: Appended) => void>();
  readonly #clock: Clock;
  readonly #report: (error: unknown) => void;
  #cancelCheck: () => void = () => {};
  #closed = false;

  constructor({ link, names, node, clock, waits, report: tellError }: RedisStorageParts) {
    // What fails while the connections end is nobody's concern.
    const report = (error: unknown) => {
      if (!this.#closed) tellError(error);
    };
    const nodeName = Buffer.from(node).toString("hex");
    this.#link = link;
    this.#clock = clock;
    this.#report = report;
    this.#records = new RecordsLink(link, names, waits);
    this.#groups = new Groups(this.#records, () => this.#slots);
    this.#claims = new Claims(this.#records, this.#groups, clock);
    this.#errands = new Errands(this.#records, this.#claims, () => this.#slots, report);
    const tell = (appended: Appended) => {
      for (const listener of this.#listeners) listener(appended);
    };
    this.#feeds = new Feeds({
      ...{ node, link, names, tell, report },
      source: this,
      learn: (growth) => this.#slots.learn(growth),
    });
    this.#slots = new Slots(this.#records, this.#claims, new Recent(RECENT_RECORDS), {
      message: (growth) => encodeMessage(node, growth),
      errands: (tag, { overlay, appended }) => this.#errands.encode(tag, overlay, appended),
      announce: (growth) => this.#feeds.appended(growth),
      missed: (tag) => this.#feeds.checkSlot(tag),
      deliver: (tag, items) => this.#errands.deliver(tag, items),
      report,
    });
    this.#directory = new Directory(this.#records, (tag) => this.#sessions.revoke(tag));
    this.blobs = new Blobs(this.#records);
    this.#retention = new Retention(this.#records, this.#slots, this.#errands, this.blobs, nodeName);
    this.#sessions = new Sessions({ node: nodeName, link, names, report });
    this.#broadcasts = new Broadcasts({ node, link, names, report });
    this.#listing = new Listing(this.#records, this.#groups);
    this.#scheduleCheck();
  }

  #scheduleCheck(): void {
    if (this.#closed) return;
    this.#cancelCheck = this.#clock.after(CHECK_INTERVAL, () => {
      this.#feeds.check();
      Promise.all([this.#link.maintain(), this.#retention.renew(), this.#sessions.check()])
        .catch(this.#report)
        .finally(() => this.#scheduleCheck());
    });
  }

  admit(command: AdmitCommand): Promise<{ registered: boolean; keyPackages: number }> {
    return this.#directory.admit(command);
  }

  account(userId: string): Promise<Account | undefined> {
    return this.#directory.account(userId);
  }

  removeUser(userId: string): Promise<boolean> {
    return this.#directory.remove(userId);
  }

  listUsers(page: PageCommand): Promise<Page<Account>> {
    return this.#listing.users(page);
  }

  publishKeyPackages(command: PublishCommand): Promise<number> {
    return this.#directory.publish(command);
  }

  takeKeyPackages(
    userId: string,
    now: number,
    lastResortOnly = false,
  ): Promise<{ account: Account; devices: { deviceId: Bytes; keyPackage: Bytes }[] }> {
    return this.#directory.take(userId, now, lastResortOnly);
  }

  setBlocked(command: BlockCommand): Promise<void> {
    const { tag } = placeOf(keys.account(command.userId));
    const hints = [keys.block(command.userId, command.other)];
    return this.#slots.run(tag, (transaction) => setBlocked(transaction, command), hints);
  }

  async listBlocked(userId: string): Promise<string[]> {
    const prefix = keys.blocks(userId);
    const pairs = await this.#records.range(prefix);
    return pairs.map(([key]) => fromUtf8(bytesOf(key, prefix.length)));
  }

  async blockersOf(userId: string, among: readonly string[]): Promise<string[]> {
    const blocked = await Promise.all(among.map((other) => this.#records.has(keys.block(other, userId))));
    return among.filter((_, i) => blocked[i]);
  }

  async append(command: AppendCommand): Promise<Cursor> {
    const { log, sender, entry } = command;
    if (log.kind === LogKind.inbox) refuse("forbidden", "nobody appends to an inbox");
    const hints = [keys.group(log.id), keys.head(log)];
    if (log.kind === LogKind.requestBox) {
      hints.push(
        keys.head(groupLog(log.id)),
        keys.request(log.id, sender.deviceId),
        keys.account(sender.userId),
      );
      return this.#slots.run(groupTag(log.id), (transaction) => appendRequest(transaction, command), hints);
    }
    hints.push(
      keys.access(log.id, sender.deviceId),
      ...hintsOfChanges(log.id, entry.content.bundle?.access ?? []),
    );
    return this.#slots.run(groupTag(log.id), (transaction) => appendToGroup(transaction, command), hints);
  }

  create(command: CreateCommand): Promise<Cursor> {
    const { groupId, sender, nameHash, direct, first } = command;
    const hints = [
      keys.group(groupId),
      keys.head(groupLog(groupId)),
      ...hintsOfChanges(groupId, first?.content.bundle?.access ?? []),
      ...(nameHash ? [keys.name(nameHash)] : []),
      ...(direct ? [keys.direct(direct.slot), keys.account(direct.peer)] : []),
      keys.access(groupId, sender.deviceId),
    ];
    return this.#slots.run(groupTag(groupId), (transaction) => createGroup(transaction, command), hints);
  }

  rejectJoin(command: RejectCommand): Promise<void> {
    const tag = groupTag(command.groupId);
    return this.#slots.run(tag, (transaction) => rejectRequest(transaction, command));
  }

  async claimName(command: NameCommand): Promise<void> {
    // A name that it left before must be free by now, or it would be left anew.
    await this.#errands.recover(command.groupId);
    return this.#rename(command, claimName);
  }

  releaseName(command: NameCommand): Promise<void> {
    return this.#rename(command, releaseName);
  }

  #rename(command: NameCommand, rule: typeof claimName): Promise<void> {
    const run = (transaction: Transaction) => rule(transaction, command);
    return this.#slots.run(groupTag(command.groupId), run, hintsOfName(command));
  }

  closeGroup(groupId: Bytes, now: number): Promise<boolean> {
    const hints = [keys.group(groupId), keys.head(groupLog(groupId))];
    return this.#slots.run(groupTag(groupId), (one) => closeByOperator(one, groupId, now), hints);
  }

  async deposit({ devices, ...entry }: DepositCommand): Promise<number> {
    const has = await Promise.all(
      devices.map((id) => {
        const hints = [keys.device(id), keys.head(inboxLog(id))];
        return this.#slots.run(deviceTag(id), (one) => depositInto(one, id, entry), hints);
      }),
    );
    return has.filter(Boolean).length;
  }

  ack(log: LogId, deviceId: Bytes, cursor: Cursor): Promise<void> {
    return this.#retention.ack(log, deviceId, cursor);
  }

  async resolveName(nameHash: Bytes): Promise<Bytes | undefined> {
    const value = await this.#claims.resolved(keys.name(nameHash));
    return value && groupIdRecord.decode(value);
  }

  async resolveDirect(slot: Bytes): Promise<DirectBinding | undefined> {
    const value = await this.#claims.resolved(keys.direct(slot));
    return value && directRecord.decode(value);
  }

  isOwn(deviceId: Bytes, other: Bytes): Promise<boolean> {
    return this.#directory.isOwn(deviceId, other);
  }

  async listGroups(deviceId: Bytes): Promise<GroupMembership[]> {
    const pairs = await this.#records.range(keys.memberships(deviceId));
    const found = await Promise.all(
      pairs.map(async ([key]): Promise<GroupMembership[]> => {
        const groupId = bytesOf(key, key.length - GROUP_ID_LENGTH);
        const [access, group, head] = await Promise.all([
          this.access(groupId, deviceId),
          this.#groups.get(groupId),
          this.head(groupLog(groupId)),
        ]);
        if (access === undefined || access.until !== undefined || group === undefined || head.closed)
          return [];
        return [membershipOf(groupId, access, group)];
      }),
    );
    return found.flat();
  }

  listAllGroups(page: PageCommand): Promise<Page<GroupInfo>> {
    return this.#listing.groups(page);
  }

  members(groupId: Bytes): Promise<Sender[]> {
    return this.#listing.members(groupId);
  }

  async groupExists(groupId: Bytes): Promise<boolean> {
    return (await this.#groups.get(groupId)) !== undefined;
  }

  async access(groupId: Bytes, deviceId: Bytes): Promise<Access | undefined> {
    const [bytes, noted] = await Promise.all([
      this.#records.get(keys.access(groupId, deviceId)),
      this.#retention.acked(groupId, deviceId),
    ]);
    if (bytes === undefined) return undefined;
    const access = accessRecord.decode(bytes);
    return { ...access, acked: Math.max(access.acked, noted) } as Access;
  }

  async head(log: LogId): Promise<LogHead> {
    const bytes = await this.#records.get(keys.head(log));
    return bytes === undefined ? EMPTY_HEAD : headRecord.decode(bytes);
  }

  async read(log: LogId, seq: number, maxEntries: number, maxBytes: number): Promise<StoredEntry[]> {
    const tag = logTag(log);
    const reply = await this.#link.script({
      tag,
      script: READ,
      keys: [this.#records.names.key(`e${log.kind}`, tag)],
      args: [String(seq), String(maxEntries), String(maxBytes)],
    });
    return (reply as Buffer[]).map((bytes) => entryRecord.decode(copyBytes(bytes)));
  }

  async entry(log: LogId, seq: number): Promise<StoredEntry | undefined> {
    const bytes = await this.#records.get(keys.entry(log, seq));
    return bytes && entryRecord.decode(bytes);
  }

  async welcome(groupId: Bytes, seq: number): Promise<Bytes> {
    return (await this.#records.get(keys.welcome(groupId, seq))) ?? EMPTY;
  }

  hasEntry(log: LogId, entryId: Bytes): Promise<boolean> {
    return this.#records.has(keys.entryId(log, entryId));
  }

  hasRequest(groupId: Bytes, deviceId: Bytes): Promise<boolean> {
    return this.#records.has(keys.request(groupId, deviceId));
  }

  watch(listener: (appended: Appended) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  follow(log: LogId): () => void {
    return this.#feeds.follow(log);
  }

  enter(deviceId: Bytes, ended: (why: "replaced" | "revoked") => void): () => void {
    return this.#sessions.enter(deviceId, ended);
  }

  broadcast(topic: string, frame: Bytes): Promise<void> {
    return this.#broadcasts.send(topic, frame);
  }

  hear(topic: string, listener: (frame: Bytes) => void): () => void {
    return this.#broadcasts.hear(topic, listener);
  }

  prune(command: PruneCommand): Promise<boolean> {
    return this.#retention.prune(command);
  }

  check(): Promise<void> {
    return this.#link.ping();
  }

  async sizes(): Promise<Readonly<Record<string, number>>> {
    return { records: await this.#link.size() };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelCheck();
    await this.#slots.idle();
    await this.#retention.release().catch(() => {});
    await this.#link.close();
  }
}
