import { SubrosaError } from "../base/errors.js";

/** Errors of a session that ended are nobody's concern: the next one starts anew. */
export function ifConnected(report: (error: unknown) => void): (error: unknown) => undefined {
  return (error) => {
    if (!SubrosaError.is(error) || (error.code !== "connection-failed" && error.code !== "closed"))
      report(error);
  };
}

/** The error as one of this package. */
export function asError(error: unknown): SubrosaError {
  return SubrosaError.is(error)
    ? error
    : new SubrosaError("internal", "an unexpected error", { cause: error });
}
