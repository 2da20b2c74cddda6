import type { Bytes } from "../base/bytes.js";
import type { Clock } from "../base/clock.js";
import { toHex } from "../base/encoding.js";
import { encodeRelayFrame, type SignalFrame } from "../wire/frames.js";
import { Buckets } from "./abuse/buckets.js";
import { groupTopic, type Hub } from "./hub.js";
import type { RelayLimits } from "./limits.js";
import type { Metrics } from "./operation/metrics.js";
import type { RelayStorage } from "./storage.js";
import type { Reader } from "./subscription.js";

export interface SignalServices {
  readonly storage: RelayStorage;
  readonly hub: Hub;
  readonly limits: RelayLimits;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

/**
 * Passes signals on to who reads the group's log at this moment. They are kept nowhere, and answered by nothing: what
 * comes without access, too often or too large is dropped without a word, and so is what a slow reader would have got.
 */
export class Signals {
  readonly #services: SignalServices;
  readonly #devices: Buckets;
  readonly #groups: Buckets;

  constructor(services: SignalServices) {
    this.#services = services;
    const { clock, limits } = services;
    this.#devices = new Buckets(clock, limits.maxTracked);
    this.#groups = new Buckets(clock, limits.maxTracked);
  }

  /** Takes a signal that came on the session of `from`. */
  async take(from: Reader, signal: SignalFrame): Promise<void> {
    const passed = await this.#mayPass(from.deviceId, signal);
    const { metrics, hub, storage } = this.#services;
    metrics.signals.add(passed ? "passed" : "dropped");
    if (!passed) return;
    const frame = encodeRelayFrame(signal);
    hub.pass(signal.groupId, frame, from);
    void storage.broadcast?.(groupTopic(signal.groupId), frame);
  }

  async #mayPass(deviceId: Bytes, { groupId, payload }: SignalFrame): Promise<boolean> {
    const { storage, limits } = this.#services;
    const { maxSignalBytes, signalsPerSecond, signalBurst } = limits;
    if (payload.length > maxSignalBytes) return false;
    if (!this.#devices.get(toHex(deviceId), signalsPerSecond, signalBurst).tryTake(1)) return false;
    const access = await storage.access(groupId, deviceId);
    if (access === undefined || access.until !== undefined || access.leavingSince > 0) return false;
    // After that: nobody from outside uses up what members may send.
    const { groupSignalsPerSecond, groupSignalBurst } = limits;
    return this.#groups.get(toHex(groupId), groupSignalsPerSecond, groupSignalBurst).tryTake(1);
  }
}
