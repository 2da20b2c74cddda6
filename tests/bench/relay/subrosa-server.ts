import { mkdirSync } from "node:fs";
import { EmbeddedStorage } from "../../../src/relay/embedded/embedded-storage.js";
import type { KvChanges } from "../../../src/relay/embedded/kv.js";
import { LmdbKv } from "../../../src/relay/embedded/lmdb-kv.js";
import { DEFAULT_LIMITS } from "../../../src/relay/limits.js";
import { Relay } from "../../../src/relay/server.js";
import { serveCommands } from "./server-process.js";

/** The relay as it ships, over LMDB; limits are raised where they would hold back the load of one machine. */
const folder = process.argv[2] as string;
mkdirSync(folder, { recursive: true });
const counts = { commits: 0, commitMs: 0, entries: 0 };
const kv = await LmdbKv.open(folder, "owner");
const write = kv.write.bind(kv);
kv.write = async (changes: KvChanges) => {
  const began = performance.now();
  await write(changes);
  counts.commits++;
  counts.commitMs += performance.now() - began;
};
const storage = new EmbeddedStorage(kv);
storage.watch(() => void counts.entries++);
/** What holds back a user, an address or a connection: here all load comes from one. */
const holdingBack = Object.keys(DEFAULT_LIMITS).filter((name) =>
  /PerSecond|PerHour|PerPair|Burst|^max(Connections|Unauthenticated|UserBytes)/.test(name),
);
const limits = Object.fromEntries(holdingBack.map((name) => [name, Number.POSITIVE_INFINITY]));
const relay = new Relay({ storage, limits });
const { url } = await relay.listen();
serveCommands(url, () => counts);
