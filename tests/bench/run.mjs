/**
 * Builds a benchmark from the sources as they are and runs it: `node tests/bench/run.mjs relay|engine [--quick]`.
 * Node 20 runs no TypeScript, and what is measured should be what ships: one bundle, no loader.
 */
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "tsup";

const root = fileURLToPath(new URL("../../", import.meta.url));
const here = fileURLToPath(new URL("./", import.meta.url));
const BENCHMARKS = {
  relay: ["main", "load", "subrosa-server", "ws-server", "socketio-server"],
  engine: ["main"],
};

const [name = "", ...args] = process.argv.slice(2);
const entries = BENCHMARKS[name];
if (entries === undefined) throw new Error(`which benchmark? ${Object.keys(BENCHMARKS).join(" or ")}`);

// Inside the project, so that Node finds the dependencies that are not bundled.
const outDir = `${root}node_modules/.cache/subrosa-bench-${process.pid}`;
try {
  await build({
    config: false,
    silent: true,
    entry: Object.fromEntries(entries.map((entry) => [entry, `${here}${name}/${entry}.ts`])),
    outDir,
    format: "esm",
    target: "es2022",
    splitting: true,
    sourcemap: false,
    external: ["lmdb", "ws", "socket.io", "ts-mls", "tinybench", "redis"],
    define: { __SUBROSA_VERSION__: '"bench"' },
    outExtension: () => ({ js: ".mjs" }),
  });
  // As many open files as the machine allows: each connection is one.
  const limits = 'ulimit -n "$(ulimit -Hn)"; exec "$0" "$@"';
  const command = [process.execPath, `${outDir}/main.mjs`, ...args];
  const child = spawn("sh", ["-c", limits, ...command], { stdio: "inherit", cwd: root });
  process.exitCode = await new Promise((resolve) => {
    child.on("exit", (code) => resolve(code ?? 1));
  });
} finally {
  rmSync(outDir, { recursive: true, force: true });
}
