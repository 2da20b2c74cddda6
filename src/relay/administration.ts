import { assertOptions, type Names } from "../base/arguments.js";
import type { Bytes } from "../base/bytes.js";
import { fromHex, toHex, toUtf8 } from "../base/encoding.js";
import { assertArgument, SubrosaError } from "../base/errors.js";
import { encode } from "../codec/writer.js";
import { sha256 } from "../crypto/hash.js";
import { randomBytes } from "../crypto/random.js";
import type { EntryContent } from "../wire/entries.js";
import { assertName, encodeName, groupNameInput } from "../wire/identifiers.js";
import { type Account, fingerprintInput } from "../wire/identity.js";
import {
  encodeNotice,
  encodeUserNamed,
  isNoticeText,
  MAX_NOTICE_BYTES,
  type Notice,
} from "../wire/operator.js";
import { ENTRY_ID_LENGTH, EntryKind, GROUP_ID_LENGTH } from "../wire/protocol.js";
import type { GroupMembership } from "../wire/requests.js";
import type { RelayLimits } from "./limits.js";
import { quotasOf } from "./operations.js";
import type { Page, PageCommand, RelayStorage } from "./storage.js";
import type { Word } from "./words.js";

/** A user as {@link Relay.users} lists it. */
export interface RelayUser {
  readonly userId: string;
  /** The account's fingerprint, as clients show it: 64 hexadecimal digits. */
  readonly fingerprint: string;
  /** Device ids, 32 hexadecimal digits each. */
  readonly devices: readonly string[];
  /** Sessions at this relay now. */
  readonly connected: number;
}

/** A group as {@link Relay.groups} lists it; of its name a relay knows only the hash. */
export interface RelayGroup {
  /** 64 hexadecimal digits. */
  readonly groupId: string;
  /** Whether it is the conversation of two users. */
  readonly direct: boolean;
  /** User ids of those who have a device in it, in order. */
  readonly members: readonly string[];
  /** Entries whose content is kept, and the bytes of these contents. */
  readonly entries: number;
  readonly bytes: number;
  readonly closed: boolean;
}

/** Which part of a list is wanted: `after` is the `next` of the part before; `limit` about how many, 100 by default. */
export interface ListPage {
  readonly after?: string;
  readonly limit?: number;
}

/** Which group: its id, 64 hexadecimal digits, or its name. */
export type GroupReference = string | { readonly name: string };

export interface AdministrationParts {
  readonly storage: RelayStorage;
  readonly limits: RelayLimits;
  readonly now: () => number;
  /** Sessions of the user at this relay. */
  readonly connected: (userId: string) => number;
  /** Has every relay that shares the storage do something. */
  readonly spread: (word: Word) => Promise<void>;
}

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1000;
/** Inboxes that one step writes to. */
const BATCH = 256;
/** How many devices are told that a user has another account key; those of its direct conversations before others. */
const MAX_HINTED = 10_000;

const PAGE_NAMES: Names<ListPage> = { after: true, limit: true };

function pageCommand(page: ListPage): PageCommand {
  assertOptions(page, PAGE_NAMES, "page");
  const { after, limit = DEFAULT_LIMIT } = page;
  assertArgument(Number.isInteger(limit) && limit > 0 && limit <= MAX_LIMIT, `limit: 1 to ${MAX_LIMIT}`);
  assertArgument(after === undefined || typeof after === "string", "after: the next of the page before");
  return { limit, ...(after !== undefined && { after }) };
}

const first16 = async (input: Bytes) => (await sha256(input)).subarray(0, ENTRY_ID_LENGTH);

/** What an operator can ask of a relay, and what users are told of it. Everything is the relay's word and no member's. */
export class Administration {
  readonly #parts: AdministrationParts;

  constructor(parts: AdministrationParts) {
    this.#parts = parts;
  }

  async users(page: ListPage = {}): Promise<Page<RelayUser>> {
    const { storage, connected } = this.#parts;
    const { items, ...rest } = await storage.listUsers(pageCommand(page));
    const users = items.map(async ({ userId, accountKey, deviceList }) => ({
      userId,
      fingerprint: toHex(await sha256(fingerprintInput(userId, accountKey))),
      devices: deviceList.list.devices.map(({ deviceId }) => toHex(deviceId)),
      connected: connected(userId),
    }));
    return { items: await Promise.all(users), ...rest };
  }

  async groups(page: ListPage = {}): Promise<Page<RelayGroup>> {
    const { storage } = this.#parts;
    const { items, ...rest } = await storage.listAllGroups(pageCommand(page));
    const groups = items.map(async ({ groupId, direct, entries, bytes, closed }) => {
      const users = new Set((await storage.members(groupId)).map(({ userId }) => userId));
      const members = [...users].sort();
      return { groupId: toHex(groupId), direct: direct !== undefined, members, entries, bytes, closed };
    });
    return { items: await Promise.all(groups), ...rest };
  }

