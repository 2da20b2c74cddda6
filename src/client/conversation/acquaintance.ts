import { SubrosaError } from "../../base/errors.js";
import type { GroupState } from "../../mls/group/index.js";
import type { Context } from "../context.js";
import { leavesOf } from "./leaves.js";

/**
 * Learns who the members of a group are. A group can say anything about people this user has never met, so that it is
 * the directory that is asked at first contact; what the group says must agree. Returns the users whose leaves bear
 * another account key than the known one, each of which has raised `identityChanged`.
 */
export async function acquaint(context: Context, group: GroupState): Promise<ReadonlySet<string>> {
  const strangers = new Set<string>();
  const keys = new Map(leavesOf(group).map((leaf) => [leaf.userId, leaf.accountKey]));
  keys.delete(context.identity.userId);
  await Promise.all(
    [...keys].map(async ([userId, accountKey]) => {
      try {
        if (context.contacts.get(userId) === undefined) {
          const account = await context.relay.request("fetchAccount", { userId });
          await context.contacts.checkAccount(account, userId);
        }
        await context.contacts.check(userId, accountKey);
      } catch (error) {
        if (!SubrosaError.is(error)) throw error;
        if (error.code === "connection-failed" || error.code === "closed") throw error;
        strangers.add(userId);
      }
    }),
  );
  context.delivery.recheck();
  return strangers;
}
