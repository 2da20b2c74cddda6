import { type ErrorCode, SubrosaError } from "../base/errors.js";
import type { Context } from "./context.js";
import { DOUBTFUL, type Inbox } from "./conversation/receiving/inbox.js";
import type { Registry } from "./conversation/registry.js";
import { putBackForOthers } from "./conversation/repair/bequest.js";

/** A direct conversation into which there is no way is begun anew, so not where there may be one yet. */
const GONE: readonly ErrorCode[] = ["no-key-package", "gap"];

/**
 * Joins what the relay says this device was added to and of which it knows nothing: a pointer was lost, or came for a key
 * package that was not to be had then. What is known here and not there, the log itself tells when it is asked for. False
 * where this device has not got in yet: it is to look again.
 */
export async function reconcile(
  context: Context,
  registry: Registry,
  inbox: Pick<Inbox, "recover" | "unopened" | "isAcknowledged">,
): Promise<boolean> {
  const { groups } = await context.relay.request("listGroups", {});
  const isSettled = await Promise.all(
    groups.map(async ({ groupId, since, peer }) => {
      const known = () => registry.get(groupId)?.state;
      const isOver = () => known()?.record.status === "ended";
      // START: the device that created it, which no commit has added.
      if (since.seq === 0) {
        // What this device has made, it had stored before.
        if (peer === undefined && known() === undefined) {
          context.outdated(
            new SubrosaError("store-outdated", "the store does not know a group of this device"),
          );
          return true;
        }
        const isNoMore = peer === undefined && known()?.record.creator === false;
        if ((isOver() || isNoMore) && (await putBackForOthers(context, groupId))) return false;
        if (peer === undefined ? !isOver() : known() !== undefined) return true;
        await inbox.unopened(groupId);
        return false;
      }
      // Another has begun since, or will.
      if (peer !== undefined && isOver()) return true;
      // One that has ended is joined again only at a later epoch than its last.
      // Where the log has shown that this device was added anew, the keys are still to come.
      const isAwaited = known()?.record.repair?.readded === true;
      if (!isOver() && !isAwaited && (known()?.place.cursor.seq ?? -1) >= since.seq) return true;
      const result = await inbox.recover({ groupId, at: since });
      if (result.type !== "failed") return result.type !== "held";
      const { code } = result.error;
      // The key package is later than this store, if it is not another's: anyone may add this device with a welcome for none.
      const isLater = (known()?.place.cursor.seq ?? -1) < since.seq;
      if (code === "no-key-package" && isLater && (await inbox.isAcknowledged(groupId))) {
        context.outdated(
          new SubrosaError("store-outdated", "the store lacks what this device has acknowledged"),
        );
        return true;
      }
      const isGone = peer === undefined ? !DOUBTFUL.includes(code) : GONE.includes(code);
      if (isGone && (isOver() || known() === undefined)) await inbox.unopened(groupId);
      return false;
    }),
  );
  return isSettled.every((one) => one);
}
