import { type Bytes, equalBytes } from "../../../base/bytes.js";
import { toHex } from "../../../base/encoding.js";
import { SubrosaError } from "../../../base/errors.js";
import { decode } from "../../../codec/reader.js";
import { verify } from "../../../crypto/signature.js";
import { type GroupState, readKeyPackage } from "../../../mls/group/index.js";
import type { LeafNode } from "../../../mls/structs/leaf-node.js";
import {
  decodeJoinRequest,
  type EntryContent,
  type JoinRequest,
  joinRequestToBeSigned,
} from "../../../wire/entries.js";
import { isName } from "../../../wire/identifiers.js";
import type { Account } from "../../../wire/identity.js";
import { DIGEST_LENGTH } from "../../../wire/protocol.js";
import type { ResultOf } from "../../../wire/requests.js";
import type { Context } from "../../context.js";
import { layout } from "../../layout.js";
import type { Action } from "../sending/intent.js";
import type { Addition } from "../sending/seal.js";
import { type ConversationState, policyIn } from "../state.js";
import { presentDevices, stayingLeaves } from "./duties.js";
import { identityIn, type Leaf, leafHash, leavesOf } from "./leaves.js";
import { isAdmin } from "./policy.js";
import { readStoredRequest } from "./stored-requests.js";

/** The rule by which a device is not added whose place another has taken: its account says so, in a list that it signed. */
export const REPLACED_DEVICE = "a device of the account's list";
/** The rule by which nothing is granted that the request box does not show. */
export const STANDING = "a request that stands";
/** The rule by which nothing is put in the place of a leaf that is gone: who asked has left since, or was removed. */
export const GONE_LEAF = "a leaf to be replaced";

/**
 * The key packages that an `add` commits: the one of a join request, else one for each device of the user. Throws
 * `already-a-member`, `not-a-member` (a device that asked to be added anew is gone), `identity-changed`,
 * `identity-mismatch`, `not-an-admin` (the user is there under another account), `unknown-user` (the device that asked is
 * that of nobody any more), and what the directory answers.
 */
export async function keyPackagesFor(
  context: Context,
  state: ConversationState,
  action: Extract<Action, { type: "add" }>,
): Promise<Addition> {
  // Who is leaving may come back: one commit removes the old leaf and adds the new one.
  const present = presentDevices(state.group as GroupState, state.access, context.identity.deviceId);
  const { groupId } = state.record;
  if (action.request !== undefined) {
    const { deviceId, replaces } = action.request;
    const replaced = new Set<string>();
    const others = stayingLeaves(state.group as GroupState).filter(({ userId }) => userId === action.userId);
    const isGone = others.every((leaf) => equalBytes(leaf.deviceId, deviceId));
    if (present.has(toHex(deviceId))) {
      const leaf = await leafToReplace(state.group as GroupState, {
        ...action.request,
        userId: action.userId,
      });
      if (leaf === undefined) throw new SubrosaError("already-a-member", `${action.userId} is a member`);
      replaced.add(toHex(leaf.deviceId));
    } else if (replaces !== undefined && isGone) {
      throw new SubrosaError("not-a-member", `${action.userId} has left since the device asked`, {
        rule: GONE_LEAF,
      });
    }
    // What the request says of its user must be what the directory says.
    const account = await context.relay.request("fetchAccount", { userId: action.userId });
    await context.contacts.checkAccount(account, action.userId, action.expected);
    // Granted by another, its device has come in, and may have gone since.
    const stored = await context.store.get(layout.request(groupId, action.request.id));
    const asked = stored && readStoredRequest(stored);
    if (stored && asked === undefined)
      throw new SubrosaError("already-a-member", `the request of ${action.userId} was answered`);
    if (asked?.isWithdrawn)
      throw new SubrosaError("not-a-member", `the request of ${action.userId} is not there any more`, {
        rule: STANDING,
      });
    if (!account.deviceList.list.devices.some((listed) => equalBytes(listed.deviceId, deviceId)))
      throw new SubrosaError(
        "unknown-user",
        `another device of ${action.userId} has replaced the one that asked`,
        { rule: REPLACED_DEVICE },
      );
    for (const device of orphanedDevices(state.group as GroupState, context.identity.userId, account))
      replaced.add(device);
    return { keyPackages: [checkedKeyPackage(account, action.request)], replaced };
  }
  const found = await context.relay.request("fetchKeyPackages", { userId: action.userId });
  await context.contacts.checkAccount(found.account, action.userId, action.expected);
  if (found.devices.length === 0) {
    throw new SubrosaError("no-key-package", `the relay has no key package of ${action.userId}`);
  }
  const keyPackages = found.devices
    .filter((device) => !present.has(toHex(device.deviceId)))
    .map((device) => checkedKeyPackage(found.account, device));
  if (keyPackages.length === 0) throw new SubrosaError("already-a-member", `${action.userId} is a member`);
  const replaced = new Set(
    orphanedDevices(state.group as GroupState, context.identity.userId, found.account),
  );
  return { keyPackages, replaced };
}

