import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A program of this package that runs beside the test, with what it has said so far. */
export class Program {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #waiting = new Set<() => void>();
  output = "";
  isRunning = true;

  private constructor(script: string, args: readonly string[], env: Record<string, string>) {
    this.#child = spawn(process.execPath, [join(root, script), ...args], {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const note = (chunk: Buffer) => {
      this.output += chunk;
      for (const look of this.#waiting) look();
    };
    this.#child.stdout?.on("data", note);
    this.#child.stderr?.on("data", note);
    this.#ended = new Promise((resolve) => {
      this.#child.once("close", () => {
        this.isRunning = false;
        for (const look of this.#waiting) look();
        resolve();
      });
    });
  }

  /** The demo as `npm start` runs it; resolves when the bot is online. */
  static async demo(env: Record<string, string>): Promise<Program> {
    const program = new Program("demo/start.mjs", [], env);
    await program.says(/echo: online/);
    return program;
  }

  static async relay(port: number, data: string): Promise<Program> {
    const program = new Program("dist/relay-cli.js", ["--port", String(port), "--data", data], {});
    await program.says(/relay listening on/);
    return program;
  }

  /** Waits until it has said something that matches; rejects when it ends without. */
  says(pattern: RegExp): Promise<RegExpMatchArray> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const match = this.output.match(pattern);
        if (match === null && this.isRunning) return;
        this.#waiting.delete(look);
        if (match === null) reject(new Error(`ended without saying ${pattern}:\n${this.output}`));
        else resolve(match);
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** Ends it as Ctrl-C does, or at once as a crash does; resolves to its exit code. */
  async end(signal: "SIGINT" | "SIGKILL" = "SIGINT"): Promise<number | null> {
    this.#child.kill(signal);
    await this.#ended;
    return this.#child.exitCode;
  }
}

/** An empty folder; `remove` deletes it and all that was written into it. */
export function makeFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "subrosa-e2e-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Ports that nobody listens on. */
export async function findPorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
