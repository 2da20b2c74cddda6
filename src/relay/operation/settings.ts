import { parseArgs } from "node:util";
import { SubrosaError } from "../../base/errors.js";
import { DEFAULT_LIMITS, type RelayLimits } from "../limits.js";

/** One setting of the command line and the environment. */
interface Setting {
  readonly flag: string;
  /** What stands for the value in the help; absent for switches. */
  readonly value?: string;
  readonly many?: boolean;
  readonly help: string;
}

const SETTINGS = [
  { flag: "port", value: "PORT", help: "port to listen on (default 8787; 0: any free one)" },
  { flag: "host", value: "HOST", help: "address to listen on (default 127.0.0.1: this machine only)" },
  { flag: "data", value: "FOLDER", help: "where to keep everything (default: in memory, gone at the end)" },
  {
    flag: "redis",
    value: "URL",
    many: true,
    help: "keep everything in Redis 7 or later, so that several relays can share it: a server, all servers of a replicated one, or some of a cluster",
  },
  {
    flag: "redis-prefix",
    value: "TEXT",
    help: 'what all keys in Redis begin with (default "subrosa:")',
  },
  {
    flag: "redis-replicas",
    value: "NUMBER",
    help: "replicas that must have a change before it is answered (default: one, while there are any)",
  },
  {
    flag: "name",
    value: "NAME",
    many: true,
    help: "host part of the URL that clients use, e.g. relay.example.org; needed behind a proxy",
  },
  {
    flag: "origin",
    value: "ORIGIN",
    many: true,
    help: "origin of web pages that may connect, e.g. https://chat.example.org (default: all)",
  },
  {
    flag: "trust-proxy",
    value: "NUMBER",
    help: "proxies before the relay that append to X-Forwarded-For (default 0)",
  },
  {
    flag: "directory",
    value: "WHO",
    help: "contacts (default): people learn of those they share a conversation with; open: of everybody",
  },
  { flag: "limit", value: "NAME=NUMBER", many: true, help: "another value for a limit; see --limits" },
  {
    flag: "metrics-port",
    value: "PORT",
    help: "port for /metrics, /healthz and /readyz (default: no metrics; the others are on the relay's port too)",
  },
  { flag: "metrics-host", value: "HOST", help: "address for them (default 127.0.0.1)" },
  {
    flag: "drain",
    value: "SECONDS",
    help: "how long to take for ending the sessions on SIGTERM or SIGINT (default 5); a second signal ends at once",
  },
  { flag: "log", value: "FORMAT", help: "text (default) or json, one record a line" },
  { flag: "log-addresses", help: "name the addresses that hit limits in the log" },
] as const satisfies readonly Setting[];

/** Flags of commands. */
const COMMAND_FLAGS = [
  { flag: "json", help: "print what a command prints as JSON, one object a line" },
  { flag: "user", value: "NAME", help: "whom a notice is for" },
] as const satisfies readonly Setting[];

/** Flags that only print something. */
const PRINTS = [
  { flag: "limits", help: "show all limits with their defaults" },
  { flag: "help", help: "show this" },
  { flag: "version", help: "show the version" },
] as const satisfies readonly Setting[];

const ALL: readonly Setting[] = [...SETTINGS, ...COMMAND_FLAGS, ...PRINTS];

const PREFIX = "SUBROSA_RELAY_";
const variable = (flag: string) => PREFIX + flag.toUpperCase().replaceAll("-", "_");

/** What the command line and the environment say; the command line counts where both say something. */
export interface Settings {
  readonly command: readonly string[];
  readonly print: "limits" | "help" | "version" | undefined;
  readonly port: number;
  readonly host: string;
  readonly data: string | undefined;
  readonly redis: readonly string[];
  readonly redisPrefix: string | undefined;
  readonly redisReplicas: number | undefined;
  /** Beside a command, which may mean a group by it, only what the command line says. */
  readonly name: readonly string[];
  readonly origin: readonly string[];
  readonly trustProxy: number;
  readonly directory: "contacts" | "open";
  readonly limits: Partial<RelayLimits>;
  readonly metricsPort: number | undefined;
  readonly metricsHost: string | undefined;
  /** Milliseconds. */
  readonly drain: number;
  readonly log: "text" | "json";
  readonly logAddresses: boolean;
  readonly json: boolean;
  readonly user: string | undefined;
}

