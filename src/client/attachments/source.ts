import { assertArgument } from "../../base/errors.js";

/** What can be sent as an attachment: a `Blob` or `File`, a stream, or bytes piece by piece, such as a `Readable` of Node. */
export type AttachmentSource = Blob | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;

/** How much of a Blob is read at once, in bytes. */
const SLICE = 1024 * 1024;

export function isAttachmentSource(content: unknown): content is AttachmentSource {
  if (typeof content !== "object" || content === null) return false;
  return isBlob(content) || "getReader" in content || Symbol.asyncIterator in content;
}

/** By what it can do, since there is more than one Blob class in Node and none in some test environments. */
export function isBlob(content: object): content is Blob {
  return "arrayBuffer" in content && "slice" in content && "size" in content;
}

/** The pieces of a source, read once. */
export interface Pieces {
  /** Throws what the source fails with, `invalid-argument` for what are no bytes. */
  next(): Promise<Uint8Array | undefined>;
  /** Nothing more is read, also of what is being waited for. */
  cancel(): void;
}

/** Throws `invalid-argument` for a stream that is being read. */
export function piecesOf(source: AttachmentSource): Pieces {
  if (isBlob(source)) {
    let at = 0;
    return {
      async next() {
        if (at >= source.size) return undefined;
        const slice = source.slice(at, at + SLICE);
        at += SLICE;
        return new Uint8Array(await slice.arrayBuffer());
      },
      cancel: () => {},
    };
  }
  if ("getReader" in source) {
    assertArgument(!source.locked, "content: a stream that nobody reads");
    const reader = source.getReader();
    return {
      next: async () => bytesIn(await reader.read()),
      cancel: () => void reader.cancel().catch(() => {}),
    };
  }
  const iterator = source[Symbol.asyncIterator]();
  return {
    next: async () => bytesIn(await iterator.next()),
    cancel() {
      // A Readable that is waited for ends only so.
      (source as { destroy?: () => void }).destroy?.();
      void iterator.return?.().catch(() => {});
    },
  };
}

function bytesIn({ done, value }: { done?: boolean | undefined; value?: unknown }): Uint8Array | undefined {
  if (done) return undefined;
  assertArgument(value instanceof Uint8Array, "content: a stream of bytes");
  return value;
}
