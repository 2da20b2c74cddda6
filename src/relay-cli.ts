#!/usr/bin/env node
import { access } from "node:fs/promises";
import { VERSION } from "./base/version.js";
import { backupLmdb, openLmdbStorage } from "./relay/embedded/open.js";
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

function existing(data: string | undefined, command: string): Promise<string> {
  if (data === undefined) fail(`${command} needs --data FOLDER`);
  return access(data).then(
    () => data,
    () => fail(`there is no folder ${data}`),
  );
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

async function removeUser(userId: string | undefined, settings: Settings): Promise<void> {
  if (userId === undefined) fail("remove-user needs a NAME");
  const storage = await (settings.redis.length > 0
    ? openRedis(settings)
    : openLmdbStorage(await existing(settings.data, "remove-user"), { as: "guest" }));
  const removed = await storage.removeUser(userId);
  await storage.close();
  if (!removed) fail(`there is no user ${userId}`);
  process.stdout.write(`removed ${userId}\n`);
}

async function backup(target: string | undefined, data: string | undefined): Promise<void> {
  if (target === undefined) fail("backup needs a TARGET");
  await backupLmdb(await existing(data, "backup"), target);
  process.stdout.write(`copied to ${target}\n`);
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
  if (data !== undefined && settings.redis.length > 0) fail("--data: not with --redis");
  const storage = settings.redis.length > 0 ? await openRedis(settings) : undefined;
  const relay = new Relay({
    port,
    host,
    limits,
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
  if (settings.print === "version") process.stdout.write(`${VERSION}\n`);
  else if (settings.print === "help") process.stdout.write(HELP);
  else if (settings.print === "limits") process.stdout.write(listLimits());
  else {
    const [command, argument, ...rest] = settings.command;
    if (command === undefined) await serve(settings);
    else if (command === "remove-user" && rest.length === 0) await removeUser(argument, settings);
    else if (command === "backup" && rest.length === 0) await backup(argument, settings.data);
    else fail(`unknown command ${settings.command.join(" ")}; see --help`);
  }
}

main().catch((error: Error) => fail(error.message, isFenced(error) ? IN_USE : 1));
