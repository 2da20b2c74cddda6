import { type Clock, systemClock } from "../base/clock.js";

interface LockOptions {
  readonly ifAvailable?: boolean;
  readonly steal?: boolean;
  readonly signal?: AbortSignal;
}

/** The part of the Web Locks API that is used. */
interface Locks {
  request(
    name: string,
    options: LockOptions,
    callback: (lock: unknown) => Promise<void> | void,
  ): Promise<void>;
}

export interface TabLockOptions {
  /** Milliseconds to wait for a holder that may be about to go, such as the same page before a reload. */
  readonly patience: number;
  readonly clock?: Clock | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Takes the lock `name` among all tabs and workers of this origin; the result gives it back. Undefined if another
 * holds it. Where there are no Web Locks everybody gets it.
 */
export async function takeTabLock(name: string, options: TabLockOptions): Promise<(() => void) | undefined> {
  const { patience, clock = systemClock, signal } = options;
  const locks = tabLocks();
  if (!locks) return () => {};
  const atOnce = await hold(locks, name, { ifAvailable: true });
  if (atOnce !== undefined || signal?.aborted) return atOnce;
  const giveUp = new AbortController();
  const stop = () => giveUp.abort();
  const stopClock = clock.after(patience, stop);
  signal?.addEventListener("abort", stop);
  try {
    return await hold(locks, name, { signal: giveUp.signal });
  } finally {
    stopClock();
    signal?.removeEventListener("abort", stop);
  }
}

/** Takes the lock `name` from whoever holds it; the result gives it back. */
export async function stealTabLock(name: string): Promise<() => void> {
  const locks = tabLocks();
  return (locks && (await hold(locks, name, { steal: true }))) ?? (() => {});
}

function tabLocks(): Locks | null | undefined {
  return (globalThis as { navigator?: { locks?: Locks | null } }).navigator?.locks;
}

/** Requests a lock and keeps it until the result is called; undefined if it was not granted. */
function hold(locks: Locks, name: string, options: LockOptions): Promise<(() => void) | undefined> {
  return new Promise((resolve, reject) => {
    const request = locks.request(name, options, (lock) => {
      if (lock === null) return resolve(undefined);
      return new Promise<void>((release) => resolve(release));
    });
    request.catch((error) => (options.signal?.aborted ? resolve(undefined) : reject(error)));
  });
}
