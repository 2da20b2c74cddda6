import { afterEach, expect, it } from "vitest";
import { cdp, server } from "vitest/browser";
import { indexedDbStore } from "../../src/stores/indexeddb.js";
import type { StoreSession } from "../../src/stores/store.js";

const MEBIBYTE = 1024 * 1024;

/** Only Chromium lets a test decide how much a page may store. */
const isChromium = server.browser === "chromium";

interface Session {
  send(method: string, parameters: object): Promise<unknown>;
}

function setQuota(bytes?: number): Promise<unknown> {
  const origin = location.origin;
  const parameters = bytes === undefined ? { origin } : { origin, quotaSize: bytes };
  return (cdp() as unknown as Session).send("Storage.overrideQuotaForOrigin", parameters);
}

let session: StoreSession | undefined;
afterEach(async () => {
  if (isChromium) await setQuota();
  await session?.close();
});

it.runIf(isChromium)(
  "a quota that is used up refuses writes whole, and no longer once it is raised",
  async () => {
    const { usage = 0 } = await navigator.storage.estimate();
    // Before the database is opened: the browser remembers for a while how much room it found.
    await setQuota(usage + 3 * MEBIBYTE);
    session = await indexedDbStore().open(`quota ${Date.now()}`);
    let written = 0;
    let failure: unknown;
    while (failure === undefined && written < 100) {
      const value = crypto.getRandomValues(new Uint8Array(65_536));
      const changes = Array.from({ length: 8 }, (_, i) => ({ put: `big/${written}/${i}`, value }));
      await session.write([...changes, { put: "last", value: new Uint8Array([written]) }]).then(
        () => written++,
        (error: unknown) => {
          failure = error;
        },
      );
    }
    expect(failure).toMatchObject({ code: "storage-full" });
    expect(await session.get("last")).toEqual(new Uint8Array([written - 1]));
    expect(await session.list("big/")).toHaveLength(8 * written);
    await setQuota(1024 * MEBIBYTE);
    await session.write([{ put: "last", value: new Uint8Array([255]) }]);
    expect(await session.get("last")).toEqual(new Uint8Array([255]));
  },
);
