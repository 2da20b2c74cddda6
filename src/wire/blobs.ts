import type { Bytes } from "../base/bytes.js";
import type { Reader } from "../codec/reader.js";
import type { Writer } from "../codec/writer.js";
import { nothing, operation } from "./operation.js";
import { BLOB_ID_LENGTH, MAX_CHUNK_BYTES } from "./protocol.js";

export interface BlobBody {
  readonly blobId: Bytes;
}

const encodeBlobId = (writer: Writer, { blobId }: BlobBody) => void writer.fixed(blobId);
const decodeBlobId = (reader: Reader): BlobBody => ({ blobId: reader.fixed(BLOB_ID_LENGTH) });

function encodeChunk(writer: Writer, { chunk }: { chunk: Bytes }): void {
  writer.opaque(chunk);
}

function decodeChunk(reader: Reader): { chunk: Bytes } {
  const chunk = reader.opaque(MAX_CHUNK_BYTES);
  return chunk.length === 0 ? reader.fail("an empty chunk") : { chunk };
}

const plain = { encode: encodeBlobId, decode: decodeBlobId } as const;
const done = { encodeResult: nothing.encode, decodeResult: nothing.decode } as const;

/** Requests about blobs: what is too large for a log, in chunks that the relay cannot read. */
export const blobOperations = {
  beginUpload: operation<BlobBody, undefined>({ type: 0x20, ...plain, ...done }),
  putChunk: operation<BlobBody & { index: number; chunk: Bytes }, undefined>({
    type: 0x21,
    encode(writer, body) {
      encodeBlobId(writer, body);
      encodeChunk(writer.u32(body.index), body);
    },
    decode: (reader) => ({ ...decodeBlobId(reader), index: reader.u32(), ...decodeChunk(reader) }),
    ...done,
  }),
  finishUpload: operation<BlobBody & { chunks: number }, undefined>({
    type: 0x22,
    encode: (writer, { blobId, chunks }) => void writer.fixed(blobId).u32(chunks),
    decode: (reader) => ({ ...decodeBlobId(reader), chunks: reader.u32() }),
    ...done,
  }),
  fetchChunk: operation<BlobBody & { index: number }, { chunk: Bytes }>({
    type: 0x23,
    encode: (writer, { blobId, index }) => void writer.fixed(blobId).u32(index),
    decode: (reader) => ({ ...decodeBlobId(reader), index: reader.u32() }),
    encodeResult: encodeChunk,
    decodeResult: decodeChunk,
  }),
  deleteBlob: operation<BlobBody, undefined>({ type: 0x24, ...plain, ...done }),
} as const;