/** The devices of a user whose places are taken with what `self` adds. Throws `not-an-admin`. */
function orphanedDevices(group: GroupState, self: string, account: Account): string[] {
  const leaves = orphanedLeaves(group, account);
  const isOther = leaves.some(({ accountKey }) => !equalBytes(accountKey, account.accountKey));
  if (isOther && !isAdmin(policyIn(group), self)) {
    throw new SubrosaError(
      "not-an-admin",
      `only an admin puts the identity that ${account.userId} has now in the place of the one before`,
    );
  }
  // Others than admins put one device in the place of another only where no admin can.
  const may = mayAdmitAgain(group, self, account.userId);
  return may ? leaves.map(({ deviceId }) => toHex(deviceId)) : [];
}

/** A join request, if its signature and key package are the requesting account's, and it is to this group. Throws otherwise. */
export async function checkedRequest(
  { payload, entryId }: Pick<EntryContent, "payload" | "entryId">,
  groupId: Bytes,
): Promise<JoinRequest> {
  const request = decode(decodeJoinRequest, payload);
  const { userId, deviceId, accountKey, keyPackage } = request;
  const identity = identityIn(readKeyPackage(keyPackage).leafNode.credential);
  const fits =
    equalBytes(request.groupId, groupId) &&
    isName(userId) &&
    identity.userId === userId &&
    equalBytes(identity.deviceId, deviceId) &&
    equalBytes(identity.accountKey, accountKey);
  const signed = joinRequestToBeSigned(request, entryId);
  if (!fits || !(await verify(accountKey, request.signature, signed)))
    throw new SubrosaError("invalid-signature", "a join request is not by the account it names");
  return request;
}

/** What a request names that asks for repair of a leaf which its device has never seen. */
export const UNKNOWN_LEAF: Bytes = new Uint8Array(DIGEST_LENGTH);

/**
 * The leaf that a request for repair names, if it is there still. Who could not open its welcome cannot name it: then it
 * is a leaf that came with a key package, and has never spoken, made no later than that of the request. An older request that
 * is shown again replaces nothing.
 */
export async function leafToReplace(
  group: GroupState,
  request: Pick<JoinRequest, "userId" | "deviceId" | "keyPackage" | "replaces">,
): Promise<Leaf | undefined> {
  const leaf = leavesOf(group).find(({ deviceId }) => equalBytes(deviceId, request.deviceId));
  const node = leaf && group.tree.leaf(leaf.leafIndex);
  if (leaf?.userId !== request.userId || node === undefined) return undefined;
  const hash = await leafHash(node);
  const isNamed = (one: Bytes) => request.replaces?.some((named) => equalBytes(named, one)) ?? false;
  if (isNamed(hash)) return leaf;
  if (!isNamed(UNKNOWN_LEAF)) return undefined;
  const offer = readKeyPackage(request.keyPackage).leafNode;
  const [made, offered] = [madeAt(node), madeAt(offer)];
  const isLater = made !== undefined && offered !== undefined && made <= offered;
  return isLater && !equalBytes(node.encryptionKey, offer.encryptionKey) ? leaf : undefined;
}

/** When the key package of a leaf was made, if the leaf is still that of it (RFC 9420 §7.2). */
function madeAt(leafNode: LeafNode): bigint | undefined {
  return leafNode.leafNodeSource === "key_package" ? leafNode.lifetime.notBefore : undefined;
}

/** Whether this user may admit another device of a member: admins may, and everyone where that member is the only one. */
export function mayAdmitAgain(group: GroupState, self: string, userId: string): boolean {
  const policy = policyIn(group);
  return isAdmin(policy, self) || (policy.kind === "group" && policy.admins.every((one) => one === userId));
}

/** The leaves of a user whose devices the user's own list does not name any more, or that are of another account. */
function orphanedLeaves(group: GroupState, account: Account): Leaf[] {
  const listed = new Set(account.deviceList.list.devices.map(({ deviceId }) => toHex(deviceId)));
  return leavesOf(group).filter(
    ({ userId, deviceId, accountKey }) =>
      userId === account.userId &&
      !(listed.has(toHex(deviceId)) && equalBytes(accountKey, account.accountKey)),
  );
}

/** The device's key package, if it is of that device in the account's own list. The engine checks the rest. */
export function checkedKeyPackage(
  account: Account,
  device: Pick<ResultOf<"fetchKeyPackages">["devices"][number], "deviceId" | "keyPackage">,
): ResultOf<"fetchKeyPackages">["devices"][number]["keyPackage"] {
  const { leafNode } = readKeyPackage(device.keyPackage);
  const identity = identityIn(leafNode.credential);
  const listed = account.deviceList.list.devices.some(
    ({ deviceId, deviceKey }) =>
      equalBytes(deviceId, identity.deviceId) && equalBytes(deviceKey, leafNode.signatureKey),
  );
  if (
    !listed ||
    identity.userId !== account.userId ||
    !equalBytes(identity.deviceId, device.deviceId) ||
    !equalBytes(identity.accountKey, account.accountKey)
  ) {
    throw new SubrosaError("protocol-error", "the relay offers a key package of another account");
  }
  return device.keyPackage;
}
