import { equalBytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import { SubrosaError } from "../../base/errors.js";
import { decode, type Reader } from "../../codec/reader.js";
import type { Writer } from "../../codec/writer.js";
import { sha256 } from "../../crypto/hash.js";
import { type GroupState, joinGroup, type KeyPackageBundle } from "../../mls/group/index.js";
import type { LeafIndex } from "../../mls/structs/indices.js";
import { decodeMlsMessage } from "../../mls/structs/message.js";
import type { Change } from "../../stores/store.js";
import type { Pointer } from "../../wire/entries.js";
import { decodeName, encodeName, isName } from "../../wire/identifiers.js";
import { ENTRY_ID_LENGTH } from "../../wire/protocol.js";
import type { Context } from "../context.js";
import { fingerprintOf } from "../identity/safety-number.js";
import { layout } from "../layout.js";
import { wantedAccess } from "./access.js";
import { acquaint } from "./acquaintance.js";
import { checkLeaves } from "./commit-rules.js";
import type { Conversation } from "./conversation.js";
import { nameHash } from "./directory-names.js";
import { authenticate, leafAt, leavesOf, usersOf } from "./leaves.js";
import { isAdmin, type Policy } from "./policy.js";
import type { ConversationRecord } from "./record.js";
import type { Registry } from "./registry.js";
import { type ConversationState, initialChanges, policyIn } from "./state.js";

/** A request of ours to join a group, until it is answered. */
export interface OwnRequest {
  readonly name: string;
  readonly requestId: Uint8Array;
  /** The signed request: it goes out again with every session, which the relay takes for one request. */
  readonly payload: Uint8Array;
  /** The fingerprint that the member who admits must have. */
  readonly expected?: string;
}

export function encodeOwnRequest(writer: Writer, request: OwnRequest): void {
  encodeName(writer.u8(1), request.name);
  writer.fixed(request.requestId).opaque(request.payload).optional(request.expected, encodeName);
}

export function decodeOwnRequest(reader: Reader): OwnRequest {
  if (reader.u8() !== 1) reader.fail("unknown version of request");
  const name = decodeName(reader);
  const requestId = reader.fixed(ENTRY_ID_LENGTH);
  const payload = reader.opaque();
  const expected = reader.optional(decodeName);
  return { name, requestId, payload, ...(expected !== undefined && { expected }) };
}

/** What a pointer led to. */
export type JoinResult =
  | { readonly type: "joined"; readonly conversation: Conversation }
  /** Nothing to join, or nothing that this user wants; the pointer is done with. */
  | { readonly type: "dropped"; readonly error?: SubrosaError }
  /** Not now: an identity has to be accepted first. The pointer is kept. */
  | { readonly type: "held" };

/** Follows a pointer to the commit that added this device, and joins by its welcome (RFC 9420 §12.4.3.1). */
export async function joinByPointer(
  context: Context,
  registry: Registry,
  pointer: Pointer,
): Promise<JoinResult> {
  const known = registry.get(pointer.groupId)?.state;
  if (known !== undefined && known.record.status !== "ended") {
    // A pointer never takes the place of a live conversation: the log itself has to end that first.
    return known.place.cursor.seq >= pointer.at.seq ? { type: "dropped" } : { type: "held" };
  }
  const { content, welcome, at } = await context.relay.request("fetchBundle", {
    groupId: pointer.groupId,
    seq: pointer.at.seq,
  });
  if (at.seq !== pointer.at.seq || !equalBytes(at.digest, pointer.at.digest)) {
    throw new SubrosaError("protocol-error", "the relay answered with another commit");
  }
  if (!equalBytes(content.bundle?.welcomeHash ?? new Uint8Array(0), await sha256(welcome))) {
    throw new SubrosaError("protocol-error", "the welcome is not that of the commit");
  }
  const bundle = findBundle(context, welcome);
  if (bundle === undefined) {
    return {
      type: "dropped",
      error: new SubrosaError("no-key-package", "the welcome is for a key package long gone"),
    };
  }
  const inviter: { leaf?: LeafIndex } = {};
  const group = await joinGroup(welcome, bundle, {
    signer: context.identity.device,
    authenticate,
    onSigner: (leafIndex) => {
      inviter.leaf = leafIndex;
    },
  });
  if (!equalBytes(group.groupContext.groupId, pointer.groupId)) {
    throw new SubrosaError("protocol-error", "the welcome is for another group");
  }
  if (group.groupContext.epoch <= (known?.record.lastEpoch ?? -1n)) {
    throw new SubrosaError("protocol-error", "the welcome is to an epoch that has passed");
  }
  if (group.groupContext.extensions.length !== 1) {
    throw new SubrosaError("invalid-message", "a group with other extensions than the policy", {
      rule: "extensions",
    });
  }
  const policy = policyIn(group);
  checkLeaves(leavesOf(group), policy);
  const by = leafAt(group, inviter.leaf as LeafIndex).userId;
  if (policy.kind === "group" && policy.join !== "open" && !isAdmin(policy, by)) {
    return {
      type: "dropped",
      error: new SubrosaError("not-an-admin", "invited by a member who must not invite"),
    };
  }
  return policy.kind === "direct"
    ? joinDirect(context, registry, pointer, group, bundle, policy)
    : joinNamed(context, registry, pointer, group, bundle, policy, by);
}

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
  policy: Extract<Policy, { kind: "direct" }>,
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
  const earlier = registry.direct(peer);
  const record: ConversationRecord = {
    groupId: pointer.groupId,
    status: "active",
    subject: { kind: "direct", peer },
    refreshedAt: 0,
  };
  const conversation = await adopt(context, registry, pointer, group, bundle, record, []);
  if (earlier !== undefined && earlier !== conversation) await earlier.lose();
  return { type: "joined", conversation };
}

