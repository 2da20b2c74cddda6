import { fromHex, fromUtf8, toHex, toUtf8 } from "../../base/encoding.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import type { StoreSession } from "../../stores/store.js";
import { decodeName, encodeName } from "../../wire/identifiers.js";
import type { Effect } from "../context.js";
import { MESSAGE_ID_LENGTH } from "../conversation/content.js";
import { layout, orderOf } from "../layout.js";

/** A conversation as the app names it: a user id, or a group's name. */
export type ConversationName = string | { readonly group: string };

/** A message of the local history. */
export interface HistoryMessage {
  readonly id: string;
  readonly from: string;
  readonly group?: string;
  readonly content: string | Uint8Array;
  readonly sentAt: number;
  /** For messages of this user: how far they have come. `delivered` when at least one receiver said so. */
  readonly state?: "pending" | "sent" | "delivered" | "failed";
  /** For paging: `history(…, { before: position })` gives what stands before this message. */
  readonly position: number;
}

type Entry = Omit<HistoryMessage, "position"> & { readonly peer: string };

const STATES = ["pending", "sent", "delivered", "failed"] as const;

function encodeEntry(writer: Writer, entry: Entry): void {
  writer.u8(1).fixed(fromHex(entry.id));
  encodeName(writer, entry.from);
  encodeName(writer, entry.peer);
  writer.optional(entry.group, encodeName).uint53(entry.sentAt);
  writer.optional(entry.state, (w, state) => w.u8(STATES.indexOf(state)));
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
  const state = reader.optional((r) => STATES[r.u8()] ?? r.fail("unknown state"));
  const kind = reader.u8();
  if (kind !== 1 && kind !== 2) reader.fail("unknown kind of content");
  const bytes = reader.opaque();
  return {
    id,
    from,
    peer,
    ...(group !== undefined && { group }),
    sentAt,
    ...(state !== undefined && { state }),
    content: kind === 1 ? fromUtf8(bytes) : bytes.slice(),
  };
}

function conversationKey(entry: Pick<Entry, "group" | "peer">): string {
  return entry.group === undefined ? `user ${entry.peer}` : `group ${entry.group}`;
}

/** The local history, if the app asked for one: written in the transaction that sends or receives. */
export class History {
  readonly #store: StoreSession;
  readonly #enabled: boolean;
  /** Where each conversation's entries stand, oldest first. */
  readonly #orders = new Map<string, number[]>();
  /** Where this user's own messages stand that have not been delivered yet. */
  readonly #open = new Map<string, { readonly order: number; readonly entry: Entry }>();
  #next = 1;

  private constructor(store: StoreSession, enabled: boolean) {
    this.#store = store;
    this.#enabled = enabled;
  }

  static async load(store: StoreSession, enabled: boolean, userId: string): Promise<History> {
    const history = new History(store, enabled);
    for (const [key, value] of await store.list(layout.history)) {
      const entry = decode(decodeEntry, value);
      history.#index(orderOf(key), entry, userId);
    }
    return history;
  }

  #index(order: number, entry: Entry, userId: string): void {
    const key = conversationKey(entry);
    const orders = this.#orders.get(key);
    if (orders === undefined) this.#orders.set(key, [order]);
    else orders.push(order);
    if (entry.from === userId && entry.state !== "delivered") this.#open.set(entry.id, { order, entry });
    this.#next = Math.max(this.#next, order + 1);
  }

  /** Users with whom there are messages. */
  users(): string[] {
    return [...this.#orders.keys()].flatMap((key) => (key.startsWith("user ") ? [key.slice(5)] : []));
  }

  /** The change that adds a message; empty without a history. `peer` is the other user of a direct conversation. */
  add(entry: Entry, userId: string): Effect[] {
    if (!this.#enabled) return [];
    const order = this.#next++;
    const applied = () => this.#index(order, entry, userId);
    return [{ put: layout.historyEntry(order), value: encode(encodeEntry, entry), applied }];
  }

  /** The changes that note how far own messages have come. */
  advance(ids: readonly string[], state: "sent" | "delivered" | "failed"): Effect[] {
    const changes: Effect[] = [];
    for (const id of ids) {
      const open = this.#open.get(id);
      if (open === undefined) continue;
      const entry = { ...open.entry, state };
      const applied = () => {
        if (state === "delivered") this.#open.delete(id);
        else this.#open.set(id, { order: open.order, entry });
      };
      changes.push({ put: layout.historyEntry(open.order), value: encode(encodeEntry, entry), applied });
    }
    return changes;
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
    return values.flatMap((value, index) => {
      if (value === undefined) return [];
      const { peer: _, ...entry } = decode(decodeEntry, value);
      return [{ ...entry, position: orders[index] as number }];
    });
  }
}
