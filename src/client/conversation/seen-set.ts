import type { Context } from "../context.js";
import { DAY, layout } from "../layout.js";

/** How long received message ids are known: longer than a relay keeps entries and an outbox messages. */
const KEPT_DAYS = 60;

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

/** Forgets which messages of long ago were received; none of them can come again. */
export async function pruneSeen(context: Context): Promise<void> {
  const oldest = Math.floor(context.clock.now() / DAY) - KEPT_DAYS;
  for (;;) {
    const [first] = await context.store.list(layout.seen, { limit: 1 });
    const day = first && layout.dayOfSeen(first[0]);
    if (day === undefined || day >= oldest) return;
    await context.write([{ deletePrefix: layout.seenDay(day) }]);
  }
}
