import type { Locks } from "./platform.js";

/** Told when this tab comes to hold the lock, and when another took it away. */
export interface OwnershipHandler {
  granted(): void;
  stolen(): void;
}

/** The lock of the tab that has the store open: waited for in a queue, or taken from a holder that does not answer. */
export class Ownership {
  readonly #locks: Locks;
  readonly #name: string;
  readonly #handler: OwnershipHandler;
  /** Ends the waiting in the queue. */
  #queued: AbortController | undefined;
  /** Gives the lock back. */
  #release: (() => void) | undefined;
  #over = false;

  constructor(locks: Locks, name: string, handler: OwnershipHandler) {
    this.#locks = locks;
    this.#name = name;
    this.#handler = handler;
  }

  get isHeld(): boolean {
    return this.#release !== undefined;
  }

  /** Waits for its turn, unless it does already. */
  queue(): void {
    if (this.#over || this.isHeld || this.#queued !== undefined) return;
    const queued = new AbortController();
    this.#queued = queued;
    void this.#request({ signal: queued.signal }).catch(() => {});
  }

  /** Takes the lock from whoever holds it, past those who wait. */
  steal(): void {
    if (this.#over || this.isHeld) return;
    this.leave();
    void this.#request({ steal: true }).catch(() => {});
  }

  /** Does not wait any more. */
  leave(): void {
    this.#queued?.abort();
    this.#queued = undefined;
  }

  /** Lets another tab have the lock. */
  release(): void {
    this.#release?.();
    this.#release = undefined;
  }

  /** Neither holds the lock nor waits for it any more. */
  end(): void {
    this.#over = true;
    this.leave();
    this.release();
  }

  async #request(options: { steal?: boolean; signal?: AbortSignal }): Promise<void> {
    let release: (() => void) | undefined;
    try {
      await this.#locks.request(this.#name, options, async () => {
        if (this.#over || this.isHeld) return;
        const held = new Promise<void>((resolve) => {
          release = resolve;
        });
        this.#release = release;
        this.#queued = undefined;
        // A tab that was frozen while its turn came may find that it was passed over since: that is told first.
        void this.#locks.query().finally(() => {
          if (release !== undefined && this.#release === release) this.#handler.granted();
        });
        await held;
      });
    } catch (error) {
      if (release !== undefined && this.#release === release) {
        this.#release = undefined;
        this.#handler.stolen();
      }
      throw error;
    }
  }
}
