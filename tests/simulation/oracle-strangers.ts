import type { SubrosaError } from "../../src/base/errors.js";
import { policyOf } from "../../src/client/conversation/membership/policy.js";
import type { ConversationRecord } from "../../src/client/conversation/record.js";
import type { Device } from "./device.js";
import { devicesAfter } from "./oracle-common.js";
import type { LogTruth } from "./truth.js";
import type { World } from "./world.js";

/**
 * Whether a device of a member may know nothing of the group: it is for others to add it, or to add it again. `record`: what
 * it has of the group.
 */
export function mayBeStranger(
  world: World,
  log: LogTruth,
  device: Device,
  record: ConversationRecord | undefined,
): boolean {
  // Or it was in the group before, and read in its log that this was over.
  const isNew = record === undefined || (record.status === "ended" && record.lastEpoch !== undefined);
  return isNew && (isForgotten(world, log, device) || cameByLostName(world, log, device));
}

/**
 * The device's disk was set back to before it came into the group, or came back, and there is nobody to let the device in
 * that took its place since.
 */
function isForgotten(world: World, log: LogTruth, { setBack, user, life }: Device): boolean {
  const devices = devicesAfter(world, log, log.entries.length);
  const isAlone = [...devices.values()].every((one) => one === user);
  return setBack && isAlone && !devices.has(life?.client.deviceId ?? "");
}

/**
 * The welcome calls the group by a name that it has given up since and another has had: it could be anybody's group that
 * only calls itself so, and the app was told that it was let go.
 */
function cameByLostName({ truth }: World, log: LogTruth, { user, events }: Device): boolean {
  const isTold = events.some(
    ({ name, event }) => name === "error" && (event as SubrosaError).code === "name-taken",
  );
  const added = log.entries.findLast(({ access }) =>
    access.some(({ type, userId }) => type === "add" && userId === user),
  );
  if (!isTold || added === undefined) return false;
  const epochs = truth.epochsOf(log.groupId).filter(({ handshake }) => handshake <= added.seq);
  const [epoch] = epochs.sort((a, b) => b.handshake - a.handshake);
  const policy = epoch && policyOf(epoch.context.extensions);
  if (policy?.kind !== "group" || policy.name === truth.nameOf(log)) return false;
  return [...truth.logs.keys()].some(
    (groupId) =>
      groupId !== log.groupId &&
      truth.epochsOf(groupId).some(({ context }) => {
        const other = policyOf(context.extensions);
        return other.kind === "group" && other.name === policy.name;
      }),
  );
}
