import { mkdir, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { assertOptions, type Names } from "../../base/arguments.js";
import { assertArgument } from "../../base/errors.js";
import type { RelayStorage } from "../storage.js";
import { EmbeddedStorage } from "./embedded-storage.js";
import { LmdbKv } from "./lmdb-kv.js";
import { MemoryKv } from "./memory-kv.js";

/** A storage that forgets everything when it closes. */
export function openMemoryStorage(): RelayStorage {
  return new EmbeddedStorage(new MemoryKv());
}

export interface LmdbStorageOptions {
  as?: "owner" | "successor" | "guest";
}

const LMDB_NAMES: Names<LmdbStorageOptions> = { as: true };

/**
 * The embedded storage in a folder, which is made if it is not there. Throws `store-in-use` while another relay on
 * this machine has it, `missing-dependency` without `lmdb`. As `guest` one may only change the directory, whoever has
 * the folder; as `successor` one takes it over, and who had it can write no more.
 */
export async function openLmdbStorage(
  folder: string,
  options: LmdbStorageOptions = {},
): Promise<RelayStorage> {
  assertOptions(options, LMDB_NAMES);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return new EmbeddedStorage(await LmdbKv.open(folder, options.as ?? "owner"));
}

/**
 * Copies the data in a folder, as it is at this moment, into another one that is empty or not there, while a relay
 * goes on using it. Resolves once the copy is durable. Throws `invalid-argument` for a target that holds something.
 */
export async function backupLmdb(folder: string, target: string): Promise<void> {
  await mkdir(target, { recursive: true, mode: 0o700 });
  assertArgument((await readdir(target)).length === 0, `${target} is not empty`);
  const kv = await LmdbKv.open(folder, "guest");
  try {
    await kv.backup(target);
  } finally {
    await kv.close();
  }
  for (const name of [join(target, "data.mdb"), target]) {
    const file = await open(name, "r");
    await file.sync();
    await file.close();
  }
}
