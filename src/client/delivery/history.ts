import { fromHex, fromUtf8, toHex, toUtf8 } from "../../base/encoding.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import type { StoreSession } from "../../stores/store.js";
import { decodeName, encodeName } from "../../wire/identifiers.js";
import type { Effect } from "../context.js";
import { MESSAGE_ID_LENGTH } from "../conversation/content.js";
import { layout, orderOf } from "../layout.js";
import { lookUpSent } from "./sent-messages.js";

/** A conversation as the app names it: a user id, or a group's name. */
export type ConversationName = string | { readonly group: string };

/** A message of the local history. */
export interface HistoryMessage {
  readonly id: string;
  readonly from: string;
  readonly group?: string;
  readonly content: string | Uint8Array;
  readonly sentAt: number;
  /** For messages of this user: how far they have come. `delivered`, `read`: at least one receiver said so. */
  readonly state?: "pending" | "sent" | "delivered" | "read" | "failed";
  /** For messages of this user: the user ids of those who said that they have it, and that it was read. */
  readonly deliveredTo?: readonly string[];
  readonly readBy?: readonly string[];
  /** For paging: `history(…, { before: position })` gives what stands before this message. */
  readonly position: number;
}

type Entry = Omit<HistoryMessage, "position" | "state" | "deliveredTo" | "readBy"> & {
  readonly peer: string;
};

function encodeEntry(writer: Writer, entry: Entry): void {
  writer.u8(1).fixed(fromHex(entry.id));
  encodeName(writer, entry.from);
  encodeName(writer, entry.peer);
  writer.optional(entry.group, encodeName).uint53(entry.sentAt);
  if (typeof entry.content === "string") writer.u8(1).opaque(toUtf8(entry.content));
  else writer.u8(2).opaque(entry.content);
}

function decodeEntry(reader: Reader): Entry {
  if (reader.u8() !== 1) reader.fail("unknown version of history");
  const id = toHex(reader.fixed(MESSAGE_ID_LENGTH));
  const from = decodeName(reader);
  const peer = decodeName(reader);
  const group = reader.optional(decodeName);
  const sentAt = reader.uint53();
  const kind = reader.u8();
  if (kind !== 1 && kind !== 2) reader.fail("unknown kind of content");
  const bytes = reader.opaque();
  return {
    id,
    from,
    peer,
    ...(group !== undefined && { group }),
    sentAt,
    content: kind === 1 ? fromUtf8(bytes) : bytes.slice(),
  };
}

function conversationKey(entry: Pick<Entry, "group" | "peer">): string {
  return entry.group === undefined ? `user ${entry.peer}` : `group ${entry.group}`;
}

/** The local history, if the app asked for one: written in the transaction that sends or receives. */
export class History {
  readonly #store: StoreSession;
  readonly #userId: string;
  /** Whether messages are kept from now on. */
  readonly enabled: boolean;
  /** Where each conversation's entries stand, oldest first. */
  readonly #orders = new Map<string, number[]>();
  #next = 1;

  private constructor(store: StoreSession, enabled: boolean, userId: string) {
    this.#store = store;
    this.enabled = enabled;
    this.#userId = userId;
  }

  static async load(store: StoreSession, enabled: boolean, userId: string): Promise<History> {
    const history = new History(store, enabled, userId);
    for (const [key, value] of await store.list(layout.history)) {
      const entry = decode(decodeEntry, value);
      history.#index(orderOf(key), entry);
    }
    return history;
  }

  #index(order: number, entry: Entry): void {
    const key = conversationKey(entry);
    const orders = this.#orders.get(key);
    if (orders === undefined) this.#orders.set(key, [order]);
    else orders.push(order);
    this.#next = Math.max(this.#next, order + 1);
  }

  /** Users with whom there are messages. */
  users(): string[] {
    return [...this.#orders.keys()].flatMap((key) => (key.startsWith("user ") ? [key.slice(5)] : []));
  }

  /** The change that adds a message; empty without a history. `peer` is the other user of a direct conversation. */
  add(entry: Entry): Effect[] {
    if (!this.enabled) return [];
    const order = this.#next++;
    const applied = () => this.#index(order, entry);
    return [{ put: layout.historyEntry(order), value: encode(encodeEntry, entry), applied }];
  }

  /** The newest `limit` messages of a conversation before a position, oldest first. */
  async read(
    conversation: ConversationName,
    options: { readonly before?: number; readonly limit?: number },
  ): Promise<HistoryMessage[]> {
    const key = conversationKey(
      typeof conversation === "string" ? { peer: conversation } : { peer: "", group: conversation.group },
    );
    const { before = Number.POSITIVE_INFINITY, limit = 100 } = options;
    const orders = (this.#orders.get(key) ?? []).filter((order) => order < before).slice(-limit);
    const values = await Promise.all(orders.map((order) => this.#store.get(layout.historyEntry(order))));
    const messages = values.map(async (value, index) => {
      if (value === undefined) return [];
      const { peer: _, ...entry } = decode(decodeEntry, value);
      const own = entry.from === this.#userId ? await this.#fateOf(entry.id) : {};
      return [{ ...entry, ...own, position: orders[index] as number }];
    });
    return (await Promise.all(messages)).flat();
  }

  /** How far an own message has come. */
  async #fateOf(id: string): Promise<Pick<HistoryMessage, "state" | "deliveredTo" | "readBy">> {
    const { sent, ticks } = await lookUpSent(this.#store, id);
    const { delivered, read } = ticks;
    const arrived = read.length > 0 ? "read" : delivered.length > 0 ? "delivered" : sent?.state;
    const state = sent?.state === "failed" ? "failed" : (arrived ?? "pending");
    return { state, deliveredTo: delivered, readBy: read };
  }
}
