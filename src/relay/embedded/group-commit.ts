import { SubrosaError } from "../../base/errors.js";
import { SerialQueue } from "../../base/serial-queue.js";
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

const MAX_BATCH = 256;

/**
 * Runs commands one after the other, each seeing what those before it changed, and writes their changes in
 * groups: while one group is written the next one gathers. A command is answered, be it with a result or a
 * refusal, once everything it saw is durable.
 */
export class GroupCommit {
  readonly #kv: Kv;
  readonly #announce: (appended: Appended) => void;
  readonly #serial = new SerialQueue();
  #gathering: Batch | undefined;
  #writing: Batch | undefined;
  #written: Promise<void> = Promise.resolve();
  /** Counts failed writes: a command that began before one has seen what never became durable. */
  #failures = 0;

  constructor(kv: Kv, announce: (appended: Appended) => void) {
    this.#kv = kv;
    this.#announce = announce;
  }

  run<T>(command: (transaction: Transaction) => Promise<T> | T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      void this.#serial.run(async () => {
        const failures = this.#failures;
        const transaction = new Transaction(
          () => this.#gathering?.overlay ?? this.#writing?.overlay ?? this.#kv,
        );
        let result: T | undefined;
        let refusal: unknown;
        let refused = false;
        try {
          result = await command(transaction);
        } catch (error) {
          refused = true;
          refusal = error;
        }
        if (failures !== this.#failures) return reject(writeFailed());
        const batch = this.#gather();
        if (!refused) {
          batch.overlay.merge(transaction.overlay);
          batch.appended.push(...transaction.appended);
        }
        batch.settle.push((failure) => {
          if (failure !== undefined) reject(failure);
          else if (refused) reject(refusal);
          else resolve(result as T);
        });
        this.#maybeWrite();
      });
    });
  }

  /** Resolves when every command so far is answered. */
  async idle(): Promise<void> {
    await this.#serial.idle();
    while (this.#writing !== undefined || this.#gathering !== undefined) await this.#written;
  }

  #gather(): Batch {
    if (this.#gathering !== undefined) return this.#gathering;
    // Below lies the group being written, until that is this one.
    const below = (): KvView =>
      this.#writing === undefined || this.#writing === batch ? this.#kv : this.#writing.overlay;
    const batch: Batch = { overlay: new Overlay(below), appended: [], settle: [] };
    this.#gathering = batch;
    return batch;
  }

  #maybeWrite(): void {
    const batch = this.#gathering;
    if (this.#writing !== undefined || batch === undefined) return;
    // More commands are waiting: they join this group.
    if (this.#serial.length > 1 && batch.settle.length < MAX_BATCH) return;
    this.#writing = batch;
    this.#gathering = undefined;
    this.#written = this.#write(batch);
  }

  async #write(batch: Batch): Promise<void> {
    let failure: SubrosaError | undefined;
    try {
      if (batch.overlay.changes.size > 0) await this.#kv.write(batch.overlay.changes);
    } catch (cause) {
      failure = writeFailed(cause);
    }
    this.#writing = undefined;
    if (failure !== undefined) {
      // What gathers meanwhile was decided on top of the lost changes.
      this.#failures++;
      const built = this.#gathering;
      this.#gathering = undefined;
      for (const settle of built?.settle ?? []) settle(failure);
    } else {
      for (const appended of batch.appended) this.#announce(appended);
    }
    for (const settle of batch.settle) settle(failure);
    this.#maybeWrite();
  }
}

function writeFailed(cause?: unknown): SubrosaError {
  return new SubrosaError("internal", "the storage failed to write", { cause });
}
