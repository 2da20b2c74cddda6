import { existsSync } from "node:fs";
import { mkdir, realpath, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Database, RootDatabase } from "lmdb";
import { assertOptions, type Names } from "../base/arguments.js";
import { copyBytes } from "../base/bytes.js";
import { toHex, toUtf8 } from "../base/encoding.js";
import { assertArgument, SubrosaError } from "../base/errors.js";
import { heldFiles } from "../base/node-held-files.js";
import { clearAddress, isAlive, type LifeSign, showLife } from "../base/node-liveness.js";
import { checkLmdbFile, createLmdbFile } from "../base/node-lmdb-file.js";
import { sha256 } from "../crypto/hash.js";
import { randomBytes } from "../crypto/random.js";
import { openStoreKey, type Secret } from "./node-protection.js";
import { checkName, endOfPrefix, type KeyRange, type Records, type SealedChange, Space } from "./records.js";
import { bytesSealing } from "./sealing.js";
import { RecordSession, storageFull, storeError } from "./session.js";
import type { Store, StoreSession } from "./store.js";

export interface NodeStoreOptions {
  /** Protects the store: without it nobody reads what is in it. Default: a key file. */
  readonly passphrase?: string;
  /** Where the key file is, or is to be created; default: `store.key` in the folder. */
  readonly keyFile?: string;
}

const OPTIONS: Names<NodeStoreOptions> = { passphrase: true, keyFile: true };

/** Version of the layout below; a database with a greater one is `store-outdated` to us. */
const FORMAT = 1;

type Lmdb = typeof import("lmdb");
type Bytewise = Database<Uint8Array, string>;

interface Databases {
  readonly env: RootDatabase<Uint8Array, string>;
  /** `format`, `owner`: decimal numbers; `holder`: the address at which the owner shows life. */
  readonly meta: Database<string, string>;
  readonly values: Bytewise;
  readonly keys: Bytewise;
}

/**
 * A store in a folder of this machine, created if it is missing, for any number of names: one LMDB file each.
 * Values and private keys are encrypted under one key, protected by the passphrase or by a key file of mode 0600.
 *
 * Throws `store-locked` for a wrong passphrase or a key file that is missing, wrong or readable by others,
 * `store-failed` when the folder cannot be used, `missing-dependency` without the package `lmdb`.
 */
export async function openStore(path: string, options: NodeStoreOptions = {}): Promise<Store> {
  assertOptions(options, OPTIONS);
  const { passphrase, keyFile } = options;
  assertArgument(typeof path === "string" && path !== "", "openStore: no path");
  assertArgument(passphrase === undefined || keyFile === undefined, "passphrase or keyFile, not both");
  // Given but undefined is a variable that was not set: the data must not silently be less protected for that.
  assertArgument(
    !("passphrase" in options) || (typeof passphrase === "string" && passphrase !== ""),
    "passphrase: a text that is not empty",
  );
  return openLmdbStore(path, passphrase === undefined ? { keyFile } : { passphrase });
}

/** The same for tests, which can leave out the sign of life to reach the fencing behind it. */
export async function openLmdbStore(
  path: string,
  secret: { passphrase: string } | { keyFile?: string | undefined },
  { liveness = true }: { liveness?: boolean } = {},
): Promise<Store> {
  const lmdb = await import("lmdb").catch((cause: unknown): never => {
    throw new SubrosaError("missing-dependency", "the package lmdb is not installed", { cause });
  });
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    const folder = await realpath(path);
    const given: Secret =
      "passphrase" in secret ? secret : { keyFile: secret.keyFile ?? join(folder, "store.key") };
    const storeKey = await openStoreKey(folder, given);
    return {
      async open(name, { signal } = {}) {
        checkName(name);
        if (signal?.aborted) throw new SubrosaError("aborted", "opening the store was aborted");
        const file = join(folder, `${toHex((await sha256(toUtf8(name))).subarray(0, 16))}.lmdb`);
        return openFile(lmdb, file, name, storeKey, liveness);
      },
    };
  } catch (error) {
    throw storeError(error, `cannot use ${path} as the folder of a store`);
  }
}

