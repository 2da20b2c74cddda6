import { type ErrorCode, SubrosaError } from "../../../base/errors.js";

/** Refusals after which trying again makes no difference. */
const FINAL: readonly ErrorCode[] = [
  "not-an-admin",
  "not-a-member",
  "last-admin",
  "name-taken",
  "banned",
  "unknown-user",
  "no-key-package",
  "too-large",
  "quota-exceeded",
  "rate-limited", // only who adds strangers: better told than kept waiting with all that comes after
  "data-lost", // of who is to be added: likewise
  "forbidden",
  "malformed",
  "already-a-member",
  "identity-changed",
  "identity-mismatch",
  "invalid-argument",
  "invalid-message",
  "invalid-signature",
  "invalid-key",
  "protocol-error",
];

/** Whether what failed with this fails every time. */
export function isFinal(error: unknown): error is SubrosaError {
  return SubrosaError.is(error) && FINAL.includes(error.code);
}
