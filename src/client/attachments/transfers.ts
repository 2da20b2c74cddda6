import { type Bytes, equalBytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import { decode } from "../../codec/reader.js";
import { encode } from "../../codec/writer.js";
import type { Change } from "../../stores/store.js";
import { FRAME_OVERHEAD_BYTES, MAX_CHUNK_BYTES } from "../../wire/protocol.js";
import type { BodyOf, OperationName, ResultOf } from "../../wire/requests.js";
import type { Context } from "../context.js";
import { DAY, layout } from "../layout.js";
import type { RunningClient } from "../running-client.js";
import { AttachmentCipher } from "./cipher.js";
import type { AttachmentReference } from "./reference.js";

/** Chunks on their way at once, in each direction: with more, messages would wait behind them. */
export const WINDOW = 2;
/** How long a full queue is left alone, in milliseconds. */
const PAUSE = 250;
/** How long chunks are kept that nobody has asked for again, in milliseconds. */
const ABANDONED = 30 * DAY;

/** The changes that drop what of an attachment was fetched and is not read yet. */
export function dropSpool({ blobId }: Pick<AttachmentReference, "blobId">): Change[] {
  return [{ deletePrefix: layout.spoolOf(blobId) }, { delete: layout.download(blobId) }];
}

/** Drops what was fetched a long time ago and never read to its end. */
export async function pruneSpools({ store, clock, write }: Context): Promise<void> {
  for (const [key, value] of await store.list(layout.downloads)) {
    const touched = decode((reader) => reader.uint53(), value);
    if (touched > clock.now() - ABANDONED) continue;
    const spool = layout.spools + key.slice(layout.downloads.length);
    await write([{ deletePrefix: `${spool}/` }, { delete: key }]);
  }
}

/** Lets so many tasks run at once, the others wait in their order. */
class Turns {
  #free = WINDOW;
  readonly #waiting: (() => void)[] = [];

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}

/**
 * Chunks to the relay and from it. Each call can be repeated, by whichever owner of the store there is then; when the
 * session ends in between, it goes on with the next one.
 */
export class Transfers {
  readonly #running: () => RunningClient;
  readonly #uploads = new Turns();
  readonly #downloads = new Turns();
  /** What is being fetched; of what was given up meanwhile nothing is kept. */
  readonly #fetching = new Set<{ readonly blobId: Bytes; dropped: boolean }>();

  /** `running`: it may be another one later. */
  constructor(running: () => RunningClient) {
    this.#running = running;
  }

  async begin(blobId: Bytes): Promise<void> {
    await this.#ask("beginUpload", { blobId });
    // A frame over its limit would end the session, over and over.
    if (this.#running().context.relay.maxFrameBytes < MAX_CHUNK_BYTES + FRAME_OVERHEAD_BYTES) {
      throw new SubrosaError("too-large", "the relay's frames are too small for attachments");
    }
  }

  put(blobId: Bytes, index: number, chunk: Bytes): Promise<void> {
    return this.#uploads.run(() => this.#ask("putChunk", { blobId, index, chunk }));
  }

  finish(blobId: Bytes, chunks: number): Promise<void> {
    return this.#ask("finishUpload", { blobId, chunks });
  }

  delete(blobId: Bytes): Promise<void> {
    return this.#ask("deleteBlob", { blobId });
  }

  /**
   * Has a chunk in the store, checked. Throws `unknown-blob` where the relay does not have it, `decryption-failed`,
   * `storage-full`.
   */
  async fetch(reference: AttachmentReference, index: number): Promise<void> {
    const { store, clock } = this.#running().context;
    const { blobId } = reference;
    const key = layout.spooled(blobId, index);
    if ((await store.get(key)) !== undefined) return;
    const fetching = { blobId, dropped: false };
    this.#fetching.add(fetching);
    try {
      const chunk = await this.#fetch(reference, index);
      if (fetching.dropped) return;
      const now = encode((writer, time: number) => void writer.uint53(time), clock.now());
      // Not what the client hangs on: where there is no room for it, everything else goes on.
      await store.write([
        { put: key, value: chunk },
        { put: layout.download(blobId), value: now },
      ]);
    } finally {
      this.#fetching.delete(fetching);
    }
  }

  /** The plaintext of a chunk. */
  async read(reference: AttachmentReference, index: number): Promise<Bytes> {
    const kept = await this.#running().context.store.get(layout.spooled(reference.blobId, index));
    // Another reader of the same attachment may have come to its end.
    const chunk = kept ?? (await this.#fetch(reference, index));
    return (await AttachmentCipher.make(reference)).open(reference, index, chunk);
  }

  async drop(reference: AttachmentReference): Promise<void> {
    for (const one of this.#fetching) one.dropped ||= equalBytes(one.blobId, reference.blobId);
    await this.#running().context.write(dropSpool(reference));
  }

  async #fetch(reference: AttachmentReference, index: number): Promise<Bytes> {
    const cipher = await AttachmentCipher.make(reference);
    const { blobId } = reference;
    const { chunk } = await this.#downloads.run(() => this.#ask("fetchChunk", { blobId, index }));
    await cipher.open(reference, index, chunk);
    return chunk;
  }

  async #ask<Name extends OperationName>(name: Name, body: BodyOf<Name>): Promise<ResultOf<Name>> {
    for (;;) {
      const running = this.#running();
      await running.connected();
      const { relay, clock } = running.context;
      try {
        return await relay.request(name, body);
      } catch (error) {
        if (!SubrosaError.is(error)) throw error;
        if (error.code === "queue-full") await new Promise<void>((resolve) => clock.after(PAUSE, resolve));
        else if (error.code !== "connection-failed") throw error;
      }
    }
  }
}
