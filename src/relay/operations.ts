import { type Bytes, EMPTY, equalBytes } from "../base/bytes.js";
import { SubrosaError } from "../base/errors.js";
import { encode } from "../codec/writer.js";
import { sha256 } from "../crypto/hash.js";
import { sha256Now } from "../crypto/node-hash.js";
import { contentDigestInput, type EntryContent, encodeAccessChange } from "../wire/entries.js";
import { type Cursor, type LogId, START } from "../wire/identifiers.js";
import { EntryKind, LogKind, MAX_CHUNK_BYTES } from "../wire/protocol.js";
import type { RefusalCode } from "../wire/refusals.js";
import {
  type BodyOf,
  type NewEntry,
  type OperationName,
  operations,
  type ResultOf,
} from "../wire/requests.js";
import type { Allowances, Origin } from "./abuse/allowances.js";
import { guardAppend, guardCreation, guardedKeyPackages, guardNameClaim } from "./abuse/guards.js";
import type { SessionChannels } from "./channels.js";
import { directSlot } from "./direct-slot.js";
import { isForsaken } from "./forsaken.js";
import { maxEntryBytes, type RelayLimits } from "./limits.js";
import { endedStayAt } from "./stays.js";
import type { BlobCommand, EntryInput, LogHead, Quotas, RelayStorage, Sender } from "./storage.js";

/** What a request is carried out with. */
export interface OperationContext {
  readonly storage: RelayStorage;
  readonly limits: RelayLimits;
  readonly sender: Sender;
  readonly allowances: Allowances;
  readonly channels: SessionChannels;
  readonly origin: Origin;
  /** Whether everyone may learn who is there. */
  readonly isOpen: boolean;
  now(): number;
  /** Begins a subscription once the answer was sent. */
  subscribe(log: LogId, position: number): void;
  unsubscribe(log: LogId): void;
  /** Counts bytes that are sent for a request as if they had come with it. */
  readonly charge: (bytes: number) => void;
}

type Handlers = {
  readonly [Name in OperationName]: (
    context: OperationContext,
    body: BodyOf<Name>,
  ) => Promise<ResultOf<Name>>;
};

function refuse(code: RefusalCode, reason: string): never {
  throw new SubrosaError(code, reason);
}

export function quotasOf(limits: RelayLimits): Quotas {
  const { maxInboxEntries, maxInboxBytes, maxRequests, maxGroups } = limits;
  return { maxInboxEntries, maxInboxBytes, maxRequests, maxGroups };
}

function blobCommand(context: OperationContext, { blobId }: { readonly blobId: Bytes }): BlobCommand {
  const { sender, limits } = context;
  return { blobId, userId: sender.userId, now: context.now(), quotas: limits };
}
/** So many names fit into any frame that a relay would allow. */
const USERS_PER_PAGE = 200;

/** Bytes that are hashed at once; more are hashed by another thread, whose round trip costs less than they do. */
const MAX_HASHED_NOW = 64 * 1024;

/** The entry as it will be kept, with its digest; refuses one that no frame to a reader could hold. */
export async function prepareEntry(entry: NewEntry, limits: RelayLimits): Promise<EntryInput> {
  const { kind, entryId, payload, bundle, isOfAnother } = entry;
  if (kind !== EntryKind.commit || bundle === undefined) {
    if (payload.length > maxEntryBytes(limits)) refuse("too-large", "the entry is too large");
    if (kind === EntryKind.joinRequest && payload.length > limits.maxRequestBytes) {
      refuse("too-large", "the join request is too large");
    }
    const content: EntryContent = { kind, entryId, payload };
    const input = contentDigestInput(content);
    const contentDigest = input.length > MAX_HASHED_NOW ? await sha256(input) : sha256Now(input);
    return { content, contentDigest, welcome: EMPTY, ...(isOfAnother && { isOfAnother }) };
  }
  const { access, welcome } = bundle;
  const accessBytes = encode((writer) => void writer.vector(access, encodeAccessChange), undefined).length;
  if (payload.length + accessBytes + welcome.length > maxEntryBytes(limits))
    refuse("too-large", "the commit is too large");
  const welcomeHash = bundle.welcomeHash ?? (welcome.length > 0 ? await sha256(welcome) : new Uint8Array(0));
  const content: EntryContent = { kind, entryId, payload, bundle: { access, welcomeHash } };
  return { content, contentDigest: await sha256(contentDigestInput(content)), welcome };
}

/** Starts an append: the storage has it, in order, when this resolves; the inner promise is the answer. */
export async function beginAppend(
  context: OperationContext,
  body: BodyOf<"append">,
): Promise<{ readonly answer: Promise<Cursor> }> {
  const entry = await prepareEntry(body.entry, context.limits);
  const { storage, sender, limits } = context;
  const { log, after } = body;
  await guardAppend(context, log, entry);
  if (log.kind === LogKind.requestBox && (await isForsaken(storage, log.id, sender))) {
    await storage.closeGroup(log.id, context.now());
    refuse("unknown-group", "nobody is in the group any more");
  }
  return {
    answer: storage.append({ log, sender, after, entry, now: context.now(), quotas: quotasOf(limits) }),
  };
}