  /**
   * Tells those who share a conversation with the user, ends its sessions with 4413 and forgets it. False if there is
   * no such user. If it fails it can be repeated, and nobody is told twice who has not read the first.
   */
  async removeUser(userId: string): Promise<boolean> {
    const { storage, spread } = this.#parts;
    const account = await storage.account(userId);
    if (account === undefined) return false;
    const id = encode((writer) => {
      writer.opaque(toUtf8("Subrosa 1 user removed"));
      encodeName(writer, userId);
      writer.fixed(account.accountKey);
    }, undefined);
    const payload = encode(encodeUserNamed, { userId });
    await this.#deposit(await this.#companions(userId, account.deviceList.list.devices), {
      kind: EntryKind.userRemoved,
      entryId: await first16(id),
      payload,
    });
    // Before, so that they learn why, and after, for those that came meanwhile.
    await spread({ type: "userRemoved", userId });
    const removed = await storage.removeUser(userId);
    await spread({ type: "userRemoved", userId });
    await spread({ type: "directory", created: [], removed: [userId] });
    return removed;
  }

  /**
   * Before another account key takes the place of this account's. Resolves to what tells those who share a conversation
   * with it afterwards: they ask for the account then, and believe nothing of this by itself.
   */
  async replacing({ userId, deviceList }: Account): Promise<() => Promise<unknown>> {
    const companions = await this.#companions(userId, deviceList.list.devices, MAX_HINTED);
    const payload = encode(encodeUserNamed, { userId });
    const entryId = randomBytes(ENTRY_ID_LENGTH);
    return () => this.#deposit(companions, { kind: EntryKind.accountChanged, entryId, payload });
  }

  /** The devices of others that share a conversation with these, those of direct ones first. */
  async #companions(
    userId: string,
    devices: readonly { readonly deviceId: Bytes }[],
    limit = Number.POSITIVE_INFINITY,
  ): Promise<Bytes[]> {
    const { storage } = this.#parts;
    const groups = new Map<string, GroupMembership>();
    for (const { deviceId } of devices) {
      for (const group of await storage.listGroups(deviceId)) groups.set(toHex(group.groupId), group);
    }
    const all = [...groups.values()];
    const isDirect = ({ peer }: GroupMembership) => peer !== undefined;
    const companions = new Map<string, Bytes>();
    for (const { groupId } of [...all.filter(isDirect), ...all.filter((group) => !isDirect(group))]) {
      if (companions.size >= limit) break;
      for (const member of await storage.members(groupId)) {
        if (member.userId !== userId) companions.set(toHex(member.deviceId), member.deviceId);
      }
    }
    return [...companions.values()].slice(0, limit);
  }

  async #deposit(devices: readonly Bytes[], content: EntryContent): Promise<number> {
    const { storage, limits, now } = this.#parts;
    let reached = 0;
    for (let at = 0; at < devices.length; at += BATCH) {
      const batch = devices.slice(at, at + BATCH);
      reached += await storage.deposit({ devices: batch, content, now: now(), quotas: quotasOf(limits) });
    }
    return reached;
  }

  /** False if it was closed before. Throws `unknown-group`, and `forbidden` for a direct conversation. */
  async closeGroup(group: GroupReference): Promise<boolean> {
    const { storage, now } = this.#parts;
    return storage.closeGroup(await this.#groupId(group), now());
  }

  async #groupId(group: GroupReference): Promise<Bytes> {
    if (typeof group === "string") {
      assertArgument(
        /^[0-9a-f]+$/i.test(group) && group.length === 2 * GROUP_ID_LENGTH,
        "groupId: 64 digits",
      );
      return fromHex(group);
    }
    assertName(group?.name, "name");
    const found = await this.#parts.storage.resolveName(await sha256(groupNameInput(group.name)));
    if (found === undefined) throw new SubrosaError("unknown-group", "no group has this name");
    return found;
  }

  /**
   * To all who are connected now; with `userId` to each device of that user, which gets it when it comes. Throws
   * `invalid-argument`, `unknown-user`, and `quota-exceeded` where the user's inboxes are full.
   */
  async notify(text: string, options: { readonly userId?: string } = {}): Promise<void> {
    assertArgument(
      isNoticeText(text),
      `text: one line of 1 to ${MAX_NOTICE_BYTES} bytes without control characters`,
    );
    assertOptions(options, { userId: true });
    // Given but undefined is a variable that was not set: what is for one must not go to all for that.
    if ("userId" in options) assertName(options.userId as string, "userId");
    const { storage, now, spread } = this.#parts;
    const notice: Notice = { text, sentAt: now() };
    const { userId } = options;
    if (userId === undefined) return spread({ type: "notice", ...notice });
    const account = await storage.account(userId);
    if (account === undefined) throw new SubrosaError("unknown-user", "no such user");
    const devices = account.deviceList.list.devices.map(({ deviceId }) => deviceId);
    const content = {
      kind: EntryKind.notice,
      entryId: randomBytes(ENTRY_ID_LENGTH),
      payload: encode(encodeNotice, notice),
    };
    if ((await this.#deposit(devices, content)) === 0)
      throw new SubrosaError("quota-exceeded", "the inboxes of the user's devices are full");
  }
}
