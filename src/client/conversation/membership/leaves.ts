import type { Bytes } from "../../../base/bytes.js";
import { equalBytes } from "../../../base/bytes.js";
import { toHex } from "../../../base/encoding.js";
import { SubrosaError } from "../../../base/errors.js";
import { sha256 } from "../../../crypto/hash.js";
import { type GroupState, type Identity, members } from "../../../mls/group/index.js";
import type { LeafIndex } from "../../../mls/structs/indices.js";
import type { LeafNode } from "../../../mls/structs/leaf-node.js";
import { encodedLeaf } from "../../../mls/tree/node-bytes.js";
import { type DeviceCredential, parseIdentity, verifyCredential } from "../../identity/credential.js";

/** A leaf of the tree with what its credential says; the engine had it authenticated before it got into the tree. */
export interface Leaf extends DeviceCredential {
  readonly leafIndex: LeafIndex;
}

const cache = new WeakMap<GroupState["tree"], readonly Leaf[]>();

/** Whether two leaves, whenever they were in the tree, are one device of one account. */
export function isSameDevice(a: DeviceCredential, b: DeviceCredential): boolean {
  return (
    a.userId === b.userId && equalBytes(a.deviceId, b.deviceId) && equalBytes(a.accountKey, b.accountKey)
  );
}

/** All leaves, by index. */
export function leavesOf(group: GroupState): readonly Leaf[] {
  let leaves = cache.get(group.tree);
  if (leaves === undefined) {
    leaves = members(group).map(({ leafIndex, credential }) => ({ leafIndex, ...identityIn(credential) }));
    cache.set(group.tree, leaves);
  }
  return leaves;
}

/** What a credential says; throws `malformed` unless it is one of ours. */
export function identityIn(credential: Identity["credential"]): DeviceCredential {
  if (credential.kind !== "basic") throw new SubrosaError("malformed", "not a basic credential");
  return parseIdentity(credential.identity);
}

/** This member's own leaf node. */
export function ownLeafOf(group: GroupState): LeafNode | undefined {
  return group.tree.leaf(group.ownLeafIndex);
}

/** What a request for repair names a leaf by. */
export function leafHash(leafNode: LeafNode): Promise<Bytes> {
  return sha256(encodedLeaf(leafNode));
}

/** The leaf at an index. */
export function leafAt(group: GroupState, leafIndex: LeafIndex): Leaf {
  const leaf = leavesOf(group).find((candidate) => candidate.leafIndex === leafIndex);
  if (leaf === undefined) throw new SubrosaError("internal", "no such leaf");
  return leaf;
}

/** User ids, each once, in the order of the leaves. */
export function usersOf(group: GroupState): string[] {
  return [...new Set(leavesOf(group).map((leaf) => leaf.userId))];
}

const accountsIn = new WeakMap<GroupState["tree"], ReadonlyMap<string, Leaf>>();

/** By what an account is known. */
export const accountOf = ({ userId, accountKey }: Pick<Leaf, "userId" | "accountKey">) =>
  `${toHex(accountKey)} ${userId}`;

/** The accounts in a group, each with one of its leaves. */
export function accountsOf(group: GroupState): ReadonlyMap<string, Leaf> {
  const accounts =
    accountsIn.get(group.tree) ?? new Map(leavesOf(group).map((leaf) => [accountOf(leaf), leaf]));
  accountsIn.set(group.tree, accounts);
  return accounts;
}

/** Whether a leaf of the user bears this account key. */
export function isWith(
  group: GroupState | undefined,
  userId: string,
  accountKey: Bytes | undefined,
): boolean {
  if (group === undefined || accountKey === undefined) return false;
  return accountsOf(group).has(accountOf({ userId, accountKey }));
}

/** Whether a group has somebody, by account, who was not in it before. */
export function hasGrown(before: GroupState, after: GroupState): boolean {
  const known = accountsOf(before);
  return [...accountsOf(after).keys()].some((account) => !known.has(account));
}

/**
 * The authentication service of RFC 9420 §5.3.1: the account in the credential certified the leaf's key, and a leaf
 * never changes its user, device or account. All members evaluate it alike; pins are looked at elsewhere.
 */
export async function authenticate(identity: Identity, replaces?: Identity): Promise<void> {
  const credential = identityIn(identity.credential);
  if (replaces !== undefined) {
    if (!isSameDevice(identityIn(replaces.credential), credential)) {
      throw new SubrosaError("invalid-message", "a leaf changed its owner", { rule: "credential successor" });
    }
  }
  await verifyCredential(credential, identity.signatureKey as Bytes);
}
