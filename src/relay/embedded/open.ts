import { mkdir } from "node:fs/promises";
import type { RelayStorage } from "../storage.js";
import { EmbeddedStorage } from "./embedded-storage.js";
import { LmdbKv } from "./lmdb-kv.js";
import { MemoryKv } from "./memory-kv.js";

/** A storage that forgets everything when it closes. */
export function openMemoryStorage(): RelayStorage {
  return new EmbeddedStorage(new MemoryKv());
}

/**
 * The embedded storage in a folder, which is made if it is not there. Whoever opened it before can write no more,
 * unless `claim` is false: then only the directory may be changed. Throws `missing-dependency` without `lmdb`.
 */
export async function openLmdbStorage(
  folder: string,
  options: { claim?: boolean } = {},
): Promise<RelayStorage> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return new EmbeddedStorage(await LmdbKv.open(folder, options.claim ?? true));
}
