import { type Bytes, equalBytes } from "../../../base/bytes.js";
import { toHex } from "../../../base/encoding.js";
import { SubrosaError } from "../../../base/errors.js";
import { sha256 } from "../../../crypto/hash.js";
import {
  createCommit,
  encodeStagedCommit,
  epochAuthenticator,
  type GroupState,
  proposeRemove,
  protectApplication,
  readKeyPackage,
} from "../../../mls/group/index.js";
import type { KeyPackage } from "../../../mls/structs/key-package.js";
import type { Proposal } from "../../../mls/structs/proposal.js";
import { ENTRY_ID_LENGTH, EntryKind } from "../../../wire/protocol.js";
import type { Context } from "../../context.js";
import type { DeviceCredential } from "../../identity/credential.js";
import { contentBytes } from "../content.js";
import {
  accessChanges,
  commitAuthenticatedData,
  messageAuthenticatedData,
  proposalAuthenticatedData,
  wantedAccess,
} from "../membership/access.js";
import { checkCommit, pendingLeaves, successor } from "../membership/commit-rules.js";
import { policyWith } from "../membership/duties.js";
import { authenticate, identityIn, type Leaf, leavesOf } from "../membership/leaves.js";
import { isAdmin, isBanned, isSamePolicy, type Policy, policyExtension } from "../membership/policy.js";
import { contentDigest } from "../receiving/log-digest.js";
import { policyIn } from "../state.js";
import type { Step } from "../step.js";
import type { Action, Intent, Sealed } from "./intent.js";
import { paddedLength } from "./padding.js";

/** Encrypts a message on a step, with what is to be told along with it; the intent then holds the bytes to send. */
export async function sealMessage(
  context: Context,
  step: Step,
  intent: Intent & { action: Extract<Action, { type: "send" }> },
): Promise<Sealed> {
  const group = step.group as GroupState;
  const { content } = intent.action;
  const bare = contentBytes(content);
  const aside = context.gossip.aside(step, bare.length);
  const bytes = aside.topics.size > 0 ? contentBytes(content, aside.hearsay) : bare;
  const { state, message, changes } = await protectApplication(group, bytes, {
    signer: context.identity.device,
    authenticatedData: messageAuthenticatedData(epochAuthenticator(group)),
    padding: paddedLength,
  });
  step.ratchet(state, changes);
  const kind = content.type === "close" ? EntryKind.close : EntryKind.application;
  const sealed = await seal(context, step, { kind, payload: message });
  step.change(context.outbox.seal(intent, sealed));
  context.gossip.told(step, sealed, aside);
  return sealed;
}

/** Makes the proposal by which this device leaves. */
export async function sealLeave(context: Context, step: Step, intent: Intent): Promise<void> {
  const group = step.group as GroupState;
  const { state, message, changes } = await proposeRemove(group, group.ownLeafIndex, {
    signer: context.identity.device,
    authenticatedData: proposalAuthenticatedData(),
    padding: paddedLength,
  });
  // Pending from now on, since the commit that others make of it refers to it; dropped again if it comes too late.
  step.propose(state, changes);
  const sealed = await seal(context, step, { kind: EntryKind.leave, payload: message });
  step.change(context.outbox.seal(intent, sealed));
}

/** The key packages that an `add` brings, validated by the engine when they are committed. */
export interface Addition {
  readonly keyPackages: readonly Bytes[];
  /** Devices whose leaves go in the same commit: the new ones take their places. */
  readonly replaced?: ReadonlySet<string>;
}

/** Makes the commit of an intent. Throws what keeps it from being possible, for whoever asked. */
export async function sealCommit(
  context: Context,
  step: Step,
  intent: Intent,
  addition: Addition = { keyPackages: [] },
): Promise<void> {
  const group = step.group as GroupState;
  const plan = planCommit(group, intent.action, addition, context.identity.userId);
  const changes = accessChanges(step.access, wantedAccess(plan.leaves, plan.policy), plan.readded);
  const {
    staged,
    commit,
    welcome,
    state,
    changes: ratchets,
  } = await createCommit(group, {
    proposals: plan.proposals,
    includePending: true,
    forcePath: true,
    authenticatedData: await commitAuthenticatedData(changes),
    padding: paddedLength,
    signer: context.identity.device,
    authenticate,
    now: BigInt(Math.floor(context.clock.now() / 1000)),
    welcome: { ratchetTree: true },
  });
  // The others would not take in a commit that breaks the conversation's rules, so it is not even sent.
  await checkCommit(group, step.access, staged, { access: changes });
  step.ratchet(state, ratchets);
  if (step.record.subject.kind === "group") await step.offer(staged.state);
  const bundle = {
    access: changes,
    welcome: welcome ?? new Uint8Array(0),
    staged: encodeStagedCommit(staged),
  };
  const sealed = await seal(context, step, { kind: EntryKind.commit, payload: commit, bundle });
  step.change(context.outbox.seal(intent, sealed));
}

