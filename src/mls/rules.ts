import { type ErrorCode, SubrosaError } from "../base/errors.js";

/**
 * Every rule of RFC 9420 whose violation the engine reports. The list is closed: each has a test in `tests/rejects`
 * that breaks it and sees exactly it.
 */
export const RULES = [
  // messages
  "RFC 9420 §6: group id",
  "RFC 9420 §6: epoch",
  "RFC 9420 §6: sender is not a member",
  "RFC 9420 §6: own message",
  "RFC 9420 §6: kind of message",
  "RFC 9420 §6.1: content type of this sender",
  "RFC 9420 §6.1: signature",
  "RFC 9420 §6.1: confirmation tag",
  "RFC 9420 §6.2: membership tag",
  "RFC 9420 §6.2: application data in a PublicMessage",
  // leaf nodes
  "RFC 9420 §5.1.1: public key",
  "RFC 9420 §7.2: leaf extension not in capabilities",
  "RFC 9420 §7.2: credential type not in capabilities",
  "RFC 9420 §7.2: version or cipher suite not in capabilities",
  "RFC 9420 §7.2: total lifetime",
  "RFC 9420 §7.3: credential refused",
  "RFC 9420 §7.3: leaf signature",
  "RFC 9420 §7.3: required capabilities",
  "RFC 9420 §7.3: credential type not supported by all members",
  "RFC 9420 §7.3: lifetime",
  "RFC 9420 §7.3: leaf node source",
  "RFC 9420 §7.3: encryption key not replaced",
  "RFC 9420 §7.3: signature key not unique",
  "RFC 9420 §7.3: encryption key not unique",
  // update paths
  "RFC 9420 §7.5: length of the update path",
  "RFC 9420 §7.5: path secret",
  "RFC 9420 §7.6: number of encrypted path secrets",
  "RFC 9420 §7.9.2: parent hash",
  // secret tree
  "RFC 9420 §9.2: key of a generation used",
  // key packages
  "RFC 9420 §10.1: version or cipher suite",
  "RFC 9420 §10.1: key package signature",
  "RFC 9420 §10.1: init key equals encryption key",
  // reinitialization and branching
  "RFC 9420 §11.2: the group was reinitialized",
  "RFC 9420 §11.2: new group does not match the ReInit",
  "RFC 9420 §11.2: members of the old group missing",
  "RFC 9420 §11.3: new group does not match the old one",
  "RFC 9420 §11.3: member not in the old group",
  // proposals
  "RFC 9420 §12.1.3: removal of a blank leaf",
  "RFC 9420 §12.1.4: resumption PSK usage",
  "RFC 9420 §12.1.4: length of the PSK nonce",
  "RFC 9420 §12.1.5: version of a ReInit",
  "RFC 9420 §12.1.7: required capabilities not supported by all members",
  "RFC 9420 §12.1.8: external sender",
  "RFC 9420 §12.1.8: proposal type of an external sender",
  // proposal lists
  "RFC 9420 §12.2: update by the committer",
  "RFC 9420 §12.2: removal of the committer",
  "RFC 9420 §12.2: several updates or removals of one leaf",
  "RFC 9420 §12.2: duplicate addition",
  "RFC 9420 §12.2: addition of a member",
  "RFC 9420 §12.2: duplicate PSK",
  "RFC 9420 §12.2: several GroupContextExtensions",
  "RFC 9420 §12.2: ReInit with other proposals",
  "RFC 9420 §12.2: ExternalInit in a regular commit",
  "RFC 9420 §12.2: proposal type not supported by all members",
  "RFC 9420 §12.2: not exactly one ExternalInit",
  "RFC 9420 §12.2: several removals in an external commit",
  "RFC 9420 §12.2: proposal type in an external commit",
  // commits
  "RFC 9420 §12.4: pending proposals before application data",
  "RFC 9420 §12.4: path required",
  "RFC 9420 §12.4: unknown proposal reference",
  "RFC 9420 §12.4.2: PSK not available",
  "RFC 9420 §12.4.2: key of the update path not new",
  // joining
  "RFC 9420 §12.4.3: GroupInfo signature",
  "RFC 9420 §12.4.3: group id not unique",
  "RFC 9420 §12.4.3.1: no secrets for this key package",
  "RFC 9420 §12.4.3.1: cipher suite",
  "RFC 9420 §12.4.3.1: reinit or branch PSK not alone",
  "RFC 9420 §12.4.3.1: PSK not available",
  "RFC 9420 §12.4.3.1: signer is not a member",
  "RFC 9420 §12.4.3.1: tree hash",
  "RFC 9420 §12.4.3.1: unmerged leaf is not a descendant",
  "RFC 9420 §12.4.3.1: unmerged leaf missing in between",
  "RFC 9420 §12.4.3.1: encryption key of a parent not unique",
  "RFC 9420 §12.4.3.1: own leaf not in the tree",
  "RFC 9420 §12.4.3.1: path secret",
  "RFC 9420 §12.4.3.1: confirmation tag",
  "RFC 9420 §12.4.3.1: epoch is not 1",
  "RFC 9420 §12.4.3.2: no external_pub",
  "RFC 9420 §12.4.3.2: proposal by reference",
  "RFC 9420 §12.4.3.3: no ratchet tree",
  "RFC 9420 §7.1: unmerged leaves not in increasing order",
  // extensions
  "RFC 9420 §13.4: duplicate extension",
  "RFC 9420 §13.4: group extension not supported",
] as const;

/** One of {@link RULES}: what `SubrosaError.rule` holds for messages of MLS. */
export type Rule = (typeof RULES)[number];

/** Throws `invalid-message` with the rule. */
export function reject(rule: Rule, cause?: unknown): never {
  throw new SubrosaError("invalid-message", rule, { rule, ...(cause === undefined ? {} : { cause }) });
}

/** Throws `invalid-message` with the rule unless the condition holds. */
export function ensure(condition: unknown, rule: Rule): asserts condition {
  if (!condition) reject(rule);
}

/** What says something of this machine or program. Other members could not find it, so no rule may be made of it. */
const LOCAL_FAULTS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "internal",
  "insecure-context",
  "missing-dependency",
  "closed",
  "aborted",
  "timeout",
  "store-in-use",
  "store-failed",
  "storage-full",
  "store-damaged",
  "store-locked",
]);

/** Whether an error is a finding about a message; throws it again if it is anything else. */
export function assertFinding(error: unknown): asserts error is SubrosaError {
  if (!SubrosaError.is(error) || LOCAL_FAULTS.has(error.code)) throw error;
}
