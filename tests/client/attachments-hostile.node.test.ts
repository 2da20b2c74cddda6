import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { chunksOf } from "../../src/client/attachments/reference.js";
import { randomBytes } from "../../src/crypto/random.js";
import { Attachment, memoryStore } from "../../src/index.js";
import { openStore, saveAttachment } from "../../src/node.js";
import type { RelayStorage } from "../../src/relay/storage.js";
import { openMemoryStorage } from "../../src/relay.js";
import { type Actor, connected, eventually, startRelay, temporaryFolder } from "./harness.js";

type Chunk = (blobId: Bytes, index: number) => Promise<Bytes | undefined>;

/** A storage that keeps what it should, and hands out chunks as `hostile` wants them. */
function lyingStorage(): {
  storage: RelayStorage;
  lie: (hostile: (honest: Chunk) => Chunk) => void;
  asked: number[];
} {
  const storage = openMemoryStorage();
  const { blobs } = storage;
  const honest: Chunk = blobs.chunk.bind(blobs);
  const asked: number[] = [];
  let answer = honest;
  blobs.chunk = (blobId, index) => {
    asked.push(index);
    return answer(blobId, index);
  };
  return {
    storage,
    asked,
    lie: (hostile) => {
      answer = hostile(honest);
    },
  };
}

async function received(actor: Actor, id: string): Promise<Attachment> {
  const message = await actor.until(() => actor.messages.find((one) => one.id === id), id);
  if (!(message.content instanceof Attachment)) throw new Error("not an attachment");
  return message.content;
}

const refusal = (code: string) => expect.objectContaining({ code });
const SIZE = 800_000;

describe("a relay that hands out other chunks", () => {
  const flip = (chunk: Bytes | undefined, at: number) => {
    const changed = chunk?.slice();
    if (changed !== undefined) changed[at] = (changed[at] as number) ^ 1;
    return changed;
  };
  const last = chunksOf(SIZE) - 1;

  it.each<[string, (honest: Chunk) => Chunk]>([
    [
      "changed in one bit",
      (honest) => async (id, i) => (i === 1 ? flip(await honest(id, i), 1000) : honest(id, i)),
    ],
    [
      "changed in the tag of the last",
      (honest) => async (id, i) => {
        const chunk = await honest(id, i);
        return i === last ? flip(chunk, (chunk?.length ?? 0) - 1) : chunk;
      },
    ],
    ["in another order", (honest) => (id, i) => honest(id, i === 0 ? 1 : i === 1 ? 0 : i)],
    ["one of them twice", (honest) => (id, i) => honest(id, i === 2 ? 1 : i)],
    [
      "cut short",
      (honest) => async (id, i) => {
        const chunk = await honest(id, i);
        return i === last ? chunk?.subarray(0, chunk.length - 1) : chunk;
      },
    ],
    [
      "without the last, the one before in its place",
      (honest) => (id, i) => honest(id, Math.min(i, last - 1)),
    ],
  ])("%s: nothing of it is handed over", async (_what, hostile) => {
    const { storage, lie } = lyingStorage();
    const relay = await startRelay({ storage });
    const [alice, bob] = [await connected(relay, "alice"), await connected(relay, "bob")];
    const bytes = randomBytes(SIZE);
    const content = await received(bob, await alice.client.sendDirectMessage("bob", new Blob([bytes])));
    lie(hostile);
    await expect(content.bytes()).rejects.toEqual(refusal("decryption-failed"));
    await expect(content.blob()).rejects.toEqual(refusal("decryption-failed"));
    const pieces: Uint8Array[] = [];
    const reading = (async () => {
      for await (const piece of content.stream()) pieces.push(piece);
    })();
    await expect(reading).rejects.toEqual(refusal("decryption-failed"));
    expect(pieces).toEqual([]);
    lie((honest) => honest);
    expect(Buffer.compare(await content.bytes(), bytes)).toBe(0);
  });

  it("of another attachment of the same size: refused too", async () => {
    const { storage, lie } = lyingStorage();
    const relay = await startRelay({ storage });
    const [alice, bob] = [await connected(relay, "alice"), await connected(relay, "bob")];
    const seen: Bytes[] = [];
    lie((honest) => (id, i) => {
      if (i === 0) seen.push(id);
      return honest(id, i);
    });
    const send = async () =>
      received(bob, await alice.client.sendDirectMessage("bob", new Blob([randomBytes(SIZE)])));
    const [one, other] = [await send(), await send()];
    await one.bytes();
    lie((honest) => (_id, i) => honest(seen[0] as Bytes, i));
    await expect(other.bytes()).rejects.toEqual(refusal("decryption-failed"));
  });

  it("none any more: `unknown-blob`", async () => {
    const { storage, lie } = lyingStorage();
    const relay = await startRelay({ storage });
    const [alice, bob] = [await connected(relay, "alice"), await connected(relay, "bob")];
    const content = await received(bob, await alice.client.sendDirectMessage("bob", new Blob(["x"])));
    lie(() => async () => undefined);
    await expect(content.bytes()).rejects.toEqual(refusal("unknown-blob"));
  });
});

