import { SubrosaError } from "../../base/errors.js";
import type { Appended } from "../storage.js";
import { type Kv, type KvView, Overlay } from "./kv.js";
import { Transaction } from "./transaction.js";

/** Commands whose changes are written together. */
interface Batch {
  readonly overlay: Overlay;
  readonly appended: Appended[];
  /** Called once it is written, or with what failed. */
  readonly settle: ((failure?: SubrosaError) => void)[];
}

/**
 * Runs commands at once, each seeing what those before it changed, and writes their changes in groups: while one
 * group is written the next one gathers. A command is answered, be it with a result or a refusal, once everything
 * it saw is durable.
 */
export class GroupCommit {
  readonly #kv: Kv;
  readonly #announce: (appended: Appended) => void;
  #gathering: Batch | undefined;
  #writing: Batch | undefined;
  /** Resolves after the write that is under way or about to begin. */
  #written: Promise<void> = Promise.resolve();
  #scheduled = false;
  #failed = false;

  constructor(kv: Kv, announce: (appended: Appended) => void) {
    this.#kv = kv;
    this.#announce = announce;
  }

  run<T>(command: (transaction: Transaction) => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const batch = this.#gather();
      const transaction = new Transaction(() => batch.overlay);
      try {
        const result = command(transaction);
        batch.overlay.merge(transaction.overlay);
        for (const appended of transaction.appended) batch.appended.push(appended);
        batch.settle.push((failure) => (failure === undefined ? resolve(result) : reject(failure)));
      } catch (refusal) {
        batch.settle.push((failure) => reject(failure ?? refusal));
      }
    });
  }

  /** Whether the last write failed. */
  get failed(): boolean {
    return this.#failed;
  }

  /** Resolves when every command so far is answered. */
  async idle(): Promise<void> {
    while (this.#writing !== undefined || this.#gathering !== undefined) await this.#written;
  }

  #gather(): Batch {
    if (this.#gathering !== undefined) return this.#gathering;
    // Below lies the group being written, until that is this one.
    const below = (): KvView =>
      this.#writing === undefined || this.#writing === batch ? this.#kv : this.#writing.overlay;
    const batch: Batch = { overlay: new Overlay(below), appended: [], settle: [] };
    this.#gathering = batch;
    if (this.#writing === undefined) this.#writeSoon();
    return batch;
  }

  #writeSoon(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#written = new Promise((resolve) => {
      this.#kv.soon(() => resolve(this.#write()));
    });
  }

  async #write(): Promise<void> {
    const batch = this.#gathering as Batch;
    this.#scheduled = false;
    this.#writing = batch;
    this.#gathering = undefined;
    let failure: SubrosaError | undefined;
    try {
      if (batch.overlay.changes.size > 0) {
        await this.#kv.write(batch.overlay.changes);
        this.#failed = false;
      }
    } catch (cause) {
      this.#failed = true;
      failure = new SubrosaError("store-failed", "the storage failed to write", { cause });
    }
    this.#writing = undefined;
    if (failure !== undefined) {
      // What gathered meanwhile was decided on top of the lost changes.
      for (const settle of this.#takeGathering()) settle(failure);
    } else {
      for (const appended of batch.appended) this.#announce(appended);
    }
    for (const settle of batch.settle) settle(failure);
    if (this.#gathering !== undefined) this.#writeSoon();
  }

  #takeGathering(): Batch["settle"] {
    const settle = this.#gathering?.settle ?? [];
    this.#gathering = undefined;
    return settle;
  }
}