type Value = string | boolean | readonly string[];

function invalid(message: string, help = "--help"): never {
  throw new SubrosaError("invalid-argument", `${message}; see ${help}`);
}

/** Reads the settings; throws `invalid-argument` for whatever is unknown or not of its form. */
export function readSettings(args: readonly string[], environment: NodeJS.ProcessEnv): Settings {
  const { values, positionals } = parse(args);
  const given = new Map<string, Value>([
    ...fromEnvironment(environment),
    ...(Object.entries(values) as [string, Value][]),
  ]);
  const text = (flag: string) => given.get(flag) as string | undefined;
  const list = (flag: string) => (given.get(flag) as readonly string[] | undefined) ?? [];
  const number = (flag: string, max: number, whole = true) => {
    const value = text(flag);
    if (value === undefined) return undefined;
    const parsed = value.trim() === "" ? Number.NaN : Number(value);
    if (!(parsed >= 0 && parsed <= max) || (whole && !Number.isInteger(parsed)))
      invalid(`--${flag}: a number from 0 to ${max}`);
    return parsed;
  };
  const log = text("log") ?? "text";
  if (log !== "text" && log !== "json") invalid("--log: text or json");
  const directory = text("directory") ?? "contacts";
  if (directory !== "contacts" && directory !== "open") invalid("--directory: contacts or open");
  const [json, user, isCommand] = [values.json === true, text("user"), positionals.length > 0];
  if (json && !isCommand) invalid("--json: only with a command");
  if (user !== undefined && positionals[0] !== "notice") invalid("--user: only with notice");
  return {
    command: positionals,
    print: PRINTS.find(({ flag }) => values[flag] === true)?.flag,
    port: number("port", 65_535) ?? 8787,
    host: text("host") ?? "127.0.0.1",
    data: text("data"),
    redis: list("redis"),
    redisPrefix: text("redis-prefix"),
    redisReplicas: number("redis-replicas", 100),
    name: isCommand ? ((values.name ?? []) as readonly string[]) : list("name"),
    origin: list("origin"),
    trustProxy: number("trust-proxy", 100) ?? 0,
    directory,
    limits: readLimits(list("limit")),
    metricsPort: number("metrics-port", 65_535),
    metricsHost: text("metrics-host"),
    drain: (number("drain", 3600, false) ?? 5) * 1000,
    log,
    logAddresses: given.get("log-addresses") === true,
    json,
    user,
  };
}

function parse(args: readonly string[]) {
  const options: Record<string, { type: "string" | "boolean"; multiple?: boolean; short?: string }> = {};
  for (const setting of ALL) {
    options[setting.flag] =
      setting.value === undefined ? { type: "boolean" } : { type: "string", multiple: setting.many ?? false };
  }
  options.help = { type: "boolean", short: "h" };
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    // Node's own message explains how to pass it as an argument, which is nobody's wish.
    const [, option] = code === "ERR_PARSE_ARGS_UNKNOWN_OPTION" ? (/'(-[^']*)'/.exec(message) ?? []) : [];
    return invalid(option === undefined ? message : `there is no option ${option}`);
  }
}

/** What Kubernetes adds to a pod's environment for a service named `subrosa-relay`, or that and more. */
const OF_SERVICE = /_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/;
const SERVICE_URL = /^(tcp|udp|sctp):\/\//;

/**
 * A misspelt variable is refused: it would otherwise be a setting that nobody notices is missing. An empty one is as
 * if it were not set.
 */
