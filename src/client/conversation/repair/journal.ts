import type { Bytes } from "../../../base/bytes.js";
import { decode, type Reader } from "../../../codec/reader.js";
import { encode, type Writer } from "../../../codec/writer.js";
import type { Change, StoreSession } from "../../../stores/store.js";
import { decodeEntryContent, type EntryContent, encodeEntryContent } from "../../../wire/entries.js";
import {
  type Cursor,
  decodeCursor,
  decodeName,
  encodeCursor,
  encodeName,
} from "../../../wire/identifiers.js";
import { DIGEST_LENGTH, ENTRY_ID_LENGTH, EntryKind } from "../../../wire/protocol.js";
import type { NewEntry } from "../../../wire/requests.js";
import type { Context, Effect } from "../../context.js";
import { DAY, layout } from "../../layout.js";
import type { ClientLimits } from "../../options.js";
import { type Content, decodeContent, encodeContent } from "../content.js";
import { Shelf } from "./shelf.js";

/** How long handshake entries and sent messages are kept: as long as a relay keeps entries. */
export const KEPT_FOR = 30 * DAY;
/** How many messages, and how many bytes of each, unless the `limits` option says otherwise. */
const DEFAULT_MAX_MESSAGES = 10_000;
const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;

/** A handshake entry as it stood in the log. All of it is what the relay has too. */
export interface KeptHandshake {
  /** Counts those that were kept of a group: where they stand in the log changes when they are put back. */
  readonly order: number;
  readonly cursor: Cursor;
  readonly content: EntryContent;
  /** Of commits that this device made; others know only its hash. */
  readonly welcome: Bytes;
  /** Milliseconds since 1970 when it was processed. */
  readonly time: number;
  /** Whether this device made it. */
  readonly own: boolean;
  /** Of this device's leaf before it: where the others know nothing of the entry, it is the leaf that they know. */
  readonly leafHash?: Bytes;
  /** Of a proposal to leave: its reference among those that wait for a commit. */
  readonly ref?: Bytes;
}

/** A message of this device that the log has shown, until it is known to be delivered. */
export interface KeptMessage {
  /** Of the intent that it was. */
  readonly order: number;
  readonly content: Content;
  readonly expected?: string;
  /** Where it stands in the log; absent once the relay has lost that, until the log shows it again. */
  readonly seq?: number;
  /** Under which id it stood there. */
  readonly entryId: Bytes;
  readonly time: number;
  /** That of the conversation when it was sent. */
  readonly growth: number;
}

function encodeHandshake(writer: Writer, kept: KeptHandshake): void {
  encodeCursor(writer.u8(2).uint53(kept.order), kept.cursor);
  encodeEntryContent(writer, kept.content);
  writer
    .opaque(kept.welcome)
    .uint53(kept.time)
    .u8(kept.own ? 1 : 0)
    .optional(kept.leafHash, (w, hash) => w.fixed(hash))
    .optional(kept.ref, (w, ref) => w.fixed(ref));
}

function decodeHandshake(reader: Reader): KeptHandshake {
  if (reader.u8() !== 2) reader.fail("unknown version of handshake");
  const order = reader.uint53();
  const cursor = decodeCursor(reader);
  const content = decodeEntryContent(reader);
  const [welcome, time, own] = [reader.opaque(), reader.uint53(), reader.u8() === 1];
  const leafHash = reader.optional((r) => r.fixed(DIGEST_LENGTH));
  const ref = reader.optional((r) => r.fixed(DIGEST_LENGTH));
  return { order, cursor, content, welcome, time, own, ...(leafHash && { leafHash }), ...(ref && { ref }) };
}

function encodeMessage(writer: Writer, kept: KeptMessage): void {
  writer
    .u8(2)
    .uint53(kept.order)
    .optional(kept.seq, (w, seq) => w.uint53(seq));
  writer.uint53(kept.time).uint53(kept.growth).fixed(kept.entryId);
  writer.optional(kept.expected, encodeName);
  encodeContent(writer, kept.content);
}

