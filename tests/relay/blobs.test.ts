import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { randomBytes } from "../../src/crypto/random.js";
import { Relay, type RelayOptions } from "../../src/relay.js";
import { MAX_CHUNK_BYTES } from "../../src/wire/protocol.js";
import { makeUser, RawClient } from "./raw-client.js";

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(options: RelayOptions = {}): Promise<{ relay: Relay; url: string }> {
  const relay = new Relay({ port: 0, ...options });
  cleanups.push(() => relay.close());
  return { relay, url: (await relay.listen()).url };
}

async function connect(url: string, name: string): Promise<RawClient> {
  const client = await RawClient.connect(url, await makeUser(name));
  cleanups.push(() => client.close());
  return client;
}

async function upload(client: RawClient, chunks: readonly Bytes[], blobId = randomBytes(32)): Promise<Bytes> {
  await client.request("beginUpload", { blobId });
  for (const [index, chunk] of chunks.entries()) await client.request("putChunk", { blobId, index, chunk });
  await client.request("finishUpload", { blobId, chunks: chunks.length });
  return blobId;
}

const refusal = (code: string) => expect.objectContaining({ code });

describe("blobs over the wire", () => {
  it("go from their owner to whoever knows the id, until the owner deletes them", async () => {
    const { url } = await start();
    const [alice, bob] = [await connect(url, "alice"), await connect(url, "bob")];
    const chunks = [randomBytes(MAX_CHUNK_BYTES), randomBytes(7)];
    const blobId = await upload(alice, chunks);
    for (const [index, chunk] of chunks.entries())
      expect(await bob.request("fetchChunk", { blobId, index })).toEqual({ chunk });
    await expect(bob.request("fetchChunk", { blobId, index: 2 })).rejects.toEqual(refusal("unknown-blob"));
    await expect(bob.request("deleteBlob", { blobId })).rejects.toEqual(refusal("forbidden"));
    await expect(bob.request("putChunk", { blobId, index: 2, chunk: randomBytes(1) })).rejects.toEqual(
      refusal("forbidden"),
    );
    await alice.request("deleteBlob", { blobId });
    await expect(bob.request("fetchChunk", { blobId, index: 0 })).rejects.toEqual(refusal("unknown-blob"));
  });

  it("are there after a restart, with an upload that was under way", async () => {
    const data = await mkdtemp(join(tmpdir(), "subrosa-blobs-"));
    cleanups.push(() => rm(data, { recursive: true }));
    const user = await makeUser("alice");
    const first = await start({ data });
    const before = await RawClient.connect(first.url, user);
    const chunks = [randomBytes(5000), randomBytes(5000)] as const;
    const done = await upload(before, chunks);
    const blobId = randomBytes(32);
    await before.request("beginUpload", { blobId });
    await before.request("putChunk", { blobId, index: 0, chunk: chunks[0] });
    await first.relay.close();
    const { url, relay } = await start({ data });
    const after = await RawClient.connect(url, user, { incarnation: 2 });
    expect(await after.request("fetchChunk", { blobId: done, index: 1 })).toEqual({ chunk: chunks[1] });
    await after.request("putChunk", { blobId, index: 0, chunk: chunks[0] });
    await after.request("putChunk", { blobId, index: 1, chunk: chunks[1] });
    await after.request("finishUpload", { blobId, chunks: 2 });
    expect(await relay.metrics()).toMatch(/storage_size\{what="blob_bytes"\} 20000\n/);
    expect(await relay.metrics()).toMatch(/storage_size\{what="blobs"\} 2\n/);
    await after.close();
  });

  it("keep to the relay's limits", async () => {
    const limits = { maxBlobBytes: 1000, maxBlobs: 2, maxUserBlobBytes: 1500 };
    const { url } = await start({ limits });
    const alice = await connect(url, "alice");
    await expect(upload(alice, [randomBytes(1001)])).rejects.toEqual(refusal("too-large"));
    const blobId = await upload(alice, [randomBytes(1000)]);
    await expect(upload(alice, [randomBytes(1)])).rejects.toEqual(refusal("quota-exceeded"));
    await alice.request("deleteBlob", { blobId });
    await expect(upload(alice, [randomBytes(1000), randomBytes(1)])).rejects.toEqual(refusal("too-large"));
  });

  it("have no more small chunks than large ones", async () => {
    const { url } = await start({ limits: { maxBlobBytes: 2 * MAX_CHUNK_BYTES } });
    const alice = await connect(url, "alice");
    await upload(alice, [randomBytes(1), randomBytes(1)]);
    const three = upload(alice, [randomBytes(1), randomBytes(1), randomBytes(1)]);
    await expect(three).rejects.toEqual(refusal("too-large"));
  });

  it("are fetched no faster than a connection may send", async () => {
    const { url } = await start({ limits: { bytesPerSecond: 1, byteBurst: 3 * MAX_CHUNK_BYTES } });
    const [alice, bob] = [await connect(url, "alice"), await connect(url, "bob")];
    const blobId = await upload(alice, [randomBytes(MAX_CHUNK_BYTES)]);
    // Three take more than there is, so that what the connection asks afterwards is not heard.
    for (let i = 0; i < 3; i++) await bob.request("fetchChunk", { blobId, index: 0 });
    const fourth = bob.request("fetchChunk", { blobId, index: 0 }).then(
      () => "answered",
      () => "ended",
    );
    await alice.request("fetchAccount", { userId: "bob" });
    bob.socket.terminate();
    expect(await fourth).toBe("ended");
  });

  it("are refused where a chunk is too large or empty", async () => {
    const { url } = await start();
    for (const length of [0, MAX_CHUNK_BYTES + 1]) {
      const client = await connect(url, `user ${length}`);
      const body = { blobId: randomBytes(32), index: 0, chunk: randomBytes(length) };
      client.request("putChunk", body).catch(() => {});
      expect((await client.closed()).code).toBe(4400);
    }
  });
});
