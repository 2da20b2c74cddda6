import type { Server as HttpServer } from "node:http";
import type { Server as HttpsServer } from "node:https";
import { assertOptions, type Names } from "../base/arguments.js";
import type { Clock } from "../base/clock.js";
import { assertArgument } from "../base/errors.js";
import type { AccountKeyHook, AuthenticateHook } from "./authentication.js";
import type { ChannelHook, DataHook } from "./channels.js";
import type { FrameHook } from "./core.js";
import type { RelayLimits } from "./limits.js";
import type { LogSink } from "./operation/log.js";
import type { RelayStorage } from "./storage.js";

export interface RelayOptions {
  /** The port; 0, the default, for any free one. Not with {@link server}. */
  port?: number;
  /** The address to listen on; 127.0.0.1 by default. Not with {@link server}. */
  host?: string;
  /** A server of your own that listens, to take WebSocket connections from, e.g. one with TLS. You stop it. */
  server?: HttpServer | HttpsServer;
  /** Folder of the embedded storage. With neither `data` nor `storage` the relay forgets when it closes. */
  data?: string;
  /** A storage of your own. You close it. */
  storage?: RelayStorage;
  /**
   * The host part of the URLs that clients use, e.g. `"relay.example.org"` or `"localhost:8787"`; several if there
   * are several. A client's signature is bound to it, so that no other relay can use it here. Default: where the
   * relay listens, and for loopback addresses all their usual spellings. Behind a proxy it must be given.
   */
  name?: string | readonly string[];
  /** Your app's own login. It admits a user by resolving to `true`. */
  authenticate?: AuthenticateHook;
  /**
   * What becomes of an account key that is new. `"reject"`, the default: a user id belongs to the first key, and
   * another one is refused as `user-id-taken`. With a hook it decides, on first keys too; a key that it lets take the
   * place of another ends the other's sessions and devices, and those who know the user are asked by their clients.
   */
  accountKeys?: "reject" | AccountKeyHook;
  /** Who may know who is there: `"contacts"`, the default, those who share a conversation; `"open"`: everyone. */
  directory?: "contacts" | "open";
  limits?: Partial<RelayLimits>;
  /**
   * The origins of web pages that may connect, e.g. `["https://chat.example.org"]`; by default all may. Programs
   * that are no browsers send none and are not held by it.
   */
  origins?: readonly string[];
  /**
   * How many proxies stand before the relay, each of which appends to `X-Forwarded-For` where a connection came to
   * it from; 0 by default. Limits by address count those addresses then. Too high a number lets clients make them up.
   */
  trustProxy?: number;
  /** A port for `/metrics`, `/healthz` and `/readyz`, on `metricsHost` (127.0.0.1); none by default. 0: any free one. */
  metricsPort?: number;
  metricsHost?: string;
  /** Is told what an operator may want to know. */
  onLog?: LogSink;
  /** Whether records of limits that were hit name the addresses; personal data in many countries. Default false. */
  logAddresses?: boolean;
  /** Sees every frame; returning `false` closes its connection with 4403. */
  onFrame?: FrameHook;
  /** Takes what clients write with `unencrypted.write`; without it that is `forbidden`. */
  onData?: DataHook;
  /** Decides who may read an unencrypted channel, and publish in it; by default everybody. See {@link RelayLimits.maxChannels}. */
  onSubscribe?: ChannelHook;
  /** Is told of failures inside the relay. */
  onError?: (error: unknown) => void;
  /** For tests. */
  clock?: Clock;
}

const OPTIONS: Names<RelayOptions> = {
  port: true,
  host: true,
  server: true,
  data: true,
  storage: true,
  name: true,
  authenticate: true,
  accountKeys: true,
  directory: true,
  limits: true,
  origins: true,
  trustProxy: true,
  metricsPort: true,
  metricsHost: true,
  onLog: true,
  logAddresses: true,
  onFrame: true,
  onData: true,
  onSubscribe: true,
  onError: true,
  clock: true,
};

/** Throws `invalid-argument` for options that contradict each other or are not of their form. */
export function checkOptions(options: RelayOptions): void {
  assertOptions(options ?? null, OPTIONS);
  const { server, port, host, data, storage, origins, trustProxy } = options;
  const { accountKeys = "reject", directory = "contacts" } = options;
  const { authenticate, onLog, onFrame, onData, onSubscribe, onError, logAddresses } = options;
  for (const [hook, value] of Object.entries({
    authenticate,
    onLog,
    onFrame,
    onData,
    onSubscribe,
    onError,
  })) {
    assertArgument(value === undefined || typeof value === "function", `${hook}: a function`);
  }
  assertArgument([undefined, true, false].includes(logAddresses), "logAddresses: true or false");
  assertArgument(
    accountKeys === "reject" || typeof accountKeys === "function",
    "accountKeys: reject or a hook",
  );
  assertArgument(["contacts", "open"].includes(directory), "directory: contacts or open");
  assertArgument(
    server === undefined || (port === undefined && host === undefined),
    "server: not with port or host",
  );
  assertArgument(data === undefined || storage === undefined, "data: not with storage");
  const proxies = trustProxy ?? 0;
  assertArgument(Number.isInteger(proxies) && proxies >= 0, "trustProxy: a number of proxies");
  for (const origin of origins ?? []) {
    const same = URL.canParse(origin) && new URL(origin).origin === origin;
    assertArgument(
      same || origin === "null",
      `origins: ${origin} is no origin, e.g. https://chat.example.org`,
    );
  }
}

const LOOPBACK = ["127.0.0.1", "localhost", "[::1]"];

/** The names that clients may sign for: those given, else where the relay listens, in its usual spellings. */
export function relayNames(
  { name, host: given }: RelayOptions,
  host: string,
  port: number,
): readonly string[] {
  if (name !== undefined) return (typeof name === "string" ? [name] : name).map((one) => one.toLowerCase());
  const hosts = LOOPBACK.includes(host) ? [host, ...LOOPBACK.filter((one) => one !== host)] : [host];
  if (given !== undefined && !hosts.includes(given)) hosts.unshift(given.toLowerCase());
  return hosts.map((one) => `${one}:${port}`);
}
