import type { Bytes } from "../base/bytes.js";
import type { EntryContent, Rejection } from "../wire/entries.js";
import type { Cursor, LogId } from "../wire/identifiers.js";
import type { Account } from "../wire/identity.js";
import type { EntryKind, Role } from "../wire/protocol.js";
import type { DirectBinding, GroupMembership, KeyPackageUpload } from "../wire/requests.js";

/** The device that a session acts for; everything in it was authenticated. */
export interface Sender {
  readonly userId: string;
  readonly deviceId: Bytes;
}

/** What one inbox or request box may hold; commands carry the limits so that a storage has no options. */
export interface Quotas {
  readonly maxInboxEntries: number;
  readonly maxInboxBytes: number;
  readonly maxRequests: number;
  readonly maxGroups: number;
}

/** The entry to be appended. The digest is that of `content`, computed by the caller. */
export interface EntryInput {
  readonly content: EntryContent;
  readonly contentDigest: Bytes;
  /** Empty but for commits that add devices. */
  readonly welcome: Bytes;
  /** Of a leave: it is not the sender's. */
  readonly isOfAnother?: boolean;
}

export interface AppendCommand {
  readonly log: LogId;
  readonly sender: Sender;
  readonly after: Cursor;
  readonly entry: EntryInput;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly quotas: Quotas;
}

export interface CreateCommand {
  readonly groupId: Bytes;
  readonly sender: Sender;
  /** SHA-256 of the request's body: tells a repeated request from another one. */
  readonly bodyDigest: Bytes;
  readonly nameHash?: Bytes;
  /** `slot` is the hash of the two users' names. */
  readonly direct?: { readonly slot: Bytes; readonly peer: string; readonly generation: number };
  readonly first?: EntryInput;
  readonly now: number;
  readonly quotas: Quotas;
}

export interface AdmitCommand {
  readonly account: Account;
  readonly deviceId: Bytes;
  readonly incarnation: number;
  readonly incarnationTag: Bytes;
  /**
   * The account key that this account may take the place of, if the user id is bound to it: its devices go as with
   * {@link RelayStorage.removeUser}, in the same step. What the user has blocked stays blocked.
   */
  readonly replaces?: Bytes;
  readonly now: number;
}

export interface PublishCommand {
  readonly deviceId: Bytes;
  readonly oneTime: readonly KeyPackageUpload[];
  readonly lastResort?: KeyPackageUpload;
  readonly maxKeyPackages: number;
  readonly now: number;
}

export interface NameCommand {
  readonly groupId: Bytes;
  readonly nameHash: Bytes;
  readonly sender: Sender;
}

export interface RejectCommand extends Rejection {
  readonly sender: Sender;
  readonly now: number;
  readonly quotas: Quotas;
}

export interface BlockCommand {
  /** Who blocks, or no longer does. */
  readonly userId: string;
  /** Whom; need not be known to the relay. */
  readonly other: string;
  readonly blocked: boolean;
  /** How many users one may block; beyond it `quota-exceeded`. */
  readonly maxBlocked: number;
}

/** What the blobs of one user may take. */
export interface BlobQuotas {
  readonly maxBlobBytes: number;
  readonly maxBlobs: number;
  readonly maxUserBlobBytes: number;
  /** Milliseconds that a finished blob is kept. */
  readonly retention: number;
}

/** A blob, and the user who acts on it. */
export interface BlobCommand {
  readonly blobId: Bytes;
  readonly userId: string;
  readonly now: number;
  readonly quotas: BlobQuotas;
}

export interface ChunkCommand extends BlobCommand {
  readonly index: number;
  readonly chunk: Bytes;
}

export interface PruneCommand {
  readonly now: number;
  readonly retention: number;
  /** Milliseconds after which an upload is dropped to which nothing came. */
  readonly uploadTimeout: number;
  readonly maxLogBytes: number;
  /** How many entries are dropped, or logs looked at, in this step at most. */
  readonly batch: number;
}

/** Asks for the next part of a list that may be long. */
export interface PageCommand {
  /** The `next` of the page before; absent for the first. Another text is refused as `malformed`. */
  readonly after?: string;
  /** About how many items are wanted, at least 1; a storage may give a few more, or fewer. */
  readonly limit: number;
}

/** A part of a list, in any order. What was there from the first page to the last is in one of them, perhaps in two. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Where the list goes on; absent at its end. */
  readonly next?: string;
}

