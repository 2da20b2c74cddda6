import { fromHex, toHex } from "../../base/encoding.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import type { StoreSession } from "../../stores/store.js";
import { decodeName, encodeName } from "../../wire/identifiers.js";
import type { Attachment } from "../attachments/attachment.js";
import { type Body, decodeBody, encodeBody } from "../attachments/body.js";
import type { Effect } from "../context.js";
import { MESSAGE_ID_LENGTH } from "../conversation/content.js";
import { layout, orderOf } from "../layout.js";
import { lookUpSent } from "./sent-messages.js";

/** How many random bytes a conversation's number in the store's keys is made of. */
const NUMBER_LENGTH = 8;

/** A conversation as the app names it: a user id, or a group's name. */
export type ConversationName = string | { readonly group: string };

/** A message of the local history. */
export interface HistoryMessage {
  readonly id: string;
  readonly from: string;
  readonly group?: string;
  readonly content: string | Uint8Array | Attachment;
  readonly sentAt: number;
  /** For messages of this user: how far they have come. `delivered`, `read`: at least one receiver said so. */
  readonly state?: "pending" | "sent" | "delivered" | "read" | "failed";
  /** For messages of this user: the user ids of those who said that they have it, and that it was read. */
  readonly deliveredTo?: readonly string[];
  readonly readBy?: readonly string[];
  /** For paging: `history(…, { before: position })` gives what stands before this message. */
  readonly position: number;
}

/** The same as data, which passes between tabs. */
export type HistoryData = Omit<HistoryMessage, "content"> & { readonly content: Body };

type Entry = Pick<HistoryData, "id" | "from" | "group" | "content" | "sentAt"> & { readonly peer: string };

function encodeEntry(writer: Writer, entry: Entry): void {
  writer.u8(1).fixed(fromHex(entry.id));
  encodeName(writer, entry.from);
  encodeName(writer, entry.peer);
  writer.optional(entry.group, encodeName).uint53(entry.sentAt);
  encodeBody(writer, entry.content);
}

function decodeEntry(reader: Reader): Entry {
  if (reader.u8() !== 1) reader.fail("unknown version of history");
  const id = toHex(reader.fixed(MESSAGE_ID_LENGTH));
  const from = decodeName(reader);
  const peer = decodeName(reader);
  const group = reader.optional(decodeName);
  const sentAt = reader.uint53();
  return {
    id,
    from,
    peer,
    ...(group !== undefined && { group }),
    sentAt,
    content: decodeBody(reader),
  };
}

export function encodeConversation(writer: Writer, name: ConversationName): void {
  if (typeof name === "string") encodeName(writer.u8(1), name);
  else encodeName(writer.u8(2), name.group);
}

export function decodeConversation(reader: Reader): ConversationName {
  const kind = reader.u8();
  if (kind !== 1 && kind !== 2) reader.fail("unknown kind of conversation");
  const name = decodeName(reader);
  return kind === 1 ? name : { group: name };
}

const nameOf = ({ group, peer }: Pick<Entry, "group" | "peer">): ConversationName =>
  group === undefined ? peer : { group };
const keyOf = (name: ConversationName): string =>
  typeof name === "string" ? `user ${name}` : `group ${name.group}`;

/** A conversation that has a history: where it stands in the store, and the last position used there. */
interface Listing {
  readonly name: ConversationName;
  readonly number: string;
  last: number;
  /** The record that names it is there. */
  stored: boolean;
  /** Messages whose write is not known to be done. */
  adding: number;
}

/** A message as it is found by its id. */
export interface Found extends Pick<HistoryMessage, "id" | "from" | "group" | "sentAt" | "position"> {
  readonly conversation: ConversationName;
}

/** How a history is opened. */
export interface HistoryOptions {
  /** Whether messages are kept from now on. */
  readonly enabled: boolean;
  readonly userId: string;
  readonly randomId: (length: number) => Uint8Array;
  readonly now: () => number;
}

/**
 * The local history, if the app asked for one: written in the transaction that sends or receives. Each conversation has
 * a number of its own in the store's keys, and its messages stand there by position; a second record finds one by its id.
 */
export class History {
  readonly #store: StoreSession;
  readonly #options: HistoryOptions;
  readonly #listings = new Map<string, Listing>();

  private constructor(store: StoreSession, options: HistoryOptions) {
    this.#store = store;
    this.#options = options;
  }

