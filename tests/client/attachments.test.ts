import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { CHUNK_LENGTH } from "../../src/client/attachments/reference.js";
import { deferred } from "../../src/client/waiting.js";
import { randomBytes } from "../../src/crypto/random.js";
import { Attachment, type AttachmentSource, type Message, type Progress } from "../../src/index.js";
import { type Actor, connectAll, makeGroup, startRelay } from "./harness.js";

const refusal = (code: string) => expect.objectContaining({ code });

async function attachment(actor: Actor, id: string): Promise<{ message: Message; content: Attachment }> {
  const message = await actor.until(() => actor.messages.find((one) => one.id === id), `message ${id}`);
  const { content } = message;
  if (!(content instanceof Attachment)) throw new Error("not an attachment");
  return { message, content };
}

function streamOf(bytes: Uint8Array, piece: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.subarray(at, at + piece));
      at += piece;
    },
  });
}

async function* piecesOf(bytes: Uint8Array, piece: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
}

/** What `toEqual` says of so many bytes takes it seconds. */
function expectSame(actual: Uint8Array | ArrayBuffer, expected: Uint8Array): void {
  expect(Buffer.compare(new Uint8Array(actual), expected)).toBe(0);
}

function expectMonotonic(seen: readonly Progress[], size: number): void {
  const steps = seen.map(({ transferred }) => transferred);
  expect(steps).toEqual([...steps].sort((a, b) => a - b));
  expect(new Set(steps).size).toBe(steps.length);
  expect(steps.at(-1)).toBe(size);
}

