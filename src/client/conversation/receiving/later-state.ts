import { type Bytes, copyBytes } from "../../../base/bytes.js";
import { SubrosaError } from "../../../base/errors.js";
import { decode } from "../../../codec/reader.js";
import { verifyFramedContent } from "../../../mls/framing/authentication.js";
import { unprotectPrivate } from "../../../mls/framing/private-message.js";
import type { GroupState } from "../../../mls/group/index.js";
import { toLeafIndex } from "../../../mls/structs/indices.js";
import { decodeMlsMessage } from "../../../mls/structs/message.js";

/** No leaf: whose own messages nobody reads. */
const NOBODY = toLeafIndex(-1);

/**
 * Whether a message by this device's own leaf was made by a later state of it than this one: with a key that this
 * state has not used yet, and signed by this device. Then this is an older copy, and would use the same keys again.
 * What the relay repeats, or another member makes up, does not pass.
 */
export async function isByLaterState(group: GroupState, payload: Bytes): Promise<boolean> {
  const { ownLeafIndex, secretTree, groupContext } = group;
  const own = group.tree.leaf(ownLeafIndex);
  const message = decode(decodeMlsMessage, copyBytes(payload));
  if (message.wireFormat !== "private_message" || own === undefined) return false;
  try {
    const { authenticated } = await unprotectPrivate(
      message.privateMessage,
      { senderDataSecret: group.secrets.senderDataSecret, secretTree },
      { ownLeafIndex: NOBODY, isMember: (leaf) => leaf === ownLeafIndex },
    );
    await verifyFramedContent(authenticated, groupContext, own.signatureKey);
    return true;
  } catch (error) {
    if (!SubrosaError.is(error) || error.code === "internal") throw error;
    return false;
  }
}
