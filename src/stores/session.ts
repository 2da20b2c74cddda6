import type { Bytes } from "../base/bytes.js";
import { SubrosaError } from "../base/errors.js";
import { GroupWriter } from "./group-writer.js";
import { checkChange, checkKey, keyRange, type Records, type SealedChange, Space } from "./records.js";
import type { Sealing } from "./sealing.js";
import type { Change, ListOptions, StoreSession } from "./store.js";

/** What a session needs to know of the place that was opened. */
export interface Opened {
  readonly owner: number;
  readonly firstUse: boolean;
  readonly records: Records;
  readonly sealing: Sealing;
}

/** The error as one of this package: what a database throws becomes `storage-full` or `store-failed`. */
export function storeError(error: unknown, message = "the store failed"): SubrosaError {
  if (SubrosaError.is(error)) return error;
  if ((error as { name?: unknown } | null)?.name === "QuotaExceededError") return storageFull(error);
  return new SubrosaError("store-failed", message, { cause: error });
}

/** There is no room for what was to be written, none of which was. */
export function storageFull(cause?: unknown): SubrosaError {
  return new SubrosaError("storage-full", "there is no room left to store anything", { cause });
}

/** The part that all stores have in common: checks, sealing, order and grouping of writes, loss and close. */
export class RecordSession implements StoreSession {
  readonly owner: number;
  readonly firstUse: boolean;
  readonly #records: Records;
  readonly #sealing: Sealing;
  readonly #writer: GroupWriter<readonly SealedChange[]>;
  readonly #listeners = new Set<(error: SubrosaError) => void>();
  #lost: SubrosaError | undefined;
  #closing: Promise<void> | undefined;
  #releasing: Promise<void> | undefined;

  constructor({ owner, firstUse, records, sealing }: Opened) {
    this.owner = owner;
    this.firstUse = firstUse;
    this.#records = records;
    this.#sealing = sealing;
    this.#writer = new GroupWriter((group) => this.#commit(group.flat()));
  }

  async get(key: string): Promise<Bytes | undefined> {
    checkKey(key);
    const record = await this.#read(() => this.#records.read(Space.values, key));
    return record === undefined ? undefined : this.#sealing.openValue(key, record);
  }

  async getKey(key: string): Promise<CryptoKey | undefined> {
    checkKey(key);
    const record = await this.#read(() => this.#records.read(Space.keys, key));
    return record === undefined ? undefined : this.#sealing.openKey(key, record);
  }

  async list(prefix: string, options: ListOptions = {}): Promise<[string, Bytes][]> {
    const range = keyRange(prefix, options);
    const found = await this.#read(() => (range === undefined ? [] : this.#records.range(range)));
    const opened = await Promise.all(
      found.map(async ([key, record]): Promise<[string, Bytes] | undefined> => {
        try {
          return [key, await this.#sealing.openValue(key, record)];
        } catch (error) {
          if (!SubrosaError.is(error) || error.code !== "store-damaged" || !options.damaged) throw error;
          options.damaged(key);
          return undefined;
        }
      }),
    );
    return opened.filter((entry) => entry !== undefined);
  }

  async write(changes: readonly Change[]): Promise<void> {
    this.#assertUsable();
    for (const change of changes) checkChange(change);
    await this.#writer.add(Promise.all(changes.map((change) => this.#seal(change))));
  }

  close(): Promise<void> {
    this.#closing ??= this.#finish();
    return this.#closing;
  }

  onLost(listener: (error: SubrosaError) => void): () => void {
    if (this.#lost !== undefined) listener(this.#lost);
    else this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Ends this session: it has lost the store to another owner, or the database is gone. */
  lose(error: SubrosaError): void {
    if (this.#lost !== undefined || this.#closing !== undefined) return;
    this.#lost = error;
    this.#release().catch(() => {}); // `close` reports it
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener(error);
  }

  async #finish(): Promise<void> {
    await this.#writer.idle();
    await this.#release();
  }

  #release(): Promise<void> {
    this.#releasing ??= this.#records.close().catch((error) => {
      throw storeError(error);
    });
    return this.#releasing;
  }

  #assertUsable(): void {
    if (this.#lost !== undefined) throw this.#lost;
    if (this.#closing !== undefined) throw new SubrosaError("closed", "the store is closed");
  }

  async #read<T>(read: () => T | Promise<T>): Promise<T> {
    this.#assertUsable();
    try {
      return await read();
    } catch (error) {
      throw this.#lost ?? storeError(error);
    }
  }

  async #seal(change: Change): Promise<SealedChange> {
    if ("put" in change) {
      const record = await this.#sealing.sealValue(change.put, change.value);
      return { kind: "put", space: Space.values, key: change.put, record };
    }
    if ("putKey" in change) {
      const record = await this.#sealing.sealKey(change.putKey, change.privateKey);
      return { kind: "put", space: Space.keys, key: change.putKey, record };
    }
    if ("delete" in change) return { kind: "delete", key: change.delete };
    return { kind: "deletePrefix", prefix: change.deletePrefix };
  }

  async #commit(changes: readonly SealedChange[]): Promise<void> {
    if (this.#lost !== undefined) throw this.#lost;
    try {
      await this.#records.commit(changes);
    } catch (error) {
      const failure = this.#lost ?? storeError(error);
      if (failure.code === "store-in-use") this.lose(failure);
      throw failure;
    }
  }
}