function fromEnvironment(environment: NodeJS.ProcessEnv): Map<string, Value> {
  const found = new Map<string, Value>();
  const known = new Map((SETTINGS as readonly Setting[]).map((setting) => [variable(setting.flag), setting]));
  for (const [name, value] of Object.entries(environment)) {
    if (!name.startsWith(PREFIX) || value === undefined || value.trim() === "") continue;
    if (OF_SERVICE.test(name) || (name.endsWith("_PORT") && SERVICE_URL.test(value))) continue;
    const setting = known.get(name) ?? invalid(`there is no setting ${name}`);
    if (setting.value === undefined) found.set(setting.flag, readSwitch(name, value));
    else if (setting.many)
      found.set(
        setting.flag,
        value
          .split(",")
          .map((one) => one.trim())
          .filter((one) => one !== ""),
      );
    else found.set(setting.flag, value);
  }
  return found;
}

function readSwitch(name: string, value: string): boolean {
  if (["1", "true", "yes"].includes(value)) return true;
  if (["0", "false", "no"].includes(value)) return false;
  return invalid(`${name}: true or false`);
}

function readLimits(assignments: readonly string[]): Partial<RelayLimits> {
  const limits: Record<string, number> = {};
  for (const assignment of assignments) {
    const [name = "", value = ""] = assignment.split("=", 2);
    if (!Object.hasOwn(DEFAULT_LIMITS, name)) invalid(`--limit: there is no limit ${name}`, "--limits");
    const number = value === "" ? Number.NaN : Number(value);
    if (!(number >= 0)) invalid(`--limit: ${name} must be a number, 0 or more, or Infinity`, "--limits");
    limits[name] = number;
  }
  return limits;
}

/** Columns of the help: where its right one begins, and where it ends. */
const MARGIN = 27;
const COLUMNS = 80;

/** One setting of the help, broken into lines. */
function describe(setting: Setting): string {
  const left = `  --${setting.flag}${setting.value === undefined ? "" : ` ${setting.value}`}`;
  const lines = [left.padEnd(MARGIN)];
  for (const word of `${setting.help}${setting.many ? "; may be given several times" : ""}`.split(" ")) {
    const line = lines.at(-1) as string;
    if (line.length + word.length >= COLUMNS && line.trim() !== "") lines.push(" ".repeat(MARGIN) + word);
    else lines[lines.length - 1] = line.length <= MARGIN ? line + word : `${line} ${word}`;
  }
  return lines.map((line) => `${line}\n`).join("");
}

export const HELP = `Usage: subrosa-relay [options]
       subrosa-relay users | groups            --data FOLDER | --redis URL
       subrosa-relay remove-user NAME          --data FOLDER | --redis URL
       subrosa-relay close-group ID            --data FOLDER | --redis URL
       subrosa-relay close-group --name NAME   --data FOLDER | --redis URL
       subrosa-relay notice TEXT --user NAME   --data FOLDER | --redis URL
       subrosa-relay notice TEXT               --redis URL
       subrosa-relay backup TARGET             --data FOLDER

Starts a relay: it passes on and keeps what Subrosa clients encrypted.

${ALL.map(describe).join("")}
Each of them but the last five can be an environment variable too, e.g.
SUBROSA_RELAY_METRICS_PORT=9090; several values are separated by commas. One
that is empty counts as not set, and what Kubernetes makes for a service of the
relay's name, such as SUBROSA_RELAY_PORT=tcp://10.0.0.1:8787, is ignored.

users and groups list all there are, while a relay is running too.
remove-user makes a user id free again: its account, its devices' key packages
and its device list are forgotten. Its sessions end, and those who share a
conversation with it are told, unless a relay is running on the FOLDER: then
sessions go on until they end, and nobody is told.
close-group ends a group in the operator's name, by the ID that groups lists or
by its name. notice shows one line of text as the operator's: to each device of
a user when it is connected, or to everybody who is connected now. Both are
refused, with status 75, while a relay is running on the FOLDER: stop it first.
With --redis relays go on, and those who are connected are told at once.
backup copies the data as it is at this moment into a folder that is empty or
not there, while the relay goes on; to restore it, start a relay with it.
`;

/** All limits with their defaults, one a line, as `--limit` takes them. */
export function listLimits(): string {
  return Object.entries(DEFAULT_LIMITS)
    .map(([name, value]) => `${name}=${value}\n`)
    .join("");
}
