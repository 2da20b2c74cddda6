import type { Bytes } from "../../../base/bytes.js";
import { SubrosaError } from "../../../base/errors.js";
import { START } from "../../../wire/identifiers.js";
import { LogKind } from "../../../wire/protocol.js";
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
 * Puts back how the others came into a group that this device has left, as far as the relay takes it: they know what came
 * after. False if there is nothing that it takes.
 */
export async function putBackForOthers({ store, relay }: Context, groupId: Bytes): Promise<boolean> {
  const log = { kind: LogKind.group, id: groupId };
  let after = START;
  try {
    for (const kept of await keptHandshakes(store, groupId, layout.bequestOf))
      after = await relay.request("append", { log, after, entry: putBack(kept) });
  } catch (error) {
    if (!SubrosaError.is(error) || isOwnTrouble(error)) throw error;
  }
  return after !== START;
}
