import type { Bytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import type { Core } from "../tabs/core.js";
import { type AttachmentReference, CHUNK_LENGTH, chunksOf } from "./reference.js";
import { WINDOW } from "./transfers.js";
import { assertTransferOptions, type TransferOptions, tellProgress } from "./upload.js";

/** Asks the client that has the store open, as long as this one is not closed and the signal not aborted. */
export type Ask = <T>(call: (core: Core) => Promise<T>, signal: AbortSignal | undefined) => Promise<T>;

/**
 * Content that is kept at the relay until it is asked for. It is fetched and checked as a whole before any of it is
 * handed over; what was fetched is in the client's store until it was read to its end or given up, so that fetching
 * goes on where it stood after a disconnect and after a restart.
 *
 * All three ways to read it throw `unknown-blob` if the relay does not have it any more, `decryption-failed` if what the
 * relay has is not what was sent, `storage-full`, `aborted`, `closed`.
 */
export class Attachment {
  /** As the sender named it; it has no slashes and no control characters. */
  readonly name?: string;
  /** As the sender says; not checked. */
  readonly mimeType?: string;
  /** In bytes. */
  readonly size: number;
  readonly #reference: AttachmentReference;
  readonly #ask: Ask;

  /** @internal */
  constructor(reference: AttachmentReference, ask: Ask) {
    const { name, mimeType, size } = reference;
    if (name !== undefined) this.name = name;
    if (mimeType !== undefined) this.mimeType = mimeType;
    this.size = size;
    this.#reference = reference;
    this.#ask = ask;
  }

  /** All of it in memory. */
  async bytes(options: TransferOptions = {}): Promise<Uint8Array> {
    let all = new Uint8Array(0);
    let at = 0;
    for await (const chunk of this.#chunks(options)) {
      // Only now is the size more than the sender's word.
      if (at === 0) all = new Uint8Array(this.size);
      all.set(chunk, at);
      at += chunk.length;
    }
    return all;
  }

  /** A Blob of the sender's type; browsers keep large ones on disk. */
  async blob(options: TransferOptions = {}): Promise<Blob> {
    const parts: Blob[] = [];
    for await (const chunk of this.#chunks(options)) parts.push(new Blob([chunk]));
    return new Blob(parts, { type: this.mimeType ?? "" });
  }

  /** A stream, which holds one chunk at a time; it begins when all was checked. Cancelling it gives it up. */
  stream(options: TransferOptions = {}): ReadableStream<Uint8Array> {
    const chunks = this.#chunks(options);
    return new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          const { done, value } = await chunks.next();
          if (done) controller.close();
          else controller.enqueue(value);
        },
        cancel: async () => void (await chunks.return()),
      },
      { highWaterMark: 0 },
    );
  }

  async *#chunks(options: TransferOptions): AsyncGenerator<Bytes, void> {
    assertTransferOptions(options);
    const { signal } = options;
    const reference = this.#reference;
    let isOver = true;
    try {
      await this.#fetch(options);
      for (let index = 0; index < chunksOf(this.size); index++) {
        yield await this.#ask((core) => core.call("readChunk", reference, index), signal);
      }
    } catch (error) {
      // Whoever opens the client again goes on.
      isOver = !SubrosaError.is(error) || error.code !== "closed";
      throw error;
    } finally {
      if (isOver) await this.#ask((core) => core.call("dropSpool", reference), undefined).catch(() => {});
    }
  }

  async #fetch(options: TransferOptions): Promise<void> {
    const { size } = this;
    const chunks = chunksOf(size);
    let [next, transferred] = [0, 0];
    // The first that fails ends them all, and none goes on behind our back.
    let failed = false;
    const work = async () => {
      while (next < chunks && !failed) {
        const index = next++;
        try {
          await this.#ask((core) => core.call("fetchChunk", this.#reference, index), options.signal);
        } catch (error) {
          failed = true;
          throw error;
        }
        transferred += Math.min(CHUNK_LENGTH, size - index * CHUNK_LENGTH);
        if (!failed) tellProgress(options, transferred, size);
      }
    };
    await Promise.all(Array.from({ length: WINDOW }, work));
  }
}
