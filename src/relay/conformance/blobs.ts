import type { Bytes } from "../../base/bytes.js";
import { randomBytes } from "../../crypto/random.js";
import type { BlobQuotas } from "../storage.js";
import { expect, refused } from "./expectations.js";
import { type Define, NOW, type World } from "./world.js";

const roomy: BlobQuotas = { maxBlobBytes: 5000, maxBlobs: 3, maxUserBlobBytes: 9000, retention: 86_400_000 };
const A_CHUNK = 1000;

/** Blobs: chunks in and out, whose they are, what they may take and when they go. */
export function blobCases(it: Define, world: World): void {
  const command = (blobId: Bytes, userId = "alice", now = NOW, quotas = roomy) => ({
    blobId,
    userId,
    now,
    quotas,
  });
  const begin = async (blobId = randomBytes(32), userId?: string, now?: number, quotas?: BlobQuotas) => {
    await world.storage.blobs.begin(command(blobId, userId, now, quotas));
    return blobId;
  };
  const put = (blobId: Bytes, index: number, chunk: Bytes, userId?: string, now?: number) =>
    world.storage.blobs.put({ ...command(blobId, userId, now), index, chunk });
  const finish = (blobId: Bytes, chunks: number, userId?: string, now?: number) =>
    world.storage.blobs.finish(command(blobId, userId, now), chunks);
  const drop = (blobId: Bytes, userId?: string) => world.storage.blobs.delete(command(blobId, userId));
  const whole = async (chunks: number, userId?: string, now?: number) => {
    const blobId = await begin(randomBytes(32), userId, now);
    for (let i = 0; i < chunks; i++) await put(blobId, i, randomBytes(A_CHUNK), userId, now);
    await finish(blobId, chunks, userId, now);
    return blobId;
  };
  const prune = async (now: number, retention: number, uploadTimeout: number, batch = 100) => {
    let steps = 1;
    const limits = { retention, uploadTimeout, maxLogBytes: 1e9, batch };
    while (!(await world.storage.prune({ now, ...limits }))) steps++;
    return steps;
  };

  it("blobs: give chunks back once the upload is finished, and not before", async () => {
    const blobId = await begin();
    const chunks = [randomBytes(262_144), randomBytes(1)];
    const room = { ...roomy, maxBlobBytes: 1e6, maxUserBlobBytes: 1e6 };
    for (const [index, chunk] of [...chunks.entries()].reverse())
      await world.storage.blobs.put({ ...command(blobId, "alice", NOW, room), index, chunk });
    expect(await world.storage.blobs.chunk(blobId, 0)).toBeUndefined();
    await finish(blobId, 2);
    for (const [index, chunk] of chunks.entries())
      expect(await world.storage.blobs.chunk(blobId, index)).toEqual(chunk);
    expect(await world.storage.blobs.chunk(blobId, 2)).toBeUndefined();
    expect(await world.storage.blobs.chunk(randomBytes(32), 0)).toBeUndefined();
    if (!(await world.reopen())) return;
    expect(await world.storage.blobs.chunk(blobId, 1)).toEqual(chunks[1]);
  });

  it("blobs: do everything once, however often it is asked for", async () => {
    const blobId = await begin();
    const chunk = randomBytes(A_CHUNK);
    for (let i = 0; i < 9; i++) await put(blobId, 0, chunk);
    await begin(blobId);
    await expect(put(blobId, 0, randomBytes(A_CHUNK))).rejects.toEqual(refused("conflict"));
    await finish(blobId, 1);
    await finish(blobId, 1);
    await put(blobId, 0, chunk);
    expect(await world.storage.blobs.chunk(blobId, 0)).toEqual(chunk);
    await begin(blobId);
    expect(await world.storage.blobs.chunk(blobId, 0)).toEqual(chunk);
    await expect(put(blobId, 1, chunk)).rejects.toEqual(refused("conflict"));
    await drop(blobId);
    await drop(blobId);
    expect(await world.storage.blobs.chunk(blobId, 0)).toBeUndefined();
  });

  it("blobs: finish with exactly the chunks that came", async () => {
    const blobId = await begin();
    await expect(finish(blobId, 0)).rejects.toEqual(refused("conflict"));
    await put(blobId, 0, randomBytes(1));
    await put(blobId, 2, randomBytes(1));
    for (const chunks of [1, 2, 3, 4])
      await expect(finish(blobId, chunks)).rejects.toEqual(refused("conflict"));
    await put(blobId, 1, randomBytes(1));
    await expect(finish(blobId, 2)).rejects.toEqual(refused("conflict"));
    await finish(blobId, 3);
  });

  it("blobs: take no chunk that leaves out many, whose place would have to be gone through", async () => {
    const blobId = await begin();
    for (const index of [2 ** 32 - 1, 65]) {
      await expect(put(blobId, index, randomBytes(1))).rejects.toEqual(refused("conflict"));
    }
    await put(blobId, 64, randomBytes(1));
    await put(blobId, 65, randomBytes(1));
    await expect(put(blobId, 67, randomBytes(1))).rejects.toEqual(refused("conflict"));
    await drop(blobId);
    expect((await prune(NOW, 10_000, 1000)) < 20).toBe(true);
  });

  it("blobs: keep nothing of an id that was refused, deleted or dropped", async () => {
    const none = { ...roomy, maxBlobs: 0 };
    const [refusedId, deleted, left] = [randomBytes(32), await begin(), await begin()] as const;
    await expect(begin(refusedId, "alice", NOW, none)).rejects.toEqual(refused("quota-exceeded"));
    await drop(deleted);
    await prune(NOW + 2000, 10_000, 1000);
    for (const blobId of [refusedId, deleted, left]) await begin(blobId, "bob", NOW + 2000);
  });

  it("blobs: are their owner's to write and to delete", async () => {
    const blobId = await whole(1);
    await expect(begin(blobId, "eve")).rejects.toEqual(refused("conflict"));
    await expect(put(blobId, 0, randomBytes(1), "eve")).rejects.toEqual(refused("forbidden"));
    await expect(finish(blobId, 1, "eve")).rejects.toEqual(refused("forbidden"));
    await expect(drop(blobId, "eve")).rejects.toEqual(refused("forbidden"));
    expect(await world.storage.blobs.chunk(blobId, 0)).toBeDefined();
    await expect(put(randomBytes(32), 0, randomBytes(1))).rejects.toEqual(refused("unknown-blob"));
    await expect(finish(randomBytes(32), 1)).rejects.toEqual(refused("unknown-blob"));
    await drop(randomBytes(32), "eve");
  });

  it("blobs: keep to what one may take, what one user's may, and how many", async () => {
    const first = await begin();
    for (let i = 0; i < 5; i++) await put(first, i, randomBytes(A_CHUNK));
    await expect(put(first, 5, randomBytes(1))).rejects.toEqual(refused("too-large"));
    const second = await begin();
    const puts = [0, 1, 2, 3, 4].map((i) => put(second, i, randomBytes(A_CHUNK)));
    const ends = await Promise.allSettled(puts);
    expect(ends.filter(({ status }) => status === "fulfilled")).toHaveLength(4);
    await begin();
    await expect(begin()).rejects.toEqual(refused("quota-exceeded"));
    await begin(randomBytes(32), "bob");
    await drop(first);
    const again = await begin();
    await put(again, 0, randomBytes(A_CHUNK));
    await expect(begin(randomBytes(32), "carol", NOW, { ...roomy, maxBlobs: 0 })).rejects.toEqual(
      refused("quota-exceeded"),
    );
  });

  it("blobs: go when nothing came for a while, and when they are too old, in bounded steps", async () => {
    const left = await begin();
    await put(left, 0, randomBytes(A_CHUNK));
    const done = await whole(4);
    const later = await whole(2, "bob", NOW + 5000);
    await prune(NOW + 500, 10_000, 1000);
    await put(left, 1, randomBytes(A_CHUNK), "alice", NOW + 900);
    await prune(NOW + 1500, 10_000, 1000);
    await put(left, 2, randomBytes(A_CHUNK), "alice", NOW + 1500);
    await prune(NOW + 2500, 10_000, 1000, 3);
    await expect(put(left, 3, randomBytes(A_CHUNK))).rejects.toEqual(refused("unknown-blob"));
    expect(await world.storage.blobs.chunk(done, 3)).toBeDefined();
    await prune(NOW + 10_000, 10_000, 1000, 3);
    expect(await world.storage.blobs.chunk(done, 0)).toBeUndefined();
    expect(await world.storage.blobs.chunk(later, 1)).toBeDefined();
    // What they took is free again.
    for (let i = 0; i < 3; i++) await whole(3);
    const { blob_bytes: bytes } = (await world.storage.sizes?.()) ?? {};
    if (bytes !== undefined) expect(bytes).toBe(11 * A_CHUNK);
  });
}
