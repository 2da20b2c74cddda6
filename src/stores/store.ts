import type { Bytes } from "../base/bytes.js";
import type { PlatformCryptoKey } from "../base/crypto-key.js";
import { type ErrorCode, SubrosaError } from "../base/errors.js";

/** Longest record key in characters, and longest store name in bytes of UTF-8. */
export const MAX_KEY_LENGTH = 200;
export const MAX_NAME_LENGTH = 1024;

/**
 * One change of a transaction. Keys are printable ASCII, 1 to {@link MAX_KEY_LENGTH} characters. Values are encrypted
 * at rest, keys are not, since they are what the records are found and ordered by.
 */
export type Change =
  | { readonly put: string; readonly value: Uint8Array }
  /**
   * Stores a private signature key (ECDSA, P-256), non-extractable whatever it was. The stores of Node cannot hold a
   * `CryptoKey` and take only an extractable one.
   */
  | { readonly putKey: string; readonly privateKey: PlatformCryptoKey }
  /** Deletes the value and the private key under this key; nothing happens if there is none. */
  | { readonly delete: string }
  /** Deletes every value and private key whose key starts with this; `""` deletes all. */
  | { readonly deletePrefix: string };

/** Which records {@link StoreSession.list} gives. */
export interface ListOptions {
  /** Only keys greater than this one. */
  readonly after?: string;
  /** Only keys less than this one. */
  readonly before?: string;
  /** At most this many, counted from the first (with `reverse`: from the last). */
  readonly limit?: number;
  /** From the greatest key down. */
  readonly reverse?: boolean;
  /**
   * Is told of each record that is not what was stored, which the result then lacks; it counts towards `limit`.
   * Without this such a record throws `store-damaged`.
   */
  readonly damaged?: (key: string) => void;
}

/** A place for one client's state. */
export interface Store {
  /**
   * Opens the records under `name` for one owner and ends the write rights of whoever had them before.
   *
   * Throws `store-in-use` while another client (tab, process) has them open, `store-locked` when the passphrase
   * does not fit, `store-outdated` when a newer version of this package wrote them, `store-failed` when the
   * underlying database fails, `storage-full` when there is no room left, `storage-refused` when the browser does not
   * let the page store anything, `aborted`, `missing-dependency`, `insecure-context`.
   */
  open(name: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<StoreSession>;
}

/**
 * The records of one name, open for one owner. Values and private keys are two spaces with the same keys.
 * Everything but `close` throws `closed` after it, `store-failed` when the underlying database fails, and
 * `store-damaged` when a record that is read is not what was stored (altered, or moved to another key).
 */
export interface StoreSession {
  /** Grows with each open of this name, in a durable transaction of its own. */
  readonly owner: number;
  /** Nothing was stored under this name when this session began. */
  readonly firstUse: boolean;
  /** The value under `key`. Reads see what was durable when they were called, not writes still under way. */
  get(key: string): Promise<Bytes | undefined>;
  /** The private key stored under `key`; it is not extractable. */
  getKey(key: string): Promise<PlatformCryptoKey | undefined>;
  /** The values whose keys start with `prefix`, ordered by key (bytewise). Private keys are not listed. */
  list(prefix: string, options?: ListOptions): Promise<[key: string, value: Bytes][]>;
  /**
   * One atomic transaction, applied in the order given; resolves when it is durable, and writes become durable in
   * the order in which they were called; when one fails, those called before its failure was known fail too, so what
   * was acknowledged never has a gap. The owner number is compared inside the transaction: when another owner
   * has opened this name since, nothing changes and it throws `store-in-use`. Where there is no room left, nothing
   * changes either and it throws `storage-full`; later writes may go through again. Throws `invalid-argument` for a key
   * out of bounds or a private key that this store cannot hold; that fails this write alone.
   */
  write(changes: readonly Change[]): Promise<void>;
  /** Waits for the writes under way, then lets another owner in. Idempotent. */
  close(): Promise<void>;
  /**
   * Calls `listener` once when this session has lost the store: `store-in-use` when another owner took over,
   * `store-failed` when the database was closed or deleted under us. At once if that has happened already.
   * The result removes it.
   */
  onLost(listener: (error: SubrosaError) => void): () => void;
}

const STORE_FAILURES: readonly ErrorCode[] = [
  "store-failed",
  "storage-full",
  "store-damaged",
  "store-in-use",
];

/** Whether the error is the store's: it says nothing of what was to be read or written. */
export function isStoreFailure(error: unknown): boolean {
  return SubrosaError.is(error) && STORE_FAILURES.includes(error.code);
}
