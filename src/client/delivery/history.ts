import { fromHex, toHex } from "../../base/encoding.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import type { Change, StoreSession } from "../../stores/store.js";
import { decodeName, encodeName } from "../../wire/identifiers.js";
import { GROUP_ID_LENGTH } from "../../wire/protocol.js";
import type { Attachment } from "../attachments/attachment.js";
import { type Body, decodeBody, encodeBody } from "../attachments/body.js";
import { dropSpool } from "../attachments/transfers.js";
import type { Effect } from "../context.js";
import { MESSAGE_ID_LENGTH } from "../conversation/content.js";
import { layout, orderOf } from "../layout.js";
import { lookUpSent } from "./sent-messages.js";

/** How many random bytes a conversation's number in the store's keys is made of. */
const NUMBER_LENGTH = 8;

/** Which part of a history: what stands before a position, and how many messages at most. */
export interface HistoryPage {
  readonly before?: number;
  readonly limit?: number;
}

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

type Entry = Pick<HistoryData, "id" | "from" | "content" | "sentAt">;

/** A conversation as it is stored: a group by its id, with the name it had; its name can change. */
export type ConversationId = { readonly user: string } | { readonly groupId: string; readonly group: string };

/** The conversation of a message: with `peer`, if it is in no group. */
export function conversationOf(
  { groupId, group }: { readonly groupId: string; readonly group?: string },
  peer: string,
): ConversationId {
  return group === undefined ? { user: peer } : { groupId, group };
}

function encodeEntry(writer: Writer, entry: Entry): void {
  writer.u8(1).fixed(fromHex(entry.id));
  encodeName(writer, entry.from);
  writer.uint53(entry.sentAt);
  encodeBody(writer, entry.content);
}

function decodeEntry(reader: Reader): Entry {
  if (reader.u8() !== 1) reader.fail("unknown version of history");
  const id = toHex(reader.fixed(MESSAGE_ID_LENGTH));
  return { id, from: decodeName(reader), sentAt: reader.uint53(), content: decodeBody(reader) };
}

export function encodeConversation(writer: Writer, id: ConversationId): void {
  if ("user" in id) encodeName(writer.u8(1), id.user);
  else encodeName(writer.u8(2).fixed(fromHex(id.groupId)), id.group);
}

export function decodeConversation(reader: Reader): ConversationId {
  const kind = reader.u8();
  if (kind === 1) return { user: decodeName(reader) };
  if (kind !== 2) reader.fail("unknown kind of conversation");
  return { groupId: toHex(reader.fixed(GROUP_ID_LENGTH)), group: decodeName(reader) };
}

const keyOf = (id: ConversationId): string => ("user" in id ? `user ${id.user}` : `group ${id.groupId}`);

/** Whether two names are those of one conversation. */
export function isSame(a: ConversationName, b: ConversationName): boolean {
  return typeof a === "string" || typeof b === "string" ? a === b : a.group === b.group;
}

/** Messages of a conversation, and where they stand in the store. */
interface Listing {
  id: ConversationId;
  readonly number: string;
  /** How many were added in this process. */
  added: number;
  /** The record that names it is there. */
  stored: boolean;
  /** Messages whose write is not known to be done. */
  adding: number;
}

/** A message as it is found by its id. */
export interface Found extends Pick<HistoryMessage, "id" | "from" | "group" | "sentAt" | "position"> {
  readonly conversation: ConversationName;
  /** The changes that delete it, with what of its attachment was fetched. */
  readonly removal: readonly Change[];
}

/** How a history is opened. */
export interface HistoryOptions {
  /** Whether messages are kept from now on. */
  readonly enabled: boolean;
  readonly userId: string;
  /** The name that the group with this id has now, if it is known. */
  readonly nameOf: (groupId: string) => string | undefined;
  readonly randomId: (length: number) => Uint8Array;
  readonly now: () => number;
}

/**
 * The local history, if the app asked for one: written in the transaction that sends or receives. Each conversation has
 * a number of its own in the store's keys, and its messages stand there by position; a second record finds one by its id.
 * Groups of one name, one after the other, have one history to the app.
 */
