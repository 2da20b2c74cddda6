import { afterEach, describe, expect, it, vi } from "vitest";
import { defaultStore } from "../../../src/stores/default.js";

it("is memory where there is no IndexedDB, one for all names and openings", async () => {
  const store = defaultStore();
  const session = await store.open("alice");
  await session.write([{ put: "a", value: Uint8Array.of(1) }]);
  await session.close();
  expect(await (await store.open("alice")).get("a")).toEqual(Uint8Array.of(1));
  await expect(store.open("alice")).rejects.toMatchObject({ code: "store-in-use" });
});

describe("where the page may not use IndexedDB", () => {
  afterEach(() => vi.unstubAllGlobals());

  const refusals = {
    "a factory that refuses": () => {
      vi.stubGlobal("indexedDB", {
        open() {
          throw new DOMException("denied", "SecurityError");
        },
      });
    },
    "no factory": () => {
      vi.stubGlobal("indexedDB", null);
    },
    "a window that throws": () => {
      const get = () => {
        throw new DOMException("denied", "SecurityError");
      };
      Object.defineProperty(globalThis, "indexedDB", { get, configurable: true });
    },
  };

  it.each(Object.entries(refusals))("says what to do: %s", async (_, refuse) => {
    refuse();
    try {
      const opening = defaultStore().open("alice");
      await expect(opening).rejects.toMatchObject({ code: "storage-refused" });
      await expect(opening).rejects.toThrow("memoryStore()");
    } finally {
      delete (globalThis as { indexedDB?: unknown }).indexedDB;
    }
  });
});
