/** Time and timers, injected so that tests and the simulation own them. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /**
   * Calls `callback` once after `ms`; the result cancels it. With `keepAlive` a Node process waits for it
   * instead of ending when nothing else is left to do.
   */
  after(ms: number, callback: () => void, keepAlive?: boolean): () => void;
}

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after(ms, callback, keepAlive = false) {
    const timer: unknown = setTimeout(callback, ms);
    if (!keepAlive) (timer as { unref?: () => void }).unref?.();
    return () => clearTimeout(timer as Parameters<typeof clearTimeout>[0]);
  },
};
