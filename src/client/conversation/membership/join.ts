import { EMPTY, equalBytes } from "../../../base/bytes.js";
import { toHex } from "../../../base/encoding.js";
import { SubrosaError } from "../../../base/errors.js";
import { decode } from "../../../codec/reader.js";
import { sha256 } from "../../../crypto/hash.js";
import { type GroupState, joinGroup, type KeyPackageBundle } from "../../../mls/group/index.js";
import type { LeafIndex } from "../../../mls/structs/indices.js";
import { decodeMlsMessage } from "../../../mls/structs/message.js";
import {
  decodeJoinRequest,
  type EntryContent,
  type JoinRequest,
  type Pointer,
} from "../../../wire/entries.js";
import { isName } from "../../../wire/identifiers.js";
import type { ResultOf } from "../../../wire/requests.js";
import type { Context, Effect } from "../../context.js";
import { fingerprintOf } from "../../identity/safety-number.js";
import { layout } from "../../layout.js";
import type { Conversation } from "../conversation.js";
import { announceChange } from "../effects.js";
import { isLogInDoubt } from "../entering.js";
import { type ConversationRecord, isLive } from "../record.js";
import type { Registry } from "../registry.js";
import { isSuccessor } from "../repair/recreation.js";
import { type ConversationState, initialChanges, NO_PLACE, policyIn } from "../state.js";
import { wantedAccess } from "./access.js";
import { acquaint } from "./acquaintance.js";
import { checkLeaves } from "./commit-rules.js";
import { nameHash } from "./directory-names.js";
import {
  authenticate,
  isSameDevice,
  type Leaf,
  leafAt,
  leafHash,
  leavesOf,
  ownLeafOf,
  usersOf,
} from "./leaves.js";
import { decodeOwnRequest, type OwnRequest } from "./own-request.js";
import { type DirectPolicy, type GroupPolicy, isAdmin } from "./policy.js";

/** What a pointer led to. */
export type JoinResult =
  | { readonly type: "joined"; readonly conversation: Conversation }
  /** Nothing to join, or nothing that this user wants; the pointer is done with. */
  | { readonly type: "dropped"; readonly error?: SubrosaError }
  /**
   * Not now: an identity has to be accepted first. The pointer is kept. `incomplete`: the commit has been put back without
   * its welcome.
   */
  | { readonly type: "held"; readonly incomplete?: boolean };

