import { isName } from "../../wire/identifiers.js";
import type { Context, Effect } from "../context.js";
import type { Starter } from "../conversation/membership/start.js";
import type { Registry } from "../conversation/registry.js";
import { beginAnew } from "../conversation/repair/repair.js";
import { replacedDevices } from "../identity/replaced-devices.js";
import { layout } from "../layout.js";

/** With how many users a conversation begins because a relay says that there was one. */
const MAX_BEGUN = 1_024;

/**
 * Begins the direct conversations anew of which nothing is known here, and which the relay says a device was in whose
 * place this one has taken: what others write there comes to nobody. By a lie it reaches no more than that others hear
 * from this user, who could have begun a conversation themselves; so not with those who may not, being blocked.
 */
export async function beginReplaced(context: Context, registry: Registry, starter: Starter): Promise<void> {
  const { store, relay, identity, outbox } = context;
  const devices = await replacedDevices(store);
  if (devices.length === 0) return;
  const peers = new Set<string>();
  for (const of of devices) {
    const { groups } = await relay.request("listGroups", { of });
    for (const { groupId, peer } of groups) {
      if (peer !== undefined && isName(peer) && registry.get(groupId) === undefined) peers.add(peer);
    }
  }
  const { users: blocked } = await relay.request("listBlocked", {});
  for (const userId of [identity.userId, ...blocked]) peers.delete(userId);
  const isOpen = (peer: string) => registry.direct(peer) !== undefined || outbox.waitsFor(peer);
  const begun = [...peers].filter((peer) => !isOpen(peer)).slice(0, MAX_BEGUN);
  const changes: Effect[] = [{ delete: layout.replaced }];
  for (const peer of begun) beginAnew(context, { change: (...more) => void changes.push(...more) }, peer);
  await context.write(changes);
  for (const peer of begun) starter.flushDirect(peer);
}