  /** Reads which conversations there are, and none of their messages but the last. */
  static async load(store: StoreSession, options: HistoryOptions): Promise<History> {
    const history = new History(store, options);
    const names = await store.list(layout.historyNames);
    const listings = names.map(async ([key, value]) => {
      const number = key.slice(layout.historyNames.length);
      const name = decode(decodeConversation, value);
      const [last] = await store.list(layout.historyIn(number), { reverse: true, limit: 1 });
      history.#listings.set(keyOf(name), {
        name,
        number,
        last: last === undefined ? 0 : orderOf(last[0]),
        stored: true,
        adding: 0,
      });
    });
    await Promise.all(listings);
    return history;
  }

  /** Whether messages are kept from now on. */
  get enabled(): boolean {
    return this.#options.enabled;
  }

  /** The conversations in which there are messages. */
  conversations(): ConversationName[] {
    return [...this.#listings.values()].filter(({ stored }) => stored).map(({ name }) => name);
  }

  /** The changes that add a message; none without a history. `peer` is the other user of a direct conversation. */
  add(entry: Entry): Effect[] {
    if (!this.enabled) return [];
    const name = nameOf(entry);
    const listing = this.#listingOf(name);
    const { number } = listing;
    // By the time, so that what is old is found by its key.
    listing.last = Math.max(listing.last + 1, Math.floor(this.#options.now() * 1000));
    listing.adding++;
    const position = listing.last;
    const applied = () => {
      listing.stored = true;
      listing.adding--;
    };
    const naming = { put: layout.historyName(number), value: encode(encodeConversation, name) };
    return [
      ...(listing.stored ? [] : [naming]),
      { put: layout.historyId(entry.id, number, position), value: new Uint8Array(0) },
      { put: layout.historyEntry(number, position), value: encode(encodeEntry, entry), applied },
    ];
  }

  #listingOf(name: ConversationName): Listing {
    const known = this.#listings.get(keyOf(name));
    if (known !== undefined) return known;
    const number = toHex(this.#options.randomId(NUMBER_LENGTH));
    const listing = { name, number, last: 0, stored: false, adding: 0 };
    this.#listings.set(keyOf(name), listing);
    return listing;
  }

  /** The newest `limit` messages of a conversation before a position, oldest first. */
  async read(
    conversation: ConversationName,
    options: { readonly before?: number; readonly limit?: number },
  ): Promise<HistoryData[]> {
    const entries = await this.#list(conversation, { ...options, reverse: true });
    const messages = entries.reverse().map(async ([key, { peer: _, ...entry }]) => {
      const own = entry.from === this.#options.userId ? await this.#fateOf(entry.id) : {};
      return { ...entry, ...own, position: orderOf(key) };
    });
    return Promise.all(messages);
  }

  async #list(
    conversation: ConversationName,
    { before, limit = 100, reverse = false }: { before?: number; limit?: number; reverse?: boolean },
  ): Promise<[key: string, entry: Entry][]> {
    const number = this.#listings.get(keyOf(conversation))?.number;
    if (number === undefined || limit <= 0) return [];
    const until =
      before !== undefined && Number.isFinite(before) ? Math.max(0, Math.ceil(before)) : undefined;
    const found = await this.#store.list(layout.historyIn(number), {
      ...(Number.isFinite(limit) && { limit }),
      ...(until !== undefined && { before: layout.historyEntry(number, until) }),
      reverse,
    });
    return found.map(([key, value]) => [key, decode(decodeEntry, value)]);
  }

  /** The oldest `limit` messages of a conversation before a position. */
  async oldest(name: ConversationName, limit: number, before?: number): Promise<Found[]> {
    const entries = await this.#list(name, { limit, ...(before !== undefined && { before }) });
    return entries.map(([key, entry]) => foundAt(orderOf(key), entry));
  }

  /** The messages with an id: one, unless a sender took the id of another's message. */
  async find(id: string): Promise<Found[]> {
    const found = (await this.#store.list(layout.historyIds(id))).map(async ([key]) => {
      const number = key.split("/")[2] as string;
      const position = orderOf(key);
      const value = await this.#store.get(layout.historyEntry(number, position));
      return value === undefined ? [] : [foundAt(position, decode(decodeEntry, value))];
    });
    return (await Promise.all(found)).flat();
  }

  /** The changes that delete a message. */
  remove({ id, conversation, position }: Found): Effect[] {
    const number = this.#listings.get(keyOf(conversation))?.number;
    if (number === undefined) return [];
    return [
      { delete: layout.historyEntry(number, position) },
      { delete: layout.historyId(id, number, position) },
    ];
  }

  /** The changes that forget a conversation of which no message is left; called once what was deleted is. */
  async tidy(name: ConversationName): Promise<Effect[]> {
    const listing = this.#listings.get(keyOf(name));
    if (listing === undefined) return [];
    const { last, number } = listing;
    const left = await this.#store.list(layout.historyIn(number), { limit: 1 });
    if (left.length > 0 || listing.adding > 0 || listing.last !== last) return [];
    // Whatever is added from here on names it anew.
    listing.stored = false;
    return [{ delete: layout.historyName(number) }];
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

function foundAt(position: number, entry: Entry): Found {
  const { id, from, group, sentAt } = entry;
  return { id, from, sentAt, position, conversation: nameOf(entry), ...(group !== undefined && { group }) };
}
