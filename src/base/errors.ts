/**
 * Every way in which this package fails. The set is closed: a new code is a change of the public interface.
 * What each one means stands in the README's table of errors.
 */
export const ERROR_CODES = [
  // the call
  "invalid-argument",
  "closed",
  "aborted",
  "timeout",
  "insecure-context",
  "missing-dependency",
  // bytes and keys
  "malformed",
  "invalid-key",
  "invalid-signature",
  "decryption-failed",
  // MLS
  "invalid-message",
  "wrong-epoch",
  "removed",
  // connection
  "connection-failed",
  "protocol-error",
  "unauthorized",
  "user-id-taken",
  "replaced",
  "revoked",
  "user-removed",
  "queue-full",
  "rate-limited",
  // store
  "store-in-use",
  "store-failed",
  "storage-full",
  "storage-refused",
  "store-damaged",
  "store-locked",
  "store-outdated",
  // relay
  "stale",
  "gap",
  "cursor-mismatch",
  "data-lost",
  "conflict",
  "unknown-user",
  "unknown-group",
  "unknown-entry",
  "unknown-blob",
  "no-key-package",
  "name-taken",
  "too-large",
  "quota-exceeded",
  "forbidden",
  // conversations
  "not-a-member",
  "not-an-admin",
  "last-admin",
  "already-a-member",
  "join-rejected",
  "banned",
  "outbox-full",
  "identity-changed",
  "identity-mismatch",
  // a bug of ours
  "internal",
] as const;

/** The code of a {@link SubrosaError}; the only part of an error that programs should look at. */
export type ErrorCode = (typeof ERROR_CODES)[number];

// Two builds of this package (ESM and CJS) can meet in one program; a registered symbol spans both.
const BRAND = Symbol.for("subrosa.error");

export interface SubrosaErrorOptions {
  /** What was caught. Never put an error here whose message could hold a secret or plaintext. */
  cause?: unknown;
  /** The rule that was broken, e.g. `"RFC 9420 §12.2: duplicate removal"`. */
  rule?: string;
  /** See {@link SubrosaError.payload}; more than 64 KiB are left out. */
  payload?: Uint8Array | undefined;
}

/** The most bytes that an error or an event carries of what it is about. */
const MAX_PAYLOAD_BYTES = 64 * 1024;

/** What an event carries of something that could not be read: a copy, unless it is too large. */
export function payloadOf(bytes: Uint8Array): { payload?: Uint8Array } {
  return bytes.length > MAX_PAYLOAD_BYTES ? {} : { payload: bytes.slice() };
}

/** The one error class of this package. `message` is for people and holds no secret and no plaintext. */
export class SubrosaError extends Error {
  override readonly name = "SubrosaError";
  readonly code: ErrorCode;
  /** For `invalid-message`: the rule that was broken. */
  readonly rule: string | undefined;
  /** What came from the relay and could not be taken in: a frame, or an entry's ciphertext. Never a plaintext. */
  readonly payload: Uint8Array | undefined;

  constructor(code: ErrorCode, message: string, options: SubrosaErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.rule = options.rule;
    this.payload = options.payload && payloadOf(options.payload).payload;
    Object.defineProperty(this, BRAND, { value: true });
  }

  /** True for an error of this package, whichever of its builds made it. */
  static is(error: unknown): error is SubrosaError {
    return typeof error === "object" && error !== null && BRAND in error;
  }
}

/** The same error with what it is about. */
export function withPayload(error: SubrosaError, payload: Uint8Array): SubrosaError {
  const { code, message, rule, cause } = error;
  return new SubrosaError(code, message, { payload, ...(rule !== undefined && { rule }), cause });
}

/** Throws `invalid-argument` naming the argument unless `condition` holds. */
export function assertArgument(condition: unknown, message: string): asserts condition {
  if (!condition) throw new SubrosaError("invalid-argument", message);
}