/** Follows a pointer to the commit that added this device, and joins by its welcome (RFC 9420 §12.4.3.1). */
export async function joinByPointer(
  context: Context,
  registry: Registry,
  pointer: Pointer,
): Promise<JoinResult> {
  const followed = registry.get(pointer.groupId);
  const known = followed?.state;
  if (followed !== undefined && known !== undefined && known.record.status !== "ended") {
    // A pointer never takes the place of a live conversation: the log itself has to end that first.
    const { place, record } = known;
    if (isLive(record) && followed.isRefused) {
      // What the relay had lost may be there again.
      context.background(followed.subscribe());
      return { type: "held" };
    }
    const isOver =
      place.cursor.seq > pointer.at.seq || (isLive(record) && place.cursor.seq === pointer.at.seq);
    if (isOver && !isLogInDoubt(record)) return { type: "dropped" };
    if (isLive(record)) return { type: "held" };
  }
  const { content, welcome } = await fetchBundle(context, pointer);
  const { at } = pointer;
  const conversation = registry.get(pointer.groupId);
  const done = [{ delete: layout.pointer(pointer.groupId) }];
  if (conversation !== undefined && (await conversation.resume(content, at, done))) {
    return { type: "joined", conversation };
  }
  // It was put back by somebody who had not the welcome: whoever made it may complete it.
  if (welcome.length === 0 && content.bundle?.welcomeHash.length) return { type: "held", incomplete: true };
  if (!equalBytes(content.bundle?.welcomeHash ?? new Uint8Array(0), await sha256(welcome))) {
    throw new SubrosaError("protocol-error", "the welcome is not that of the commit");
  }
  const keyPackage = findBundle(context, welcome);
  if (keyPackage === undefined) {
    context.keyPackages.onMissing();
    return {
      type: "dropped",
      error: new SubrosaError("no-key-package", "the welcome is for a key package long gone"),
    };
  }
  const inviter: { leaf?: LeafIndex } = {};
  const group = await joinGroup(welcome, keyPackage, {
    signer: context.identity.device,
    authenticate,
    onSigner: (leafIndex) => {
      inviter.leaf = leafIndex;
    },
  });
  if (!equalBytes(group.groupContext.groupId, pointer.groupId)) {
    throw new SubrosaError("protocol-error", "the welcome is for another group");
  }
  const asked = await ownRequest(context, pointer.groupId);
  // A package that was made for this request can be in no welcome of before.
  const isFresh = asked !== undefined && equalBytes(requestIn(asked).keyPackage, keyPackage.bytes);
  if (!isFresh && group.groupContext.epoch <= (known?.record.lastEpoch ?? -1n)) {
    throw new SubrosaError("protocol-error", "the welcome is to an epoch that has passed");
  }
  if (group.groupContext.extensions.length !== 1) {
    throw new SubrosaError("invalid-message", "a group with other extensions than the policy", {
      rule: "extensions",
    });
  }
  const policy = policyIn(group);
  checkLeaves(leavesOf(group), policy);
  const signer = leafAt(group, inviter.leaf as LeafIndex);
  const by = signer.userId;
  const repairs = known !== undefined && isRepairedBy(context, known, signer);
  // A repair is what this device asked for, or what the log has shown; anything else is an invitation.
  const isRepair = repairs && (isFresh || known.record.repair?.readded === true);
  // Nor is it what was asked for if it has been renamed since.
  const isAsked = policy.kind === "group" && asked?.name === policy.name;
  const isWanted = known?.record.status === "repairing" ? isRepair : isAsked;
  // Any member may take the place of a leaf that is there for one that this device has asked for.
  const isReplaced = isFresh && requestIn(asked).replaces !== undefined;
  if (policy.kind === "group" && !mayInvite(policy, by, context.identity.userId) && !repairs && !isReplaced) {
    return {
      type: "dropped",
      error: new SubrosaError("not-an-admin", "invited by a member who must not invite"),
    };
  }
  return policy.kind === "direct"
    ? joinDirect(context, registry, pointer, group, keyPackage, policy)
    : joinNamed(
        context,
        registry,
        { pointer, group, bundle: keyPackage, content, asked, signer, isWanted },
        policy,
      );
}

/** The commit that a pointer names. Throws `data-lost` if the relay has it no more: whoever made it will put it back. */
async function fetchBundle({ relay }: Context, { groupId, at }: Pointer): Promise<ResultOf<"fetchBundle">> {
  const found = await relay.request("fetchBundle", { groupId, seq: at.seq }).catch((error: unknown) => {
    if (!SubrosaError.is(error) || error.code !== "unknown-entry") throw error;
    return undefined;
  });
  if (found !== undefined && found.at.seq !== at.seq)
    throw new SubrosaError("protocol-error", "the relay answered with another commit");
  if (found === undefined || !equalBytes(found.at.digest, at.digest))
    throw new SubrosaError("data-lost", "the relay has another log than when it let this device in");
  return found;
}

/** Where this user is the only admin, any member lets another device of it in: one that knows nobody there is invited. */
function mayInvite(policy: GroupPolicy, by: string, self: string): boolean {
  return policy.join === "open" || isAdmin(policy, by) || policy.admins.every((admin) => admin === self);
}

/**
 * The signer of the welcome was a member of the group when this device could last read it; where nothing is left of that,
 * it is at least somebody known.
 */
function isRepairedBy(context: Context, { record, group }: ConversationState, signer: Leaf): boolean {
  if (record.status !== "repairing") return false;
  if (group === undefined) return context.contacts.isPinned(signer.userId, signer.accountKey);
  return leavesOf(group).some((leaf) => isSameDevice(leaf, signer));
}

async function ownRequest(context: Context, groupId: Uint8Array): Promise<OwnRequest | undefined> {
  const stored = await context.store.get(layout.join(groupId));
  return stored === undefined ? undefined : decode(decodeOwnRequest, stored);
}

function requestIn(request: OwnRequest): JoinRequest {
  return decode(decodeJoinRequest, request.payload);
}

/** What a conversation is entered with. */
interface Joining {
  readonly pointer: Pointer;
  readonly group: GroupState;
  readonly bundle: KeyPackageBundle;
  /** The commit that added this device, kept for groups. */
  readonly content?: EntryContent;
}

