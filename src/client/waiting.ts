import type { Names } from "../base/arguments.js";
import type { Clock } from "../base/clock.js";
import { assertArgument, SubrosaError } from "../base/errors.js";
import { assertSignal } from "./arguments.js";

/** The longest that timers can be set for. */
const MAX_DELAY = 2 ** 31 - 1;

/** How long a call waits, and what ends it earlier. What it asked for stands, even if the caller waits no longer. */
export interface WaitOptions {
  /** Milliseconds; default 10,000. */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

export const SIGNAL_NAMES: Names<Pick<WaitOptions, "signal">> = { signal: true };
export const WAIT_NAMES: Names<WaitOptions> = { timeout: true, ...SIGNAL_NAMES };

/** The promise's result; throws `timeout`, with what `why` says to it, or `aborted` if that comes first. */
export function within<T>(
  promise: Promise<T>,
  clock: Clock,
  timeout: number | undefined,
  signal?: AbortSignal,
  why: () => string = () => "",
): Promise<T> {
  promise.catch(() => {});
  assertArgument(timeout === undefined || timeout >= 0, "timeout: milliseconds");
  assertSignal(signal);
  return new Promise<T>((resolve, reject) => {
    const abort = () =>
      finish(() => reject(new SubrosaError("aborted", "the call was aborted", { cause: signal?.reason })));
    const cancel =
      timeout === undefined || timeout > MAX_DELAY
        ? () => {}
        : clock.after(timeout, () => finish(() => reject(timedOut(timeout, why()))), true);
    const finish = (then: () => void) => {
      cancel();
      signal?.removeEventListener("abort", abort);
      then();
    };
    if (signal?.aborted) {
      promise.catch(() => {});
      return abort();
    }
    signal?.addEventListener("abort", abort, { once: true });
    promise.then(
      (value) => finish(() => resolve(value)),
      (error: unknown) => finish(() => reject(error)),
    );
  });
}

/** A promise with its ends. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

/** A promise to be settled by somebody else; nobody has to be waiting when it is rejected. */
export function deferred<T>(): Deferred<T> {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((ok, fail) => {
    resolve = ok;
    reject = fail;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}

function timedOut(timeout: number, why: string): SubrosaError {
  return new SubrosaError("timeout", `no answer within ${timeout} ms${why}`);
}
