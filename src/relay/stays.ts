import type { Access, Stay } from "./storage.js";

/** How many stays that are over a device may still read, if it was away, beside the oldest. */
const MAX_NEWER_STAYS = 3;

/**
 * Those of a device that it may not have read to the end, where it is added. It stands in the oldest: removing and adding
 * it again and again must not take away what it has to read there.
 */
export function endedStays(before: Access | undefined): readonly Stay[] {
  if (before === undefined) return [];
  const { from, until, leavingSince, acked, earlier } = before;
  const all = until === undefined ? earlier : [...earlier, { from, until, leavingSince }];
  const unread = all.filter((stay) => stay.until.seq > acked);
  return [...unread.slice(0, 1), ...unread.slice(1).slice(-MAX_NEWER_STAYS)];
}

/** The one that is over in which a reader stands who has read up to `seq`; nothing where it stands in the present one. */
export function endedStayAt({ earlier, acked }: Access, seq: number): Stay | undefined {
  return earlier.find(({ from, until }) => seq >= from.seq - 1 && seq < until.seq && acked < until.seq);
}
