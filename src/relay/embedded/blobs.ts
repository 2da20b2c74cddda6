import { type Bytes, equalBytes } from "../../base/bytes.js";
import type { BlobCommand, ChunkCommand, PruneCommand } from "../storage.js";
import { after, bytesOf, keys } from "./keys.js";
import { type BlobRecord, blobRecord, buriedRecord, usageRecord } from "./records.js";
import { type Records, refuse, type Transaction } from "./transaction.js";

/** How many entries a chunk counts for when it is dropped. */
const CHUNK_COST = 8;
/** How far beyond the number of those that are there the index of a chunk may be: dropping a blob goes through all. */
export const MAX_AHEAD = 64;

function usage(records: Records, key: string): { blobs: number; bytes: number } {
  return records.get(usageRecord, key) ?? { blobs: 0, bytes: 0 };
}

/** Counts for the user and for the whole. */
function count(transaction: Transaction, userId: string, blobs: number, bytes: number): void {
  for (const key of [keys.blobUsage(userId), keys.blobTotal]) {
    const before = usage(transaction, key);
    transaction.put(usageRecord, key, { blobs: before.blobs + blobs, bytes: before.bytes + bytes });
  }
}

/** The blob, if it is the user's. */
function own(transaction: Transaction, { blobId, userId }: BlobCommand): BlobRecord | undefined {
  const blob = transaction.get(blobRecord, keys.blob(blobId));
  if (blob !== undefined && blob.owner !== userId) refuse("forbidden", "the blob is another user's");
  return blob;
}

const unknown = () => refuse("unknown-blob", "no such upload, or not any more");

/** PROTOCOL.md, "Blobs". */
export function beginUpload(transaction: Transaction, command: BlobCommand): void {
  const { blobId, userId, now, quotas } = command;
  const key = keys.blob(blobId);
  const known = transaction.get(blobRecord, key);
  if (known?.owner === userId) return;
  if (known !== undefined || transaction.has(keys.buriedBlob(blobId))) {
    refuse("conflict", "the blob id is taken");
  }
  if (usage(transaction, keys.blobUsage(userId)).blobs >= quotas.maxBlobs) {
    refuse("quota-exceeded", "the user has too many blobs");
  }
  transaction.put(blobRecord, key, {
    owner: userId,
    chunks: 0,
    end: 0,
    bytes: 0,
    finished: false,
    time: now,
  });
  count(transaction, userId, 1, 0);
}

export function putChunk(transaction: Transaction, command: ChunkCommand): void {
  const { blobId, userId, index, chunk, now, quotas } = command;
  const blob = own(transaction, command) ?? unknown();
  const key = keys.chunk(blobId, index);
  const known = transaction.view.get(key);
  if (known !== undefined && equalBytes(known, chunk)) return;
  if (known !== undefined || blob.finished) refuse("conflict", "other bytes than before, or after the end");
  if (index > blob.chunks + MAX_AHEAD) refuse("conflict", "too many chunks before it are missing");
  const bytes = blob.bytes + chunk.length;
  if (bytes > quotas.maxBlobBytes) refuse("too-large", "the blob is too large");
  if (usage(transaction, keys.blobUsage(userId)).bytes + chunk.length > quotas.maxUserBlobBytes) {
    refuse("quota-exceeded", "the user's blobs take too much");
  }
  const end = Math.max(blob.end, index + 1);
  transaction.putBytes(key, chunk);
  transaction.put(blobRecord, keys.blob(blobId), { ...blob, chunks: blob.chunks + 1, end, bytes, time: now });
  count(transaction, userId, 0, chunk.length);
}

export function finishUpload(transaction: Transaction, command: BlobCommand, chunks: number): void {
  const blob = own(transaction, command) ?? unknown();
  if (blob.chunks !== chunks || blob.end !== chunks || chunks === 0) {
    refuse("conflict", "other chunks than these have come");
  }
  if (blob.finished) return;
  transaction.put(blobRecord, keys.blob(command.blobId), { ...blob, finished: true, time: command.now });
}

export function deleteBlob(transaction: Transaction, command: BlobCommand): void {
  const blob = own(transaction, command);
  if (blob !== undefined) bury(transaction, command.blobId, blob);
}

/** Nobody has it from here on; its chunks go little by little. */
function bury(transaction: Transaction, blobId: Bytes, blob: BlobRecord): void {
  transaction.delete(keys.blob(blobId));
  transaction.put(buriedRecord, keys.buriedBlob(blobId), { next: 0, end: blob.end });
  count(transaction, blob.owner, -1, -blob.bytes);
}

export function chunkOf(records: Records, blobId: Bytes, index: number): Bytes | undefined {
  if (!records.get(blobRecord, keys.blob(blobId))?.finished) return undefined;
  return records.view.get(keys.chunk(blobId, index));
}

/** How many blobs there are, and their bytes. */
export function blobSizes(records: Records): Record<string, number> {
  const { blobs, bytes } = usage(records, keys.blobTotal);
  return { blobs, blob_bytes: bytes };
}

/**
 * Drops blobs that are too old and the chunks of those that are gone, in one bounded step that begins with the blob at
 * or after the key `from`; returns the key to go on from, undefined when there is nothing left to do.
 */
export function pruneBlobs(
  transaction: Transaction,
  command: PruneCommand,
  from: string,
): string | undefined {
  const { now, retention, uploadTimeout, batch } = command;
  let budget = batch;
  for (const [key, blob] of transaction.range(blobRecord, from, after(keys.blobs))) {
    if (budget-- <= 0) return key;
    if (blob.time <= now - (blob.finished ? retention : uploadTimeout)) {
      bury(transaction, bytesOf(key, keys.blobs.length), blob);
    }
  }
  for (const [key, { next, end }] of [...transaction.all(buriedRecord, keys.buriedBlobs)]) {
    const blobId = bytesOf(key, keys.buriedBlobs.length);
    const stop = Math.min(end, next + Math.ceil(Math.max(0, budget) / CHUNK_COST));
    for (let index = next; index < stop; index++) transaction.delete(keys.chunk(blobId, index));
    budget -= 1 + (stop - next) * CHUNK_COST;
    if (stop < end) {
      transaction.put(buriedRecord, key, { next: stop, end });
      return after(keys.blobs);
    }
    transaction.delete(key);
  }
  return undefined;
}
