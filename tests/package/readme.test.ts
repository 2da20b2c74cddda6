import { execFile } from "node:child_process";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { ERROR_CODES } from "../../src/index.js";
import { readText, root } from "./built-package.js";

const readme = readText("README.md");
const folders: string[] = [];
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))));

describe("the README", () => {
  it("has an example of at most 20 lines that runs as printed", async () => {
    const example = /```js\n(import[\s\S]*?)```/.exec(readme)?.[1] as string;
    expect(
      example
        .trim()
        .split("\n")
        .filter((line) => line !== "").length,
    ).toBeLessThanOrEqual(20);
    const folder = await mkdtemp(join(tmpdir(), "subrosa-readme-"));
    folders.push(folder);
    await symlink(root, join(folder, "subrosa"), "dir");
    await writeFile(join(folder, "package.json"), '{ "type": "module" }');
    await writeFile(join(folder, "example.js"), example);
    // As an app would have it: the package, built, in node_modules.
    await promisify(execFile)("mkdir", ["-p", join(folder, "node_modules")]);
    await symlink(root, join(folder, "node_modules", "subrosa"), "dir");
    const { stdout } = await promisify(execFile)(process.execPath, ["example.js"], {
      cwd: folder,
      timeout: 30_000,
    });
    expect(stdout.trim().split("\n")).toEqual([
      "direct from alice: hello bob",
      "team-42 from alice: standup at 10",
      "true",
    ]);
  });

  it("lists every error code, and no other", () => {
    const table = readme.slice(readme.indexOf("## Errors"), readme.indexOf("## The relay"));
    const listed = [...table.matchAll(/^\| `([a-z-]+)` \|/gm)].map((match) => match[1]);
    expect(listed.toSorted()).toEqual([...ERROR_CODES].toSorted());
  });
});