type NewRecord = Pick<ConversationRecord, "status" | "subject" | "inviter" | "missed" | "hasLeft">;

/** Our key package among those that the welcome has secrets for. */
function findBundle(context: Context, welcome: Uint8Array): KeyPackageBundle | undefined {
  const message = decode(decodeMlsMessage, welcome);
  if (message.wireFormat !== "welcome") throw new SubrosaError("malformed", "not a welcome");
  for (const { newMember } of message.welcome.secrets) {
    const bundle = context.keyPackages.find(newMember);
    if (bundle !== undefined) return bundle;
  }
  return undefined;
}

async function joinDirect(
  context: Context,
  registry: Registry,
  pointer: Pointer,
  group: GroupState,
  bundle: KeyPackageBundle,
  policy: DirectPolicy,
): Promise<JoinResult> {
  const { identity } = context;
  const self = policy.users.find(({ userId }) => userId === identity.userId);
  const peer = policy.users.find(({ userId }) => userId !== identity.userId)?.userId;
  if (peer === undefined || self === undefined || !equalBytes(self.accountKey, identity.account.accountKey)) {
    return { type: "dropped", error: new SubrosaError("invalid-message", "a direct conversation of others") };
  }
  if ((await acquaint(context, group)).has(peer)) return { type: "held" };
  // The slot decides which conversation of the two users is the one.
  const { binding } = await context.relay.request("resolveDirect", { userId: peer });
  if (binding === undefined || !equalBytes(binding.groupId, pointer.groupId)) return { type: "dropped" };
  // First, so that a crash leaves none, and the way to the next, and not two.
  const earlier = registry.direct(peer);
  if (earlier !== registry.get(pointer.groupId)) await earlier?.lose();
  const record: NewRecord = { status: "active", subject: { kind: "direct", peer } };
  const conversation = await adopt(context, registry, { pointer, group, bundle }, record, []);
  if (conversation === undefined) return { type: "held" };
  return { type: "joined", conversation };
}

async function joinNamed(
  context: Context,
  registry: Registry,
  joining: Joining & {
    readonly asked: OwnRequest | undefined;
    readonly signer: Leaf;
    /** It leads to where the user asked to be; else it is an invitation. */
    readonly isWanted: boolean;
  },
  policy: GroupPolicy,
): Promise<JoinResult> {
  const { pointer, group, asked, signer } = joining;
  const by = signer.userId;
  const known = registry.get(pointer.groupId);
  const before = known?.state;
  const listed = known === undefined ? undefined : listedName(known.state.record);
  const named = listed === undefined ? registry.named(policy.name) : known;
  // What the relay has not confirmed binds nothing.
  const bound = named?.state.record.status === "creating" ? undefined : named;
  const isBound = bound !== undefined && equalBytes(bound.state.record.groupId, pointer.groupId);
  const succeeds = bound !== undefined && !isBound && isSuccessor(bound.state, signer, group);
  const isWanted = joining.isWanted || succeeds;
  // What the log of the one that has the name says of its end has not been read yet.
  if (bound !== undefined && !isBound && !succeeds && !bound.isCurrent) return { type: "held" };
  if (
    !isName(policy.name) ||
    !(isBound || (await isNameOf(context, policy.name, pointer.groupId))) ||
    (bound !== undefined && !isBound && !succeeds)
  ) {
    return {
      type: "dropped",
      error: new SubrosaError("name-taken", "the group's name is bound to another group"),
    };
  }
  if ((await acquaint(context, group)).has(by)) return { type: "held" };
  if (asked?.expected !== undefined && !(await hasFingerprint(group, by, asked.expected))) {
    return {
      type: "dropped",
      error: new SubrosaError("identity-mismatch", "who admitted this user has not the expected fingerprint"),
    };
  }
  // It may have been renamed while this device could not read: then it is listed by its new name, where that is free.
  const isRenamed = listed !== undefined && listed !== policy.name;
  const keepsName = isRenamed && registry.isBound(policy.name, pointer.groupId);
  const name = keepsName ? listed : policy.name;
  const missed = asked?.since === undefined ? 0 : Math.max(0, pointer.at.seq - 1 - asked.since);
  // The relay has brought it back into a group that it had left; else it has been another device's, which came back.
  const hasLeft = asked?.since !== undefined && known?.state.record.hasLeft;
  const record: NewRecord = {
    status: isWanted ? "active" : "invited",
    subject: { kind: "group", name },
    ...(!isWanted && { inviter: by, ...(missed > 0 && { missed }) }),
    ...(!isWanted && hasLeft && { hasLeft }),
  };
  const lost = isWanted && missed > 0 ? context.failures.missed("no-key-package", missed, name) : undefined;
  const changes = [{ delete: layout.join(pointer.groupId) }, ...(lost?.changes ?? [])];
  const conversation = await adopt(context, registry, joining, record, changes);
  if (conversation === undefined) return { type: "held" };
  lost?.tell();
  const { record: after } = conversation.state;
  if (isWanted && before?.record.status === "repairing" && before.group !== undefined) {
    const now = { record: after, after: (effect: () => void) => effect() };
    announceChange(context, now, before.group, group, { by, subject: after.subject });
  }
  if (isBound && !isWanted) context.emit("groupLeave", { group: listed ?? policy.name, reason: "lost" });
  if (isWanted && isRenamed && !keepsName)
    context.emit("groupUpdated", { group: name, by, name: { before: listed, after: name } });
  if (isWanted && bound === undefined)
    context.emit("groupJoin", { group: policy.name, members: usersOf(group) });
  return { type: "joined", conversation };
}

