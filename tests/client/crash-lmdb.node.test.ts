import { spawn } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "tsup";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connected, startRelay, temporaryFolder } from "./harness.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** Within node_modules, so that what is built finds the installed packages. */
const outDir = join(root, "node_modules", ".subrosa-tests", `clients-${process.pid}`);
const script = join(outDir, "client.mjs");

beforeAll(() =>
  build({
    entry: { client: fileURLToPath(new URL("crash-process.ts", import.meta.url)) },
    outDir,
    outExtension: () => ({ js: ".mjs" }),
    external: ["lmdb"],
    config: false,
    format: "esm",
    silent: true,
  }),
);
afterAll(() => rm(outDir, { recursive: true, force: true }));

/** How long a client may take to come to its end, in milliseconds. */
const PATIENCE = 60_000;

/** Runs a client to its end; the lines that it printed, and whether it was killed. */
function runClient(...args: string[]): Promise<{ lines: string[]; killed: boolean }> {
  const child = spawn(process.execPath, [script, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: PATIENCE,
  });
  let output = "";
  child.stdout.on("data", (data) => {
    output += data;
  });
  return new Promise((resolve, reject) =>
    child.once("close", (_code, signal) => {
      if (signal === "SIGTERM") reject(new Error(`a client did not come to its end, but said:\n${output}`));
      resolve({ lines: output.split("\n").slice(0, -1), killed: signal === "SIGKILL" });
    }),
  );
}

it("loses and repeats nothing when its process is killed at any write to LMDB", {
  timeout: 300_000,
}, async () => {
  const relay = await startRelay();
  const bob = await connected(relay, "bob");
  bob.client.on("message", ({ content }) => void bob.client.sendDirectMessage("alice", `re: ${content}`));
  const folder = await temporaryFolder();
  const first = await runClient(folder, relay.url, "first", "");
  expect(first.lines.at(-1)).toBe("done 0");

  const texts = ["first"];
  let points = 0;
  for (const moment of ["before", "after"]) {
    for (let at = 1; ; at++) {
      const text = `${moment} ${at}`;
      const { lines, killed } = await runClient(folder, relay.url, text, text);
      const { lines: again } = killed ? await runClient(folder, relay.url, text, "") : { lines };
      texts.push(text);
      expect(again.at(-1), `${lines} then ${again}`).toBe("done 0");
      // Exactly once, in order, on both sides; what comes to the app again says so.
      const history = again.filter((line) => line.startsWith("history "));
      expect(history).toEqual(
        texts.flatMap((sent) => [`history delivered ${sent}`, `history got re: ${sent}`]),
      );
      expect(bob.texts).toEqual(texts);
      const taken = [...lines, ...(killed ? again : [])].filter((line) => line.startsWith("got "));
      const answer = `re: ${text}`;
      expect([
        [`got false ${answer}`],
        [`got true ${answer}`],
        [`got false ${answer}`, `got true ${answer}`],
      ]).toContainEqual(taken);
      if (killed) points++;
      else break;
    }
  }
  console.log(`LMDB: ${points} kills covered`);
  expect(points).toBeGreaterThan(10);
});