/**
 * Where a reader at `cursor` goes on, if the log is as it knows it; it may read what comes after `first`. `acked`: what it
 * has said that it has.
 */
async function placeOf(
  storage: RelayStorage,
  log: LogId,
  cursor: Cursor,
  head: LogHead,
  { first, last, acked }: { readonly first: Cursor; readonly last: Cursor; readonly acked: number },
): Promise<Cursor> {
  if (cursor.seq > last.seq) refuse("cursor-mismatch", "the cursor lies behind the log's head");
  const beginning: Cursor = { seq: head.first - 1, digest: head.tail };
  if (isStart(cursor)) {
    // For who was removed nothing may be left.
    if (beginning.seq > last.seq) refuse("gap", "the log begins later");
    return first.seq > beginning.seq ? first : beginning;
  }
  if (cursor.seq < first.seq) refuse("gap", "the log begins later for this device");
  if (cursor.seq < beginning.seq) {
    if (cursor.seq < acked) refuse("store-outdated", "the device has said that it has more");
    refuse("gap", "the log begins later");
  }
  const known = cursor.seq === beginning.seq ? beginning : await storage.entry(log, cursor.seq);
  if (known === undefined) refuse("gap", "the log begins later");
  if (!equalBytes(known.digest, cursor.digest)) refuse("cursor-mismatch", "the cursor's digest is another");
  return cursor;
}

const isStart = ({ seq, digest }: Cursor) => seq === 0 && digest.every((byte) => byte === 0);

async function subscribe(
  context: OperationContext,
  body: BodyOf<"subscribe">,
): Promise<ResultOf<"subscribe">> {
  const { storage, sender } = context;
  const { log, cursor } = body;
  const head = await storage.head(log);
  let first = START;
  let last: Cursor = { seq: head.seq, digest: head.digest };
  let acked = 0;
  if (log.kind === LogKind.inbox) {
    if (!equalBytes(log.id, sender.deviceId)) refuse("forbidden", "the inbox is another device's");
  } else {
    if (!(await storage.groupExists(log.id))) refuse("unknown-group", "no such group");
    const access = await storage.access(log.id, sender.deviceId);
    if (access === undefined) refuse("not-a-member", "the device has no access to the group");
    if (log.kind === LogKind.group) {
      // Who has not read all of an earlier stay goes on there.
      const stay = (!isStart(cursor) && endedStayAt(access, cursor.seq)) || access;
      first = stay.from;
      last = stay.until ?? last;
      acked = access.acked;
    } else if (access.until !== undefined || access.leavingSince > 0) {
      refuse("not-a-member", "the device has no access to the group");
    }
  }
  const from = await placeOf(storage, log, cursor, head, { first, last, acked });
  context.subscribe(log, from.seq);
  return { head: last, from };
}

async function fetchBundle(
  { storage, sender }: OperationContext,
  { groupId, seq }: BodyOf<"fetchBundle">,
): Promise<ResultOf<"fetchBundle">> {
  const log: LogId = { kind: LogKind.group, id: groupId };
  if (!(await storage.groupExists(groupId))) refuse("unknown-group", "no such group");
  const access = await storage.access(groupId, sender.deviceId);
  if (access === undefined) refuse("not-a-member", "the device has no access to the group");
  const head = await storage.head(log);
  if (seq < head.first) refuse("gap", "the log begins later");
  const entry = await storage.entry(log, seq);
  if (entry?.content?.bundle === undefined) refuse("unknown-entry", "no commit has this sequence number");
  // A device may always have the commit that added it, even after it was added anew.
  const within = seq >= access.from.seq && seq <= (access.until?.seq ?? seq);
  const adds = entry.content.bundle.access.some(
    (change) => change.type === "add" && equalBytes(change.deviceId, sender.deviceId),
  );
  if (!within && !adds) refuse("not-a-member", "the device had no access at this commit");
  const welcome = await storage.welcome(groupId, seq);
  return { content: entry.content, welcome, at: { seq, digest: entry.digest } };
}

