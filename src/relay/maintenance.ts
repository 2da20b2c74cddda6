import type { Clock } from "../base/clock.js";
import type { RelayLimits } from "./limits.js";
import type { RelayStorage } from "./storage.js";

/** Drops in the background what nobody needs any more, in small steps between which requests go on. */
export class Maintenance {
  readonly #storage: RelayStorage;
  readonly #limits: RelayLimits;
  readonly #clock: Clock;
  readonly #report: (error: unknown) => void;
  #cancel: () => void = () => {};
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(storage: RelayStorage, limits: RelayLimits, clock: Clock, report: (error: unknown) => void) {
    this.#storage = storage;
    this.#limits = limits;
    this.#clock = clock;
    this.#report = report;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#cancel = this.#clock.after(this.#limits.maintenanceInterval, () => {
      this.#running = this.#round().finally(() => this.#schedule());
    });
  }

  /** Goes once through all logs and blobs. */
  async #round(): Promise<void> {
    const { retention, uploadTimeout, maxLogBytes, maintenanceBatch: batch } = this.#limits;
    try {
      while (!this.#stopped) {
        const now = this.#clock.now();
        if (await this.#storage.prune({ now, retention, uploadTimeout, maxLogBytes, batch })) return;
      }
    } catch (error) {
      this.#report(error);
    }
  }

  /** Resolves when no step is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#running;
  }
}
