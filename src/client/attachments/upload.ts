import { assertOptions, type Names } from "../../base/arguments.js";
import type { Bytes } from "../../base/bytes.js";
import { assertArgument, SubrosaError } from "../../base/errors.js";
import { randomBytes } from "../../crypto/random.js";
import { BLOB_ID_LENGTH } from "../../wire/protocol.js";
import { settled } from "../emitter.js";
import type { Core } from "../tabs/core.js";
import { SIGNAL_NAMES } from "../waiting.js";
import { AttachmentCipher } from "./cipher.js";
import {
  type AttachmentReference,
  CHUNK_LENGTH,
  chunkLength,
  FILE_KEY_LENGTH,
  isFileName,
  isMimeType,
} from "./reference.js";
import { type AttachmentSource, isBlob, type Pieces, piecesOf } from "./source.js";
import { WINDOW } from "./transfers.js";

/** How far a transfer has come, in bytes; `transferred` never goes back. */
export interface Progress {
  readonly transferred: number;
  /** Absent for streams, whose size shows at their end. */
  readonly total?: number;
}

export interface TransferOptions {
  readonly onProgress?: (progress: Progress) => void;
  readonly signal?: AbortSignal;
}

export interface AttachmentOptions extends TransferOptions {
  /** A file's name; default: that of a `File`. Up to 255 bytes, without slashes and control characters. */
  readonly name?: string;
  /** Default: the type of a `Blob`. */
  readonly mimeType?: string;
}

const TRANSFER_NAMES: Names<TransferOptions> = { onProgress: true, ...SIGNAL_NAMES };
export const ATTACHMENT_NAMES: Names<AttachmentOptions> = { name: true, mimeType: true, ...TRANSFER_NAMES };

/** Where an attachment is going to be sent. */
export type Destination =
  | { readonly user: string; readonly fingerprint?: string | undefined }
  | { readonly group: string };

/** Throws `invalid-argument`. */
export function assertTransferOptions(
  options: TransferOptions,
  names: Names<TransferOptions> = TRANSFER_NAMES,
): void {
  assertOptions(options, names);
  const { onProgress } = options;
  assertArgument(onProgress === undefined || typeof onProgress === "function", "onProgress: a function");
}

export function tellProgress(options: TransferOptions, transferred: number, total: number | undefined): void {
  if (options.onProgress === undefined) return;
  void settled(() => options.onProgress?.({ transferred, ...(total !== undefined && { total }) }));
}

function labelsOf(
  source: AttachmentSource,
  { name, mimeType }: AttachmentOptions,
): Pick<AttachmentReference, "name" | "mimeType"> {
  assertArgument(name === undefined || isFileName(name), "name: a file's name");
  assertArgument(mimeType === undefined || isMimeType(mimeType), "mimeType: printable ASCII");
  const file: { name?: string; type?: string } = isBlob(source) ? source : {};
  const labels = { name: name ?? file.name, mimeType: mimeType ?? file.type };
  return {
    ...(labels.name !== undefined && isFileName(labels.name) && { name: labels.name }),
    ...(labels.mimeType !== undefined && isMimeType(labels.mimeType) && { mimeType: labels.mimeType }),
  };
}

/** Reads a source, encrypts it and has its chunks put to the relay, a few at a time. */
export class Upload {
  readonly #options: AttachmentOptions;
  readonly #labels: Pick<AttachmentReference, "name" | "mimeType">;
  readonly #total: number | undefined;
  readonly #blobId: Bytes;
  readonly #sending: Promise<void>[] = [];
  readonly #pieces: Pieces;
  #begun: Core | undefined;
  #stopped = false;
  #index = 0;
  #transferred = 0;

  /** Throws `invalid-argument`. `randomId`: for the blob's id; keys are never made of it. */
  constructor(source: AttachmentSource, options: AttachmentOptions, randomId: (length: number) => Bytes) {
    assertTransferOptions(options, ATTACHMENT_NAMES);
    this.#options = options;
    this.#labels = labelsOf(source, options);
    this.#total = isBlob(source) ? source.size : undefined;
    this.#blobId = randomId(BLOB_ID_LENGTH);
    this.#pieces = piecesOf(source);
  }

  /** Resolves once all of it is at the relay. */
  async run(core: Core, to: Destination): Promise<AttachmentReference> {
    const blobId = this.#blobId;
    const key = randomBytes(FILE_KEY_LENGTH);
    const cipher = await AttachmentCipher.make({ key, blobId });
    this.#assertGoing();
    this.#begun = core;
    await core.call("beginUpload", blobId, to);
    this.#assertGoing();
    const pieces = this.#pieces;
    const seal = async (plaintext: Uint8Array, length: number, isLast: boolean) => {
      const chunk = await cipher.seal(this.#index, isLast, plaintext);
      await this.#put(core, chunk, length);
    };
    let buffer = new Uint8Array(CHUNK_LENGTH);
    let filled = 0;
    for (let piece = await pieces.next(); piece !== undefined; piece = await pieces.next()) {
      this.#assertGoing();
      for (let at = 0; at < piece.length; ) {
        // Only when more comes is it known that this is not the last.
        if (filled === CHUNK_LENGTH) {
          await seal(buffer, filled, false);
          buffer = new Uint8Array(CHUNK_LENGTH);
          filled = 0;
        }
        const part = piece.subarray(at, at + CHUNK_LENGTH - filled);
        buffer.set(part, filled);
        filled += part.length;
        at += part.length;
      }
    }
    this.#assertGoing();
    const size = this.#index * CHUNK_LENGTH + filled;
    await seal(buffer.subarray(0, chunkLength(size, this.#index)), filled, true);
    await Promise.all(this.#sending);
    await core.call("finishUpload", blobId, this.#index);
    return { blobId, key, size, ...this.#labels };
  }

  async #put(core: Core, chunk: Bytes, length: number): Promise<void> {
    while (this.#sending.length >= WINDOW) await this.#sending.shift();
    this.#assertGoing();
    const sent = core.call("uploadChunk", this.#blobId, this.#index++, chunk).then(() => {
      this.#transferred += length;
      if (!this.#stopped) tellProgress(this.#options, this.#transferred, this.#total);
    });
    sent.catch(() => {});
    this.#sending.push(sent);
  }

  #assertGoing(): void {
    if (this.#stopped) throw new SubrosaError("aborted", "the upload was given up");
  }

  /** Gives up: nothing more is read and, unless `keep`, the relay need not keep what it has. */
  stop(keep: boolean): void {
    this.#stopped = true;
    this.#pieces.cancel();
    if (!keep) this.#begun?.call("deleteBlob", this.#blobId).catch(() => {});
  }
}
