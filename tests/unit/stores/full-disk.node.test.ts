import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { openStore } from "../../../src/node.js";
import type { StoreSession } from "../../../src/stores/store.js";
import { smallDisk } from "../../harness/small-disk.js";

const MEBIBYTE = 1024 * 1024;
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function fill(session: StoreSession): Promise<{ written: number; error: unknown }> {
  for (let written = 0; ; written++) {
    try {
      const value = new Uint8Array(64 * 1024).fill(written);
      await session.write([
        { put: `a/${String(written).padStart(4, "0")}`, value },
        { put: "last", value: new Uint8Array([written]) },
      ]);
    } catch (error) {
      return { written, error };
    }
  }
}

describe("the store on a full disk", () => {
  it("refuses the write whole, loses nothing, ends no process, and goes on when there is room", async (context) => {
    const folder = await smallDisk(3);
    if (folder === undefined) return context.skip();
    // The database says so on the console too.
    const spoken = vi.spyOn(console, "error").mockImplementation(() => {});
    cleanups.push(() => spoken.mockRestore());
    const unhandled: unknown[] = [];
    const note = (error: unknown) => void unhandled.push(error);
    process.on("unhandledRejection", note);
    cleanups.push(() => void process.off("unhandledRejection", note));

    // Something else that takes room, and gives it back.
    const ballast = join(folder, "ballast");
    await writeFile(ballast, new Uint8Array(MEBIBYTE));
    const store = await openStore(folder);
    const session = await store.open("name");
    const { written, error } = await fill(session);
    expect(error).toMatchObject({ code: "storage-full" });
    expect(written).toBeGreaterThan(3);
    const isWhole = async (of: StoreSession, count: number) => {
      expect(await of.get("last")).toEqual(new Uint8Array([count - 1]));
      expect((await of.list("a/")).map(([, value]) => value[0])).toEqual([...Array(count).keys()]);
    };
    await isWhole(session, written);
    await expect(session.write([{ put: "b", value: new Uint8Array(64 * 1024) }])).rejects.toMatchObject({
      code: "storage-full",
    });
    await isWhole(session, written);

    await rm(ballast);
    await session.write([{ put: "b", value: new Uint8Array(64 * 1024) }]);
    await isWhole(session, written);
    await fill(session);
    await session.close();
    // Unhandled rejections are told of after the turn in which they came about.
    await new Promise((resolve) => setImmediate(resolve));
    expect(unhandled).toEqual([]);
  });
});