describe("an attachment that is fetched", () => {
  it("goes on where it stood after a restart of the receiver, and leaves nothing behind", async () => {
    const { storage, lie, asked } = lyingStorage();
    const relay = await startRelay({ storage });
    const folder = await temporaryFolder();
    const alice = await connected(relay, "alice");
    const open = async () =>
      connected(relay, "bob", { store: await openStore(join(folder, "state")), history: true });
    const before = await open();
    const bytes = randomBytes(8 * 262_144);
    const id = await alice.client.sendDirectMessage("bob", new Blob([bytes]), { name: "film.bin" });
    // The relay says nothing more from the sixth on.
    lie((honest) => (blobId, i) => (i < 5 ? honest(blobId, i) : new Promise(() => {})));
    const progress: number[] = [];
    const reading = (await received(before, id)).bytes({
      onProgress: ({ transferred }) => void progress.push(transferred),
    });
    reading.catch(() => {});
    await eventually(() => progress.length === 5);
    await before.client.close();
    await expect(reading).rejects.toEqual(refusal("closed"));
    lie((honest) => honest);
    asked.length = 0;

    const after = await open();
    const [kept] = await after.client.history("alice");
    const content = kept?.content as Attachment;
    const target = join(folder, "film.bin");
    const steps: number[] = [];
    await saveAttachment(content, target, { onProgress: ({ transferred }) => void steps.push(transferred) });
    expect(Buffer.compare(await readFile(target), bytes)).toBe(0);
    expect(steps.length).toBe(chunksOf(bytes.length));
    expect(asked.toSorted((a, b) => a - b)).toEqual([5, 6, 7, 8]);
    expect((await readdir(folder)).toSorted()).toEqual(["film.bin", "state"]);
    // Read to its end: it is fetched anew.
    asked.length = 0;
    await content.bytes();
    expect(asked.length).toBe(chunksOf(bytes.length));
  });

  it("leaves no file and no chunk behind when it was given up", async () => {
    const { storage, lie } = lyingStorage();
    const relay = await startRelay({ storage });
    const folder = await temporaryFolder();
    const alice = await connected(relay, "alice");
    const inner = memoryStore();
    const kept = new Set<string>();
    // Sees what is in the store by what is written to it.
    const store: typeof inner = {
      async open(name, options) {
        const session = await inner.open(name, options);
        const write = session.write.bind(session);
        session.write = async (changes) => {
          await write(changes);
          for (const change of changes) {
            if ("put" in change && /^(spool|download)\//.test(change.put)) kept.add(change.put);
            if ("delete" in change) kept.delete(change.delete);
            if ("deletePrefix" in change)
              for (const key of kept) if (key.startsWith(change.deletePrefix)) kept.delete(key);
          }
        };
        return session;
      },
    };
    const bob = await connected(relay, "bob", { store });
    const id = await alice.client.sendDirectMessage("bob", new Blob([randomBytes(SIZE)]));
    const content = await received(bob, id);
    const stop = new AbortController();
    lie((honest) => (blobId, i) => (i < 2 ? honest(blobId, i) : new Promise(() => {})));
    const onProgress = ({ transferred }: { transferred: number }) => {
      if (transferred > 500_000) stop.abort();
    };
    const saving = saveAttachment(content, join(folder, "file"), { signal: stop.signal, onProgress });
    await expect(saving).rejects.toEqual(refusal("aborted"));
    expect(await readdir(folder)).toEqual([]);
    expect([...kept]).toEqual([]);
  });
});
