import type { Bytes } from "../../base/bytes.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import type { Change, StoreSession } from "../../stores/store.js";
import { decodeName, encodeName } from "../../wire/identifiers.js";
import { GROUP_ID_LENGTH } from "../../wire/protocol.js";
import type { Context } from "../context.js";
import { DAY, layout } from "../layout.js";

/** How long messages are known that no history lists: as long as they are kept to be sent again. */
const KEPT_FOR = 30 * DAY;
/** How many are looked at in one go. */
const BATCH = 500;

/** An own message that has left the outbox: where it went, so that a receipt can be checked. */
export interface SentMessage {
  readonly state: "sent" | "failed";
  /** Undefined where there never was a conversation. */
  readonly groupId?: Bytes;
  /** The other user of a direct conversation. */
  readonly peer?: string;
  /** In which it was sent: who came into the group later did not get it. */
  readonly epoch: bigint;
  readonly time: number;
  /** The history lists it, and holds on to this as long as it does. */
  readonly listed: boolean;
}

/** Who has said that it has an own message, and that it has been read. */
export interface Ticks {
  readonly delivered: readonly string[];
  readonly read: readonly string[];
}

const NO_TICKS: Ticks = { delivered: [], read: [] };

function encodeSent(writer: Writer, sent: SentMessage): void {
  writer.u8(1).u8(sent.state === "sent" ? 1 : 0);
  writer.optional(sent.groupId, (w, groupId) => w.fixed(groupId)).optional(sent.peer, encodeName);
  writer
    .u64(sent.epoch)
    .uint53(sent.time)
    .u8(sent.listed ? 1 : 0);
}

function decodeSent(reader: Reader): SentMessage {
  if (reader.u8() !== 1) reader.fail("unknown version of sent message");
  const state = reader.u8() === 1 ? "sent" : "failed";
  const groupId = reader.optional((r) => r.fixed(GROUP_ID_LENGTH));
  const peer = reader.optional(decodeName);
  const rest = { epoch: reader.u64(), time: reader.uint53(), listed: reader.u8() === 1 };
  return { state, ...(groupId && { groupId }), ...(peer !== undefined && { peer }), ...rest };
}

function encodeTicks(writer: Writer, { delivered, read }: Ticks): void {
  writer.u8(1).vector(delivered, encodeName).vector(read, encodeName);
}

function decodeTicks(reader: Reader): Ticks {
  if (reader.u8() !== 1) reader.fail("unknown version of ticks");
  return { delivered: reader.vector(decodeName), read: reader.vector(decodeName) };
}

/** What has become of an own message, for the history and for those who say that they have it. */
export function fateChange(
  { clock, history }: Context,
  id: Uint8Array | string,
  fate: Omit<SentMessage, "time" | "listed">,
): { sent: SentMessage; change: Change } {
  const sent = { ...fate, time: clock.now(), listed: history.enabled };
  const key = layout.sentMessage(id);
  const isKept = sent.state === "sent" || sent.listed;
  return { sent, change: isKept ? { put: key, value: encode(encodeSent, sent) } : { delete: key } };
}

export function ticksChange(id: string, ticks: Ticks): Change {
  return { put: layout.ticksOf(id), value: encode(encodeTicks, ticks) };
}

/** Nothing is known of the message any more. */
export function forgetSent(id: Uint8Array | string): Change[] {
  return [{ delete: layout.sentMessage(id) }, { delete: layout.ticksOf(id) }];
}

/** What is known of an own message; `sent` is undefined while it waits, and for what is none. */
export async function lookUpSent(
  store: StoreSession,
  id: string,
): Promise<{ sent: SentMessage | undefined; ticks: Ticks }> {
  const [sent, ticks] = await Promise.all([store.get(layout.sentMessage(id)), store.get(layout.ticksOf(id))]);
  return {
    sent: sent && decode(decodeSent, sent),
    ticks: ticks === undefined ? NO_TICKS : decode(decodeTicks, ticks),
  };
}

/** The ids of own messages that match. */
export async function sentMessages(
  store: StoreSession,
  matches: (sent: SentMessage) => boolean,
): Promise<string[]> {
  const ids: string[] = [];
  for (let after: string = layout.sent; ; ) {
    const entries = await store.list(layout.sent, { limit: BATCH, after });
    for (const [key, value] of entries) {
      if (matches(decode(decodeSent, value))) ids.push(key.slice(layout.sent.length));
    }
    const last = entries.at(-1)?.[0];
    if (last === undefined) return ids;
    after = last;
  }
}

/** Forgets messages sent long ago that no history lists. */
export async function pruneSent({ store, clock, write }: Context): Promise<void> {
  const oldest = clock.now() - KEPT_FOR;
  const old = await sentMessages(store, ({ time, listed }) => !listed && time < oldest);
  if (old.length > 0) await write(old.flatMap(forgetSent));
}
