import { assertArgument } from "../base/errors.js";
import { type Change, type ListOptions, MAX_KEY_LENGTH, MAX_NAME_LENGTH } from "./store.js";

/** The two spaces of records. The numbers stand in stored formats. */
export const Space = { values: 1, keys: 2 } as const;
export type Space = (typeof Space)[keyof typeof Space];

/** One change as the database sees it: checked, sealed, to be applied without waiting for anything. */
export type SealedChange =
  | { readonly kind: "put"; readonly space: Space; readonly key: string; readonly record: unknown }
  | { readonly kind: "delete"; readonly key: string }
  | { readonly kind: "deletePrefix"; readonly prefix: string };

/** Keys from `lower` (itself included unless `lowerOpen`) up to, not including, `upper`. */
export interface KeyRange {
  readonly lower: string;
  readonly lowerOpen: boolean;
  readonly upper: string;
  readonly limit: number;
  readonly reverse: boolean;
}

/** The database under a session. What it throws that is not an error of this package becomes `store-failed`. */
export interface Records {
  read(space: Space, key: string): Promise<unknown>;
  /** Values only; `lower < upper` and `limit > 0` hold. */
  range(range: KeyRange): Promise<[key: string, record: unknown][]>;
  /** Applies all changes, in order, or none; resolves when durable; throws `store-in-use` if the owner changed. */
  commit(changes: readonly SealedChange[]): Promise<void>;
  /** Lets another owner in. */
  close(): Promise<void>;
}

/** Greater than every character of a key. */
const AFTER_ALL = "\x7f";
const KEY = /^[\x20-\x7e]*$/;

/** The first key after all that start with `prefix`. */
export function endOfPrefix(prefix: string): string {
  return prefix + AFTER_ALL;
}

/** Throws `invalid-argument` unless `name` is usable as a store's name. */
export function checkName(name: string): void {
  const length = typeof name === "string" ? new TextEncoder().encode(name).length : 0;
  assertArgument(length > 0 && length <= MAX_NAME_LENGTH, `store name: 1 to ${MAX_NAME_LENGTH} bytes`);
}

/** Throws `invalid-argument` unless `key` is one. */
export function checkKey(key: string): void {
  checkPrefix(key);
  assertArgument(key.length > 0, "store key: empty");
}

/** Throws `invalid-argument` unless `prefix` is the beginning of a key, or empty. */
export function checkPrefix(prefix: string): void {
  assertArgument(
    typeof prefix === "string" && prefix.length <= MAX_KEY_LENGTH && KEY.test(prefix),
    `store key: printable ASCII, up to ${MAX_KEY_LENGTH} characters`,
  );
}

/** Throws `invalid-argument` unless the change's key is in bounds. */
export function checkChange(change: Change): void {
  if ("put" in change) {
    checkKey(change.put);
    assertArgument(change.value instanceof Uint8Array, "store value: not a Uint8Array");
  } else if ("putKey" in change) {
    checkKey(change.putKey);
    const { type, algorithm } = (change.privateKey ?? {}) as Partial<CryptoKey>;
    assertArgument(type === "private" && algorithm?.name === "ECDSA", "store: not a private signature key");
  } else if ("delete" in change) checkKey(change.delete);
  else checkPrefix(change.deletePrefix);
}

/** The keys that `list` asks for; undefined if there can be none. */
export function keyRange(prefix: string, options: ListOptions): KeyRange | undefined {
  const { after = "", before, limit = Number.POSITIVE_INFINITY, reverse = false } = options;
  checkPrefix(prefix);
  checkPrefix(after);
  if (before !== undefined) checkPrefix(before);
  assertArgument(limit >= 0 && (limit === Number.POSITIVE_INFINITY || Number.isInteger(limit)), "limit");
  const end = endOfPrefix(prefix);
  const upper = before !== undefined && before < end ? before : end;
  const lowerOpen = after !== "" && after >= prefix;
  const lower = lowerOpen ? after : prefix;
  return lower < upper && limit > 0 ? { lower, lowerOpen, upper, limit, reverse } : undefined;
}
