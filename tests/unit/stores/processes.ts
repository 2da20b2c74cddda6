import { type ChildProcess, spawn } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "tsup";

const root = fileURLToPath(new URL("../../..", import.meta.url));
/** Within node_modules, so that what is built finds the installed packages. */
const outDir = join(root, "node_modules", ".subrosa-tests", `stores-${process.pid}`);

/** Builds the script that the processes run; the result is its path. */
export async function buildWriter(): Promise<string> {
  const entry = { writer: fileURLToPath(new URL("writer-process.ts", import.meta.url)) };
  const outExtension = () => ({ js: ".mjs" });
  await build({
    entry,
    outDir,
    outExtension,
    external: ["lmdb"],
    config: false,
    format: "esm",
    silent: true,
  });
  return join(outDir, "writer.mjs");
}

export async function removeWriter(): Promise<void> {
  await rm(outDir, { recursive: true, force: true });
}

export interface Writer {
  /** What it has printed so far. */
  readonly lines: string[];
  /** Resolves with the first line that `wanted` accepts. */
  line(wanted: (line: string) => boolean): Promise<string>;
  /** Stops it without ending it. */
  freeze(): void;
  /** Ends it at once, without any chance to tidy up. */
  kill(): Promise<void>;
}

export function startWriter(script: string, ...args: string[]): Writer {
  const child: ChildProcess = spawn(process.execPath, [script, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const lines: string[] = [];
  let rest = "";
  let look = () => {};
  child.stdout?.on("data", (data: Buffer) => {
    const parts = (rest + data).split("\n");
    rest = parts.pop() as string;
    lines.push(...parts);
    look();
  });
  return {
    lines,
    line: (wanted) =>
      new Promise((resolve, reject) => {
        look = () => {
          const found = lines.find(wanted);
          if (found !== undefined) resolve(found);
        };
        look();
        void exited.then(() => reject(new Error(`the process ended after: ${lines.join(", ")}`)));
      }),
    freeze: () => void child.kill("SIGSTOP"),
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}
