import { EMPTY, equalBytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import { SubrosaError } from "../../base/errors.js";
import type { AccessChange } from "../../wire/entries.js";
import type { LogId } from "../../wire/identifiers.js";
import { EntryKind, LogKind } from "../../wire/protocol.js";
import type { BodyOf, NameBody, ResultOf } from "../../wire/requests.js";
import { directSlot } from "../direct-slot.js";
import type { EntryInput, RelayStorage } from "../storage.js";
import type { Allowances, Origin } from "./allowances.js";

/** Who asks, what it has left, and where to look up what it shares with others. */
export interface GuardContext {
  readonly storage: RelayStorage;
  readonly allowances: Allowances;
  readonly origin: Origin;
}

/** The same words as for a full inbox: who is blocked learns no more than that. */
function refuseAddition(): never {
  throw new SubrosaError("quota-exceeded", "the inbox of an added device is full");
}

/**
 * The user's key packages, one-time ones only if they may be handed out; refuses who asks too often or is blocked.
 * Who asks for a user that there is gets nothing and asks again later has not used up anything.
 */
export async function guardedKeyPackages(
  { storage, allowances, origin }: GuardContext,
  userId: string,
  now: number,
): Promise<ResultOf<"fetchKeyPackages">> {
  const allowance = allowances.require("keyPackageFetchesPerHour", origin);
  if ((await storage.blockersOf(origin.userId, [userId])).length > 0)
    throw new SubrosaError("no-key-package", "the user has no key packages left");
  if ((await storage.account(userId)) === undefined) {
    // Names can be made up without end.
    allowance.take();
    throw new SubrosaError("unknown-user", "no such user");
  }
  const oneTime = userId === origin.userId || allowances.oneTimePackages(origin.userId, userId);
  const packages = await storage.takeKeyPackages(userId, now, !oneTime);
  allowance.take();
  return packages;
}

/** What an entry, or a device's access, takes beside its contents, about: digests, ids, places in indexes. */
const RECORD_BYTES = 256;

function storedBytes(payload: number, changes: number, welcome: number): number {
  return RECORD_BYTES * (1 + changes) + payload + welcome;
}

/** Before a group is made. A repeated request passes: it gets its first answer. */
export async function guardCreation(context: GuardContext, body: BodyOf<"create">): Promise<void> {
  const { storage, allowances, origin } = context;
  const { groupId, nameHash, direct, first } = body;
  if (await storage.groupExists(groupId)) return;
  const added = usersAdded(first?.bundle?.access ?? []);
  await refuseBlocked(context, direct === undefined ? added : [...added, direct.peer]);
  allowances.spend(direct === undefined ? "groupCreationsPerHour" : "firstContactsPerHour", origin);
  if (nameHash !== undefined) allowances.spend("nameClaimsPerHour", origin);
  const { access = [], welcome = EMPTY } = first?.bundle ?? {};
  allowances.store(origin, storedBytes(first?.payload.length ?? 0, 1 + access.length, welcome.length));
  const strangers = await strangersAmong(context, groupId, first?.bundle?.access ?? [], direct?.peer);
  allowances.spend("invitationsPerHour", origin, strangers);
}

/** Before a group takes another name. One that it has already costs nothing. */
export async function guardNameClaim(
  { storage, allowances, origin }: GuardContext,
  { groupId, nameHash }: NameBody,
): Promise<void> {
  const holder = await storage.resolveName(nameHash);
  if (holder === undefined || !equalBytes(holder, groupId)) allowances.spend("nameClaimsPerHour", origin);
}

/** Before an entry is appended. One that the log has taken already passes: it gets its first answer. */
export async function guardAppend(context: GuardContext, log: LogId, entry: EntryInput): Promise<void> {
  const { storage, allowances, origin } = context;
  const { kind, entryId, payload, bundle } = entry.content;
  const adds = kind === EntryKind.commit && log.kind === LogKind.group && usersAdded(bundle?.access ?? []);
  const asks = kind === EntryKind.joinRequest && log.kind === LogKind.requestBox;
  try {
    // Who has no room left can still go.
    const goes = (kind === EntryKind.leave && !entry.isOfAnother) || kind === EntryKind.close;
    if (!goes) {
      const changes = bundle?.access.length ?? 0;
      allowances.store(origin, storedBytes(payload.length, changes, entry.welcome.length));
    }
    if (asks) allowances.spend("joinRequestsPerHour", origin);
    if (!adds || adds.every((userId) => userId === origin.userId)) return;
    await refuseBlocked(context, await usersNew(context, log.id, bundle?.access ?? []));
    const strangers = await strangersAmong(context, log.id, bundle?.access ?? [], undefined);
    allowances.spend("invitationsPerHour", origin, strangers);
  } catch (refusal) {
    if (!(await storage.hasEntry(log, entryId))) throw refusal;
  }
}

function usersAdded(changes: readonly AccessChange[]): string[] {
  return [...new Set(changes.filter(({ type }) => type === "add").map(({ userId }) => userId))];
}

/** The users of whom a device is added that never had access to the group. */
async function usersNew(
  { storage }: GuardContext,
  groupId: LogId["id"],
  changes: readonly AccessChange[],
): Promise<string[]> {
  const known = await Promise.all(changes.map(({ deviceId }) => storage.access(groupId, deviceId)));
  return usersAdded(changes.filter((_, i) => known[i] === undefined));
}

async function refuseBlocked({ storage, origin }: GuardContext, users: readonly string[]): Promise<void> {
  const others = users.filter((userId) => userId !== origin.userId);
  if (others.length > 0 && (await storage.blockersOf(origin.userId, others)).length > 0) refuseAddition();
}

/**
 * How many users are added that the sender shares nothing with: no direct conversation, no join request that waits
 * in this group, no device in it.
 */
async function strangersAmong(
  { storage, origin }: GuardContext,
  groupId: BodyOf<"create">["groupId"],
  changes: readonly AccessChange[],
  peer: string | undefined,
): Promise<number> {
  const devices = new Map<string, AccessChange>();
  for (const change of changes) {
    const known = change.userId === origin.userId || change.userId === peer;
    if (change.type === "add" && !known) devices.set(toHex(change.deviceId), change);
  }
  const strange = await Promise.all(
    [...devices.values()].map(async ({ userId, deviceId }) => {
      if (await storage.hasRequest(groupId, deviceId)) return undefined;
      const access = await storage.access(groupId, deviceId);
      if (access !== undefined && access.until === undefined) return undefined;
      if ((await storage.resolveDirect(await directSlot(origin.userId, userId))) !== undefined)
        return undefined;
      return userId;
    }),
  );
  return new Set(strange.filter((userId) => userId !== undefined)).size;
}
