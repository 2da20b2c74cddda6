import { toHex } from "../../base/encoding.js";
import { decode } from "../../codec/reader.js";
import { encode } from "../../codec/writer.js";
import { decodeGroup, encodeEpoch, encodeRatchets, type GroupState } from "../../mls/group/index.js";
import type { RatchetChange } from "../../mls/schedule/secret-tree.js";
import type { Change, StoreSession } from "../../stores/store.js";
import { layout } from "../layout.js";
import { type Policy, policyOf } from "./membership/policy.js";
import {
  type AccessList,
  type Activity,
  type ConversationRecord,
  decodeConversationRecord,
  decodeEpochRecord,
  decodePlace,
  encodeConversationRecord,
  encodeEpochRecord,
  encodePlace,
  type Place,
} from "./record.js";

/** Everything a conversation is at one moment; immutable, and equal to what is stored. */
export interface ConversationState {
  readonly record: ConversationRecord;
  readonly place: Place;
  /** What the relay's list must be after the log up to the place, valid and void commits alike. */
  readonly access: AccessList;
  readonly activity: Activity;
  /** The MLS group; undefined once the conversation has ended. */
  readonly group: GroupState | undefined;
}

/** After how long a device renews its keys that sends nothing: often enough not to be taken for gone. */
const IDLE_REFRESH_AGE = 7 * 24 * 3600 * 1000;

/** The policy in the group's context. */
export function policyIn(group: GroupState): Policy {
  return policyOf(group.groupContext.extensions);
}

/** The conversation as the store has it. */
export async function loadState(store: StoreSession, stored: Uint8Array): Promise<ConversationState> {
  const record = decode(decodeConversationRecord, stored);
  const [place, epoch, ratchets] = await Promise.all([
    store.get(layout.place(record.groupId)),
    store.get(layout.epoch(record.groupId)),
    store.list(layout.ratchets(record.groupId)),
  ]);
  const prefix = layout.ratchets(record.groupId).length;
  const epochRecord = epoch === undefined ? undefined : decode(decodeEpochRecord, epoch);
  return {
    record,
    place: place === undefined ? NO_PLACE : decode(decodePlace, place),
    access: epochRecord?.access ?? new Map(),
    activity: epochRecord?.activity ?? new Map(),
    group:
      epochRecord === undefined
        ? undefined
        : decodeGroup(
            epochRecord.epoch,
            ratchets.map(([key, value]) => [key.slice(prefix), value]),
          ),
  };
}

/** Before the first entry. */
export const NO_PLACE: Place = {
  cursor: { seq: 0, digest: new Uint8Array(32) },
  handshake: { seq: 0, digest: new Uint8Array(32) },
  sentSinceRefresh: 0,
  unreadable: 0,
  noted: 0,
};

export function recordChange(record: ConversationRecord): Change {
  return { put: layout.conversation(record.groupId), value: encode(encodeConversationRecord, record) };
}

export function placeChange(record: ConversationRecord, place: Place): Change {
  return { put: layout.place(record.groupId), value: encode(encodePlace, place) };
}

export function epochChange(
  record: ConversationRecord,
  group: GroupState,
  { access, activity }: Pick<ConversationState, "access" | "activity">,
): Change {
  const value = encode(encodeEpochRecord, { epoch: encodeEpoch(group), access, activity });
  return { put: layout.epoch(record.groupId), value };
}

/** The records of ratchets, which are all that changes with a message. */
export function ratchetChanges(record: ConversationRecord, changes: readonly RatchetChange[]): Change[] {
  return changes.map(({ key, value }) => {
    const name = layout.ratchet(record.groupId, key);
    return value === undefined ? { delete: name } : { put: name, value };
  });
}

/** Everything a conversation consists of, for its first write. */
export function initialChanges(state: ConversationState): Change[] {
  const { record, place, group } = state;
  if (group === undefined) return [recordChange(record)];
  return [
    recordChange(record),
    placeChange(record, place),
    epochChange(record, group, state),
    ...ratchetChanges(record, encodeRatchets(group.secretTree)),
  ];
}

/** Deletes every secret of a conversation that has ended or begins anew, and what was kept of its log. */
export function forgetKeys({ groupId }: Pick<ConversationRecord, "groupId">): Change[] {
  return [
    { delete: layout.epoch(groupId) },
    { delete: layout.place(groupId) },
    { deletePrefix: layout.ratchets(groupId) },
    { deletePrefix: `${layout.requests}${toHex(groupId)}/` },
    { deletePrefix: layout.handshakesOf(groupId) },
    { deletePrefix: layout.trailOf(groupId) },
    { deletePrefix: layout.epochHeadsOf(groupId) },
  ];
}

/** Whether the keys of a device that sends nothing are due to be renewed: which also says that it is there. */
export function isStale({ record }: ConversationState, now: number, factor: number): boolean {
  return now - Math.max(record.refreshedAt, record.joinedAt) >= IDLE_REFRESH_AGE * factor;
}
