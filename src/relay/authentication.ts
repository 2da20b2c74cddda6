import { type Bytes, equalBytes } from "../base/bytes.js";
import { toHex } from "../base/encoding.js";
import { SubrosaError } from "../base/errors.js";
import { verify } from "../crypto/signature.js";
import { isName } from "../wire/identifiers.js";
import {
  type Account,
  type Authentication,
  certificateToBeSigned,
  deviceListToBeSigned,
  sessionToBeSigned,
} from "../wire/identity.js";

/** What the operator's own login decides on. */
export interface LoginRequest {
  readonly userId: string;
  /** The account's public key, 65 bytes: an uncompressed P-256 point. */
  readonly accountKey: Uint8Array;
  /** What the client's `token` option gave; empty without one. */
  readonly token: string;
}

/** The login holds until `expiresAt`, in milliseconds since 1970; then the session is closed with 4411. */
export interface Login {
  readonly expiresAt: number;
}

/**
 * Admits a user by resolving to `true`, or to the time until which its login holds; the client comes back then and
 * its `token` is asked for anew. Anything else, and a time that has passed, refuses (`unauthorized`). Throwing says that it
 * could not be decided: that is reported to `onError`, and the client tries again.
 */
export type AuthenticateHook = (request: LoginRequest) => boolean | Login | Promise<boolean | Login>;

/** Throws `malformed` for a frame that decodes and contradicts itself, or whose user id is no name to register. */
export function checkForm({ account }: Authentication): void {
  const { list } = account.deviceList;
  if (!isName(account.userId)) throw new SubrosaError("malformed", "not a valid user id");
  const ids = new Set(list.devices.map(({ deviceId }) => toHex(deviceId)));
  if (list.userId !== account.userId || list.version < 1 || ids.size !== list.devices.length) {
    throw new SubrosaError("malformed", "the device list contradicts itself");
  }
}

async function require(key: Bytes, signature: Bytes, data: Bytes, what: string): Promise<void> {
  if (!(await verify(key, signature, data)))
    throw new SubrosaError("invalid-signature", `${what} does not verify`);
}

/**
 * PROTOCOL.md, "A session": the signatures, then the operator's hook. Resolves to the time until which the login
 * holds, `Infinity` without one. Throws `invalid-signature`, `invalid-key` or `unauthorized`, and `internal` where the
 * hook fails.
 */
export async function verifyAuthentication(
  authentication: Authentication,
  challenge: { readonly relayName: string; readonly nonce: Bytes },
  hook: AuthenticateHook | undefined,
  now: () => number,
): Promise<number> {
  const { account, deviceId } = authentication;
  const { userId, accountKey } = account;
  const { list, signature } = account.deviceList;
  await require(accountKey, signature, deviceListToBeSigned(list), "the device list");
  const device = list.devices.find((listed) => equalBytes(listed.deviceId, deviceId));
  if (device === undefined)
    throw new SubrosaError("invalid-signature", "the device list does not hold the device");
  const { deviceKey } = device;
  const certified = certificateToBeSigned({ userId, deviceId, deviceKey });
  await require(accountKey, authentication.certificate, certified, "the device certificate");
  const { incarnation, incarnationTag } = authentication;
  const claim = sessionToBeSigned({ ...challenge, userId, deviceId, incarnation, incarnationTag });
  await require(deviceKey, authentication.signature, claim, "the session's signature");
  const expiresAt = hook === undefined ? Number.POSITIVE_INFINITY : await ask(hook, authentication);
  if (!(expiresAt > now()))
    throw new SubrosaError("unauthorized", "the relay's operator does not admit this user");
  return expiresAt;
}

/** Until when the hook admits the user: not at all, for ever, or to the time it says. */
async function ask(hook: AuthenticateHook, { account, token }: Authentication): Promise<number> {
  try {
    const answer = await hook({ userId: account.userId, accountKey: account.accountKey, token });
    if (typeof answer === "boolean") return answer ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
    return Number((answer as Login | undefined)?.expiresAt);
  } catch (cause) {
    throw new SubrosaError("internal", "the operator's authenticate hook failed", { cause });
  }
}

/** A user id that is to be bound to an account key: for the first time, or in place of another key. */
export interface AccountKeyRequest {
  readonly userId: string;
  /** The key that wants the user id, whose holder has proved to have it. 65 bytes: an uncompressed P-256 point. */
  readonly accountKey: Uint8Array;
  /** The key that has it now; absent where none has. */
  readonly previous?: Uint8Array;
}

/**
 * Decides on account keys: `true` binds the user id to the key. Anything else refuses: a first key with `unauthorized`,
 * another one with `user-id-taken`. Throwing says that it could not be decided: the client tries again.
 */
export type AccountKeyHook = (request: AccountKeyRequest) => boolean | Promise<boolean>;

/** Asks about a key that is not the one bound to the user id. Resolves to the key that it may take the place of. */
export async function replacedKey(
  hook: AccountKeyHook | undefined,
  { userId, accountKey }: Account,
  known: Account | undefined,
): Promise<Bytes | undefined> {
  const previous = known?.accountKey;
  if (hook === undefined || (previous !== undefined && equalBytes(previous, accountKey))) return undefined;
  let binds: boolean;
  try {
    binds = (await hook({ userId, accountKey, ...(previous && { previous }) })) === true;
  } catch (cause) {
    throw new SubrosaError("internal", "the operator's accountKeys hook failed", { cause });
  }
  if (binds) return previous;
  throw previous === undefined
    ? new SubrosaError("unauthorized", "the relay's operator does not admit this user")
    : new SubrosaError("user-id-taken", "another account has this user id, and keeps it");
}
