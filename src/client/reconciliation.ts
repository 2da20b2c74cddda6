import type { Context } from "./context.js";
import type { Inbox } from "./conversation/receiving/inbox.js";
import type { Registry } from "./conversation/registry.js";

/**
 * Joins what the relay says this device was added to and of which it knows nothing: a pointer was lost, or came for a key
 * package that was not to be had then. What is known here and not there, the log itself tells when it is asked for.
 */
export async function reconcile(
  context: Context,
  registry: Registry,
  inbox: Pick<Inbox, "recover" | "unopened">,
): Promise<void> {
  const { groups } = await context.relay.request("listGroups", {});
  await Promise.all(
    groups.map(async ({ groupId, since }) => {
      const known = registry.get(groupId)?.state;
      // START: the device that created it, which no commit has added.
      if (since.seq === 0) return known?.record.status === "ended" ? inbox.unopened(groupId) : undefined;
      // One that has ended is joined again only at a later epoch than its last.
      if (known !== undefined && known.record.status !== "ended" && known.place.cursor.seq >= since.seq)
        return;
      await inbox.recover({ groupId, at: since });
    }),
  );
}