async function joinNamed(
  context: Context,
  registry: Registry,
  pointer: Pointer,
  group: GroupState,
  bundle: KeyPackageBundle,
  policy: Extract<Policy, { kind: "group" }>,
  by: string,
): Promise<JoinResult> {
  const stored = await context.store.get(layout.join(pointer.groupId));
  const asked = stored === undefined ? undefined : decode(decodeOwnRequest, stored);
  const { groupId } = await context.relay.request("resolveName", { nameHash: await nameHash(policy.name) });
  const bound = registry.named(policy.name);
  if (
    !isName(policy.name) ||
    !equalBytes(groupId, pointer.groupId) ||
    (asked !== undefined && asked.name !== policy.name) ||
    (bound !== undefined && !equalBytes(bound.state.record.groupId, pointer.groupId))
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
  const record: ConversationRecord = {
    groupId: pointer.groupId,
    status: asked === undefined ? "invited" : "active",
    subject: { kind: "group", name: policy.name },
    refreshedAt: 0,
    ...(asked === undefined && { inviter: by }),
  };
  const changes = [{ delete: layout.join(pointer.groupId) }];
  const conversation = await adopt(context, registry, pointer, group, bundle, record, changes);
  if (asked !== undefined) context.emit("groupJoin", { group: policy.name, members: usersOf(group) });
  return { type: "joined", conversation };
}

/**
 * Whether a member's account has this fingerprint. It is who made the welcome that has to have it: anyone can put
 * another's key into a group of his own.
 */
export async function hasFingerprint(group: GroupState, userId: string, expected: string): Promise<boolean> {
  const leaf = leavesOf(group).find((candidate) => candidate.userId === userId);
  return leaf !== undefined && (await fingerprintOf(userId, leaf.accountKey)) === expected.toLowerCase();
}

/** Writes the new conversation, uses up the key package and the pointer, in one transaction. */
async function adopt(
  context: Context,
  registry: Registry,
  pointer: Pointer,
  group: GroupState,
  bundle: KeyPackageBundle,
  record: ConversationRecord,
  changes: readonly Change[],
): Promise<Conversation> {
  const state: ConversationState = {
    record,
    group,
    place: { cursor: pointer.at, handshake: pointer.at, sentSinceRefresh: 0 },
    access: wantedAccess(leavesOf(group), policyIn(group)),
  };
  // Whatever it still has to write comes before what this writes.
  registry.get(pointer.groupId)?.stop();
  await context.write([
    ...initialChanges(state),
    ...changes,
    ...context.keyPackages.used(bundle.ref),
    { delete: layout.pointer(pointer.groupId) },
  ]);
  if (record.status === "invited") context.delivery.hold(toHex(pointer.groupId));
  return registry.add(context, state);
}
