/**
 * Runs everything that proves this package: `node tests/run.mjs [suite…] [--verify]`.
 * Each runner prints its own report; the last line sums them: `N passed, N failed`.
 * `--verify` adds the linter and the type checker. With CI=true a suite that cannot run here is a failure.
 * Two run at a time, one for each core: one prints as it goes, the other when it is done.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { installMissing, missingPrograms } from "./harness/system-packages.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const reports = mkdtempSync(join(tmpdir(), "subrosa-tests-"));
const inCi = process.env.CI === "true";
const SUITE_LIMIT = 30 * 60_000;
const PIPE_LIMIT = 5_000;
// Reports in a file are read by programs too.
const env = process.stdout.isTTY ? process.env : { ...process.env, NO_COLOR: "1" };
const bin = (name) => join(root, "node_modules", ".bin", name);

/** A command that passes or fails as one. */
const check = (name, program, ...args) => ({ name, program, args });
/** A vitest project, or a part of its files, counted by its own report. */
function vitest(name, config, { engine, wrapper = [], part } = {}) {
  const report = join(reports, `${name}${part ? `-${part.replace("/", "-of-")}` : ""}.json`);
  const args = ["run", "--config", config, "--project", name, ...(part ? [`--shard=${part}`] : [])];
  const [program, ...rest] = [...wrapper, bin("vitest")];
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  return { name, part, engine, report, program, args: [...rest, ...args, ...reporters] };
}

const UNIT = "tests/vitest.config.ts";
const BROWSERS = "tests/browsers/vitest.config.ts";
const SUITES = [
  check("build", bin("tsup")),
  ...["1/4", "2/4", "3/4", "4/4"].map((part) => vitest("node", UNIT, { part })),
  // The longest first, so that both cores are done at about the same time.
  vitest("e2e", UNIT, { engine: "chromium" }),
  vitest("redis", UNIT, { engine: "redis" }),
  vitest("happy-dom", UNIT),
  vitest("vectors", UNIT),
  vitest("simulation", UNIT),
  vitest("package", UNIT),
  vitest("chromium", BROWSERS, { engine: "chromium" }),
  vitest("firefox", BROWSERS, { engine: "firefox" }),
  vitest("webkitgtk", BROWSERS, { engine: "webkitgtk", wrapper: ["xvfb-run", "-a"] }),
];
const VERIFY = [
  check("lint", bin("biome"), "check", "--config-path=.biome.json", "--error-on-warnings", "."),
  check("typecheck", bin("tsc"), "--noEmit"),
];

/** Ends everything a suite started; browsers leave processes behind when they are killed. */
function endGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Nothing of it is left.
  }
}

/** Runs a program to its end; true when it succeeded. What it prints goes to `print`, or straight out without it. */
function run({ program, args }, print) {
  return new Promise((resolve) => {
    const output = print ? "pipe" : "inherit";
    const child = spawn(program, args, { cwd: root, env, stdio: ["ignore", output, output], detached: true });
    const say = print ?? ((text) => process.stderr.write(text));
    child.stdout?.on("data", print).setEncoding("utf8");
    child.stderr?.on("data", print).setEncoding("utf8");
    const limit = setTimeout(() => {
      say(`${program}: not done after ${SUITE_LIMIT / 60_000} minutes\n`);
      endGroup(child, "SIGKILL");
    }, SUITE_LIMIT);
    const interrupt = () => {
      endGroup(child, "SIGTERM");
      process.exit(130);
    };
    process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
    const finish = (succeeded) => {
      clearTimeout(limit);
      process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
      resolve(succeeded);
    };
    child.on("error", (error) => {
      say(`${program}: ${error.message}\n`);
      finish(false);
    });
    child.on("exit", (code) => {
      endGroup(child, "SIGKILL");
      // Something that left the group may hold the pipes open for ever.
      setTimeout(finish, PIPE_LIMIT, code === 0).unref();
    });
    child.on("close", (code) => finish(code === 0));
  });
}

/** What a vitest report counts. A file that could not be loaded holds no test and counts as one failure. */
function readReport(path) {
  const report = JSON.parse(readFileSync(path, "utf8"));
  const broken = report.testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"),
  );
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + broken.length,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

async function runSuite(suite, print) {
  const say = print ?? ((text) => process.stdout.write(text));
  say(`\n== ${labelOf(suite)}\n`);
  const missing = suite.engine ? missingPrograms(suite.engine) : [];
  if (missing.length > 0) {
    say(`${suite.name}: ${inCi ? "FAILED" : "SKIPPED"}, not installed: ${missing.join(", ")}\n`);
    return { passed: 0, failed: inCi ? 1 : 0, skipped: inCi ? 0 : 1 };
  }
  const succeeded = await run(suite, print);
  if (!suite.report) return { passed: succeeded ? 1 : 0, failed: succeeded ? 0 : 1, skipped: 0 };
  let counts = { passed: 0, failed: 0, skipped: 0 };
  try {
    counts = readReport(suite.report);
  } catch (error) {
    say(`${suite.name}: no report: ${error.message}\n`);
  }
  // No report, no test at all, or an error outside any test.
  if (!succeeded && counts.failed === 0) counts.failed = 1;
  return counts;
}

/** Takes suites from the queue until it is empty; `quiet`: prints each only when it is done, since others print meanwhile. */
async function runLane(queue, results, quiet) {
  for (let suite = queue.shift(); suite !== undefined; suite = queue.shift()) {
    let text = "";
    const started = performance.now();
    const counts = await runSuite(suite, quiet ? (part) => (text += part) : undefined);
    if (quiet) process.stdout.write(text);
    results.set(suite, { counts, seconds: (performance.now() - started) / 1000 });
  }
}

async function main() {
  const names = process.argv.slice(2).filter((arg) => !arg.startsWith("--"));
  const unknown = names.filter((name) => !SUITES.some((suite) => suite.name === name));
  if (unknown.length > 0) throw new Error(`no such suite: ${unknown.join(", ")}`);
  const chosen = SUITES.filter((suite) => names.length === 0 || names.includes(suite.name));
  const verify = process.argv.includes("--verify") ? VERIFY : [];
  const suites = [...verify, ...chosen];
  installMissing([...new Set(suites.flatMap((suite) => suite.engine ?? []))]);

  const results = new Map();
  const build = chosen.filter(({ name }) => name === "build");
  // The other suites use what this builds.
  await Promise.all([runLane(build, results, false), runLane(verify, results, true)]);
  const queue = chosen.filter((suite) => !results.has(suite));
  await Promise.all([runLane(queue, results, false), runLane(queue, results, true)]);

  const total = { passed: 0, failed: 0, skipped: 0 };
  const lines = suites.map((suite) => {
    const { counts, seconds } = results.get(suite);
    for (const key of Object.keys(total)) total[key] += counts[key];
    return `${labelOf(suite).padEnd(10)} ${formatCounts(counts)} (${seconds.toFixed(1)} s)`;
  });
  console.log(`\n${lines.join("\n")}\n${formatCounts(total)}`);
  return total.failed === 0;
}

function labelOf({ name, part }) {
  return part ? `${name} ${part}` : name;
}

function formatCounts({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

try {
  process.exitCode = (await main()) ? 0 : 1;
} finally {
  rmSync(reports, { recursive: true, force: true });
}