export class History {
  readonly #store: StoreSession;
  readonly #options: HistoryOptions;
  readonly #listings = new Map<string, Listing>();
  /** The last position used: none is used twice, in whatever conversation. */
  #last = 0;

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
      const id = decode(decodeConversation, value);
      const [last] = await store.list(layout.historyIn(number), { reverse: true, limit: 1 });
      if (last !== undefined) history.#last = Math.max(history.#last, orderOf(last[0]));
      history.#listings.set(number, { id, number, added: 0, stored: true, adding: 0 });
    });
    await Promise.all(listings);
    return history;
  }

  /** Whether messages are kept from now on. */
  get enabled(): boolean {
    return this.#options.enabled;
  }

  /** What the app calls a conversation now. */
  nameOf(id: ConversationId): ConversationName {
    return "user" in id ? id.user : { group: this.#options.nameOf(id.groupId) ?? id.group };
  }

  #named(name: ConversationName): Listing[] {
    return [...this.#listings.values()].filter(({ id }) => isSame(this.nameOf(id), name));
  }

  /** The conversations in which there are messages. */
  conversations(): ConversationName[] {
    return [...this.#listings.values()].filter(({ stored }) => stored).map(({ id }) => this.nameOf(id));
  }

  /** The changes that add a message; none without a history. */
  add(entry: Entry, conversation: ConversationId): Effect[] {
    if (!this.enabled) return [];
    const listing = this.#listingOf(conversation);
    const { number, id } = listing;
    // By the time, so that what is old is found by its key.
    const position = Math.max(this.#last + 1, Math.floor(this.#options.now() * 1000));
    this.#last = position;
    listing.added++;
    listing.adding++;
    const applied = () => {
      listing.stored = true;
      listing.adding--;
    };
    const naming = { put: layout.historyName(number), value: encode(encodeConversation, id) };
    return [
      ...(listing.stored ? [] : [naming]),
      { put: layout.historyId(entry.id, number, position), value: new Uint8Array(0) },
      { put: layout.historyEntry(number, position), value: encode(encodeEntry, entry), applied },
    ];
  }

  #listingOf(id: ConversationId): Listing {
    const known = [...this.#listings.values()].find((listing) => keyOf(listing.id) === keyOf(id));
    if (known !== undefined) return known;
    const number = toHex(this.#options.randomId(NUMBER_LENGTH));
    const listing = { id, number, added: 0, stored: false, adding: 0 };
    this.#listings.set(number, listing);
    return listing;
  }

  /** The changes with which what was said in a group belongs to the one that takes its place. */
  passOn(groupId: string, next: ConversationId): Effect[] {
    const own = [...this.#listings.values()].filter(({ id }) => "groupId" in id && id.groupId === groupId);
    return own.map((listing) => ({
      put: layout.historyName(listing.number),
      value: encode(encodeConversation, next),
      applied: () => {
        listing.id = next;
      },
    }));
  }

  /** The newest `limit` messages of a conversation before a position, oldest first. */
  async read(conversation: ConversationName, options: HistoryPage): Promise<HistoryData[]> {
    const entries = await this.#list(conversation, { ...options, reverse: true });
    const messages = entries.reverse().map(async ([key, entry]) => {
      const own = entry.from === this.#options.userId ? await this.#fateOf(entry.id) : {};
      return {
        ...entry,
        ...(typeof conversation === "object" && conversation),
        ...own,
        position: orderOf(key),
      };
    });
    return Promise.all(messages);
  }

  async #list(
    conversation: ConversationName,
    { before, limit = 100, reverse = false }: { before?: number; limit?: number; reverse?: boolean },
  ): Promise<[key: string, entry: Entry][]> {
    if (limit <= 0) return [];
    const until =
      before !== undefined && Number.isFinite(before) ? Math.max(0, Math.ceil(before)) : undefined;
    const parts = this.#named(conversation).map(({ number }) =>
      this.#store.list(layout.historyIn(number), {
        ...(Number.isFinite(limit) && { limit }),
        ...(until !== undefined && { before: layout.historyEntry(number, until) }),
        reverse,
      }),
    );
    const found = (await Promise.all(parts)).flat();
    if (parts.length > 1) found.sort(([a], [b]) => (orderOf(a) - orderOf(b)) * (reverse ? -1 : 1));
    return found.slice(0, limit).map(([key, value]) => [key, decode(decodeEntry, value)]);
  }

  /** The oldest `limit` messages of a conversation before a position. */
  async oldest(name: ConversationName, limit: number, before?: number): Promise<Found[]> {
    const entries = await this.#list(name, { limit, ...(before !== undefined && { before }) });
    return entries.map(([key, entry]) => foundAt(key.split("/")[1] as string, orderOf(key), entry, name));
  }

  /** The messages with an id: one, unless a sender took the id of another's message. */
  async find(id: string): Promise<Found[]> {
    const found = (await this.#store.list(layout.historyIds(id))).map(async ([key]) => {
      const listing = this.#listings.get(key.split("/")[2] as string);
      const position = orderOf(key);
      const value = listing && (await this.#store.get(layout.historyEntry(listing.number, position)));
      if (listing === undefined || value === undefined) return [];
      return [foundAt(listing.number, position, decode(decodeEntry, value), this.nameOf(listing.id))];
    });
    return (await Promise.all(found)).flat();
  }

  /** The changes that forget a conversation of which no message is left; called once what was deleted is. */
  async tidy(name: ConversationName): Promise<Effect[]> {
    const parts = this.#named(name).map(async (listing): Promise<Effect[]> => {
      const { added, number } = listing;
      const left = await this.#store.list(layout.historyIn(number), { limit: 1 });
      if (left.length > 0 || listing.adding > 0 || listing.added !== added) return [];
      // Whatever is added from here on names it anew.
      listing.stored = false;
      return [{ delete: layout.historyName(number) }];
    });
    return (await Promise.all(parts)).flat();
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

function foundAt(number: string, position: number, entry: Entry, conversation: ConversationName): Found {
  const { id, from, sentAt, content } = entry;
  const removal = [
    { delete: layout.historyEntry(number, position) },
    { delete: layout.historyId(id, number, position) },
    ...spoolOf(content),
  ];
  const group = typeof conversation === "object" && conversation;
  return { id, from, sentAt, position, conversation, ...group, removal };
}

/** The changes that drop what of a message's attachment was fetched. */
export function spoolOf(content: Body): Change[] {
  return typeof content === "string" || content instanceof Uint8Array ? [] : dropSpool(content);
}
