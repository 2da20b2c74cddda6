import { toHex } from "../../src/base/encoding.js";
import type { Gone } from "./oracle-deletions.js";
import type { Accepted, LostLog, Membership } from "./truth.js";
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

/** Its sender was not in the group any more, and knew it: with the keys, what was kept to be sent again was gone. */
function wasOver({ truth }: World, { log, over }: LostLog, from: string, entry: Accepted): boolean {
  const mine = log.memberships(truth.creatorOf(log)).find((one) => isFor(one, from, entry));
  return mine?.end !== undefined && over.some(({ user, at }) => user === from && at < entry.seq);
}

/** Everybody whom it was for, and who had not gone before the loss, has it: what all have its sender forgets. */
function hasArrived(
  world: World,
  { log }: LostLog,
  gone: Gone,
  from: string,
  entry: Accepted,
  id: string,
): boolean {
  const { truth } = world;
  return log
    .memberships(truth.creatorOf(log))
    .filter((one) => one.user !== from && one.end === undefined && isFor(one, one.user, entry))
    .every(({ user }) => truth.received.has(`${user} ${id}`) || gone.mayMiss(user, id));
}
