import type { ErrorCode } from "../base/errors.js";

/** The error codes that a relay can answer with, each with its number on the wire. */
export const REFUSALS = {
  stale: 1,
  gap: 2,
  "cursor-mismatch": 3,
  conflict: 4,
  "unknown-user": 5,
  "unknown-group": 6,
  "unknown-entry": 7,
  "no-key-package": 8,
  "name-taken": 9,
  "too-large": 10,
  "quota-exceeded": 11,
  "rate-limited": 12,
  forbidden: 13,
  "not-a-member": 14,
  "not-an-admin": 15,
  unauthorized: 16,
  "user-id-taken": 17,
  "store-outdated": 18,
  malformed: 19,
  internal: 20,
  "invalid-signature": 21,
  "invalid-key": 22,
  revoked: 23,
  "unknown-blob": 24,
  "user-removed": 26,
} as const satisfies Partial<Record<ErrorCode, number>>;

export type RefusalCode = keyof typeof REFUSALS;

const BY_NUMBER = new Map<number, RefusalCode>(
  (Object.entries(REFUSALS) as [RefusalCode, number][]).map(([code, number]) => [number, code]),
);

/** The code of a number, if it has one. */
export function refusalOf(number: number): RefusalCode | undefined {
  return BY_NUMBER.get(number);
}
