import { mkdirSync } from "node:fs";
import { EmbeddedStorage } from "../../../src/relay/embedded/embedded-storage.js";
import type { KvChanges } from "../../../src/relay/embedded/kv.js";
import { LmdbKv } from "../../../src/relay/embedded/lmdb-kv.js";
import { Relay } from "../../../src/relay/server.js";
import { serveCommands } from "./server-process.js";

/** The relay as it ships, over LMDB; limits are raised where they would hold back the load of one machine. */
const folder = process.argv[2] as string;
mkdirSync(folder, { recursive: true });
const counts = { commits: 0, entries: 0 };
const kv = await LmdbKv.open(folder, true);
const write = kv.write.bind(kv);
kv.write = (changes: KvChanges) => {
  counts.commits++;
  return write(changes);
};
const storage = new EmbeddedStorage(kv);
storage.watch(() => void counts.entries++);
const relay = new Relay({
  storage,
  limits: {
    framesPerSecond: 1e6,
    frameBurst: 1e6,
    bytesPerSecond: 1e9,
    byteBurst: 1e9,
    maxConnections: 50_000,
    maxUnauthenticated: 50_000,
  },
});
const { url } = await relay.listen();
serveCommands(url, () => counts);
