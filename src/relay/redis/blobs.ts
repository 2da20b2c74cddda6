import { type Bytes, copyBytes } from "../../base/bytes.js";
import { toHex, toUtf8 } from "../../base/encoding.js";
import { SubrosaError } from "../../base/errors.js";
import type { RefusalCode } from "../../wire/refusals.js";
import { MAX_AHEAD } from "../embedded/blobs.js";
import { refuse } from "../embedded/transaction.js";
import type { BlobCommand, BlobStorage, ChunkCommand, PruneCommand } from "../storage.js";
import { BEGIN_BLOB, DISOWN_BLOB, DROP_BLOB, FINISH_BLOB, OWN_BLOB, PUT_CHUNK } from "./blob-scripts.js";
import type { Argument } from "./link.js";
import type { RecordsLink } from "./records-link.js";
import type { Script } from "./scripts.js";

/** The letters of the Redis keys: records of a user's blobs, their bytes together, chunks of one, whose one is. */
export const RECORDS = "B";
const BYTES = "U";
const CHUNKS = "c";
const OWNER = "f";

const userTag = (userId: Uint8Array) => `u:${toHex(userId)}`;
const most = (limit: number) => String(Math.min(limit, Number.MAX_SAFE_INTEGER));

/** Blobs in Redis: in memory there, like everything else. */
export class Blobs implements BlobStorage {
  readonly #records: RecordsLink;

  constructor(records: RecordsLink) {
    this.#records = records;
  }

  async begin(command: BlobCommand): Promise<void> {
    // First what is counted: ids that are noted without it nobody would bound.
    await this.#run(BEGIN_BLOB, command, [String(command.now), most(command.quotas.maxBlobs)]);
    try {
      await this.#own(command);
    } catch (error) {
      if (SubrosaError.is(error) && error.code === "conflict") await this.#run(DROP_BLOB, command, [""]);
      throw error;
    }
  }

  async put(command: ChunkCommand): Promise<void> {
    const { index, chunk, now, quotas } = command;
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    const limits = [most(quotas.maxBlobBytes), most(quotas.maxUserBlobBytes), String(MAX_AHEAD)];
    await this.#check(command);
    await this.#run(PUT_CHUNK, command, [String(index), bytes, String(now), ...limits]);
  }

  async finish(command: BlobCommand, chunks: number): Promise<void> {
    await this.#check(command);
    await this.#run(FINISH_BLOB, command, [String(chunks), String(command.now)]);
    // From now on it is kept for the whole time.
    await this.#own(command);
  }

  async delete(command: BlobCommand): Promise<void> {
    if ((await this.#ownerOf(command.blobId)) === undefined) return;
    await this.#check(command);
    await this.#run(DROP_BLOB, command, [""]);
    await this.#disown(command.blobId, Buffer.from(toUtf8(command.userId)));
  }

  async chunk(blobId: Bytes, index: number): Promise<Bytes | undefined> {
    const owner = await this.#ownerOf(blobId);
    if (owner === undefined) return undefined;
    const tag = userTag(owner);
    const { link, names } = this.#records;
    const [record, chunk] = (await Promise.all([
      link.command(tag, ["HGET", names.key(RECORDS, tag), Buffer.from(blobId)]),
      link.command(tag, ["HGET", names.key(CHUNKS + toHex(blobId), tag), String(index)]),
    ])) as (Buffer | null)[];
    return record?.[0] === 1 && chunk ? copyBytes(chunk) : undefined;
  }

  /** Drops what is too old of the blobs in one user's slot. */
  async prune(tag: string, { now, retention, uploadTimeout }: PruneCommand): Promise<void> {
    const { link, names } = this.#records;
    const flat = (await link.command(tag, ["HGETALL", names.key(RECORDS, tag)])) as Buffer[];
    for (let i = 0; i < flat.length; i += 2) {
      const [id, record] = [flat[i] as Buffer, flat[i + 1] as Buffer];
      const time = Number(record.readBigUInt64BE(17));
      if (time <= now - (record[0] === 1 ? retention : uploadTimeout)) {
        await this.#script(DROP_BLOB, tag, copyBytes(id), [record]);
        const left = await link.command(tag, ["HEXISTS", names.key(RECORDS, tag), id]);
        if (Number(left) === 0) await this.#disown(copyBytes(id), Buffer.from(tag.slice(2), "hex"));
      }
    }
  }

  async #ownerOf(blobId: Bytes): Promise<Buffer | undefined> {
    const tag = `b:${toHex(blobId)}`;
    const reply = await this.#records.link.command(tag, ["GET", this.#records.names.key(OWNER, tag)]);
    return (reply as Buffer | null) ?? undefined;
  }

  /** Notes whose the blob is, for longer than it is kept. */
  async #own({ blobId, userId, quotas }: BlobCommand): Promise<void> {
    const tag = `b:${toHex(blobId)}`;
    const keep = Number.isFinite(quotas.retention) ? String(Math.ceil(quotas.retention) + 60_000) : "";
    const reply = await this.#records.link.write({
      tag,
      script: OWN_BLOB,
      keys: [this.#records.names.key(OWNER, tag)],
      args: [Buffer.from(toUtf8(userId)), keep],
    });
    if (Number(reply) !== 1) refuse("conflict", "the blob id is taken");
  }

  async #disown(blobId: Bytes, user: Buffer): Promise<void> {
    const tag = `b:${toHex(blobId)}`;
    const key = this.#records.names.key(OWNER, tag);
    await this.#records.link.write({ tag, script: DISOWN_BLOB, keys: [key], args: [user] });
  }

  async #check({ blobId, userId }: BlobCommand): Promise<void> {
    const owner = await this.#ownerOf(blobId);
    if (owner === undefined) refuse("unknown-blob", "no such upload, or not any more");
    if (!owner.equals(toUtf8(userId))) refuse("forbidden", "the blob is another user's");
  }

  async #run(script: Script, { blobId, userId }: BlobCommand, args: readonly Argument[]): Promise<void> {
    const refusal = await this.#script(script, userTag(toUtf8(userId)), blobId, args);
    if (refusal !== "") refuse(refusal as RefusalCode, "the blob cannot be changed like that");
  }

  async #script(script: Script, tag: string, blobId: Bytes, args: readonly Argument[]): Promise<string> {
    const { link, names } = this.#records;
    const keys = [RECORDS, BYTES, CHUNKS + toHex(blobId)].map((kind) => names.key(kind, tag));
    const used = script === BEGIN_BLOB || script === FINISH_BLOB ? keys.slice(0, 1) : keys;
    const reply = await link.write({ tag, script, keys: used, args: [Buffer.from(blobId), ...args] });
    return String(reply);
  }
}