async function openFile(
  lmdb: Lmdb,
  file: string,
  name: string,
  storeKey: CryptoKey,
  liveness: boolean,
): Promise<StoreSession> {
  if (liveness && heldFiles().has(file)) throw inUse(dirname(file));
  if (liveness) heldFiles().add(file);
  let databases: Databases | undefined;
  let life: LifeSign | undefined;
  const release = async () => {
    heldFiles().delete(file);
    await life?.stop();
    await databases?.env.close();
  };
  try {
    await createFile(lmdb, file);
    await checkLmdbFile(file);
    databases = openDatabases(lmdb, file);
    life = liveness ? await showLife(toHex(randomBytes(16))) : undefined;
    const claimed = await claim(databases, dirname(file), life?.address);
    const records = lmdbRecords(databases, dirname(file), claimed.owner, release);
    return new RecordSession({ ...claimed, records, sealing: bytesSealing(name, storeKey) });
  } catch (error) {
    await release().catch(() => {});
    const failure = await commitFailure(error, dirname(file));
    if (DAMAGED_CODES.includes((failure as { code?: unknown }).code)) {
      const advice = `put back a backup, or delete it and ${file}-lock to begin anew`;
      throw new SubrosaError("store-damaged", `${file} is damaged inside: ${advice}`, { cause: failure });
    }
    throw storeError(failure, `cannot open ${file}, the database of this store`);
  }
}

/** LMDB makes the lock beside a file that is there already: one without the file belonged to a store that is lost. */
async function createFile(lmdb: Lmdb, file: string): Promise<void> {
  // The lock first: another process may be making both.
  const wasOpened = existsSync(`${file}-lock`);
  if (wasOpened && !existsSync(file)) {
    throw new SubrosaError(
      "store-damaged",
      `${file} is missing, and with it what the store held; to begin anew delete ${file}-lock too`,
    );
  }
  await createLmdbFile(lmdb, file, toHex(randomBytes(8)));
}

/** With less than this an input or output error is for want of room: LMDB says no more of a write that came short. */
const FULL_BYTES = 4 * 1024 * 1024;
const EIO = 5;
/** EFBIG, ENOSPC, EDQUOT, and LMDB's own for a map that cannot grow. */
const FULL_CODES = [27, 28, 122, -30792];
/** LMDB's own for a page that is not there, or not what it should be. */
const DAMAGED_CODES: readonly unknown[] = [-30797, -30796, -30793];

/** What is behind the error of a commit that failed, which changed nothing. */
async function commitFailure(error: unknown, folder: string): Promise<unknown> {
  const { commitError } = (error ?? {}) as { commitError?: Promise<unknown> };
  const reason = await Promise.resolve(commitError).then(
    () => error,
    (cause: unknown) => cause,
  );
  const { code } = (reason ?? {}) as { code?: unknown };
  if (typeof code !== "number") return error;
  if (FULL_CODES.includes(code)) return storageFull(reason);
  if (code !== EIO) return reason;
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize < FULL_BYTES ? storageFull(reason) : reason;
}

function openDatabases(lmdb: Lmdb, path: string): Databases {
  // Without overlapping sync a transaction's promise resolves after the data has reached the disk.
  // With turn batching a commit that fails also rejects a promise that nobody could await, which ends the process.
  const options = {
    noSubdir: true,
    overlappingSync: false,
    eventTurnBatching: false,
    maxDbs: 4,
    cache: false,
  } as const;
  const env = lmdb.open<Uint8Array, string>({ ...options, path, encoding: "binary" });
  return {
    env,
    meta: env.openDB<string, string>({ name: "meta", encoding: "string" }),
    values: env.openDB<Uint8Array, string>({ name: "values", encoding: "binary" }),
    keys: env.openDB<Uint8Array, string>({ name: "keys", encoding: "binary" }),
  };
}

