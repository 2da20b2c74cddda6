import { compareBytes, equalBytes } from "../../../base/bytes.js";
import { toHex } from "../../../base/encoding.js";
import { SubrosaError } from "../../../base/errors.js";
import { encode } from "../../../codec/writer.js";
import type { GroupState, StagedCommit } from "../../../mls/group/index.js";
import type { LeafIndex } from "../../../mls/structs/indices.js";
import { type AccessChange, encodeBundleHead } from "../../../wire/entries.js";
import type { AccessList } from "../record.js";
import { policyIn } from "../state.js";
import { accessChanges, commitAuthenticatedData, wantedAccess } from "./access.js";
import { identityIn, type Leaf, leafAt, leavesOf } from "./leaves.js";
import { isAdmin, isSamePolicy, type Policy, policyOf } from "./policy.js";

function refuse(rule: string): never {
  throw new SubrosaError("invalid-message", "a commit breaks the conversation's rules", { rule });
}

/** The leaves whose own proposal to leave waits for a commit. */
export function pendingLeaves(group: GroupState): LeafIndex[] {
  return group.pendingProposals.flatMap(({ proposal, sender }) =>
    proposal.kind === "remove" && sender.senderType === "member" && sender.leafIndex === proposal.removed
      ? [proposal.removed]
      : [],
  );
}

/** The references of this member's own proposals to leave, which count only once the log has shown them. */
export function ownLeaves(group: GroupState): Uint8Array[] {
  return group.pendingProposals
    .filter(({ proposal }) => proposal.kind === "remove" && proposal.removed === group.ownLeafIndex)
    .map(({ ref }) => ref);
}

/** The devices that stay in the tree with another leaf, and so need a new pointer. */
export function readdedDevices(
  before: GroupState,
  after: GroupState,
  added: readonly LeafIndex[],
): Set<string> {
  const old = new Set(leavesOf(before).map((leaf) => toHex(leaf.deviceId)));
  return new Set(
    added.map((index) => toHex(leafAt(after, index).deviceId)).filter((device) => old.has(device)),
  );
}

/**
 * The rules beyond RFC 9420 that every member holds before it merges a commit. They look only at what all members
 * have alike: the group before, the staged commit and the log. A commit that breaks one is void for all.
 */
export async function checkCommit(
  before: GroupState,
  access: AccessList,
  staged: StagedCommit,
  bundle: { readonly access: readonly AccessChange[] },
): Promise<void> {
  if (staged.committer === "external") refuse("no external commits");
  const policy = policyIn(before);
  const committer = leafAt(before, staged.committer);
  const after = staged.state;
  const policyAfter = policyOf(after.groupContext.extensions);
  if (after.groupContext.extensions.length !== 1) refuse("no extensions but the policy");

  checkProposals(before, staged, policy, committer);
  checkLeaves(leavesOf(after), policyAfter);
  checkPolicyChange(policy, policyAfter, committer, leavesOf(after));

  const expected = accessChanges(
    access,
    wantedAccess(leavesOf(after), policyAfter),
    readdedDevices(before, after, staged.added),
  );
  const none = new Uint8Array(0);
  const encoded = (changes: readonly AccessChange[]) =>
    encode(encodeBundleHead, { access: changes, welcomeHash: none });
  if (!equalBytes(encoded(expected), encoded(bundle.access)))
    refuse("access changes are not those of the proposals");
  if (!equalBytes(await commitAuthenticatedData(expected), staged.authenticatedData)) {
    refuse("authenticated data is not that of the access changes");
  }
}

function checkProposals(before: GroupState, staged: StagedCommit, policy: Policy, committer: Leaf): void {
  const admin = isAdmin(policy, committer.userId);
  const leaving = new Set(pendingLeaves(before));
  const replaced = replacedDevices(before, staged, policy);
  for (const { proposal } of staged.proposals) {
    switch (proposal.kind) {
      case "add": {
        const { deviceId } = identityIn(proposal.keyPackage.leafNode.credential);
        const free = policy.kind === "direct" || policy.join === "open" || replaced.has(toHex(deviceId));
        if (!admin && !free) refuse("only admins admit members");
        break;
      }
      case "remove":
        if (leaving.delete(proposal.removed)) break;
        if (policy.kind === "direct") {
          if (leafAt(before, proposal.removed).userId !== committer.userId)
            refuse("removal in a direct conversation");
        } else {
          const { userId, deviceId } = leafAt(before, proposal.removed);
          const free = userId === committer.userId || replaced.has(toHex(deviceId));
          if (!admin && !free) refuse("only admins remove members");
        }
        break;
      case "groupContextExtensions":
        break; // by its effect, see checkPolicyChange
      case "update":
        break;
      default:
        refuse(`proposals of this type are not used: ${proposal.kind}`);
    }
  }
  if (leaving.size > 0) refuse("a proposal to leave was passed over");
}

