import type { Bytes } from "../../../base/bytes.js";
import { SubrosaError } from "../../../base/errors.js";
import { START } from "../../../wire/identifiers.js";
import { EntryKind, LogKind } from "../../../wire/protocol.js";
import type { Context, Effect } from "../../context.js";
import { layout } from "../../layout.js";
import { isOwnTrouble } from "../../own-trouble.js";
import type { ConversationRecord } from "../record.js";
import { keptHandshakes, putBack } from "./journal.js";

/**
 * What the creator of a group keeps when it goes, or comes in anew. No commit has added it: a relay that has lost how the
 * others came in lists it alone, and takes nothing from them.
 */
export async function bequest(
  { store, journal }: Context,
  { creator, subject, groupId }: ConversationRecord,
): Promise<Effect[]> {
  if (!creator || subject.kind === "direct") return [];
  return (await keptHandshakes(store, groupId)).map((one) => journal.bequeath(groupId, one));
}

/**
 * Puts back how the others came into a group that this device has left: they know what came after. False if there is nothing
 * to put back, or the others have gone on in another way.
 */
export async function putBackForOthers(context: Context, groupId: Bytes): Promise<boolean> {
  const { store, relay } = context;
  const log = { kind: LogKind.group, id: groupId };
  const kept = await keptHandshakes(store, groupId, layout.bequestOf);
  if (kept.length === 0) return false;
  // Nothing more is taken from who is leaving.
  const left = kept.findIndex(({ own, content }) => own && content.kind === EntryKind.leave);
  try {
    let after = START;
    for (const one of left < 0 ? kept : kept.slice(0, left + 1))
      after = await relay.request("append", { log, after, entry: putBack(one) });
  } catch (error) {
    if (!SubrosaError.is(error) || isOwnTrouble(error)) throw error;
    return false;
  }
  await context.write([{ deletePrefix: layout.bequestOf(groupId) }]);
  return true;
}
