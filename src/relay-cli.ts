#!/usr/bin/env node
import { VERSION } from "./base/version.js";
import { runCommand } from "./relay/operation/commands.js";
import type { LogRecord } from "./relay/operation/log.js";
import { HELP, listLimits, readSettings, type Settings } from "./relay/operation/settings.js";
import { openRedisStorage } from "./relay/redis/open.js";
import { isFenced, Relay } from "./relay/server.js";
import type { RelayStorage } from "./relay/storage.js";

/** EX_TEMPFAIL of sysexits.h: another relay has the data, and it may go on later. */
const IN_USE = 75;

function fail(message: string, status = 1): never {
  process.stderr.write(`subrosa-relay: ${message}\n`);
  process.exit(status);
}

function openRedis(settings: Settings): Promise<RelayStorage> {
  const { redis, redisPrefix, redisReplicas } = settings;
  const print = printer(settings);
  const write = (level: "warn" | "error", detail: string) =>
    print({ time: new Date().toISOString(), level, event: "storage", detail });
  return openRedisStorage(redis, {
    onWarning: (message) => write("warn", message),
    onError: (error) => write("error", String((error as Error)?.stack ?? error)),
    ...(redisPrefix !== undefined && { prefix: redisPrefix }),
    ...(redisReplicas !== undefined && { waitReplicas: redisReplicas }),
  });
}

async function command(settings: Settings): Promise<void> {
  // Whoever reads the lines may have read enough.
  process.stdout.on("error", (error) => {
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") fail(error.message);
    process.exit();
  });
  // They are all that goes there, whatever the format of the log.
  const lines = runCommand(settings, () => openRedis({ ...settings, log: "text" }));
  for await (const { text, json } of lines) {
    process.stdout.write(`${settings.json ? JSON.stringify(json) : text}\n`);
  }
}

/** Writes records as they are, or so that people like to read them. */
function printer(settings: Settings): (record: LogRecord) => void {
  if (settings.log === "json") return (record) => process.stdout.write(`${JSON.stringify(record)}\n`);
  return ({ time, level, event, ...details }) => {
    if (event === "listening") {
      const memory = settings.data === undefined && settings.redis.length === 0 ? " (in memory)" : "";
      const metrics = details.metricsUrl === undefined ? "" : `, metrics on ${details.metricsUrl}`;
      process.stdout.write(`relay listening on ${details.url}${memory}${metrics}\n`);
    } else {
      const text = Object.entries(details).map(([name, value]) => ` ${name}=${value}`);
      process.stderr.write(`${time} ${level} ${event}${text.join("")}\n`);
    }
  };
}

async function serve(settings: Settings): Promise<void> {
  const { port, host, data, name, origin, metricsPort, metricsHost, limits } = settings;
  const storage = settings.redis.length > 0 ? await openRedis(settings) : undefined;
  const relay = new Relay({
    port,
    host,
    limits,
    directory: settings.directory,
    trustProxy: settings.trustProxy,
    logAddresses: settings.logAddresses,
    onLog: printer(settings),
    ...(data !== undefined && { data }),
    ...(storage !== undefined && { storage }),
    ...(name.length > 0 && { name }),
    ...(origin.length > 0 && { origins: origin }),
    ...(metricsPort !== undefined && { metricsPort }),
    ...(metricsHost !== undefined && { metricsHost }),
    onError: (error) => {
      if (isFenced(error)) fail(`another relay has opened ${data}: this one cannot go on`, IN_USE);
    },
  });
  let stopping = false;
  const stop = () => {
    if (stopping) process.exit(1);
    stopping = true;
    const drained = relay.drain(settings.drain).then(() => storage?.close());
    drained.then(
      () => process.exit(0),
      (error) => fail(String(error)),
    );
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  await relay.listen();
}

async function main(): Promise<void> {
  const settings = readSettings(process.argv.slice(2), process.env);
  const { data, redis } = settings;
  if (settings.print === "version") process.stdout.write(`${VERSION}\n`);
  else if (settings.print === "help") process.stdout.write(HELP);
  else if (settings.print === "limits") process.stdout.write(listLimits());
  else if (data !== undefined && redis.length > 0) fail("--data: not with --redis");
  else if (settings.command.length > 0) await command(settings);
  else await serve(settings);
}

main().catch((error: Error) => fail(error.message, isFenced(error) ? IN_USE : 1));