/**
 * Makes us the owner unless the one before shows life. That is asked outside the transaction, which therefore
 * goes through only if the holder is still the one that was asked.
 */
async function claim(
  { env, meta, values, keys }: Databases,
  folder: string,
  address: string | undefined,
): Promise<{ owner: number; firstUse: boolean }> {
  for (;;) {
    env.resetReadTxn();
    if (Number(meta.get("format") ?? FORMAT) > FORMAT) {
      throw new SubrosaError("store-outdated", "a newer version of this package wrote this store");
    }
    const holder = meta.get("holder");
    if (address !== undefined && holder !== undefined && (await isAlive(holder))) throw inUse(folder);
    const claimed = await env.childTransaction(() => {
      if (meta.get("holder") !== holder) return undefined;
      const owner = Number(meta.get("owner") ?? 0) + 1;
      meta.putSync("format", String(FORMAT));
      meta.putSync("owner", String(owner));
      if (address !== undefined) meta.putSync("holder", address);
      return { owner, firstUse: isEmpty(values) && isEmpty(keys) };
    });
    if (claimed === undefined) continue;
    if (holder !== undefined && address !== undefined) await clearAddress(holder);
    return claimed;
  }
}

function isEmpty(database: Bytewise): boolean {
  return database.getKeysCount({ limit: 1 }) === 0;
}

function lmdbRecords(
  databases: Databases,
  folder: string,
  owner: number,
  release: () => Promise<void>,
): Records {
  const { env, meta, values, keys } = databases;
  const isOwner = () => Number(meta.get("owner")) === owner;
  return {
    async read(space, key) {
      const record = (space === Space.values ? values : keys).getBinary(key);
      return record === undefined ? undefined : copyBytes(record);
    },
    async range(range) {
      const found: [string, unknown][] = [];
      for (const { key, value } of values.getRange(rangeOptions(range))) found.push([key, copyBytes(value)]);
      return found;
    },
    async commit(changes) {
      try {
        // A child transaction: what it wrote before an error is undone, which a plain one does not do.
        await env.childTransaction(() => {
          if (!isOwner()) throw inUse(folder);
          for (const change of changes) apply(databases, change);
        });
      } catch (error) {
        throw await commitFailure(error, folder);
      }
    },
    async close() {
      try {
        await env.childTransaction(() => {
          if (isOwner()) meta.removeSync("holder");
        });
      } catch (error) {
        // On a full disk the holder stays noted: it shows no life, so the next opener takes over.
        const failure = await commitFailure(error, folder);
        if (!SubrosaError.is(failure) || failure.code !== "storage-full") throw failure;
      } finally {
        await release();
      }
    },
  };
}

function rangeOptions({ lower, lowerOpen, upper, limit, reverse }: KeyRange) {
  const bounds = reverse
    ? { start: upper, end: lower, exclusiveStart: true, inclusiveEnd: !lowerOpen, reverse }
    : { start: lower, end: upper, exclusiveStart: lowerOpen };
  return Number.isFinite(limit) ? { ...bounds, limit } : bounds;
}

function apply({ values, keys }: Databases, change: SealedChange): void {
  if (change.kind === "put") {
    (change.space === Space.values ? values : keys).putSync(change.key, change.record as Uint8Array);
    return;
  }
  for (const database of [values, keys]) {
    if (change.kind === "delete") database.removeSync(change.key);
    else {
      const range = { start: change.prefix, end: endOfPrefix(change.prefix) };
      for (const key of [...database.getKeys(range)]) database.removeSync(key);
    }
  }
}

function inUse(folder: string): SubrosaError {
  return new SubrosaError("store-in-use", `another client has the store in ${folder} open`);
}
