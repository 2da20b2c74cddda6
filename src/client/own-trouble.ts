import { type ErrorCode, SubrosaError } from "../base/errors.js";

/** Failures of this device's store and connection. */
const OWN: readonly ErrorCode[] = [
  "closed",
  "connection-failed",
  "storage-full",
  "storage-refused",
  "store-failed",
  "store-in-use",
];

/**
 * Whether an error says nothing of what came in, or of what was asked for: neither is given up for it, and what was
 * tried is tried again.
 */
export function isOwnTrouble(error: unknown): boolean {
  return SubrosaError.is(error) && OWN.includes(error.code);
}

/** Whether the relay was not asked, since too much waits to be sent: its silence says nothing. No relay can answer so. */
export function isUnasked(error: unknown): boolean {
  return SubrosaError.is(error) && error.code === "queue-full";
}
