import type { Bytes } from "../../base/bytes.js";
import { fromHex, toHex } from "../../base/encoding.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { decodeName, encodeName } from "../../wire/identifiers.js";
import { BLOB_ID_LENGTH } from "../../wire/protocol.js";
import type { Body } from "../attachments/body.js";
import type { Context, Effect } from "../context.js";
import { MESSAGE_ID_LENGTH } from "../conversation/content.js";
import { layout } from "../layout.js";
import { type ConversationId, decodeConversation, encodeConversation } from "./history.js";

/** How many are looked at in one go. */
const BATCH = 200;
/** What tells records of one millisecond apart. */
const SUFFIX_LENGTH = 8;
/** The longest that one timer runs, in milliseconds: platforms count no further than 24 days. */
const MAX_TIMER = 12 * 3600 * 1000;

/** A message whose time is limited. */
export interface Expiring {
  readonly id: string;
  readonly from: string;
  readonly conversation: ConversationId;
  /** Where its attachment is. */
  readonly blobId?: Bytes;
}

function encodeExpiring(writer: Writer, { id, from, conversation, blobId }: Expiring): void {
  encodeName(writer.u8(1).fixed(fromHex(id)), from);
  encodeConversation(writer, conversation);
  writer.optional(blobId, (w, bytes) => w.fixed(bytes));
}

function decodeExpiring(reader: Reader): Expiring {
  if (reader.u8() !== 1) reader.fail("unknown version of expiry");
  const id = toHex(reader.fixed(MESSAGE_ID_LENGTH));
  const [from, conversation] = [decodeName(reader), decodeConversation(reader)];
  const blobId = reader.optional((r) => r.fixed(BLOB_ID_LENGTH));
  return { id, from, conversation, ...(blobId && { blobId }) };
}

/** Messages that disappear: which is next is known by the order of the store's keys, and one timer waits for it. */
export class Expiries {
  readonly #context: () => Context;
  #next = Number.POSITIVE_INFINITY;
  #cancel: (() => void) | undefined;

  constructor(context: () => Context) {
    this.#context = context;
  }

  /** The change with which a message disappears at a time, in milliseconds since 1970. */
  add(at: number, message: Omit<Expiring, "blobId"> & { readonly content: Body }): Effect {
    const suffix = this.#context().randomId(SUFFIX_LENGTH);
    const { content, ...expiring } = message;
    const blobId = typeof content === "object" && "blobId" in content && { blobId: content.blobId };
    return {
      put: layout.expiry(at, suffix),
      value: encode(encodeExpiring, { ...expiring, ...blobId }),
      applied: () => this.#wait(at),
    };
  }

  /** Deletes what is due, and waits for what is next. */
  async run(): Promise<void> {
    const { store, clock, removal, history, write } = this.#context();
    for (;;) {
      const entries = await store.list(layout.expiries, { limit: BATCH });
      const now = clock.now();
      const due = entries.filter(([key]) => layout.timeOfExpiry(key) <= now);
      const byConversation = new Map<string, Expiring[]>();
      for (const [, value] of due) {
        const message = decode(decodeExpiring, value);
        const name = JSON.stringify(history.nameOf(message.conversation));
        byConversation.set(name, [...(byConversation.get(name) ?? []), message]);
      }
      for (const messages of byConversation.values()) {
        const [{ conversation }] = messages as [Expiring];
        await removal.erase(history.nameOf(conversation), messages, { code: "timeout" });
      }
      if (due.length > 0) await write(due.map(([key]) => ({ delete: key })));
      const next = entries[due.length]?.[0];
      if (next !== undefined) return this.#wait(layout.timeOfExpiry(next));
      if (entries.length < BATCH) return;
    }
  }

  #wait(at: number): void {
    if (at >= this.#next) return;
    this.stop();
    this.#next = at;
    const { clock, background } = this.#context();
    const delay = Math.min(Math.max(0, at - clock.now()), MAX_TIMER);
    this.#cancel = clock.after(delay, () => {
      this.#next = Number.POSITIVE_INFINITY;
      background(this.run());
    });
  }

  stop(): void {
    this.#cancel?.();
    this.#next = Number.POSITIVE_INFINITY;
  }
}
