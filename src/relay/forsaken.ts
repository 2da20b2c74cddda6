import { type Bytes, equalBytes } from "../base/bytes.js";
import type { RelayStorage, Sender } from "./storage.js";

/**
 * Whether nobody can answer what a device asks of a group, for ever: all that have access are devices of its account
 * which are in the account's list no more, and so never come back. Of other accounts it is not believed, as a relay that
 * lost data may have lost their newer lists.
 */
export async function isForsaken(storage: RelayStorage, groupId: Bytes, sender: Sender): Promise<boolean> {
  const list = (await storage.account(sender.userId))?.deviceList.list;
  // Whose list is the first has no former devices: nothing is read of the group for it.
  if (list === undefined || list.version === 1) return false;
  const members = await storage.members(groupId);
  if (members.length === 0 || members.some(({ userId }) => userId !== sender.userId)) return false;
  for (const { deviceId } of members) {
    if (list.devices.some((device) => equalBytes(device.deviceId, deviceId))) return false;
    if (!(await storage.isOwn(sender.deviceId, deviceId))) return false;
  }
  return true;
}
