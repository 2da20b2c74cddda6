import { type Bytes, EMPTY } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import { type ErrorCode, SubrosaError } from "../../base/errors.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode } from "../../codec/writer.js";
import type { Change } from "../../stores/store.js";
import { DEVICE_ID_LENGTH } from "../../wire/protocol.js";
import { MESSAGE_ID_LENGTH } from "../conversation/content.js";
import { type ConversationRecord, decodeConversationRecord } from "../conversation/record.js";
import { keptMessages } from "../conversation/repair/journal.js";
import { decodeIntent, encodeIntent, type Intent } from "../conversation/sending/intent.js";
import { isMessage } from "../conversation/sending/outbox.js";
import { loadState, policyIn, recordChange } from "../conversation/state.js";
import { replaceDevice } from "../identity/own-identity.js";
import { fingerprintOf } from "../identity/safety-number.js";
import { layout } from "../layout.js";
import { conversationRecords } from "./broken-conversations.js";
import type { GuardedStore } from "./guarded-store.js";

export interface NewDeviceOptions {
  readonly userId: string;
  readonly reason: ErrorCode;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly randomId: (length: number) => Bytes;
}

/** What only the old device could use, and must never be used again. The places in the logs stay. */
const OF_THE_DEVICE: readonly string[] = [
  layout.epochs,
  layout.allRatchets,
  layout.keyPackages,
  layout.pointers,
  layout.joins,
  layout.requests,
  layout.handshakes,
  layout.bequests,
  layout.trails,
  layout.epochHeads,
];

/**
 * Everything by which another device takes the place of this one: keys and state of the old one go, what the user has
 * stays. Groups wait to be joined anew, direct conversations begin anew. Throws `store-damaged` when the account's key
 * is gone.
 */
export async function enrolAnew(
  store: GuardedStore,
  { userId, reason, now, randomId }: NewDeviceOptions,
): Promise<{ changes: Change[]; conversations: number }> {
  const device = await replaceDevice(store, userId, randomId(DEVICE_ID_LENGTH), now);
  const { records: stored } = await conversationRecords(store, userId);
  const records = readAll(store, stored, decodeConversationRecord);
  const intents = readAll(store, await store.list(layout.intents), decodeIntent);
  const orders = intents.map(({ value }) => value.order);
  const changes: Change[] = [
    ...device,
    { delete: layout.incarnation },
    { delete: layout.inbox },
    ...OF_THE_DEVICE.map((deletePrefix) => ({ deletePrefix })),
  ];
  const groups = new Map<string, ConversationRecord>();
  const waiting: Intent[] = [];
  let conversations = 0;
  const bytes = new Map(stored);
  for (const { key, value: record } of records) {
    const { status, subject, groupId } = record;
    groups.set(toHex(groupId), record);
    if (status === "ended") continue;
    if (subject.kind === "group" && (status === "active" || status === "repairing")) {
      changes.push(recordChange(toBeJoined(record, reason)));
      conversations++;
      continue;
    }
    // An invitation without keys is asked for once all is loaded.
    const isInvited = subject.kind === "group" && status === "invited";
    const after = { ...record, repair: undefined, restoration: undefined, hasLeft: status === "leaving" };
    changes.push(recordChange({ ...after, status: isInvited ? status : "ended" }));
    changes.push({ delete: layout.place(groupId) });
    if (subject.kind === "group") continue;
    conversations++;
    const target = { userId: subject.peer };
    // What was sent goes to the account that it was sent to, and no other.
    const fingerprint = await peerFingerprint(store, bytes.get(key), subject.peer);
    for (const { order, content, expected = fingerprint } of await keptMessages(store, groupId)) {
      if (expected !== undefined)
        waiting.push({ order, target, action: { type: "send", content, expected } });
    }
    changes.push({ deletePrefix: layout.keptOf(groupId) });
    const order = Math.max(0, ...orders, ...waiting.map((intent) => intent.order)) + 1;
    const content = { type: "hello", id: randomId(MESSAGE_ID_LENGTH), sentAt: now } as const;
    waiting.push({ order, target, action: { type: "send", content } });
  }
  for (const { key, value: intent } of intents) {
    const moved = unsealed(intent, groups);
    if (moved === undefined) changes.push({ delete: key });
    else waiting.push(moved);
  }
  for (const intent of waiting) {
    changes.push({ put: layout.intent(intent.order), value: encode(encodeIntent, intent) });
  }
  return { changes, conversations };
}

/** The fingerprint of the other user's account in a direct conversation, as far as its keys can be read. */
async function peerFingerprint(
  store: GuardedStore,
  stored: Bytes | undefined,
  peer: string,
): Promise<string | undefined> {
  try {
    const { group } = await loadState(store, stored ?? EMPTY);
    const policy = group && policyIn(group);
    const account = policy?.kind === "direct" && policy.users.find(({ userId }) => userId === peer);
    return account ? await fingerprintOf(peer, account.accountKey) : undefined;
  } catch (error) {
    if (!SubrosaError.is(error)) throw error;
    return undefined;
  }
}

/** The record of a group that another device of this user was in. */
function toBeJoined(record: ConversationRecord, reason: ErrorCode): ConversationRecord {
  const { leafHash: _, ...rest } = record;
  return {
    ...rest,
    status: "repairing",
    repair: { reason, missed: 0, readded: false, refused: false },
    restoration: undefined,
    creator: false,
    repairedAt: 0,
  };
}

/** What waits, without the bytes that the old device made of it; undefined for what only concerned that one. */
function unsealed(
  { order, target, action }: Intent,
  groups: ReadonlyMap<string, ConversationRecord>,
): Intent | undefined {
  if (action.type === "start" || action.type === "refresh") return undefined;
  if ("userId" in target) return { order, target, action };
  const subject = groups.get(toHex(target.groupId))?.subject;
  if (subject === undefined) return undefined;
  if (subject.kind === "group") return { order, target, action };
  return isMessage(action) ? { order, target: { userId: subject.peer }, action } : undefined;
}

/** The records that can be read; the others are noted as damaged. */
function readAll<T>(
  store: GuardedStore,
  records: Iterable<[string, Bytes]>,
  decoder: (reader: Reader) => T,
): { key: string; value: T }[] {
  const found: { key: string; value: T }[] = [];
  for (const [key, bytes] of records) {
    try {
      found.push({ key, value: decode(decoder, bytes) });
    } catch {
      store.noteDamaged(key);
    }
  }
  return found;
}
