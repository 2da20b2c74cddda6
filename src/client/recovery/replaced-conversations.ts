import { asBytes, type Bytes } from "../../base/bytes.js";
import { isName } from "../../wire/identifiers.js";
import type { Context, Effect } from "../context.js";
import type { OwnRequests } from "../conversation/membership/own-requests.js";
import type { Starter } from "../conversation/membership/start.js";
import type { Registry } from "../conversation/registry.js";
import { beginAnew } from "../conversation/repair/repair.js";
import { replacedDevices } from "../identity/replaced-devices.js";
import { layout } from "../layout.js";

/** With how many users a conversation begins because a relay says that there was one. */
const MAX_BEGUN = 1_024;

/**
 * Goes on where a device was, as the relay says, whose place this one has taken, and of which nothing is known here. Direct
 * conversations begin anew, as what others write there comes to nobody. By a lie it reaches no more than that others hear
 * from this user, who could have begun a conversation themselves; so not with those who may not, being blocked. The
 * members of groups are asked to put this device in the place of that one: to the app it is an invitation.
 */
export async function resumeReplaced(
  context: Context,
  registry: Registry,
  { starter, ownRequests }: { readonly starter: Starter; readonly ownRequests: OwnRequests },
): Promise<void> {
  const { store, relay, identity, outbox } = context;
  const devices = await replacedDevices(store);
  if (devices.length === 0) return;
  const peers = new Set<string>();
  const left: Bytes[] = [];
  for (const of of devices) {
    const { groups } = await relay.request("listGroups", { of });
    for (const { groupId, peer } of groups) {
      const known = registry.get(groupId)?.state.record;
      if (peer === undefined) {
        // It may have come back into one that is over here.
        if ((known?.status ?? "ended") === "ended") left.push(asBytes(groupId));
      } else if (isName(peer) && known === undefined) peers.add(peer);
    }
  }
  const { users: blocked } = await relay.request("listBlocked", {});
  for (const userId of [identity.userId, ...blocked]) peers.delete(userId);
  const isOpen = (peer: string) => registry.direct(peer) !== undefined || outbox.waitsFor(peer);
  const begun = [...peers].filter((peer) => !isOpen(peer)).slice(0, MAX_BEGUN);
  const changes: Effect[] = [];
  for (const peer of begun) beginAnew(context, { change: (...more) => void changes.push(...more) }, peer);
  await context.write(changes);
  for (const peer of begun) starter.flushDirect(peer);
  // What has begun and what has been asked is there if this is done again.
  for (const groupId of left) await ownRequests.askAgain(groupId, {});
  await context.write([{ delete: layout.replaced }]);
}