function listedName({ status, subject }: ConversationRecord): string | undefined {
  return subject.kind === "group" && status !== "ended" && status !== "creating" ? subject.name : undefined;
}

/** A name that nobody has any more was the group's before it was renamed, as its log will show. */
async function isNameOf(context: Context, name: string, groupId: Uint8Array): Promise<boolean> {
  try {
    const bound = await context.relay.request("resolveName", { nameHash: await nameHash(name) });
    return equalBytes(bound.groupId, groupId);
  } catch (error) {
    if (SubrosaError.is(error) && error.code === "unknown-group") return true;
    throw error;
  }
}

/**
 * Whether a member's account has this fingerprint. It is who made the welcome that has to have it: anyone can put
 * another's key into a group of his own.
 */
export async function hasFingerprint(group: GroupState, userId: string, expected: string): Promise<boolean> {
  const leaf = leavesOf(group).find((candidate) => candidate.userId === userId);
  return leaf !== undefined && (await fingerprintOf(userId, leaf.accountKey)) === expected.toLowerCase();
}

/**
 * Writes the new conversation, uses up the key package and the pointer, in one transaction. Undefined if the one that
 * there is goes on meanwhile.
 */
async function adopt(
  context: Context,
  registry: Registry,
  { pointer, group, bundle, content }: Joining,
  record: NewRecord,
  changes: readonly Effect[],
): Promise<Conversation | undefined> {
  const known = registry.get(pointer.groupId);
  const ownLeaf = ownLeafOf(group);
  const leaf = ownLeaf && { leafHash: await leafHash(ownLeaf) };
  const { otherLeaves } = known?.state.record ?? {};
  const state: ConversationState = {
    record: {
      ...record,
      groupId: pointer.groupId,
      refreshedAt: 0,
      // The last resort serves many welcomes: what it protects should not stay with it for long.
      joinedAt: context.keyPackages.isLastResort(bundle.ref) ? 0 : context.clock.now(),
      repairedAt: known?.state.record.repairedAt ?? 0,
      growth: context.clock.now(),
      creator: false,
      kept: 1,
      disappearAfter: policyIn(group).disappearAfter,
      ...(otherLeaves && { otherLeaves }),
      ...leaf,
    },
    group,
    place: { ...NO_PLACE, cursor: pointer.at, handshake: pointer.at },
    access: wantedAccess(leavesOf(group), policyIn(group)),
    activity: new Map(leavesOf(group).map(({ deviceId }) => [toHex(deviceId), context.clock.now()])),
  };
  const handshake = { order: 1, cursor: pointer.at, welcome: EMPTY, time: context.clock.now(), own: false };
  const all = [
    ...changes,
    ...(content === undefined
      ? []
      : [context.journal.keepHandshake(pointer.groupId, { ...handshake, content })]),
    ...context.keyPackages.used(bundle.ref),
    { delete: layout.pointer(pointer.groupId) },
  ];
  if (known === undefined) await context.write([...initialChanges(state), ...all]);
  else if (!(await known.enter(state, all))) return undefined;
  if (record.status === "invited") context.delivery.hold(toHex(pointer.groupId));
  return known ?? registry.add(context, state);
}
