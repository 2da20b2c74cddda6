import { type Bytes, equalBytes } from "../../base/bytes.js";
import type { Context, Effect } from "../context.js";
import type { OwnRequests } from "./own-requests.js";
import type { Registry } from "./registry.js";
import { beginAnew } from "./repair.js";
import type { Starter } from "./start.js";

/** What is needed to get into a conversation whose welcome could not be opened. */
export interface Ways {
  readonly registry: Registry;
  readonly starter: Starter;
  readonly ownRequests: OwnRequests;
}

/**
 * Somebody added this device by a key package that it has not any more. A group's members are asked to add it anew; a
 * direct conversation begins anew, and what was written in the one comes again.
 */
export function askAgain(context: Context, ways: Ways, groupId: Bytes): void {
  const ask = async () => {
    const { groups } = await context.relay.request("listGroups", {});
    const listed = groups.find((group) => equalBytes(group.groupId, groupId));
    if (listed === undefined || ways.registry.get(groupId) !== undefined) return;
    if (listed.peer === undefined) return ways.ownRequests.askAgain(groupId);
    const changes: Effect[] = [];
    beginAnew(context, { change: (...more) => void changes.push(...more) }, listed.peer);
    await context.write(changes);
    ways.starter.flushDirect(listed.peer);
  };
  context.background(ask());
}
