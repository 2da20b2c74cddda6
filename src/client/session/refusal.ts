import { type ErrorCode, SubrosaError } from "../../base/errors.js";
import type { RefusalCode } from "../../wire/refusals.js";

/** What a refusal means, in this client's words: whatever text came with it is the relay's, who could write anything. */
const MEANINGS: Readonly<Record<RefusalCode, string>> = {
  stale: "a newer commit or proposal came first",
  gap: "the relay no longer has what comes next",
  "cursor-mismatch": "the relay's log is not the one that was read before",
  conflict: "the same id, slot or version is taken by something else",
  "unknown-user": "the relay knows no such user or device",
  "unknown-group": "the relay knows no such group, or no longer",
  "unknown-entry": "the relay knows no such entry",
  "unknown-blob": "the relay has no such attachment, or not any more",
  "no-key-package": "the relay has no key package of the user",
  "name-taken": "another group has this name",
  "too-large": "larger than the relay allows",
  "quota-exceeded": "a limit of the relay for this user, group or device is reached",
  "rate-limited": "too many requests in too short a time",
  forbidden: "the relay does not allow it to this device",
  "not-a-member": "this device has no access to the group",
  "not-an-admin": "only an admin's device may do this",
  unauthorized: "the relay's operator does not admit this user",
  "user-id-taken":
    "the user id is bound to another account key: use the store with that key, or have the relay's operator free the id (subrosa-relay remove-user)",
  "store-outdated": "the store is an older copy of this device's state",
  revoked: "another device has taken the place of this one in the account's device list",
  "user-removed": "the relay's operator has removed this user, and its devices with it",
  malformed: "the relay could not read what it was sent",
  internal: "something failed inside the relay",
  "invalid-signature": "the relay found a signature that does not verify",
  "invalid-key": "the relay found a key that is not valid",
};

const GONE: readonly ErrorCode[] = ["revoked", "user-removed"];

/** Whether the relay refuses a device for ever. */
export function isGone(error: unknown): error is SubrosaError {
  return SubrosaError.is(error) && GONE.includes(error.code);
}

/** The error of a request, or of a login, that the relay refused. */
export function refusalError(code: RefusalCode): SubrosaError {
  return new SubrosaError(code, `the relay refused: ${MEANINGS[code]}`);
}
