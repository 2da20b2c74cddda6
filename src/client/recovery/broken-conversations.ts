import { SubrosaError } from "../../base/errors.js";
import { decode } from "../../codec/reader.js";
import { encodeRatchets, type GroupState } from "../../mls/group/index.js";
import { directPath, leafToNode } from "../../mls/tree/math.js";
import { leavesOf } from "../conversation/leaves.js";
import { type ConversationRecord, decodeConversationRecord, decodePlace } from "../conversation/record.js";
import { type ConversationState, loadState, NO_PLACE } from "../conversation/state.js";
import { layout } from "../layout.js";
import type { GuardedStore } from "./guarded-store.js";

/** The conversations in the store. */
export interface LoadedConversations {
  readonly states: readonly ConversationState[];
  /** Those whose keys are not what was stored, or not there: only their record and place are. */
  readonly broken: readonly ConversationState[];
}

/** Loads all conversations, each as far as it is whole. */
export async function loadConversations(store: GuardedStore): Promise<LoadedConversations> {
  const states: ConversationState[] = [];
  const broken: ConversationState[] = [];
  const load = async (key: string, value: Uint8Array) => {
    const record = await readable(async () => decode(decodeConversationRecord, value));
    if (record === undefined) store.damaged.add(key);
    else {
      const state = await readable(() => loadState(store, value));
      if (state !== undefined && isWhole(state)) states.push(state);
      else broken.push(await withoutKeys(store, record));
    }
  };
  const records = await store.list(layout.conversations);
  await Promise.all(records.map(([key, value]) => load(key, value)));
  return { states, broken };
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
  // One that is being repaired lives without keys, but not without a place.
  if (place === NO_PLACE) return false;
  if (record.status === "repairing") return true;
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
