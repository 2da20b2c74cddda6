import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";

/** What suites start, by engine, and the Debian packages that bring it. */
const ENGINES = {
  chromium: { programs: ["chromium"], packages: ["chromium", "fonts-dejavu-core"] },
  firefox: { programs: ["firefox-esr"], packages: ["firefox-esr", "fonts-dejavu-core"] },
  webkitgtk: {
    programs: ["WebKitWebDriver", "xvfb-run", "xauth", "dbus-daemon"],
    packages: ["webkit2gtk-driver", "xvfb", "xauth", "dbus", "fonts-dejavu-core"],
  },
  redis: { programs: ["redis-server"], packages: ["redis-server"] },
};

/**
 * Where a program lies, undefined when it is not installed.
 * @param {string} program
 */
export function findProgram(program) {
  const places = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, program));
  return places.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * The programs an engine lacks on this machine.
 * @param {string} engine
 */
export function missingPrograms(engine) {
  return ENGINES[engine].programs.filter((program) => findProgram(program) === undefined);
}

function apt(...args) {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  return spawnSync("apt-get", args, { stdio: ["ignore", "inherit", "inherit"], env }).status === 0;
}

/**
 * Installs what the engines lack, where that can be done without asking anybody: as root on Debian.
 * Elsewhere, and when it fails, it says so and leaves the rest to the caller.
 * @param {string[]} engines
 */
export function installMissing(engines) {
  const lacking = engines.filter((engine) => missingPrograms(engine).length > 0);
  if (lacking.length === 0) return;
  const packages = [...new Set(lacking.flatMap((engine) => ENGINES[engine].packages))];
  if (process.getuid?.() !== 0 || !existsSync("/etc/debian_version") || !findProgram("apt-get")) {
    console.log(`Missing here: ${packages.join(" ")} (only root on Debian gets them installed by this run)`);
    return;
  }
  console.log(`Installing ${packages.join(" ")}`);
  const quiet = ["-qq", "-o", "Dpkg::Use-Pty=0"];
  apt("update", ...quiet) && apt("install", "-y", "--no-install-recommends", ...quiet, ...packages);
}
