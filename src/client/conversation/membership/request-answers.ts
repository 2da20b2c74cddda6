import { asBytes } from "../../../base/bytes.js";
import { SubrosaError } from "../../../base/errors.js";
import { RejectionReason } from "../../../wire/protocol.js";
import type { Context } from "../../context.js";
import { GONE_LEAF, REPLACED_DEVICE, STANDING } from "./additions.js";

/** Who was banned meanwhile is refused, and so is who has left: not by the relay's word. */
export const isRefused = (error: unknown): boolean =>
  SubrosaError.is(error) && (error.code === "banned" || error.rule === GONE_LEAF);

/**
 * The box does not show the request any more; or the list of devices that the relay shows does not have who asked. If that is
 * the newest list, nobody waits for an answer; if not, a later session shows a newer one.
 */
export const isMoot = (error: unknown): boolean =>
  SubrosaError.is(error) && (error.rule === STANDING || error.rule === REPLACED_DEVICE);

/** Says no to who asked to join; does nothing where somebody has answered, or only an admin may. */
export async function refuseRequest(
  { relay }: Context,
  groupId: Uint8Array,
  requestId: Uint8Array,
  banned: boolean,
): Promise<void> {
  const reason = banned ? RejectionReason.banned : RejectionReason.refused;
  try {
    await relay.request("rejectJoin", { groupId: asBytes(groupId), requestId: requestId.slice(), reason });
  } catch (error) {
    // `conflict`: it was answered for another reason.
    const codes = ["unknown-entry", "conflict", "not-an-admin"];
    if (!SubrosaError.is(error) || !codes.includes(error.code)) throw error;
  }
}
