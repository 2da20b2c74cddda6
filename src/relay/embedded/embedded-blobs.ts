import type { Bytes } from "../../base/bytes.js";
import { SerialQueue } from "../../base/serial-queue.js";
import type { BlobCommand, BlobStorage, ChunkCommand, PruneCommand } from "../storage.js";
import { beginUpload, blobSizes, chunkOf, deleteBlob, finishUpload, pruneBlobs, putChunk } from "./blobs.js";
import { GroupCommit } from "./group-commit.js";
import { keys } from "./keys.js";
import type { Kv } from "./kv.js";
import { Records, type Transaction } from "./transaction.js";

/** Blobs are written apart from all else, one chunk in a transaction: nothing waits for more than one. */
export class EmbeddedBlobs implements BlobStorage {
  readonly #records: Records;
  readonly #commit: GroupCommit;
  readonly #queue = new SerialQueue();
  #pruneFrom: string = keys.blobs;

  constructor(kv: Kv) {
    this.#records = new Records(kv);
    this.#commit = new GroupCommit(kv, () => {});
  }

  #run<T>(command: (transaction: Transaction) => T): Promise<T> {
    return this.#queue.run(() => this.#commit.run(command));
  }

  begin(command: BlobCommand): Promise<void> {
    return this.#run((transaction) => beginUpload(transaction, command));
  }

  put(command: ChunkCommand): Promise<void> {
    return this.#run((transaction) => putChunk(transaction, command));
  }

  finish(command: BlobCommand, chunks: number): Promise<void> {
    return this.#run((transaction) => finishUpload(transaction, command, chunks));
  }

  delete(command: BlobCommand): Promise<void> {
    return this.#run((transaction) => deleteBlob(transaction, command));
  }

  async chunk(blobId: Bytes, index: number): Promise<Bytes | undefined> {
    return chunkOf(this.#records, blobId, index);
  }

  /** One bounded step; true if it went round all blobs. */
  async prune(command: PruneCommand): Promise<boolean> {
    const next = await this.#run((transaction) => pruneBlobs(transaction, command, this.#pruneFrom));
    this.#pruneFrom = next ?? keys.blobs;
    return next === undefined;
  }

  sizes(): Record<string, number> {
    return blobSizes(this.#records);
  }

  /** Resolves when every command so far is answered. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }
}
