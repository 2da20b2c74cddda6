import { toHex } from "../../src/base/encoding.js";
import type { Receipt } from "../../src/client/events.js";
import type { Device } from "./device.js";
import type { LogTruth } from "./truth.js";
import type { World } from "./world.js";

/** The relay has lost data in this run: order is not promised then, and a message may have come before it was lost. */
export const isLossy = ({ truth, devices }: World) =>
  truth.hasLost || [...devices.values()].some(({ setBack }) => setBack);

/** What a device's app got, each message once, in the order in which it first came. */
export function firstTaken(device: Device): Device["taken"] {
  const seen = new Set<string>();
  return device.taken.filter(({ id }) => !seen.has(id) && seen.add(id));
}

/** What a device's app was told of messages it sent. */
export function receiptsOf(device: Device): Receipt[] {
  return device.events.flatMap(({ name, event }) => (name === "receipt" ? [event as Receipt] : []));
}

/** Messages that were given up, with why. */
export function failedReceipts(device: Device): Map<string, string> {
  const failed = new Map<string, string>();
  for (const { state, ids, code } of receiptsOf(device)) {
    if (state === "failed") for (const id of ids) failed.set(id, code ?? "?");
  }
  return failed;
}

/** The devices in a group after the entry with this number, with their users. */
export function devicesAfter({ truth }: World, log: LogTruth, seq: number): Map<string, string> {
  const devices = new Map([[toHex(log.group.creator), truth.creatorOf(log)]]);
  for (const { access } of log.entries.slice(0, seq)) {
    for (const change of access) {
      if (change.type === "remove") devices.delete(toHex(change.deviceId));
      else devices.set(toHex(change.deviceId), change.userId);
    }
  }
  return devices;
}