interface Plan {
  readonly proposals: Proposal[];
  readonly leaves: readonly Pick<Leaf, "userId" | "deviceId">[];
  readonly policy: Policy;
  readonly readded: ReadonlySet<string>;
}

function planCommit(group: GroupState, action: Action, addition: Addition, self: string): Plan {
  const keyPackages = addition.keyPackages.map(readKeyPackage);
  const policy = policyIn(group);
  const leaves = leavesOf(group);
  const removed = new Set<number>(pendingLeaves(group));
  const proposals: Proposal[] = [];
  let changed = policy;
  const removeUser = (userId: string) => {
    const targets = leaves.filter((leaf) => leaf.userId === userId && !removed.has(leaf.leafIndex));
    for (const { leafIndex } of targets) {
      proposals.push({ kind: "remove", removed: leafIndex });
      removed.add(leafIndex);
    }
    return targets.length > 0;
  };
  switch (action.type) {
    case "remove":
      if (!isAdmin(policy, self) || policy.kind === "direct") {
        throw new SubrosaError("not-an-admin", "only admins remove members");
      }
      if (!removeUser(action.userId)) throw new SubrosaError("not-a-member", "no such member to remove");
      break;
    case "policy":
      changed = policyWith(group, action.change, self);
      if (action.change.type === "ban") removeUser(action.change.userId);
      break;
    case "add":
    case "start":
      for (const leaf of leaves) {
        if (!addition.replaced?.has(toHex(leaf.deviceId)) || removed.has(leaf.leafIndex)) continue;
        proposals.push({ kind: "remove", removed: leaf.leafIndex });
        removed.add(leaf.leafIndex);
      }
      if (
        policy.kind === "group" &&
        policy.join !== "open" &&
        !isAdmin(policy, self) &&
        !keyPackages.every((keyPackage) => takesPlace(keyPackage, leaves, removed, addition))
      ) {
        throw new SubrosaError("not-an-admin", "only admins admit members to this group");
      }
      break;
    default:
      break;
  }
  const staying = leaves.filter((leaf) => !removed.has(leaf.leafIndex));
  const added = keyPackages.map((keyPackage) => identityIn(keyPackage.leafNode.credential));
  if (added.some(({ userId }) => isBanned(policy, userId)))
    throw new SubrosaError("banned", "the user is banned from the group");
  // Another may have added them since these packages were fetched.
  const present = new Set(staying.map(({ deviceId }) => toHex(deviceId)));
  if (added.some(({ deviceId }) => present.has(toHex(deviceId)))) {
    throw new SubrosaError("already-a-member", "the device is in the group by now");
  }
  for (const keyPackage of keyPackages) proposals.push({ kind: "add", keyPackage });
  const after = [...staying, ...added];
  // It was an account that was made an admin: another of the same name has to be made one anew.
  const isOther = ({ userId, accountKey }: DeviceCredential) =>
    leaves.some((leaf) => leaf.userId === userId && !equalBytes(leaf.accountKey, accountKey));
  const others = new Set(added.filter(isOther).map(({ userId }) => userId));
  if (changed.kind === "group" && others.size > 0)
    changed = { ...changed, admins: changed.admins.filter((admin) => !others.has(admin)) };
  const policyAfter = successor(changed, after);
  if (!isSamePolicy(policyAfter, policy)) {
    proposals.push({ kind: "groupContextExtensions", extensions: [policyExtension(policyAfter)] });
  }
  const earlier = new Set(leaves.map((leaf) => toHex(leaf.deviceId)));
  const readded = new Set(added.map((leaf) => toHex(leaf.deviceId)).filter((device) => earlier.has(device)));
  return { proposals, leaves: after, policy: policyAfter, readded };
}

/** Whether a new leaf takes the place of the device's old one, or of all that its user had. */
function takesPlace(
  { leafNode }: KeyPackage,
  leaves: readonly Leaf[],
  removed: ReadonlySet<number>,
  addition: Addition,
): boolean {
  const { deviceId, userId } = identityIn(leafNode.credential);
  const own = leaves.filter((leaf) => leaf.userId === userId);
  return (
    addition.replaced?.has(toHex(deviceId)) ||
    (own.length > 0 && own.every(({ leafIndex }) => removed.has(leafIndex)))
  );
}

async function seal(
  context: Context,
  step: Step,
  entry: Pick<Sealed, "kind" | "payload" | "bundle">,
): Promise<Sealed> {
  const entryId = context.randomId(ENTRY_ID_LENGTH);
  const { bundle } = entry;
  const digest = await contentDigest({
    kind: entry.kind,
    entryId,
    payload: entry.payload,
    ...(bundle && {
      bundle: {
        access: bundle.access,
        welcomeHash: bundle.welcome.length === 0 ? bundle.welcome : await sha256(bundle.welcome),
      },
    }),
  });
  return { ...entry, entryId, after: step.place.handshake, contentDigest: digest };
}
