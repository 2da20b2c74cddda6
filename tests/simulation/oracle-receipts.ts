import { layout } from "../../src/client/layout.js";
import type { Device } from "./device.js";
import type { History } from "./history.js";
import { failedReceipts, isLossy, receiptsOf } from "./oracle-common.js";
import type { Gone } from "./oracle-deletions.js";
import type { World } from "./world.js";

/** Nobody is told the same thing twice of a message, and of a direct one everybody is told in the end. */
export function receiptProblems(world: World, history: History, gone: Gone): string[] {
  const problems: string[] = [];
  for (const device of world.devices.values()) {
    if (!device.setBack) problems.push(...doubled(device, isLossy(world)));
  }
  return isLossy(world) ? problems : [...problems, ...missing(world, history, gone)];
}

function doubled(device: Device, lossy: boolean): string[] {
  const seen = new Set<string>();
  const twice = new Set<string>();
  for (const { state, by, ids } of receiptsOf(device)) {
    // That a message was given up the next process says again if this one cannot note any more that it has; what a
    // relay has lost is sent a second time.
    if (state === "failed" || (state === "sent" && lossy)) continue;
    for (const id of ids) {
      const what = `${state} by ${by} of ${id}`;
      if (seen.has(what)) twice.add(what);
      seen.add(what);
    }
  }
  return [...twice].map((what) => `${device.user} was told twice: ${what}`);
}

/** A direct message that its receiver holds is known to be delivered, so that it is not kept to be sent again. */
function missing(world: World, history: History, gone: Gone): string[] {
  return history.sends.flatMap(({ from, to, text, id }) => {
    if (to === undefined || id === undefined) return [];
    const { place } = world.device(from);
    const kept = place.under(layout.kept).some(([key]) => key.endsWith(`/${id}`));
    const failed = failedReceipts(world.device(from)).has(id);
    if (!kept || failed || gone.mayMiss(from, id) || !world.truth.received.has(`${to} ${id}`)) return [];
    return [`${from} does not know that ${to} has ${text}`];
  });
}
