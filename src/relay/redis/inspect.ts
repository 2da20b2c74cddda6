import { SubrosaError } from "../../base/errors.js";
import type { Connection } from "./writer.js";

const OLDEST = 7;

/** Settings under which Redis answers before it is safe, or drops what it holds. */
const SAFE: readonly { readonly name: string; readonly value: string; readonly risk: string }[] = [
  { name: "appendonly", value: "yes", risk: "a restart loses entries that were acknowledged" },
  { name: "appendfsync", value: "always", risk: "a power failure loses entries that were acknowledged" },
  { name: "maxmemory-policy", value: "noeviction", risk: "Redis drops entries when its memory is full" },
];

/** Throws `invalid-argument` for a Redis that is too old; warns of settings that are not safe. */
export async function inspectServer(
  connection: Connection,
  url: string,
  warn: (message: string) => void,
): Promise<void> {
  const info = String(await connection.sendCommand(["INFO", "server"]));
  const version = /redis_version:(\d+)\.\S*/.exec(info);
  if (version === null || Number(version[1]) < OLDEST) {
    throw new SubrosaError("invalid-argument", `Redis ${OLDEST} or later is needed`);
  }
  const at = new URL(url).host;
  for (const { name, value, risk } of SAFE) {
    let set: string | undefined;
    try {
      const reply = (await connection.sendCommand(["CONFIG", "GET", name])) as Buffer[];
      set = reply[1]?.toString();
    } catch {
      // Not allowed here.
    }
    if (set === undefined) warn(`Redis at ${at} does not tell its ${name}: make sure that it is ${value}`);
    else if (set !== value) warn(`Redis at ${at} has ${name} ${set}, not ${value}: ${risk}`);
  }
}