function decodeMessage(reader: Reader): KeptMessage {
  if (reader.u8() !== 2) reader.fail("unknown version of sent message");
  const order = reader.uint53();
  const seq = reader.optional((r) => r.uint53());
  const time = reader.uint53();
  const growth = reader.uint53();
  const entryId = reader.fixed(ENTRY_ID_LENGTH);
  const expected = reader.optional(decodeName);
  const content = decodeContent(reader);
  return {
    order,
    time,
    growth,
    entryId,
    content,
    ...(seq !== undefined && { seq }),
    ...(expected !== undefined && { expected }),
  };
}

/** What is kept to be put back where a relay loses it. */
export class Journal {
  readonly #handshakes: Shelf;
  readonly #bequests: Shelf;
  readonly #messages: Shelf;

  constructor(
    context: () => Context,
    {
      maxKeptMessages: maxCount = DEFAULT_MAX_MESSAGES,
      maxKeptBytes: maxBytes = DEFAULT_MAX_BYTES,
    }: ClientLimits = {},
  ) {
    const handshakes = {
      keepFor: KEPT_FOR,
      maxBytes,
      ageOf: (value: Bytes) => decode(decodeHandshake, value),
    };
    // The newest handshake of each group stays: it is where to read from.
    this.#handshakes = new Shelf(context, layout.handshakes, { ...handshakes, sparesLast: true });
    this.#bequests = new Shelf(context, layout.bequests, handshakes);
    this.#messages = new Shelf(context, layout.kept, {
      keepFor: KEPT_FOR,
      maxBytes,
      maxCount,
      ageOf: (value) => decode(decodeMessage, value),
    });
  }

  /** The change that keeps a handshake entry. */
  keepHandshake(groupId: Bytes, kept: KeptHandshake): Effect {
    return this.#handshakes.put(layout.handshake(groupId, kept.order), encode(encodeHandshake, kept));
  }

  /** The change that keeps a handshake entry of a group that this device is in no more. */
  bequeath(groupId: Bytes, kept: KeptHandshake): Effect {
    return this.#bequests.put(layout.bequest(groupId, kept.order), encode(encodeHandshake, kept));
  }

  keepMessage(groupId: Bytes, kept: KeptMessage): Effect {
    return this.#messages.put(layout.keptMessage(groupId, kept.content.id), encode(encodeMessage, kept));
  }

  /** Forgets what no relay has any more either, and what is too much. */
  async prune(): Promise<void> {
    await this.#handshakes.prune();
    await this.#bequests.prune();
    await this.#messages.prune();
  }
}

/** A message has arrived where it was to go. */
export function forgetMessage(groupId: Bytes, id: Bytes | string): Change {
  return { delete: layout.keptMessage(groupId, id) };
}

/** The kept handshake entries of a group, oldest first. */
export async function keptHandshakes(
  store: StoreSession,
  groupId: Bytes,
  from: (groupId: Bytes) => string = layout.handshakesOf,
): Promise<KeptHandshake[]> {
  const found = await store.list(from(groupId));
  return found.map(([, value]) => decode(decodeHandshake, value));
}

/** What is appended to put a handshake entry back. */
export function putBack({ content, welcome, own }: KeptHandshake): NewEntry {
  const { kind, entryId, payload, bundle } = content;
  const isHashed = welcome.length === 0 && bundle !== undefined && bundle.welcomeHash.length > 0;
  return {
    kind,
    entryId,
    payload,
    ...(kind === EntryKind.leave && !own && { isOfAnother: true }),
    ...(bundle && {
      bundle: { access: bundle.access, welcome, ...(isHashed && { welcomeHash: bundle.welcomeHash }) },
    }),
  };
}

/** The kept messages to a group or user, in the order in which they were sent. */
export async function keptMessages(store: StoreSession, groupId: Bytes): Promise<KeptMessage[]> {
  const found = await store.list(layout.keptOf(groupId));
  return found.map(([, value]) => decode(decodeMessage, value)).sort((a, b) => a.order - b.order);
}
