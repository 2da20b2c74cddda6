import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Bytes, equalBytes } from "../../src/base/bytes.js";
import { toUtf8 } from "../../src/base/encoding.js";
import type { SubrosaError } from "../../src/base/errors.js";
import { generateSignatureKeyPair, sign, verify } from "../../src/crypto/signature.js";
import type { Change, Store, StoreSession } from "../../src/stores/store.js";

/** A fresh place to store things. */
export interface StoreUnderTest {
  readonly store: Store;
  cleanUp?(): Promise<void>;
}

/** The same where the data lies outside the store object, with what a test may do to it from there. */
export interface DatabaseUnderTest extends StoreUnderTest {
  /** Another store on the same data that takes over instead of asking whether somebody has it open. */
  readonly rival: Store;
  /** The stored record of a value. */
  read(name: string, key: string): Promise<Uint8Array>;
  /** Replaces the stored record of a value. */
  write(name: string, key: string, record: Uint8Array): Promise<void>;
  /** Lets the database fail with `error` at the n-th record put from now; the result ends that. */
  failPut(n: number, error: Error): () => void;
}

export interface StoreContract {
  readonly name: string;
  /** Whether the store takes private keys that cannot be exported. */
  readonly takesNonExtractable: boolean;
  create(): Promise<StoreUnderTest>;
}

const put = (key: string, text: string): Change => ({ put: key, value: toUtf8(text) });
const text = (value: Uint8Array | undefined) => (value ? new TextDecoder().decode(value) : undefined);
const code = (expected: SubrosaError["code"]) => expect.objectContaining({ code: expected });

const name = "wss://relay.example/ alice";
const otherName = "wss://relay.example/ clara";

async function contents(session: StoreSession): Promise<Record<string, string | undefined>> {
  return Object.fromEntries((await session.list("")).map(([key, value]) => [key, text(value)]));
}

/** A fresh place for each test; `openIt` opens sessions that are closed after it. */
function useFreshPlace<T extends StoreUnderTest>(create: () => Promise<T>) {
  const open: StoreSession[] = [];
  const fresh = { place: undefined as unknown as T, openIt };
  async function openIt(store: Store = fresh.place.store, under = name): Promise<StoreSession> {
    const session = await store.open(under);
    open.push(session);
    return session;
  }
  beforeEach(async () => {
    fresh.place = await create();
  });
  afterEach(async () => {
    for (const session of open.splice(0)) await session.close();
    await fresh.place.cleanUp?.();
  });
  return fresh;
}