describe("attachments", () => {
  const SIZES = [0, 1, 1000, CHUNK_LENGTH - 1, CHUNK_LENGTH, CHUNK_LENGTH + 1, 3 * CHUNK_LENGTH, 900_001];
  const SOURCES: Record<string, (bytes: Uint8Array<ArrayBuffer>) => AttachmentSource> = {
    "a Blob": (bytes) => new Blob([bytes], { type: "image/png" }),
    "a ReadableStream": (bytes) => streamOf(bytes, 50_000),
    "a Readable": (bytes) => Readable.from([Buffer.from(bytes)]),
    "an async iterable": (bytes) => piecesOf(bytes, 400_000),
  };

  it.each(Object.keys(SOURCES))("of every size arrive as they were, from %s", async (kind) => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    for (const size of SIZES) {
      const bytes = randomBytes(size);
      const source = (SOURCES[kind] as (typeof SOURCES)[string])(bytes);
      const [sending, receiving]: [Progress[], Progress[]] = [[], []];
      const id = await alice.client.sendDirectMessage("bob", source, {
        name: "a file.bin",
        onProgress: (progress) => void sending.push(progress),
      });
      const { content } = await attachment(bob, id);
      expect({ ...content }).toEqual({
        name: "a file.bin",
        size,
        ...(kind === "a Blob" && { mimeType: "image/png" }),
      });
      const onProgress = (progress: Progress) => void receiving.push(progress);
      expectSame(await content.bytes({ onProgress }), bytes);
      expectMonotonic(sending, size);
      expectMonotonic(receiving, size);
      expect(receiving.every(({ total }) => total === size)).toBe(true);
      expect(sending.every(({ total }) => total === (kind === "a Blob" ? size : undefined))).toBe(true);
    }
  });

  it("are read as a Blob, as bytes and as a stream, as often as wanted", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    const bytes = randomBytes(700_000);
    const file = new File([bytes], "photo.jpg", { type: "image/jpeg" });
    const { content } = await attachment(bob, await alice.client.sendDirectMessage("bob", file));
    expect(content).toMatchObject({ name: "photo.jpg", mimeType: "image/jpeg", size: bytes.length });
    const blob = await content.blob();
    expect(blob.type).toBe("image/jpeg");
    expectSame(await blob.arrayBuffer(), bytes);
    expectSame(await new Response(content.stream()).arrayBuffer(), bytes);
    const both = await Promise.all([content.bytes(), content.bytes()]);
    for (const one of both) expectSame(one, bytes);
  });

  it("go to a group, with receipts, history and their place in the order", async () => {
    const relay = await startRelay();
    const actors = await connectAll(relay, ["alice", "bob", "carol"], {
      history: true,
      ack: { group: true },
    });
    const [alice, bob, carol] = actors;
    await makeGroup("team", actors);
    const bytes = randomBytes(300_000);
    const id = await alice.client.sendGroupMessage("team", new Blob([bytes]), { mimeType: "text/plain" });
    await alice.client.sendGroupMessage("team", "after it");
    await alice.receipts([id], "sent");
    for (const one of [bob, carol]) {
      const { message, content } = await attachment(one, id);
      expect(message).toMatchObject({ from: "alice", group: "team", redelivered: false });
      expectSame(await content.bytes(), bytes);
      await one.message("after it");
      expect(one.messages.map((m) => m.id)[0]).toBe(id);
      await alice.receipts([id], "delivered", one.userId);
    }
    for (const one of actors) {
      const [first] = await one.client.history({ group: "team" });
      expect(first).toMatchObject({ id, from: "alice" });
      const content = first?.content as Attachment;
      expect(content.mimeType).toBe("text/plain");
      expectSame(await content.bytes(), bytes);
    }
  });

  it("are refused at once where that is known", async () => {
    const relay = await startRelay({ limits: { maxBlobBytes: 500_000, maxBlobs: 2 } });
    const [alice] = await connectAll(relay, ["alice", "bob"]);
    const send = (source: unknown, options = {}) =>
      alice.client.sendDirectMessage("bob", source as Blob, options);
    const { client } = alice;
    await expect(client.sendGroupMessage("nowhere", new Blob(["x"]))).rejects.toEqual(
      refusal("not-a-member"),
    );
    await expect(send({})).rejects.toEqual(refusal("invalid-argument"));
    await expect(send(Readable.from(["a text"]))).rejects.toEqual(refusal("invalid-argument"));
    for (const name of ["", "..", "a/b", "a\\b", "a\u0000b", "x".repeat(256)])
      await expect(send(new Blob(["x"]), { name })).rejects.toEqual(refusal("invalid-argument"));
    await expect(send(new Blob(["x"]), { mimeType: "ü" })).rejects.toEqual(refusal("invalid-argument"));
    const failing = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.error(new Error("disk on fire")),
    });
    await expect(send(failing)).rejects.toThrow("disk on fire");
    await expect(send(new Blob([randomBytes(600_000)]))).rejects.toEqual(refusal("too-large"));
    // What came to nothing takes no room.
    await onceThereIsRoom(() => send(new Blob(["1"])));
    await send(new Blob(["2"]));
    await expect(send(new Blob(["3"]))).rejects.toEqual(refusal("quota-exceeded"));
  });

  it("end with `aborted`, also when their source says nothing any more", async () => {
    const relay = await startRelay({ limits: { maxBlobs: 1 } });
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    for (const make of [
      (cancel: () => void) => new ReadableStream<Uint8Array>({ pull: () => new Promise(() => {}), cancel }),
      (cancel: () => void) => new Readable({ read() {} }).once("close", cancel),
    ]) {
      const stop = new AbortController();
      const cancelled = deferred<void>();
      const source = make(() => cancelled.resolve());
      const sent = alice.client.sendDirectMessage("bob", source, { signal: stop.signal });
      setTimeout(() => stop.abort(), 20);
      await expect(sent).rejects.toEqual(refusal("aborted"));
      await cancelled.promise;
    }
    const id = await onceThereIsRoom(() => alice.client.sendDirectMessage("bob", new Blob(["x"])));
    const { content } = await attachment(bob, id);
    await expect(content.bytes({ signal: AbortSignal.abort() })).rejects.toEqual(refusal("aborted"));
    expect(await content.bytes()).toEqual(new Uint8Array([120]));
  });
});

/** What was given up goes a little later. */
async function onceThereIsRoom<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if ((error as { code?: string }).code !== "quota-exceeded") throw error;
    }
  }
}
