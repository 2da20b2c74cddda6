import type { Bytes } from "../../../base/bytes.js";
import { compareBytes, concat } from "../../../base/bytes.js";
import { toHex, toUtf8 } from "../../../base/encoding.js";
import { encode } from "../../../codec/writer.js";
import { sha256 } from "../../../crypto/hash.js";
import { type AccessChange, encodeAccessChange } from "../../../wire/entries.js";
import { Role } from "../../../wire/protocol.js";
import type { AccessEntry, AccessList } from "../record.js";
import { isAdmin, type Policy } from "./policy.js";

/** The version of what stands in the authenticated data of handshakes and messages. */
export const AUTHENTICATED_DATA_VERSION = 1;

/** A device that is a leaf of the tree. */
export interface LeafDevice {
  readonly userId: string;
  readonly deviceId: Bytes;
}

/** The list that the relay should have, given the leaves and the policy. */
export function wantedAccess(leaves: readonly LeafDevice[], policy: Policy): AccessList {
  const wanted = new Map<string, AccessEntry>();
  for (const { userId, deviceId } of leaves) {
    const role = isAdmin(policy, userId) ? Role.admin : Role.member;
    wanted.set(toHex(deviceId), { userId, deviceId, role });
  }
  return wanted;
}

/**
 * The changes that lead from the relay's list to the wanted one, in canonical order. `readded` are devices whose
 * leaf was replaced: they need a new pointer. Every member computes the same from the log, so that a commit
 * cannot grant or take access beyond what its proposals say, and the next valid one undoes what a void one did.
 */
export function accessChanges(
  current: AccessList,
  wanted: AccessList,
  readded: ReadonlySet<string> = new Set(),
): AccessChange[] {
  const changes: AccessChange[] = [];
  for (const [key, { userId, deviceId, role }] of wanted) {
    const now = current.get(key);
    if (now === undefined || now.userId !== userId || readded.has(key)) {
      changes.push({ type: "add", userId, deviceId, role });
    } else if (now.role !== role) {
      changes.push({ type: "role", userId, deviceId, role });
    }
  }
  for (const [key, { userId, deviceId }] of current) {
    if (!wanted.has(key)) changes.push({ type: "remove", userId, deviceId });
  }
  return changes.sort((a, b) => compareBytes(a.deviceId, b.deviceId));
}

/** The list after the relay has carried out the changes. */
export function applyAccess(current: AccessList, changes: readonly AccessChange[]): AccessList {
  const next = new Map(current);
  for (const change of changes) {
    const key = toHex(change.deviceId);
    const { type, userId, deviceId } = change;
    if (type === "remove") next.delete(key);
    // A role without access to bear it changes nothing.
    else if (type === "add" || next.has(key)) next.set(key, { userId, deviceId, role: change.role });
  }
  return next;
}

/** The authenticated data of a commit: what it asks of the relay. */
export async function commitAuthenticatedData(changes: readonly AccessChange[]): Promise<Bytes> {
  const hash = await sha256(
    encode((writer) => {
      writer.opaque(toUtf8("Subrosa 1 access")).vector(changes, encodeAccessChange);
    }, undefined),
  );
  return concat(Uint8Array.of(AUTHENTICATED_DATA_VERSION), hash);
}

/** The authenticated data of an application message: the epoch its sender is in. */
export function messageAuthenticatedData(epochAuthenticator: Bytes): Bytes {
  return concat(Uint8Array.of(AUTHENTICATED_DATA_VERSION), epochAuthenticator.subarray(0, 8));
}

/** The authenticated data of a proposal. */
export function proposalAuthenticatedData(): Bytes {
  return Uint8Array.of(AUTHENTICATED_DATA_VERSION);
}
