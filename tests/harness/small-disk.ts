import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** A folder on a file system of a few mebibytes, gone with the test; undefined where this user may not mount one. */
export async function smallDisk(mebibytes: number): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), "subrosa-full-"));
  let mounted = false;
  onTestFinished(async () => {
    if (mounted) execFileSync("umount", ["-l", folder], { stdio: "ignore" });
    await rm(folder, { recursive: true, force: true });
  });
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m`, "tmpfs", folder], { stdio: "ignore" });
  } catch {
    return undefined;
  }
  mounted = true;
  return folder;
}
