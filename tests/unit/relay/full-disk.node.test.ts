import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { LmdbKv } from "../../../src/relay/embedded/lmdb-kv.js";
import { Relay } from "../../../src/relay.js";
import { smallDisk } from "../../harness/small-disk.js";
import { makeUser, RawClient } from "../../relay/raw-client.js";

const MEBIBYTE = 1024 * 1024;
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

describe("the relay's folder on a full disk", () => {
  it("refuses the write whole, ends no process, and goes on when there is room", async (context) => {
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
    const kv = await LmdbKv.open(folder, "owner");
    cleanups.push(() => kv.close());
    const write = (number: number) => {
      const value = new Uint8Array(64 * 1024).fill(number);
      const key = `a${String(number).padStart(4, "0")}`;
      return kv.write(
        new Map([
          [key, value],
          ["last", new Uint8Array([number])],
        ]),
      );
    };
    const isWhole = (count: number) => {
      expect(kv.get("last")).toEqual(new Uint8Array([count - 1]));
      expect([...kv.range("a", "b")].map(([, value]) => value[0])).toEqual([...Array(count).keys()]);
    };
    let written = 0;
    for (; ; written++) {
      const failed = await write(written).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (failed === undefined) continue;
      expect(failed).toBeInstanceOf(Error);
      break;
    }
    expect(written).toBeGreaterThan(3);
    isWhole(written);
    await expect(write(written)).rejects.toThrow();
    isWhole(written);

    await rm(ballast);
    await write(written);
    isWhole(written + 1);
    // Rejections that nobody takes are reported after a whole turn.
    await new Promise((resolve) => setImmediate(resolve));
    expect(unhandled).toEqual([]);
  });

  it("makes the relay unready, until there is room", async (context) => {
    const folder = await smallDisk(8);
    if (folder === undefined) return context.skip();
    const spoken = vi.spyOn(console, "error").mockImplementation(() => {});
    cleanups.push(() => spoken.mockRestore());
    const errors: unknown[] = [];
    const relay = new Relay({
      port: 0,
      host: "127.0.0.1",
      data: join(folder, "data"),
      onError: (error) => errors.push(error),
    });
    cleanups.push(() => relay.close());
    const { url } = await relay.listen();
    const alice = await makeUser("alice");
    await (await RawClient.connect(url, alice)).close();

    const ballast = join(folder, "ballast");
    await expect(writeFile(ballast, new Uint8Array(8 * MEBIBYTE))).rejects.toMatchObject({ code: "ENOSPC" });
    // Nobody has had to write anything since.
    expect(await relay.ready()).toBe(true);
    await expect(RawClient.connect(url, await makeUser("bob"))).rejects.toThrow();
    expect(errors.length).toBeGreaterThan(0);
    expect([await relay.ready(), await relay.ready()]).toEqual([false, false]);

    await rm(ballast);
    expect([await relay.ready(), await relay.ready()]).toEqual([true, true]);
    await (await RawClient.connect(url, await makeUser("carol"))).close();
  });
});
