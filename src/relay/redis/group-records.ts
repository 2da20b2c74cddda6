import type { Bytes } from "../../base/bytes.js";
import { groupLog, inboxLog } from "../embedded/groups.js";
import { keys } from "../embedded/keys.js";
import { NO_SENDER } from "../embedded/logs.js";
import type { GroupRecord } from "../embedded/records.js";
import type { NameCommand } from "../storage.js";

/** A group record that stands where a group can never be. */
export const VOID: GroupRecord = {
  creator: NO_SENDER,
  bodyDigest: new Uint8Array(32),
  answer: { seq: 0, digest: new Uint8Array(32) },
  names: [],
  disowned: 0,
  removalsAsked: false,
};

/** What a commit's changes are checked against. */
export function hintsOfChanges(
  groupId: Bytes,
  changes: readonly { readonly type: string; readonly userId: string; readonly deviceId: Bytes }[],
): string[] {
  return changes.flatMap(({ type, userId, deviceId }) => {
    const access = keys.access(groupId, deviceId);
    if (type !== "add") return [access];
    return [access, keys.account(userId), keys.head(inboxLog(deviceId)), keys.request(groupId, deviceId)];
  });
}

/** What a claim or a release of a name is checked against. */
export function hintsOfName({ groupId, nameHash, sender }: NameCommand): string[] {
  const access = keys.access(groupId, sender.deviceId);
  return [keys.group(groupId), keys.head(groupLog(groupId)), access, keys.name(nameHash)];
}