/** A group or a direct conversation as the operator may see it. */
export interface GroupInfo {
  readonly groupId: Bytes;
  /** The hash of the name it took last, if any. */
  readonly nameHash?: Bytes;
  /** The two users of a direct conversation. */
  readonly direct?: readonly [string, string];
  /** Entries whose content is kept, and the bytes of these contents. */
  readonly entries: number;
  readonly bytes: number;
  readonly closed: boolean;
}

/** An entry of the relay's own for the inboxes of some devices. */
export interface DepositCommand {
  readonly devices: readonly Bytes[];
  readonly content: EntryContent;
  readonly now: number;
  readonly quotas: Quotas;
}

/** An entry as it is kept. */
export interface StoredEntry {
  readonly seq: number;
  readonly kind: EntryKind;
  readonly entryId: Bytes;
  readonly digest: Bytes;
  readonly contentDigest: Bytes;
  /** The device whose session appended it; zeros for entries of the relay's own. */
  readonly sender: Bytes;
  readonly time: number;
  /** Absent where only the digest is left: a join request that was answered or replaced. */
  readonly content?: EntryContent;
}

/** Where a log stands. A log that does not exist yet has the head of an empty one. */
export interface LogHead {
  /** The oldest entry kept; `seq + 1` if there is none. */
  readonly first: number;
  /** The digest before {@link first}: it outlives what was dropped. */
  readonly tail: Bytes;
  /** The newest entry and its digest. */
  readonly seq: number;
  readonly digest: Bytes;
  readonly closed: boolean;
}

/** What a device may read of a stay in a group that is over. */
export interface Stay {
  readonly from: Cursor;
  /** The commit that removed it: the last entry it may read. */
  readonly until: Cursor;
  readonly leavingSince: number;
}

/** What a device may do in a group. */
export interface Access {
  readonly userId: string;
  readonly role: Role;
  /** The newest commit that added the device; START for the creator. */
  readonly since: Cursor;
  /** What it may read begins here: the first of the commits that added it without a removal between them. */
  readonly from: Cursor;
  /** The commit that removed it, if it was: the last entry it may read. */
  readonly until?: Cursor;
  /** The entry by which it said it leaves; 0 if it has not. */
  readonly leavingSince: number;
  /** The entry up to which it has said that it has everything. */
  readonly acked: number;
  /** A device without the right to it has asked for its removal: it goes with the next commit of an admin. */
  readonly removalAsked: boolean;
  /** Those that ended before it was added, and that it may not have read to the end. */
  readonly earlier: readonly Stay[];
}

/** Says that a log grew. `entry` may be absent where the news comes from another node. */
export interface Appended {
  readonly log: LogId;
  readonly seq: number;
  readonly entry?: StoredEntry;
  /** Entries that were announced are gone: the storage lost them, and readers have to subscribe anew. */
  readonly lost?: true;
}

/** PROTOCOL.md, "Blobs". Each command is idempotent. Chunks are large: no command about a log waits for more than one. */
export interface BlobStorage {
  begin(command: BlobCommand): Promise<void>;
  put(command: ChunkCommand): Promise<void>;
  finish(command: BlobCommand, chunks: number): Promise<void>;
  delete(command: BlobCommand): Promise<void>;
  /** A chunk of a finished blob. */
  chunk(blobId: Bytes, index: number): Promise<Bytes | undefined>;
}

/**
 * Everything the relay keeps. Each command is one atomic step that checks and writes; it resolves once that is
 * durable and no reader sees it before, and it rejects with the refusal of PROTOCOL.md as a SubrosaError, having
 * changed nothing. Commands of one caller are carried out in the order of the calls. Pointers into inboxes are
 * written with the commit, or, by storages over several nodes, at least once after it (their entry ids make that
 * harmless).
 */
export interface RelayStorage {
  /** Binds the user id, stores the newer device list, claims its device ids, checks and raises the incarnation. */
  admit(command: AdmitCommand): Promise<{ registered: boolean; keyPackages: number }>;
  account(userId: string): Promise<Account | undefined>;
  /** Forgets the account, its devices and key packages; the device ids stay taken. False if there is none. */
  removeUser(userId: string): Promise<boolean>;
  listUsers(page: PageCommand): Promise<Page<Account>>;

  /** Resolves to the one-time packages now held. */
  publishKeyPackages(command: PublishCommand): Promise<number>;
  /**
   * One package for each device of the user's list that has any: a one-time one, gone with this, else the last
   * resort; with `lastResortOnly` the one-time ones stay.
   */
  takeKeyPackages(
    userId: string,
    now: number,
    lastResortOnly?: boolean,
  ): Promise<{ account: Account; devices: { deviceId: Bytes; keyPackage: Bytes }[] }>;

