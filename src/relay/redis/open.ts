import { assertOptions, type Names as NamesOf } from "../../base/arguments.js";
import { type Clock, systemClock } from "../../base/clock.js";
import { assertArgument } from "../../base/errors.js";
import { randomBytes } from "../../crypto/random.js";
import type { RelayStorage } from "../storage.js";
import { importRedis, isCluster } from "./client.js";
import { ClusterLink } from "./cluster-link.js";
import { inspectServer } from "./inspect.js";
import type { LinkOptions } from "./link.js";
import { NODE_ID_LENGTH } from "./news.js";
import { Names } from "./places.js";
import { RedisStorage } from "./redis-storage.js";
import { SingleLink } from "./single-link.js";

export interface RedisOptions {
  /** What all keys begin with, so that several relays can use one Redis apart from each other. Default `"subrosa:"`. */
  prefix?: string;
  /**
   * Replicas that must have a change before it is answered. Default: one, while the primary has any. 0: none, and
   * what a primary takes with it must come back from the clients.
   */
  waitReplicas?: number;
  /** Milliseconds they have for it; then the request fails, and the client repeats it. Default 1000. */
  waitTimeout?: number;
  /** Is told, in words, of settings of the server under which acknowledged entries can be lost. */
  onWarning?: (message: string) => void;
  /** Is told of failures in the background. */
  onError?: (error: unknown) => void;
  /** For tests. */
  clock?: Clock;
}

const OPTIONS: NamesOf<RedisOptions> = {
  prefix: true,
  waitReplicas: true,
  waitTimeout: true,
  onWarning: true,
  onError: true,
  clock: true,
};

/**
 * A storage in Redis 7 or later, which several relays can share: a server, or one with replicas (give the URLs of
 * all: the one that is the primary is used), or a cluster (give some of its nodes). Throws `missing-dependency`
 * without the package `redis`, `invalid-argument` for an older Redis, and what the package throws where none answers.
 */
export async function openRedisStorage(
  url: string | readonly string[],
  options: RedisOptions = {},
): Promise<RelayStorage> {
  assertOptions(options, OPTIONS);
  const { prefix = "subrosa:", waitReplicas, waitTimeout = 1000, clock = systemClock } = options;
  const urls = typeof url === "string" ? [url] : url;
  assertArgument(urls.length > 0, "url: at least one");
  assertArgument(!/[{}]/.test(prefix), "prefix: without braces");
  const redis = await importRedis();
  const report = (error: unknown) => options.onError?.(error);
  const warn = (message: string) => options.onWarning?.(message);
  const linkOptions: LinkOptions = {
    urls,
    redis,
    clock,
    report,
    replicas: waitReplicas,
    replicaTimeout: waitTimeout,
    inspect: (connection, at) => inspectServer(connection, at, warn),
  };
  const link = (await isCluster(redis, urls)) ? new ClusterLink(linkOptions) : new SingleLink(linkOptions);
  await link.open();
  const node = randomBytes(NODE_ID_LENGTH);
  const names = new Names(prefix);
  return new RedisStorage({ link, names, node, clock, report, waits: waitReplicas !== 0 });
}
