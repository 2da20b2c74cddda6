#!/usr/bin/env node
import { access } from "node:fs/promises";
import { parseArgs } from "node:util";
import { VERSION } from "./base/version.js";
import { openLmdbStorage } from "./relay/embedded/open.js";
import { isFenced, Relay } from "./relay/server.js";

const HELP = `Usage: subrosa-relay [options]
       subrosa-relay remove-user NAME --data FOLDER

Starts a relay: it passes on and keeps what Subrosa clients encrypted.

  --port PORT    port to listen on (default 8787; 0: any free one)
  --host HOST    address to listen on (default 127.0.0.1: this machine only)
  --data FOLDER  where to keep everything (default: in memory, gone at the end)
  --name NAME    host part of the URL that clients use, e.g. relay.example.org;
                 needed behind a proxy; may be given several times
  --help         show this
  --version      show the version

remove-user makes a user id free again: its account, its devices' key packages
and its device list are forgotten. A relay that is running may go on.
`;

function fail(message: string): never {
  process.stderr.write(`subrosa-relay: ${message}\n`);
  process.exit(1);
}

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        port: { type: "string" },
        host: { type: "string" },
        data: { type: "string" },
        name: { type: "string", multiple: true },
        help: { type: "boolean", short: "h" },
        version: { type: "boolean" },
      },
    });
  } catch (error) {
    return fail(`${(error as Error).message}; see --help`);
  }
}

async function removeUser(userId: string | undefined, data: string | undefined): Promise<void> {
  if (userId === undefined || data === undefined) fail("remove-user needs a NAME and --data FOLDER");
  await access(data).catch(() => fail(`there is no folder ${data}`));
  const storage = await openLmdbStorage(data, { claim: false });
  const removed = await storage.removeUser(userId);
  await storage.close();
  if (!removed) fail(`there is no user ${userId}`);
  process.stdout.write(`removed ${userId}\n`);
}

async function serve(values: ReturnType<typeof parse>["values"]): Promise<void> {
  const port = Number(values.port ?? 8787);
  if (!Number.isInteger(port) || port < 0 || port > 65535) fail("--port: 0 to 65535");
  const relay = new Relay({
    port,
    host: values.host ?? "127.0.0.1",
    ...(values.data !== undefined && { data: values.data }),
    ...(values.name !== undefined && { name: values.name }),
    onError: (error) => {
      if (isFenced(error)) fail(`another relay has opened ${values.data}: this one cannot go on`);
      process.stderr.write(`${String((error as Error)?.stack ?? error)}\n`);
    },
  });
  const { url } = await relay.listen();
  process.stdout.write(`relay listening on ${url}${values.data === undefined ? " (in memory)" : ""}\n`);
  const stop = () => {
    relay.close().then(
      () => process.exit(0),
      (error) => fail(String(error)),
    );
  };
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
}

async function main(): Promise<void> {
  const { values, positionals } = parse();
  if (values.version) {
    process.stdout.write(`${VERSION}\n`);
    return;
  }
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const [command, ...rest] = positionals;
  if (command === "remove-user" && rest.length <= 1) await removeUser(rest[0], values.data);
  else if (command === undefined) await serve(values);
  else fail(`unknown command ${positionals.join(" ")}; see --help`);
}

main().catch((error: Error) => fail(error.message));
