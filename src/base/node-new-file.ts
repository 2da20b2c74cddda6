import { constants } from "node:fs";
import { link, open, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Gives a file that is whole and durable its final name, durably, unless that is taken. False if it is; either way nothing
 * is left under the name before.
 */
export async function placeFile(temporary: string, path: string): Promise<boolean> {
  const placed = await place(temporary, path);
  if (process.platform !== "win32") await syncPath(dirname(path));
  return placed;
}

/** Resolves when a file, or the names in a folder, are on the disk. */
export async function syncPath(path: string): Promise<void> {
  const file = await open(path, process.platform === "win32" ? constants.O_RDWR : constants.O_RDONLY);
  await file.sync().finally(() => file.close());
}

async function place(temporary: string, path: string): Promise<boolean> {
  try {
    await link(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") {
      await unlink(temporary);
      return false;
    }
    // A file system without hard links: not safe against two processes creating one file at the same moment.
    await rename(temporary, path);
    return true;
  }
  await unlink(temporary);
  return true;
}
