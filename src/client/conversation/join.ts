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
  /** The fingerprint that one of the group's admins must have. */
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
  const known = registry.get(pointer.groupId);
  if (
    known !== undefined &&
    known.state.record.status !== "ended" &&
    known.state.place.cursor.seq >= pointer.at.seq
  ) {
    return { type: "dropped" };
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

/** Pins everyone in the group; true if the one that matters has another key than the known one. */
async function pinMembers(context: Context, group: GroupState, matters: string): Promise<boolean> {
  let changed = false;
  for (const { userId, accountKey } of leavesOf(group)) {
    if (userId === context.identity.userId) continue;
    try {
      await context.contacts.check(userId, accountKey);
    } catch (error) {
      if (!SubrosaError.is(error) || error.code !== "identity-changed") throw error;
      changed ||= userId === matters;
    }
  }
  return changed;
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
  if (await pinMembers(context, group, peer)) return { type: "held" };
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
  if (await pinMembers(context, group, by)) return { type: "held" };
  if (asked?.expected !== undefined && !(await hasAdmin(group, policy, asked.expected))) {
    return {
      type: "dropped",
      error: new SubrosaError("identity-mismatch", "no admin of the group has the expected fingerprint"),
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

/** Whether an admin of the group has this fingerprint. */
export async function hasAdmin(group: GroupState, policy: Policy, expected: string): Promise<boolean> {
  const admins = leavesOf(group).filter((leaf) => isAdmin(policy, leaf.userId));
  const prints = await Promise.all(admins.map((leaf) => fingerprintOf(leaf.userId, leaf.accountKey)));
  return prints.includes(expected.toLowerCase());
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
  await registry.get(pointer.groupId)?.retire();
  await context.write([
    ...initialChanges(state),
    ...changes,
    ...context.keyPackages.used(bundle.ref),
    { delete: layout.pointer(pointer.groupId) },
  ]);
  if (record.status === "invited") context.delivery.hold(toHex(pointer.groupId));
  return registry.add(context, state);
}
