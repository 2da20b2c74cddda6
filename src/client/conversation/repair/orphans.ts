import { type Bytes, equalBytes } from "../../../base/bytes.js";
import type { SubrosaError } from "../../../base/errors.js";
import type { Context, Effect } from "../../context.js";
import type { OwnRequests } from "../membership/own-requests.js";
import type { Starter } from "../membership/start.js";
import type { Registry } from "../registry.js";
import { beginAnew } from "./repair.js";

/** What is needed to get into a conversation whose welcome could not be opened. */
export interface Ways {
  readonly registry: Registry;
  readonly starter: Starter;
  readonly ownRequests: OwnRequests;
}

/**
 * Somebody added this device by a key package that it has not any more. Often it was joined by it, and all is over; if
 * not, a group's members are asked to add it anew, and a direct conversation begins anew: what was written in the one
 * comes again. Nothing is wrong in either case. So it is with a group that is over here, though not for the others: the
 * relay has lost why. `error`: what ends a request by which this device was added. False where the relay does not have this
 * device in the group any more. Throws what keeps it from asking now.
 */
export async function askAgain(
  context: Context,
  { registry, starter, ownRequests }: Ways,
  groupId: Bytes,
  error: SubrosaError | undefined,
): Promise<boolean> {
  const known = registry.get(groupId)?.state.record;
  const failed = () => error && ownRequests.failed(groupId, error);
  if (known?.status === "repairing") {
    failed();
    return true;
  }
  const { groups } = await context.relay.request("listGroups", {});
  const listed = groups.find((group) => equalBytes(group.groupId, groupId));
  if (listed === undefined) {
    failed();
    return false;
  }
  if (listed.peer === undefined) {
    if (known === undefined || known.status === "ended") {
      await ownRequests.askAgain(groupId, { record: known, since: listed.since.seq });
    }
  } else if (known === undefined) {
    const earlier = registry.direct(listed.peer);
    const { binding } = await context.relay.request("resolveDirect", { userId: listed.peer });
    if (binding === undefined || !equalBytes(binding.groupId, groupId)) return true;
    // The other side writes there, and reads no more in the one before.
    if (earlier === undefined) {
      const changes: Effect[] = [];
      beginAnew(context, { change: (...more) => void changes.push(...more) }, listed.peer);
      await context.write(changes);
      starter.flushDirect(listed.peer);
    } else await earlier.lose(undefined, true);
  }
  return true;
}