  /** Idempotent. Gone when the user is removed. */
  setBlocked(command: BlockCommand): Promise<void>;
  /** Whom the user has blocked, in any order. */
  listBlocked(userId: string): Promise<string[]>;
  /** Those of `among` who have blocked the user. */
  blockersOf(userId: string, among: readonly string[]): Promise<string[]>;

  append(command: AppendCommand): Promise<Cursor>;
  create(command: CreateCommand): Promise<Cursor>;
  rejectJoin(command: RejectCommand): Promise<void>;
  /** Idempotent, as is the release. */
  claimName(command: NameCommand): Promise<void>;
  releaseName(command: NameCommand): Promise<void>;
  /**
   * Ends a group's log with an `operatorClose` entry and frees its name. False if it was closed before. Refuses with
   * `unknown-group`, and with `forbidden` for a direct conversation, which would only begin anew.
   */
  closeGroup(groupId: Bytes, now: number): Promise<boolean>;
  /**
   * Puts an entry of the relay's own into the inboxes, each once by its entry id; those that are full, and those of
   * devices that were removed, are passed over. Resolves to how many have it.
   */
  deposit(command: DepositCommand): Promise<number>;
  /** Ignores a cursor that does not match. */
  ack(log: LogId, deviceId: Bytes, cursor: Cursor): Promise<void>;

  resolveName(nameHash: Bytes): Promise<Bytes | undefined>;
  resolveDirect(slot: Bytes): Promise<DirectBinding | undefined>;
  listGroups(deviceId: Bytes): Promise<GroupMembership[]>;
  /** Whether `other` is, or was before it was removed, a device of the account that `deviceId` is now a device of. */
  isOwn(deviceId: Bytes, other: Bytes): Promise<boolean>;
  /** Every group, closed ones too while anything of them is kept. */
  listAllGroups(page: PageCommand): Promise<Page<GroupInfo>>;
  /** The devices that have access to the group. */
  members(groupId: Bytes): Promise<Sender[]>;
  groupExists(groupId: Bytes): Promise<boolean>;
  access(groupId: Bytes, deviceId: Bytes): Promise<Access | undefined>;
  head(log: LogId): Promise<LogHead>;
  /** The entries after `seq`, in order: at most `maxEntries`, and no more once they exceed `maxBytes`. */
  read(log: LogId, seq: number, maxEntries: number, maxBytes: number): Promise<StoredEntry[]>;
  entry(log: LogId, seq: number): Promise<StoredEntry | undefined>;
  welcome(groupId: Bytes, seq: number): Promise<Bytes>;
  /** Whether the log has taken an entry with this id. */
  hasEntry(log: LogId, entryId: Bytes): Promise<boolean>;
  /** Whether a join request of the device waits in the group's box. */
  hasRequest(groupId: Bytes, deviceId: Bytes): Promise<boolean>;

  readonly blobs: BlobStorage;

  /** Calls `listener` for each entry of any log once it is durable, in the order of its log. */
  watch(listener: (appended: Appended) => void): () => void;
  /**
   * Of storages that several relays share: this one has a reader of the log, so that {@link watch} is to tell of
   * entries that others append too. The result ends it.
   */
  follow?(log: LogId): () => void;
  /**
   * Of storages that several relays share: a session of the device begins here. Calls `ended` when a newer one
   * begins at another relay, or the device's user revokes it there. The result ends it.
   */
  enter?(deviceId: Bytes, ended: (why: "replaced" | "revoked") => void): () => void;
  /**
   * Of storages that several relays share: passes something that is kept nowhere on to the others that hear the topic
   * (64 lowercase hexadecimal digits or so behind a letter and a colon). It may be lost, and nobody is told: this never rejects.
   */
  broadcast?(topic: string, frame: Bytes): Promise<void>;
  /** Of storages that several relays share: calls `listener` for what others broadcast. The result ends it. */
  hear?(topic: string, listener: (frame: Bytes) => void): () => void;
  /** Drops what is too old, acked by all, or over the byte cap; one bounded step. True if it went round all logs. */
  prune(command: PruneCommand): Promise<boolean>;
  /** Rejects while the storage cannot serve: the relay is not ready then. Absent: it always can. */
  check?(): Promise<void>;
  /** What it holds, for metrics: names of `[a-z_]+` and numbers, e.g. `{ records: 12, bytes: 40960 }`. Cheap. */
  sizes?(): Promise<Readonly<Record<string, number>>>;
  close(): Promise<void>;
}
