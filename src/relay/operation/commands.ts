import { access } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../../base/clock.js";
import { SubrosaError } from "../../base/errors.js";
import { Administration, type ListPage } from "../administration.js";
import { backupLmdb, openLmdbStorage } from "../embedded/open.js";
import { completeLimits } from "../limits.js";
import type { Page, RelayStorage } from "../storage.js";
import { encodeWord, RELAYS } from "../words.js";
import type { Settings } from "./settings.js";

/** One line of what a command prints: for people, and as `--json` has it. */
export interface Line {
  /** Its parts are set apart by tabs, which no name has. */
  readonly text: string;
  readonly json: object;
}

type Lines = AsyncIterable<Line>;

interface Place {
  readonly storage: RelayStorage;
  readonly administration: Administration;
  /** True while a relay has the data folder: the numbers in logs are its own to give, and its sessions to tell. */
  readonly inUse: boolean;
}

interface Command {
  /** What it does to a data folder; `forget` goes on where a relay has it, and does less. */
  readonly does: "read" | "write" | "forget";
  /** Why it cannot run with these settings, if so. */
  readonly wrong?: (settings: Settings) => string | false;
  readonly run: (place: Place, settings: Settings) => Lines;
}

const takesNothing = ({ command }: Settings) => command.length > 1 && `${command[0]} takes no argument`;
const takes = (what: string) => (settings: Settings) =>
  settings.command.length !== 2 && `${settings.command[0]} needs a ${what}, and nothing else`;
const hasRedis = ({ redis }: Settings) => redis.length > 0;

const COMMANDS: Readonly<Record<string, Command>> = {
  users: { does: "read", wrong: takesNothing, run: ({ administration }) => users(administration) },
  groups: { does: "read", wrong: takesNothing, run: ({ administration }) => groups(administration) },
  "remove-user": { does: "forget", wrong: takes("NAME"), run: removeUser },
  "close-group": {
    does: "write",
    wrong: ({ command, name }) =>
      command.length - 1 + name.length !== 1 && "close-group: an ID, or --name NAME",
    run: closeGroup,
  },
  notice: {
    does: "write",
    wrong: (settings) =>
      takes("TEXT")(settings) ||
      (settings.user === undefined &&
        !hasRedis(settings) &&
        "notice: to everybody who is connected only with --redis; else to one, with --user NAME"),
    run: notice,
  },
};

async function* each<T>(
  list: (page: ListPage) => Promise<Page<T>>,
  id: (item: T) => string,
): AsyncIterable<T> {
  const seen = new Set<string>();
  let after: string | undefined;
  do {
    const { items, next } = await list({ limit: 1000, ...(after !== undefined && { after }) });
    for (const item of items) {
      const before = seen.size;
      if (seen.add(id(item)).size > before) yield item;
    }
    after = next;
  } while (after !== undefined);
}

const count = (number: number, one: string, many: string) => `${number} ${number === 1 ? one : many}`;

async function* users(administration: Administration): Lines {
  const all = each(
    (page) => administration.users(page),
    ({ userId }) => userId,
  );
  for await (const { userId, fingerprint, devices } of all) {
    const text = [userId, count(devices.length, "device", "devices"), fingerprint].join("\t");
    yield { text, json: { userId, fingerprint, devices } };
  }
}

async function* groups(administration: Administration): Lines {
  const all = each(
    (page) => administration.groups(page),
    ({ groupId }) => groupId,
  );
  for await (const group of all) {
    const { groupId, direct, members, entries, bytes, closed } = group;
    const kind = `${closed ? "closed " : ""}${direct ? "direct" : "group"}`;
    const size = [count(entries, "entry", "entries"), count(bytes, "byte", "bytes")];
    yield { text: [groupId, kind, ...size, members.join(", ")].join("\t"), json: group };
  }
}

async function* removeUser({ storage, administration, inUse }: Place, { command }: Settings): Lines {
  const removed = command[1] as string;
  const done = await (inUse ? storage : administration).removeUser(removed);
  if (!done) throw new SubrosaError("unknown-user", `there is no user ${removed}`);
  const untold =
    "; a relay is running and was not told: nobody learns of it, and sessions go on until they end";
  yield { text: `removed ${removed}${inUse ? untold : ""}`, json: { removed, told: !inUse } };
}

async function* closeGroup({ administration }: Place, { command, name: [name] }: Settings): Lines {
  const group = command[1] ?? { name: name as string };
  const closed = command[1] ?? (name as string);
  const before = !(await administration.closeGroup(group));
  yield { text: before ? `${closed} was closed before` : `closed ${closed}`, json: { closed, before } };
}

async function* notice({ administration }: Place, { command, user }: Settings): Lines {
  await administration.notify(command[1] as string, user === undefined ? {} : { userId: user });
  const text = `sent to ${user ?? "everybody who is connected"}`;
  yield { text, json: user === undefined ? { sent: true } : { sent: true, user } };
}

/** A relay's data folder; one that holds nothing is a slip of the keyboard. */
async function folderOf({ command, data }: Settings): Promise<string> {
  const other = command[0] === "backup" ? "" : " or --redis URL";
  if (data === undefined) return invalid(`${command[0]} needs --data FOLDER${other}`);
  return access(join(data, "data.mdb")).then(
    () => data,
    () => invalid(`there is no relay's data in ${data}`),
  );
}

async function openFolder(settings: Settings, { does }: Command): Promise<[RelayStorage, boolean]> {
  const folder = await folderOf(settings);
  if (does === "read") return [await openLmdbStorage(folder, { as: "guest" }), false];
  try {
    return [await openLmdbStorage(folder), false];
  } catch (error) {
    if (!SubrosaError.is(error) || error.code !== "store-in-use") throw error;
    if (does !== "forget") throw new SubrosaError(error.code, `a relay uses ${folder}; stop it first`);
    return [await openLmdbStorage(folder, { as: "guest" }), true];
  }
}

async function* backup(settings: Settings): Lines {
  const wrong = takes("TARGET")(settings);
  if (wrong) invalid(`${wrong}; see --help`);
  const copied = settings.command[1] as string;
  await backupLmdb(await folderOf(settings), copied);
  yield { text: `copied to ${copied}`, json: { copied } };
}

function invalid(message: string): never {
  throw new SubrosaError("invalid-argument", message);
}

/**
 * Does what `settings.command` says to a data folder or to what `openRedis` opens. Throws `invalid-argument` for what
 * is none, `store-in-use` for what only the relay that has the folder could do, and what {@link Administration} throws.
 */
export async function* runCommand(settings: Settings, openRedis: () => Promise<RelayStorage>): Lines {
  const [name = ""] = settings.command;
  if (name === "backup") return yield* backup(settings);
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) return invalid(`unknown command ${settings.command.join(" ")}; see --help`);
  const wrong = command.wrong?.(settings);
  if (wrong) invalid(`${wrong}; see --help`);
  const [storage, inUse] = hasRedis(settings)
    ? [await openRedis(), false]
    : await openFolder(settings, command);
  const administration = new Administration({
    storage,
    limits: completeLimits(settings.limits),
    now: () => systemClock.now(),
    connected: () => 0,
    spread: async (word) => storage.broadcast?.(RELAYS, encodeWord(word)),
  });
  try {
    yield* command.run({ storage, administration, inUse }, settings);
  } finally {
    await storage.close();
  }
}
