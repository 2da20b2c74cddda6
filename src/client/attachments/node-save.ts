import { open, rename, rm } from "node:fs/promises";
import { toHex } from "../../base/encoding.js";
import { assertArgument } from "../../base/errors.js";
import { randomBytes } from "../../crypto/random.js";
import type { Attachment } from "./attachment.js";
import type { TransferOptions } from "./upload.js";

/**
 * Saves an attachment as a file: written beside `path` under another name, which becomes `path` when all of it is there
 * and on the disk. Holds one chunk in memory, whatever the size. Throws what reading the attachment throws, and what the
 * file system does; then there is no file.
 */
export async function saveAttachment(
  attachment: Attachment,
  path: string,
  options: TransferOptions = {},
): Promise<void> {
  // Not by its class, of which another copy of this package has its own.
  assertArgument(typeof attachment?.stream === "function", "attachment: as a message has it");
  assertArgument(typeof path === "string" && path !== "", "path: where to save it");
  const temporary = `${path}.${toHex(randomBytes(8))}.part`;
  try {
    const file = await open(temporary, "wx");
    try {
      for await (const chunk of attachment.stream(options)) await file.writeFile(chunk);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
