import type { Bytes } from "../../../base/bytes.js";
import { decode } from "../../../codec/reader.js";
import { encode } from "../../../codec/writer.js";
import type { Context } from "../../context.js";
import { DAY, layout } from "../../layout.js";

/** How long received message ids are known: longer than a relay keeps entries and an outbox messages. */
const KEPT_DAYS = 60;
/** How many are looked at in one go. */
const BATCH = 500;

/**
 * Where it is noted that a message was received: by the day on which it was written, so that old days can be dropped
 * whole; by its sender, and not by the conversation, since a message may come again in the one that follows.
 */
export function seenKey(
  senderTag: string,
  message: { readonly id: Uint8Array; readonly sentAt: number },
): string {
  return layout.seenMessage(Math.floor(message.sentAt / DAY), senderTag, message.id);
}

/** What is known of a received message. */
export interface Seen {
  /** Milliseconds since 1970 when it was received, by this device's clock: the sender's may be years behind. */
  readonly time: number;
  /** Its sender is told that it has been read. */
  readonly read: boolean;
}

export function seenValue({ time, read }: Seen): Bytes {
  return encode((writer) => void writer.uint53(Math.floor(time / DAY)).u8(read ? 1 : 0), undefined);
}

export function seenOf(value: Uint8Array): Seen {
  // A damaged record is there, and that is all.
  if (value.length === 0) return { time: 0, read: false };
  return decode((reader) => ({ time: reader.uint53() * DAY, read: reader.u8() === 1 }), value);
}

/** Forgets which messages were received long ago; none of them can come again. */
export async function pruneSeen(context: Context): Promise<void> {
  const oldest = Math.floor(context.clock.now() / DAY) - KEPT_DAYS;
  for (let after: string = layout.seen; ; ) {
    const entries = await context.store.list(layout.seen, { limit: BATCH, after });
    const old = entries.filter(([key, value]) => {
      return layout.dayOfSeen(key) < oldest && seenOf(value).time < oldest * DAY;
    });
    if (old.length > 0) await context.write(old.map(([key]) => ({ delete: key })));
    const last = entries.at(-1)?.[0];
    if (last === undefined || layout.dayOfSeen(last) >= oldest) return;
    after = last;
  }
}
