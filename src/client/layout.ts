import { toHex } from "../base/encoding.js";

/** Milliseconds. */
export const DAY = 24 * 3600 * 1000;

/** Where everything stands in a client's store. Keys hold no names: they are not encrypted. */
export const layout = {
  /** The relay knows this user; value empty. */
  registered: "registered",
  identity: "identity",
  accountKey: "account-key",
  deviceKey: "device-key",
  /** When this device took the place of another one because that was outdated, in milliseconds since 1970. */
  enrolled: "enrolled",
  /** Whose place this device took, as long as it is not known what they were in. */
  replaced: "replaced",
  /** How often this state has met the relay, and whether the relay knows a later one. */
  incarnation: "incarnation",
  /** The cursor of this device's inbox. */
  inbox: "inbox",
  /** Pointers that wait to be joined. */
  pointers: "pointer/",
  pointer: (groupId: Uint8Array) => `pointer/${toHex(groupId)}`,
  /** Groups this user asked to join. */
  joins: "join/",
  join: (groupId: Uint8Array) => `join/${toHex(groupId)}`,
  /** Second copies of what cannot be done without. */
  copies: "copy/",
  contacts: "contact/",
  /** How many contacts there are, so that one that is missing is noticed. */
  contactCount: "contact-count",
  contact: (number: number) => `contact/${String(number).padStart(9, "0")}`,
  keyPackages: "key-package/",
  keyPackage: (ref: Uint8Array) => `key-package/${toHex(ref)}`,
  intents: "intent/",
  intent: (order: number) => `intent/${ordered(order)}`,
  /** Messages that the app has not taken yet. */
  pending: "pending/",
  pendingMessage: (order: number) => `pending/${ordered(order)}`,
  /** Messages that were given up or missed, and alarms, of which the app has not been told yet. */
  failures: "failure/",
  failure: (id: string) => `failure/${id}`,
  conversations: "conversation/",
  conversation: (groupId: Uint8Array) => `conversation/${toHex(groupId)}`,
  /** What changes with every entry of a group's log. */
  places: "place/",
  place: (groupId: Uint8Array) => `place/${toHex(groupId)}`,
  /** What changes with every epoch. */
  epochs: "epoch/",
  epoch: (groupId: Uint8Array) => `epoch/${toHex(groupId)}`,
  allRatchets: "ratchet/",
  ratchets: (groupId: Uint8Array) => `ratchet/${toHex(groupId)}/`,
  ratchet: (groupId: Uint8Array, key: string) => `ratchet/${toHex(groupId)}/${key}`,
  /** The secret that senders are named with in the keys of the seen-set. */
  seenSecret: "seen-secret",
  seen: "seen/",
  seenMessage: (day: number, senderTag: string, id: Uint8Array) =>
    `seen/${ordered(day)}/${senderTag}/${toHex(id)}`,
  dayOfSeen: (key: string) => Number.parseInt(key.split("/")[1] as string, 36),
  /** Handshake entries as they stood in a group's log, to put them back if the relay loses them. */
  handshakes: "handshake/",
  handshakesOf: (groupId: Uint8Array) => `handshake/${toHex(groupId)}/`,
  handshake: (groupId: Uint8Array, order: number) => `handshake/${toHex(groupId)}/${ordered(order)}`,
  /** The same of groups that this device has created and left. */
  bequests: "bequest/",
  bequestOf: (groupId: Uint8Array) => `bequest/${toHex(groupId)}/`,
  bequest: (groupId: Uint8Array, order: number) => `bequest/${toHex(groupId)}/${ordered(order)}`,
  /** Own messages that are sent and not known to be delivered. */
  kept: "kept/",
  keptOf: (groupId: Uint8Array) => `kept/${toHex(groupId)}/`,
  keptMessage: (groupId: Uint8Array, id: Uint8Array | string) => `kept/${toHex(groupId)}/${hexOf(id)}`,
  /** What is known of own messages that were sent, and who says that it has got or read them. */
  sent: "sent/",
  sentMessage: (id: Uint8Array | string) => `sent/${hexOf(id)}`,
  ticksOf: (id: Uint8Array | string) => `ticks/${hexOf(id)}`,
  /** Which entries of a group's log were read last. */
  trails: "trail/",
  trailOf: (groupId: Uint8Array) => `trail/${toHex(groupId)}/`,
  trail: (groupId: Uint8Array, slot: number) => `trail/${toHex(groupId)}/${ordered(slot)}`,
  /** What past epochs of groups were, to compare with others. */
  epochHeads: "epoch-head/",
  epochHeadsOf: (groupId: Uint8Array) => `epoch-head/${toHex(groupId)}/`,
  epochHead: (groupId: Uint8Array, epoch: bigint) => `epoch-head/${toHex(groupId)}/${epoch}`,
  /** That members have named another history, or another device list, than this device has. */
  equivocations: "equivocation/",
  equivocationsOf: (groupId: Uint8Array) => `equivocation/${toHex(groupId)}/`,
  equivocation: (groupId: Uint8Array, epoch: bigint) => `equivocation/${toHex(groupId)}/${epoch}`,
  listEquivocation: (tag: string) => `equivocation/list/${tag}`,
  /** What is to be found out about accounts. */
  questions: "question/",
  question: (tag: string) => `question/${tag}`,
  requests: "request/",
  request: (groupId: Uint8Array, requestId: Uint8Array) => `request/${toHex(groupId)}/${toHex(requestId)}`,
  /** Chunks of attachments that were fetched and are not read yet, and when the last of each came. */
  spools: "spool/",
  spoolOf: (blobId: Uint8Array) => `spool/${toHex(blobId)}/`,
  spooled: (blobId: Uint8Array, index: number) => `spool/${toHex(blobId)}/${ordered(index)}`,
  downloads: "download/",
  download: (blobId: Uint8Array) => `download/${toHex(blobId)}`,
  /** Messages that disappear, by the time in milliseconds since 1970. */
  expiries: "expiry/",
  expiry: (at: number, suffix: Uint8Array) => `expiry/${ordered(at)}/${toHex(suffix)}`,
  timeOfExpiry: (key: string) => Number.parseInt(key.split("/")[1] as string, 36),
  /** Conversations with a history, by numbers that say nothing of them; their messages by position, and by id. */
  historyNames: "history-of/",
  historyName: (number: string) => `history-of/${number}`,
  history: "history/",
  historyIn: (number: string) => `history/${number}/`,
  historyEntry: (number: string, position: number) => `history/${number}/${ordered(position)}`,
  historyIds: (id: string) => `history-id/${id}/`,
  historyId: (id: string, number: string, position: number) =>
    `history-id/${id}/${number}/${ordered(position)}`,
} as const;

function hexOf(id: Uint8Array | string): string {
  return typeof id === "string" ? id : toHex(id);
}

/** A number so that its text sorts as it does. */
function ordered(order: number): string {
  return order.toString(36).padStart(11, "0");
}

/** The number in a key that ends with an ordered one. */
export function orderOf(key: string): number {
  return Number.parseInt(key.slice(key.lastIndexOf("/") + 1), 36);
}
