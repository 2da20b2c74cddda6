import { toHex } from "../../src/base/encoding.js";
import { EntryKind } from "../../src/wire/protocol.js";
import type { Gone } from "./oracle-deletions.js";
import type { Accepted, LostLog, Membership, Taken } from "./truth.js";
import type { World } from "./world.js";

export const isFor = (one: Membership, user: string, { seq }: Accepted) =>
  one.user === user && one.from < seq && seq < one.until;

/** Whether a group's log had a message that need not be in it again, now that the relay has lost it. */
export function mayStayLost(world: World, gone: Gone, from: string, id: string): boolean {
  return world.truth.lost.some((lost) => {
    const entry = lost.log.entries.find(({ entryId }) => messageIn(world, entryId) === id);
    if (entry === undefined) return false;
    return wasOver(world, lost, from, entry) || hasArrived(world, lost, gone, from, entry, id);
  });
}

function messageIn({ truth }: World, entryId: string): string | undefined {
  const action = truth.sealed.get(entryId)?.intent.action;
  return action?.type === "send" ? toHex(action.content.id) : undefined;
}

/**
 * Its sender was not in the group any more, and knew it, if only by what the relay had sent before it lost that: with the
 * keys, what was kept to be sent again was gone.
 */
function wasOver({ truth }: World, { log, over }: LostLog, from: string, entry: Accepted): boolean {
  const mine = log.memberships(truth.creatorOf(log)).find((one) => isFor(one, from, entry));
  const stays = truth.taken.filter(({ user, at }) => user === from && at < entry.seq);
  const isOver = (stay: Taken) =>
    over.includes(stay) || (stay.groupId === log.groupId && (stay.endedAt ?? 0) >= entry.seq);
  return mine?.end !== undefined && stays.some(isOver);
}

/**
 * Everybody whom it was for, and who has not gone before it could come again, has it: what all have its sender forgets. Who
 * has come back since was not there for it.
 */
function hasArrived(
  world: World,
  { log }: LostLog,
  gone: Gone,
  from: string,
  entry: Accepted,
  id: string,
): boolean {
  const { truth } = world;
  const now = truth.logs.get(log.groupId);
  const all = now?.memberships(truth.creatorOf(log)) ?? [];
  const isNew = ({ entryId }: Accepted) => !log.entries.some((one) => one.entryId === entryId);
  // What its sender had to send again came before anything else that it has said since.
  const spoke = now?.entries.find((one) => {
    return one.user === from && one.kind === EntryKind.application && isNew(one);
  });
  const hasEnded = ({ until }: Membership) => {
    const end = now?.entries[until - 1];
    return end !== undefined && isNew(end) && end.seq < (spoke?.seq ?? Number.POSITIVE_INFINITY);
  };
  const hasGone = (user: string) => {
    const mine = all.filter((one) => one.user === user);
    return (mine.length > 0 && mine.every(({ end }) => end !== undefined)) || mine.some(hasEnded);
  };
  return log
    .memberships(truth.creatorOf(log))
    .filter((one) => one.user !== from && one.end === undefined && isFor(one, one.user, entry))
    .filter(({ user }) => !hasGone(user))
    .every(({ user }) => truth.received.has(`${user} ${id}`) || gone.mayMiss(user, id));
}

/** A device knows a message that it got in a stay which it has left, as the relay has lost: put back, it does not come again. */
export function wasHidden(world: World, user: string, id: string): boolean {
  const { truth } = world;
  return truth.lost.some(({ log }) => {
    const entry = log.entries.find(({ entryId }) => messageIn(world, entryId) === id);
    const stays = log.memberships(truth.creatorOf(log));
    return entry !== undefined && stays.some((one) => one.end === "left" && isFor(one, user, entry));
  });
}
