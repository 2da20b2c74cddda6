import { SubrosaError } from "../../../base/errors.js";
import type { GroupState } from "../../../mls/group/index.js";
import type { Context } from "../../context.js";
import { isOwnTrouble } from "../../own-trouble.js";
import { type Leaf, leavesOf } from "./leaves.js";

/**
 * Learns who the members of a group are. A group can say anything about people this user has never met, so that it is
 * the directory that is asked at first contact; what the group says must agree. Returns the users whose leaves bear
 * another account key than the known one, each of which has raised `identityChanged`.
 */
export async function acquaint(context: Context, group: GroupState): Promise<ReadonlySet<string>> {
  const strangers = new Set<string>();
  const leaves = leavesOf(group);
  const keys = new Map(leaves.map((leaf) => [leaf.userId, leaf.accountKey]));
  keys.delete(context.identity.userId);
  await Promise.all(
    [...keys].map(async ([userId, accountKey]) => {
      try {
        await meet(context, userId, leaves);
        await context.contacts.check(userId, accountKey);
      } catch (error) {
        if (!SubrosaError.is(error) || isOwnTrouble(error)) throw error;
        strangers.add(userId);
      }
    }),
  );
  context.delivery.recheck();
  context.accounts.resume();
  return strangers;
}

/**
 * Learns who wrote what waits for its sender to be known, who may be in no group of this user's any more. False if the
 * relay does not say it of somebody.
 */
export async function acquaintSenders(context: Context): Promise<boolean> {
  const { contacts, relay, delivery } = context;
  const keys = new Map(
    delivery.waiting().flatMap(({ from, unknownKey }) => (unknownKey ? [[from, unknownKey]] : [])),
  );
  const isUnknown = (userId: string) => contacts.get(userId) === undefined;
  await Promise.all(
    [...keys].map(async ([userId, accountKey]) => {
      if (!isUnknown(userId)) return;
      try {
        await contacts.checkAccount(await relay.request("fetchAccount", { userId }), userId);
        await contacts.check(userId, accountKey);
      } catch (error) {
        if (!SubrosaError.is(error) || isOwnTrouble(error)) throw error;
      }
    }),
  );
  delivery.recheck();
  return ![...keys.keys()].some(isUnknown);
}

/** Asks the directory for somebody new, or with a device that is. Throws what keeps this user from knowing a newcomer. */
async function meet(context: Context, userId: string, leaves: readonly Leaf[]): Promise<void> {
  const { contacts, relay } = context;
  if (leaves.every((leaf) => leaf.userId !== userId || contacts.hasDevice(userId, leaf.deviceId))) return;
  const isKnown = contacts.get(userId) !== undefined;
  try {
    await contacts.checkAccount(await relay.request("fetchAccount", { userId }), userId);
  } catch (error) {
    // Whom one knows one knows by the pinned key; what is wrong with the list was not taken in.
    if (!isKnown || !SubrosaError.is(error) || isOwnTrouble(error)) throw error;
  }
}