/** Every request but `append`, which {@link beginAppend} starts. */
export const handlers: Omit<Handlers, "append"> = {
  async create(context, body) {
    const { storage, sender, limits } = context;
    const { groupId, nameHash, direct } = body;
    const bodyDigest = await sha256(encode(operations.create.encode, body));
    const first = body.first && (await prepareEntry(body.first, limits));
    await guardCreation(context, body);
    const slot = direct && { ...direct, slot: await directSlot(sender.userId, direct.peer) };
    return storage.create({
      groupId,
      sender,
      bodyDigest,
      now: context.now(),
      quotas: quotasOf(limits),
      ...(nameHash && { nameHash }),
      ...(slot && { direct: slot }),
      ...(first && { first }),
    });
  },
  subscribe,
  async unsubscribe(context, { log }) {
    context.unsubscribe(log);
    return undefined;
  },
  fetchBundle,
  async publishKeyPackages(context, { oneTime, lastResort }) {
    const { storage, sender, limits } = context;
    for (const { keyPackage } of [...oneTime, ...(lastResort ? [lastResort] : [])]) {
      if (keyPackage.length > limits.maxKeyPackageBytes) refuse("too-large", "a key package is too large");
    }
    const held = await storage.publishKeyPackages({
      deviceId: sender.deviceId,
      oneTime,
      maxKeyPackages: limits.maxKeyPackages,
      now: context.now(),
      ...(lastResort && { lastResort }),
    });
    return { oneTime: held };
  },
  fetchKeyPackages: (context, { userId }) => guardedKeyPackages(context, userId, context.now()),
  async fetchAccount({ storage }, { userId }) {
    return (await storage.account(userId)) ?? refuse("unknown-user", "no such user");
  },
  async resolveName({ storage }, { nameHash }) {
    return {
      groupId: (await storage.resolveName(nameHash)) ?? refuse("unknown-group", "no group has this name"),
    };
  },
  async resolveDirect({ storage, sender }, { userId }) {
    const binding = await storage.resolveDirect(await directSlot(sender.userId, userId));
    return binding ? { binding } : {};
  },
  async listGroups({ storage, sender }, { of }) {
    const { deviceId } = sender;
    // Of a device that is none of the account's nothing is to be learned: as if it were in no group.
    if (of !== undefined && !(await storage.isOwn(deviceId, of))) return { groups: [] };
    return { groups: await storage.listGroups(of ?? deviceId) };
  },
  async rejectJoin(context, rejection) {
    const { storage, sender, limits } = context;
    await storage.rejectJoin({ ...rejection, sender, now: context.now(), quotas: quotasOf(limits) });
    return undefined;
  },
  async claimName(context, body) {
    const { storage, sender } = context;
    await guardNameClaim(context, body);
    await storage.claimName({ ...body, sender });
    return undefined;
  },
  async releaseName({ storage, sender }, body) {
    await storage.releaseName({ ...body, sender });
    return undefined;
  },
  async setBlocked({ storage, sender, limits }, { userId, blocked }) {
    if (userId === sender.userId) refuse("forbidden", "nobody blocks oneself");
    const { maxBlocked } = limits;
    await storage.setBlocked({ userId: sender.userId, other: userId, blocked, maxBlocked });
    return undefined;
  },
  async write({ channels }, body) {
    await channels.write(body);
    return undefined;
  },
  async publish({ channels }, body) {
    await channels.publish(body);
    return undefined;
  },
  async subscribeChannel({ channels }, body) {
    await channels.subscribe(body);
    return undefined;
  },
  async unsubscribeChannel({ channels }, body) {
    channels.unsubscribe(body);
    return undefined;
  },
  async listBlocked({ storage, sender }) {
    return { users: await storage.listBlocked(sender.userId) };
  },
  async beginUpload(context, body) {
    await context.storage.blobs.begin(blobCommand(context, body));
    return undefined;
  },
  async putChunk(context, body) {
    const { index, chunk } = body;
    // Of small chunks there are no more than of large ones: each costs more than its bytes.
    if (index * MAX_CHUNK_BYTES >= context.limits.maxBlobBytes) refuse("too-large", "the blob is too large");
    await context.storage.blobs.put({ ...blobCommand(context, body), index, chunk });
    return undefined;
  },
  async finishUpload(context, body) {
    await context.storage.blobs.finish(blobCommand(context, body), body.chunks);
    return undefined;
  },
  async fetchChunk({ storage, charge }, { blobId, index }) {
    const chunk = await storage.blobs.chunk(blobId, index);
    if (chunk === undefined) return refuse("unknown-blob", "no such blob, or not any more");
    charge(chunk.length);
    return { chunk };
  },
  async deleteBlob(context, body) {
    await context.storage.blobs.delete(blobCommand(context, body));
    return undefined;
  },
  async listUsers({ storage, allowances, origin, isOpen }, { after }) {
    if (!isOpen) refuse("forbidden", "the relay's directory is not open");
    allowances.spend("directoryPagesPerHour", origin);
    const page = await storage.listUsers({ limit: USERS_PER_PAGE, ...(after !== undefined && { after }) });
    const users = page.items.map(({ userId }) => userId);
    return { users, ...(page.next !== undefined && { next: page.next }) };
  },
};