/** What every store must do. */
export function storeContract({ name: title, create, takesNonExtractable }: StoreContract): void {
  describe(title, () => {
    const fresh = useFreshPlace(create);
    const { openIt } = fresh;

    it("gives back what was written, as bytes of its own", async () => {
      const session = await openIt();
      const value = toUtf8("one");
      const writing = session.write([{ put: "a/1", value }, put("empty", "")]);
      value.fill(0);
      await writing;
      const read = (await session.get("a/1")) as Bytes;
      expect(text(read)).toBe("one");
      read.fill(0);
      expect(text(await session.get("a/1"))).toBe("one");
      expect(Object.getPrototypeOf(read)).toBe(Uint8Array.prototype);
      expect(await session.get("empty")).toEqual(new Uint8Array(0));
      expect(await session.get("a/2")).toBeUndefined();
      await session.write([put("a/1", "two")]);
      expect(text(await session.get("a/1"))).toBe("two");
    });

    it("keeps what a large value and a part of a larger buffer hold", async () => {
      const session = await openIt();
      const buffer = Uint8Array.from({ length: 1_000_000 }, (_, i) => i * 31);
      await session.write([
        { put: "big", value: buffer },
        { put: "part", value: buffer.subarray(5, 9) },
      ]);
      expect(equalBytes((await session.get("big")) as Bytes, buffer)).toBe(true);
      expect(await session.get("part")).toEqual(buffer.slice(5, 9));
    });

    it("is first used once, and its owner number grows", async () => {
      const first = await openIt();
      expect(first.firstUse).toBe(true);
      await first.write([put("a", "1")]);
      await first.close();
      const second = await openIt();
      expect(second.firstUse).toBe(false);
      expect(second.owner).toBeGreaterThan(first.owner);
      expect(text(await second.get("a"))).toBe("1");
      await second.write([{ deletePrefix: "" }]);
      await second.close();
      expect((await openIt()).firstUse).toBe(true);
    });

    it("keeps names apart", async () => {
      const [a, b] = [await openIt(fresh.place.store, "a"), await openIt(fresh.place.store, "b")];
      await a.write([put("k", "of a")]);
      await b.write([put("k", "of b"), put("l", "of b")]);
      expect(await contents(a)).toEqual({ k: "of a" });
      await a.write([{ deletePrefix: "" }]);
      expect(await contents(b)).toEqual({ k: "of b", l: "of b" });
    });

    it("applies the changes of a write in order", async () => {
      const session = await openIt();
      await session.write([put("a/1", "old"), put("a/2", "old"), put("b", "old")]);
      await session.write([
        put("a/3", "lost"),
        { deletePrefix: "a/" },
        put("a/2", "new"),
        put("c", "lost"),
        { delete: "c" },
        { delete: "never there" },
        put("b", "1"),
        put("b", "2"),
      ]);
      expect(await contents(session)).toEqual({ "a/2": "new", b: "2" });
    });

    it("applies writes called without waiting in the order of the calls", async () => {
      const session = await openIt();
      const writes = Array.from({ length: 100 }, (_, i) =>
        session.write([
          { put: "last", value: new Uint8Array(i % 2 === 0 ? 50_000 : 1).fill(i) },
          put(`n/${String(i).padStart(3, "0")}`, String(i)),
        ]),
      );
      await writes[3];
      expect((await session.list("n/")).length).toBeGreaterThanOrEqual(4);
      await Promise.all(writes);
      expect((await session.get("last"))?.[0]).toBe(99);
      const listed = (await session.list("n/")).map(([, value]) => Number(text(value)));
      expect(listed).toEqual(Array.from({ length: 100 }, (_, i) => i));
    });

    describe("list", () => {
      const keys = ["a", "a/", "a/1", "a/10", "a/2", "a/Z", "a/a", "a/~", "a0", "b"];
      let session: StoreSession;

      beforeEach(async () => {
        session = await openIt();
        await session.write([...keys].reverse().map((key) => put(key, `=${key}`)));
        const { privateKey } = await generateSignatureKeyPair({ extractable: true });
        await session.write([{ putKey: "a/key", privateKey }]);
      });

      const listed = async (...args: Parameters<StoreSession["list"]>) =>
        (await session.list(...args)).map(([key, value]) => {
          expect(text(value)).toBe(`=${key}`);
          return key;
        });

      it("gives all values in byte order, and no private key", async () => {
        expect(await listed("")).toEqual([...keys].sort());
        expect(await listed("", { reverse: true })).toEqual([...keys].sort().reverse());
        expect(await listed("a/")).toEqual(["a/", "a/1", "a/10", "a/2", "a/Z", "a/a", "a/~"]);
        expect(await listed("a/1")).toEqual(["a/1", "a/10"]);
        expect(await listed("c")).toEqual([]);
      });

      it("starts after and ends before a key, stored or not", async () => {
        expect(await listed("a/", { after: "a/10" })).toEqual(["a/2", "a/Z", "a/a", "a/~"]);
        expect(await listed("a/", { after: "a/11" })).toEqual(["a/2", "a/Z", "a/a", "a/~"]);
        expect(await listed("a/", { before: "a/10" })).toEqual(["a/", "a/1"]);
        expect(await listed("a/", { after: "a/", before: "a/2" })).toEqual(["a/1", "a/10"]);
        expect(await listed("a/", { after: "a", before: "z" })).toEqual(await listed("a/"));
        expect(await listed("a/", { after: "a0" })).toEqual([]);
        expect(await listed("a/", { before: "a" })).toEqual([]);
        expect(await listed("a/", { after: "a/5", before: "a/2" })).toEqual([]);
      });

      it("counts its limit from the end that it starts at", async () => {
        expect(await listed("a/", { limit: 2 })).toEqual(["a/", "a/1"]);
        expect(await listed("a/", { limit: 2, reverse: true })).toEqual(["a/~", "a/a"]);
        expect(await listed("a/", { limit: 2, reverse: true, before: "a/a" })).toEqual(["a/Z", "a/2"]);
        expect(await listed("a/", { limit: 3, reverse: true, after: "a/2" })).toEqual(["a/~", "a/a", "a/Z"]);
        expect(await listed("a/", { limit: 3, reverse: true, after: "a/Z" })).toEqual(["a/~", "a/a"]);
        expect(await listed("a/", { limit: 0 })).toEqual([]);
        expect(await listed("a/", { limit: 100 })).toEqual(await listed("a/"));
      });
    });

    describe("arguments", () => {
      const long = "k".repeat(200);

      it.each(["", "é", "a\n", "\x7f", `${long}k`])("refuses the key %j", async (key) => {
        const session = await openIt();
        await session.write([put("kept", "1"), put(long, "fits")]);
        const value = toUtf8("2");
        for (const change of [{ put: key, value }, { delete: key }, { put: key, value: undefined as any }]) {
          await expect(session.write([put("kept", "2"), change])).rejects.toEqual(code("invalid-argument"));
        }
        await expect(session.get(key)).rejects.toEqual(code("invalid-argument"));
        await expect(session.getKey(key)).rejects.toEqual(code("invalid-argument"));
        expect(await contents(session)).toEqual({ kept: "1", [long]: "fits" });
      });

      it("refuses other limits, prefixes and names", async () => {
        const session = await openIt();
        for (const limit of [-1, 0.5, Number.NaN]) {
          await expect(session.list("", { limit })).rejects.toEqual(code("invalid-argument"));
        }
        await expect(session.list("é")).rejects.toEqual(code("invalid-argument"));
        await expect(session.write([{ deletePrefix: "é" }])).rejects.toEqual(code("invalid-argument"));
        for (const bad of ["", "x".repeat(1025), undefined as any]) {
          await expect(fresh.place.store.open(bad)).rejects.toEqual(code("invalid-argument"));
        }
      });
    });

    describe("private keys", () => {
      const data = toUtf8("signed");

      it("come back non-extractable and work, also after a reopen", async () => {
        const { privateKey, publicKey } = await generateSignatureKeyPair({ extractable: true });
        const first = await openIt();
        await first.write([{ putKey: "device", privateKey }, put("device", "value beside it")]);
        await first.close();
        const session = await openIt();
        const key = (await session.getKey("device")) as CryptoKey;
        expect([key.type, key.extractable]).toEqual(["private", false]);
        expect(await verify(publicKey, await sign(key, data), data)).toBe(true);
        await expect(crypto.subtle.exportKey("pkcs8", key)).rejects.toThrow();
        expect(text(await session.get("device"))).toBe("value beside it");
        expect(await session.getKey("other")).toBeUndefined();
        expect(session.firstUse).toBe(false);
      });

      it("are deleted with the value of the same key", async () => {
        const { privateKey } = await generateSignatureKeyPair({ extractable: true });
        const session = await openIt();
        await session.write(["a/1", "a/2", "b"].map((putKey) => ({ putKey, privateKey })));
        await session.write([{ delete: "b" }, { deletePrefix: "a/" }]);
        for (const key of ["a/1", "a/2", "b"]) expect(await session.getKey(key)).toBeUndefined();
      });

      it("that cannot be exported are taken or refused, and fail only their own write", async () => {
        const { privateKey, publicKey } = await generateSignatureKeyPair();
        const session = await openIt();
        const writing = session.write([put("a", "1"), { putKey: "device", privateKey }]);
        const following = session.write([put("b", "2")]);
        if (takesNonExtractable) {
          await writing;
          const key = (await session.getKey("device")) as CryptoKey;
          expect(await verify(publicKey, await sign(key, data), data)).toBe(true);
        } else {
          await expect(writing).rejects.toEqual(code("invalid-argument"));
          expect(await session.getKey("device")).toBeUndefined();
          expect(await session.get("a")).toBeUndefined();
        }
        await following;
        expect(text(await session.get("b"))).toBe("2");
      });

      it("are only those that sign", async () => {
        const session = await openIt();
        const pair = (await crypto.subtle.generateKey({ name: "ECDH", namedCurve: "P-256" }, true, [
          "deriveBits",
        ])) as CryptoKeyPair;
        const { publicKey } = (await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, [
          "sign",
        ])) as CryptoKeyPair;
        for (const privateKey of [pair.privateKey, publicKey, undefined as any]) {
          await expect(session.write([{ putKey: "k", privateKey }])).rejects.toEqual(
            code("invalid-argument"),
          );
        }
      });
    });

    describe("one owner", () => {
      it("refuses a second opener while the first is open", async () => {
        const first = await openIt();
        await expect(fresh.place.store.open(name)).rejects.toEqual(code("store-in-use"));
        await expect(fresh.place.store.open(name)).rejects.toEqual(code("store-in-use"));
        await first.write([put("a", "1")]);
        await first.close();
        const second = await openIt();
        expect(text(await second.get("a"))).toBe("1");
      });

      it("lets nobody in before the writes under way are done", async () => {
        const session = await openIt();
        const writes = Array.from({ length: 20 }, (_, i) => session.write([put(`k${i}`, "1")]));
        await session.close();
        const next = await openIt();
        expect((await next.list("")).length).toBe(20);
        await Promise.all(writes);
      });

      it("does not open when aborted, and leaves the place free", async () => {
        await expect(fresh.place.store.open(name, { signal: AbortSignal.abort() })).rejects.toEqual(
          code("aborted"),
        );
        await openIt();
      });

      it("throws closed after close, which is idempotent", async () => {
        const session = await openIt();
        await Promise.all([session.close(), session.close()]);
        await session.close();
        await expect(session.get("a")).rejects.toEqual(code("closed"));
        await expect(session.getKey("a")).rejects.toEqual(code("closed"));
        await expect(session.list("")).rejects.toEqual(code("closed"));
        await expect(session.write([put("a", "1")])).rejects.toEqual(code("closed"));
        expect(await (await openIt()).get("a")).toBeUndefined();
      });
    });
  });
}

