/**
 * The demo: `npm start`. Builds the package if need be, starts a relay and an echo bot, and serves the page.
 * PORT: the page's port (else 8080 or the next free one); RELAY_PORT: the relay's (else 8787 or the next free one);
 * RELAY_URL: use that relay and start none; SUBROSA_DEMO_DATA: where relay and bot keep their data (else .subrosa).
 */
import { fork, spawn } from "node:child_process";
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { servePage } from "./server.mjs";

const demo = fileURLToPath(new URL(".", import.meta.url));
const root = fileURLToPath(new URL("..", import.meta.url));
const data = process.env.SUBROSA_DEMO_DATA ?? join(root, ".subrosa");
const BUILT = ["index.js", "node.js", "relay.js", "subrosa.global.js"];
/** How long relay and bot have to end by themselves. */
const PATIENCE = 7000;

/** What runs beside this process, in the order in which it has to end. */
const children = [];
let stopping;

function newest(folder) {
  return readdirSync(folder, { withFileTypes: true }).reduce((latest, entry) => {
    const path = join(folder, entry.name);
    return Math.max(latest, entry.isDirectory() ? newest(path) : statSync(path).mtimeMs);
  }, 0);
}

function isBuilt() {
  const times = BUILT.map(
    (name) => statSync(join(root, "dist", name), { throwIfNoEntry: false })?.mtimeMs ?? 0,
  );
  const sources = Math.max(newest(join(root, "src")), statSync(join(root, "tsup.config.ts")).mtimeMs);
  return Math.min(...times) > sources;
}

/** Runs the build; shows what it says only when it fails. */
async function build() {
  console.log("Building, this takes a moment …");
  const tsup = join(root, "node_modules", "tsup", "dist", "cli-default.js");
  const child = spawn(process.execPath, [tsup], { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  const said = [];
  child.stdout.on("data", (chunk) => said.push(chunk));
  child.stderr.on("data", (chunk) => said.push(chunk));
  const code = await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  if (code !== 0) throw new Error(`the build failed:\n${Buffer.concat(said)}`);
}

/** Starts a script of this folder; resolves with the first message it sends. */
function start(script, env) {
  // A group of its own: Ctrl-C reaches this process only, which then ends the others in order.
  const child = fork(join(demo, script), { env: { ...process.env, ...env }, detached: true });
  children.unshift(child);
  child.ended = new Promise((resolve) => child.once("exit", resolve));
  return new Promise((resolve, reject) => {
    child.once("message", (message) => (message.error ? reject(new Error(message.error)) : resolve(message)));
    child.once("exit", (code, signal) => reject(new Error(`${script} ended (${signal ?? code})`)));
  });
}

function stop(code) {
  stopping ??= (async () => {
    const limit = setTimeout(() => process.exit(code), PATIENCE);
    for (const child of children) {
      if (child.connected) child.disconnect();
      await child.ended;
    }
    clearTimeout(limit);
    process.exit(code);
  })();
}

async function main() {
  process.on("exit", () => children.forEach((child) => void child.kill("SIGKILL")));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => stop(0));

  if (!isBuilt()) await build();
  mkdirSync(data, { recursive: true });

  let relay = process.env.RELAY_URL;
  if (relay === undefined) {
    relay = (
      await start("relay.mjs", { DATA: join(data, "relay"), RELAY_PORT: process.env.RELAY_PORT ?? "" })
    ).url;
    // Without its relay nothing here is of use.
    children[0].once("exit", () => {
      if (stopping) return;
      console.error("The relay has ended, and so does the demo. Start it again with npm start.");
      stop(1);
    });
  }

  const page = await servePage({ port: process.env.PORT, relay, demo, dist: join(root, "dist") });
  console.log(`\n  Subrosa is at   ${page}\n`);
  console.log(`  A second person: open ${page}?name=bob in another tab or window.`);
  console.log(`  Alone? Write to "echo": a bot, it answers.`);
  console.log(`  The relay is at ${relay}, its data in ${data}. Ctrl-C ends everything.\n`);

  await start("bot.mjs", { DATA: join(data, "bot"), RELAY_URL: relay });
  children[0].once(
    "exit",
    () => stopping || console.error("The echo bot has ended; everything else goes on."),
  );
}

main().catch((error) => {
  if (stopping) return;
  console.error(error.message);
  stop(1);
});