/**
 * Devices that a commit removes or adds by putting a new leaf in the place of a device's old one: any member may do that,
 * since nobody comes or goes by it. In the place of all leaves of a user only where that is the only admin, whom nobody
 * else could let in again: which devices an account still has, members do not know alike.
 */
function replacedDevices(before: GroupState, staged: StagedCommit, policy: Policy): Set<string> {
  const removed = new Set<string>();
  const replaced = new Set<string>();
  for (const { proposal } of staged.proposals) {
    if (proposal.kind === "remove") removed.add(toHex(leafAt(before, proposal.removed).deviceId));
  }
  for (const { proposal } of staged.proposals) {
    if (proposal.kind !== "add") continue;
    const { deviceId, userId, accountKey } = identityIn(proposal.keyPackage.leafNode.credential);
    const own = leavesOf(before).filter(
      (leaf) => leaf.userId === userId && equalBytes(leaf.accountKey, accountKey),
    );
    const device = toHex(deviceId);
    const isSame = removed.has(device) && own.some((leaf) => equalBytes(leaf.deviceId, deviceId));
    if (isSame) replaced.add(device);
    else if (
      policy.kind === "group" &&
      policy.admins.every((admin) => admin === userId) &&
      own.length > 0 &&
      own.every((leaf) => removed.has(toHex(leaf.deviceId)))
    ) {
      for (const leaf of own) replaced.add(toHex(leaf.deviceId));
      replaced.add(device);
    }
  }
  return replaced;
}

/** The rules about who may be a leaf beside whom; also held when joining. */
export function checkLeaves(leaves: readonly Leaf[], policy: Policy): void {
  const devices = new Set<string>();
  const accounts = new Map<string, Leaf>();
  const banned = new Set(policy.kind === "group" ? policy.banned : []);
  for (const leaf of leaves) {
    if (banned.has(leaf.userId)) refuse("a banned user is no member");
    const device = toHex(leaf.deviceId);
    if (devices.has(device)) refuse("one leaf for each device");
    devices.add(device);
    const first = accounts.get(leaf.userId);
    if (first === undefined) accounts.set(leaf.userId, leaf);
    else if (!equalBytes(first.accountKey, leaf.accountKey)) refuse("one account for each user");
    if (policy.kind === "direct") {
      const user = policy.users.find(({ userId }) => userId === leaf.userId);
      if (user === undefined || !equalBytes(user.accountKey, leaf.accountKey)) {
        refuse("a leaf of a third account in a direct conversation");
      }
    }
  }
}

function checkPolicyChange(before: Policy, after: Policy, committer: Leaf, leaves: readonly Leaf[]): void {
  if (before.kind !== after.kind) refuse("the kind of a conversation never changes");
  if (before.kind === "direct") {
    if (!isSamePolicy({ ...before, disappearAfter: after.disappearAfter }, after))
      refuse("of a direct conversation only the time after which messages disappear changes");
    return;
  }
  const asked = isAdmin(before, committer.userId) ? after : before;
  if (!isSamePolicy(successor(asked, leaves), after)) {
    refuse("only admins change the policy, and admins are members");
  }
}

/**
 * The policy once these are the leaves: admins who left are none, and a group without one falls to the member with
 * the lowest device id, so that it never stays without.
 */
export function successor(policy: Policy, leaves: readonly Pick<Leaf, "userId" | "deviceId">[]): Policy {
  if (policy.kind === "direct") return policy;
  const users = new Set(leaves.map((leaf) => leaf.userId));
  const admins = policy.admins.filter((admin) => users.has(admin));
  if (admins.length > 0 || leaves.length === 0) return { ...policy, admins };
  const heir = leaves.reduce((a, b) => (compareBytes(a.deviceId, b.deviceId) <= 0 ? a : b));
  return { ...policy, admins: [heir.userId] };
}