/** What every store must do whose data can be reached from elsewhere. */
export function databaseContract(title: string, create: () => Promise<DatabaseUnderTest>): void {
  describe(title, () => {
    const fresh = useFreshPlace(create);
    const { openIt } = fresh;

    it.each([1, 2, 3])("changes nothing when the database fails at record %i of a write", async (n) => {
      const session = await openIt();
      await session.write([put("a", "1"), put("b", "1")]);
      const quota = new DOMException("full", "QuotaExceededError");
      const restore = fresh.place.failPut(n, quota);
      const failing = session.write([put("a", "2"), { delete: "b" }, put("c", "2"), put("d", "2")]);
      const behind = session.write([put("e", "2")]);
      const [first, second] = await Promise.allSettled([failing, behind]);
      restore();
      expect(first).toMatchObject({
        reason: { code: "storage-full", cause: { name: "QuotaExceededError" } },
      });
      expect(second).toMatchObject({ reason: { code: "storage-full" } });
      expect(await contents(session)).toEqual({ a: "1", b: "1" });
      await session.write([put("a", "3")]);
      expect(await contents(session)).toEqual({ a: "3", b: "1" });
    });

    it("refuses every write of an owner that was overtaken, and changes nothing", async () => {
      const old = await openIt();
      await old.write([put("a", "old")]);
      const losses: SubrosaError[] = [];
      old.onLost((error) => losses.push(error));
      const removed: SubrosaError[] = [];
      old.onLost((error) => removed.push(error))();
      const rival = await openIt(fresh.place.rival);
      expect(rival.owner).toBeGreaterThan(old.owner);
      await rival.write([put("b", "new")]);
      const lost = [
        old.write([put("b", "damage"), { delete: "a" }]),
        old.write([{ deletePrefix: "" }]),
        old.write([put("c", "damage")]),
      ];
      for (const write of lost) await expect(write).rejects.toEqual(code("store-in-use"));
      await expect(old.write([put("c", "damage")])).rejects.toEqual(code("store-in-use"));
      await expect(old.get("a")).rejects.toEqual(code("store-in-use"));
      expect(losses).toEqual([code("store-in-use")]);
      expect(removed).toEqual([]);
      const later: SubrosaError[] = [];
      old.onLost((error) => later.push(error));
      expect(later).toEqual(losses);
      await old.close();
      expect(await contents(rival)).toEqual({ a: "old", b: "new" });
      await rival.write([put("c", "still the owner")]);
    });

    it("knows records that are not what was stored: moved to another key, altered, cut or brought from another name", async () => {
      const { place } = fresh;
      const foreign = await openIt(fresh.place.store, otherName);
      await foreign.write([put("e", "of another")]);
      await foreign.close();
      const session = await openIt();
      await session.write([put("a", "1"), put("b", "2"), put("c", "3"), put("d", "4"), put("e", "5")]);
      await session.close();
      const a = await place.read(name, "a");
      await place.write(name, "b", a);
      const altered = new Uint8Array(await place.read(name, "c"));
      altered[altered.length - 1] = (altered[altered.length - 1] as number) ^ 1;
      await place.write(name, "c", altered);
      await place.write(name, "d", a.subarray(0, 5));
      await place.write(name, "e", await place.read(otherName, "e"));
      const again = await openIt();
      expect(text(await again.get("a"))).toBe("1");
      for (const key of ["b", "c", "d", "e"]) {
        await expect(again.get(key)).rejects.toEqual(code("store-damaged"));
      }
      await expect(again.list("")).rejects.toEqual(code("store-damaged"));
      const damaged: string[] = [];
      const whole = await again.list("", { damaged: (key) => damaged.push(key) });
      expect(whole.map(([key]) => key)).toEqual(["a"]);
      expect(damaged.sort()).toEqual(["b", "c", "d", "e"]);
      await again.write([put("b", "mended")]);
      expect(text(await again.get("b"))).toBe("mended");
    });
  });
}
