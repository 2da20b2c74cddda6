import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { randomBytes } from "../../../src/crypto/random.js";
import { accountOf } from "../../../src/relay/conformance/world.js";
import { openLmdbStorage, openMemoryStorage } from "../../../src/relay/embedded/open.js";
import { type Line, runCommand } from "../../../src/relay/operation/commands.js";
import { readSettings } from "../../../src/relay/operation/settings.js";
import type { RelayStorage } from "../../../src/relay/storage.js";

const nothing = () => Promise.reject(new Error("no Redis here"));

async function linesOf(args: readonly string[], openRedis: () => Promise<RelayStorage> = nothing) {
  const lines: Line[] = [];
  for await (const line of runCommand(readSettings(args, {}), openRedis)) lines.push(line);
  return lines;
}

describe("a command", () => {
  it("that is none is refused before anything is done, and what it cannot find, said", async () => {
    const folder = await mkdtemp(join(tmpdir(), "subrosa-relay-"));
    const [kept, empty] = [join(folder, "kept"), join(folder, "empty")];
    await mkdir(empty);
    await (await openLmdbStorage(kept)).close();
    const at = ["--data", kept];
    const oneName = "close-group: an ID, or --name NAME; see --help";
    const cases: [string[], string][] = [
      [["users", "x", ...at], "users takes no argument; see --help"],
      [["users"], "users needs --data FOLDER or --redis URL"],
      [["backup", "x"], "backup needs --data FOLDER"],
      [["backup", ...at], "backup needs a TARGET, and nothing else; see --help"],
      [["users", "--data", empty], `there is no relay's data in ${empty}`],
      [["remove-user", ...at], "remove-user needs a NAME, and nothing else; see --help"],
      [["remove-user", "bob", ...at], "there is no user bob"],
      [["close-group", ...at], oneName],
      [["close-group", "ab", "--name", "team", ...at], oneName],
      [["close-group", "--name", "a", "--name", "b", ...at], oneName],
      [["close-group", "ab", ...at], "groupId: 64 digits"],
      [["close-group", "--name", "team", ...at], "no group has this name"],
      [["close-group", "ab".repeat(32), ...at], "no such group"],
      [["notice", "two", "words", ...at], "notice needs a TEXT, and nothing else; see --help"],
      [["notice", "hello", ...at], "only with --redis"],
      [["notice", "hello", "--user", "bob", ...at], "no such user"],
      [["constructor", ...at], "unknown command constructor; see --help"],
    ];
    for (const [args, message] of cases) await expect(linesOf(args), args.join(" ")).rejects.toThrow(message);
    expect(await readdir(empty)).toEqual([]);
    expect(await linesOf(["users", ...at])).toEqual([]);
    await rm(folder, { recursive: true });
  });

  it("lists more than a part, and once what a storage lists twice", async () => {
    const storage = openMemoryStorage();
    const session = { incarnation: 1, incarnationTag: randomBytes(16), now: 0 };
    const names = Array.from({ length: 1500 }, (_, i) => `user ${i}`);
    for (const userId of names) {
      const deviceId = randomBytes(16);
      await storage.admit({ account: accountOf(userId, [deviceId]), deviceId, ...session });
    }
    const listUsers = storage.listUsers.bind(storage);
    storage.listUsers = async (page) => {
      const { items, ...rest } = await listUsers(page);
      return { items: [...items, ...items.slice(0, 7)], ...rest };
    };
    const lines = await linesOf(["users", "--redis", "redis://x"], async () => storage);
    expect(lines.map(({ json }) => (json as { userId: string }).userId)).toEqual([...names].sort());
  });
});
