import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLmdbStorage, openMemoryStorage } from "../../../src/relay/embedded/open.js";
import { relayStorageSuite } from "../../contracts/relay-storage-suite.js";

relayStorageSuite("memory", async () => {
  const storage = openMemoryStorage();
  return { storage, dispose: () => storage.close() };
});

relayStorageSuite("LMDB", async () => {
  const folder = await mkdtemp(join(tmpdir(), "subrosa-relay-"));
  let storage = await openLmdbStorage(folder);
  return {
    storage,
    async reopen() {
      await storage.close();
      storage = await openLmdbStorage(folder);
      return storage;
    },
    async dispose() {
      await storage.close();
      await rm(folder, { recursive: true });
    },
  };
});
