import type { Bytes } from "../../base/bytes.js";
import { fromHex } from "../../base/encoding.js";
import { SubrosaError } from "../../base/errors.js";
import { decode } from "../../codec/reader.js";
import { encode } from "../../codec/writer.js";
import { decodeGroup, encodeRatchets, type GroupState } from "../../mls/group/index.js";
import { directPath, leafToNode } from "../../mls/tree/math.js";
import { leavesOf } from "../conversation/membership/leaves.js";
import type { Policy } from "../conversation/membership/policy.js";
import {
  type ConversationRecord,
  decodeConversationRecord,
  decodeEpochRecord,
  decodePlace,
  encodeConversationRecord,
} from "../conversation/record.js";
import { type ConversationState, loadState, NO_PLACE, policyIn } from "../conversation/state.js";
import { layout } from "../layout.js";
import type { GuardedStore } from "./guarded-store.js";

/** The conversations in the store. */
export interface LoadedConversations {
  readonly states: readonly ConversationState[];
  /** Those whose keys are not what was stored, or not there: only their record and place are. */
  readonly broken: readonly ConversationState[];
  /** Groups of which too little is left to know what they were. */
  readonly unknown: readonly Bytes[];
}

/** Loads all conversations, each as far as it is whole. */
export async function loadConversations(store: GuardedStore, userId: string): Promise<LoadedConversations> {
  const states: ConversationState[] = [];
  const broken: ConversationState[] = [];
  const load = async (key: string, value: Uint8Array) => {
    const record = await readable(async () => decode(decodeConversationRecord, value));
    if (record === undefined) store.noteDamaged(key);
    else {
      const state = await readable(() => loadState(store, value));
      if (state !== undefined && isWhole(state)) states.push(state);
      else broken.push(await withoutKeys(store, record));
    }
  };
  const { records, unknown } = await conversationRecords(store, userId);
  await Promise.all([...records].map(([key, value]) => load(key, value)));
  return { states, broken, unknown };
}

/** The records of all conversations, of some only as their keys tell them; and the groups of which nothing does. */
export async function conversationRecords(
  store: GuardedStore,
  userId: string,
): Promise<{ records: Map<string, Bytes>; unknown: Bytes[] }> {
  const records = new Map(await store.list(layout.conversations));
  const unknown: Bytes[] = [];
  for (const groupId of await followed(store)) {
    const key = layout.conversation(groupId);
    if (records.has(key)) continue;
    const record = await readable(() => recordInEpoch(store, groupId, userId));
    if (record === undefined) unknown.push(groupId);
    else {
      records.set(key, record);
      store.noteRestored(key, record);
    }
  }
  return { records, unknown };
}

/** The groups that there are places in a log for. */
async function followed(store: GuardedStore): Promise<Bytes[]> {
  const keys: string[] = [];
  const places = await store.list(layout.places, { damaged: (key) => void keys.push(key) });
  return [...keys, ...places.map(([key]) => key)].map((key) => fromHex(key.slice(layout.places.length)));
}

/** The record of a conversation as its keys tell it; whether it had been accepted they do not. */
async function recordInEpoch(
  store: GuardedStore,
  groupId: Bytes,
  userId: string,
): Promise<Bytes | undefined> {
  const stored = await store.get(layout.epoch(groupId));
  if (stored === undefined) return undefined;
  const group = decodeGroup(decode(decodeEpochRecord, stored).epoch, []);
  const subject = subjectOf(policyIn(group), userId);
  if (subject === undefined) return undefined;
  return encode(encodeConversationRecord, {
    groupId,
    status: "active",
    subject,
    refreshedAt: 0,
    joinedAt: 0,
    repairedAt: 0,
    // Another than there ever was, as it grows once an epoch at most: for whom what is kept was is not known.
    growth: 2 ** 50 + Number(group.groupContext.epoch),
    // More than there ever were: what is kept from here on comes after what was.
    kept: 2 ** 40,
    creator: false,
  });
}

function subjectOf(policy: Policy, userId: string): ConversationRecord["subject"] | undefined {
  if (policy.kind === "group") return { kind: "group", name: policy.name };
  const peer = policy.users.find((user) => user.userId !== userId)?.userId;
  return peer === undefined ? undefined : { kind: "direct", peer };
}

/** Undefined for what is damaged; throws when the database fails. */
async function readable<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    const codes = ["store-damaged", "store-outdated", "malformed"];
    if (SubrosaError.is(error) && codes.includes(error.code)) return undefined;
    throw error;
  }
}

/** Whether everything is there that the conversation needs where it stands. */
function isWhole({ record, place, group }: ConversationState): boolean {
  if (record.status === "ended") return true;
  // One that is being repaired lives without keys, if it needs none any more; but not without a place.
  if (place === NO_PLACE) return false;
  if (record.status === "repairing" && !record.repair?.refused) return true;
  return group !== undefined && hasAllRatchets(group);
}

/** Whether every member's keys can be derived: from its ratchets, or a secret above them that was not used up. */
function hasAllRatchets(group: GroupState): boolean {
  const { tree, secretTree } = group;
  const keys = new Set(encodeRatchets(secretTree).map(({ key }) => key));
  return leavesOf(group).every(({ leafIndex }) => {
    if (keys.has(`a/${leafIndex}`)) return true;
    const node = leafToNode(leafIndex);
    return [node, ...directPath(node, tree.leafCount)].some((above) => keys.has(`n/${above}`));
  });
}

async function withoutKeys(store: GuardedStore, record: ConversationRecord): Promise<ConversationState> {
  const place = await readable(async () => {
    const stored = await store.get(layout.place(record.groupId));
    return stored && decode(decodePlace, stored);
  });
  return { record, place: place ?? NO_PLACE, access: new Map(), activity: new Map(), group: undefined };
}
