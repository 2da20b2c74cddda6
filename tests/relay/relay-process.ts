import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "tsup";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** The CLI built from the sources as they are, where Node finds its dependencies. */
export function buildCli(): Promise<{ path: string; dispose: () => Promise<void> }> {
  return buildProgram("src/relay-cli.ts");
}

/** A program of this repository built from the sources as they are. */
export async function buildProgram(source: string): Promise<{ path: string; dispose: () => Promise<void> }> {
  const name = source.replaceAll(/[^a-z]/g, "-");
  const outDir = `${root}node_modules/.cache/subrosa-${name}-${process.pid}`;
  await build({
    config: false,
    silent: true,
    entry: { program: root + source },
    outDir,
    format: "esm",
    target: "es2022",
    splitting: false,
    // tsup leaves out of the bundle dependencies and peers, not optional dependencies.
    external: ["lmdb"],
    outExtension: () => ({ js: ".mjs" }),
  });
  return { path: `${outDir}/program.mjs`, dispose: () => rm(outDir, { recursive: true }) };
}

/** A relay in a process of its own. */
export class RelayProcess {
  readonly child: ChildProcess;
  output = "";
  #closed = false;

  constructor(cli: string, args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    const env = { ...process.env, ...environment };
    this.child = spawn(process.execPath, [cli, ...args], { stdio: ["ignore", "pipe", "pipe"], env });
    this.child.once("close", () => {
      this.#closed = true;
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on("data", (data) => {
        this.output += data;
      });
    }
  }

  /** Resolves to the URL that it prints. */
  async url(): Promise<string> {
    return (await this.says(/listening on (ws:[^\s,]+)/))[1] as string;
  }

  /** Resolves when it has printed this; rejects if it ends before. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.output);
      if (match) return match;
      if (this.child.exitCode !== null) throw new Error(`the relay ended: ${this.output}`);
      await Promise.race([
        once(this.child.stdout as NodeJS.ReadableStream, "data"),
        once(this.child, "exit"),
      ]);
    }
  }

  async signal(signal: NodeJS.Signals): Promise<number | null> {
    this.child.kill(signal);
    return this.ended();
  }

  async ended(): Promise<number | null> {
    // "close" comes after the last of its output.
    if (!this.#closed) await once(this.child, "close");
    return this.child.exitCode;
  }
}
