import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Database } from "lmdb";
import { type Bytes, copyBytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import { SubrosaError } from "../../base/errors.js";
import { heldFiles } from "../../base/node-held-files.js";
import { clearAddress, isAlive, type LifeSign, showLife } from "../../base/node-liveness.js";
import { checkLmdbFile, createLmdbFile } from "../../base/node-lmdb-file.js";
import { randomBytes } from "../../crypto/random.js";
import type { Kv, KvChanges } from "./kv.js";

type Lmdb = Pick<
  Database<Buffer, Buffer>,
  | "getBinary"
  | "getRange"
  | "put"
  | "remove"
  | "transaction"
  | "resetReadTxn"
  | "close"
  | "getStats"
  | "backup"
>;

/**
 * What one opens a folder for: to write all of it, unless somebody else does (`owner`) or even then (`successor`), or
 * to read it and to change what has no numbers (`guest`).
 */
export type Role = "owner" | "successor" | "guest";

/** These sort apart from the keys of records. */
const OWNER = Buffer.from("\u0000owner");
/** The file that the owner has open, as a copy of it would not be, and where the owner shows life. */
const HOLDER = Buffer.from("\u0000holder");

const toKey = (key: string) => Buffer.from(key, "latin1");

/** Keys and values in a folder, by LMDB. A write has reached the disk when it resolves. */
export class LmdbKv implements Kv {
  readonly #database: Lmdb;
  /** Counts who opened the folder to write logs; undefined for those who do not. */
  #owner: number | undefined;
  #life: LifeSign | undefined;
  #isClosed = false;
  readonly #folder: string | undefined;

  private constructor(database: Lmdb, folder: string | undefined) {
    this.#database = database;
    this.#folder = folder;
    if (folder !== undefined) heldFiles().add(folder);
  }

  /**
   * Throws `missing-dependency` where the optional package `lmdb` is not installed, `store-in-use` for an owner while
   * another one lives, `store-damaged` for a file that is empty, cut short, or does not begin as one. Whoever owned the folder
   * before can write no more: two that number the same logs would overwrite each other's entries.
   */
  static async open(path: string, role: Role): Promise<LmdbKv> {
    let lmdb: typeof import("lmdb");
    try {
      lmdb = await import("lmdb");
    } catch (cause) {
      throw new SubrosaError("missing-dependency", 'the embedded storage needs the package "lmdb"', {
        cause,
      });
    }
    const file = join(path, "data.mdb");
    await createLmdbFile(lmdb, file, toHex(randomBytes(8)));
    await checkLmdbFile(file);
    const folder = role === "owner" ? resolve(path) : undefined;
    if (folder !== undefined && heldFiles().has(folder)) throw inUse(path);
    const database = lmdb.open<Buffer, Buffer>({
      path,
      encoding: "binary",
      keyEncoding: "binary",
      // A path with a dot is a folder too.
      noSubdir: false,
      // Promises resolve once the commit is on the disk, not merely visible.
      overlappingSync: false,
      // Batches would write the changes of one turn together with those of the next, and fail by promises of their own.
      eventTurnBatching: false,
    });
    const kv = new LmdbKv(database, folder);
    try {
      if (role !== "guest") await kv.#claim(path, role);
    } catch (error) {
      await kv.close();
      throw error;
    }
    return kv;
  }

  /** The sign of life is looked for outside the transaction, which goes through if its owner is still the same. */
  async #claim(path: string, role: Role): Promise<void> {
    const { dev, ino } = await stat(join(path, "data.mdb"), { bigint: true });
    const file = `${dev}:${ino} `;
    this.#life = await showLife(toHex(randomBytes(16)));
    const mine = Buffer.from(file + this.#life.address);
    while (this.#owner === undefined) {
      this.#database.resetReadTxn();
      const holder = this.#holder();
      const there = holder?.startsWith(file) ? holder.slice(file.length) : undefined;
      if (role === "owner" && there !== undefined && (await isAlive(there))) {
        throw inUse(path);
      }
      await this.#commit(() => {
        if (this.#holder() !== holder) return;
        this.#owner = this.#currentOwner() + 1;
        void this.#database.put(OWNER, Buffer.from(String(this.#owner)));
        void this.#database.put(HOLDER, mine);
      });
      if (there !== undefined && role === "owner") await clearAddress(there);
    }
  }

  #holder(): string | undefined {
    return this.#database.getBinary(HOLDER)?.toString();
  }

  #currentOwner(): number {
    return Number(this.#database.getBinary(OWNER)?.toString() ?? 0);
  }

  get(key: string): Bytes | undefined {
    this.#assertOpen();
    const value = this.#database.getBinary(toKey(key));
    return value === undefined ? undefined : copyBytes(value);
  }

  *range(start: string, end: string): Iterable<readonly [string, Bytes]> {
    this.#assertOpen();
    for (const { key, value } of this.#database.getRange({ start: toKey(start), end: toKey(end) })) {
      yield [Buffer.from(key).toString("latin1"), copyBytes(value)];
    }
  }

  /** After a whole round of the event loop, which reads from all connections: many appends cost as much as one. */
  soon(write: () => void): void {
    setImmediate(() => setImmediate(write));
  }

  async write(changes: KvChanges): Promise<void> {
    this.#assertOpen();
    await this.#commit(() => {
      if (this.#owner !== undefined && this.#currentOwner() !== this.#owner) {
        throw new SubrosaError("store-in-use", "another relay has opened this folder");
      }
      for (const [key, value] of changes) {
        if (value === undefined) void this.#database.remove(toKey(key));
        else void this.#database.put(toKey(key), Buffer.from(value.buffer, value.byteOffset, value.length));
      }
    });
    this.#database.resetReadTxn();
  }

  async #commit(changes: () => void): Promise<void> {
    try {
      await this.#database.transaction(changes);
    } catch (error) {
      // What a commit failed with comes by a promise of its own, which would be nobody's and end the process.
      await (error as { commitError?: Promise<never> }).commitError;
      throw error;
    }
  }

  sizes(): Readonly<Record<string, number>> {
    this.#assertOpen();
    const stats = this.#database.getStats() as {
      entryCount: number;
      lastPageNumber: number;
      pageSize: number;
    };
    return { records: stats.entryCount, bytes: (stats.lastPageNumber + 1) * stats.pageSize };
  }

  /** Copies what is durable at this moment into a folder that exists and is empty, while others write on. */
  async backup(folder: string): Promise<void> {
    await this.#database.backup(folder, true);
  }

  /** What is read while LMDB closes makes it throw from a timer, which ends the process. */
  #assertOpen(): void {
    if (this.#isClosed) throw new SubrosaError("closed", "the storage is closed");
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#database.close();
    if (this.#folder !== undefined) heldFiles().delete(this.#folder);
    await this.#life?.stop();
  }
}

function inUse(path: string): SubrosaError {
  return new SubrosaError("store-in-use", `another relay uses ${path}; stop it first`);
}
