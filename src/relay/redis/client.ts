import { SubrosaError } from "../../base/errors.js";
import type { Argument } from "./link.js";

export type Redis = typeof import("redis");
export type Client = ReturnType<typeof connectionTo>;

/** Milliseconds. A server that says nothing for that long, although it is asked for a sign, is given up. */
const CONNECT_TIMEOUT = 5_000;
const SILENCE = 15_000;
const PING_INTERVAL = 5_000;

/** What all connections have in common: replies with Buffers, and nothing kept for later while there is none. */
export function clientOptions(redis: Redis) {
  return {
    RESP: 2,
    disableOfflineQueue: true,
    pingInterval: PING_INTERVAL,
    commandOptions: { typeMapping: { [redis.RESP_TYPES.BLOB_STRING]: Buffer } },
  } as const;
}

export const socketOptions = { connectTimeout: CONNECT_TIMEOUT, socketTimeout: SILENCE } as const;

/** One connection that does not come back by itself. */
export function connectionTo(redis: Redis, url: string) {
  return redis.createClient({
    ...clientOptions(redis),
    url,
    socket: { ...socketOptions, reconnectStrategy: false },
  });
}

/** One connection to a server of a cluster. */
export interface ClusterClient {
  sendCommand(args: readonly Argument[], options?: object): Promise<unknown>;
}

/** What is used of the package's clusters: their own type names every command there is, which takes long to check. */
export interface Cluster {
  readonly masters: readonly ClusterNode[];
  connect(): Promise<unknown>;
  destroy(): void;
  on(event: string, listener: () => void): unknown;
  nodeClient(node: ClusterNode): ClusterClient | Promise<ClusterClient>;
  getNodeClientForKey(key: string): Promise<ClusterClient>;
  sendCommand(key: string, isReadonly: boolean, args: Argument[]): Promise<unknown>;
  sSubscribe(channel: string, listener: (message: Buffer) => void, asBuffers: true): Promise<unknown>;
  sUnsubscribe(channel: string): Promise<unknown>;
}

export interface ClusterNode {
  readonly address: string;
}

/** The connections to a cluster, found by some of its servers, which all have the first one's credentials. */
export function clusterOf(redis: Redis, urls: readonly string[]): Cluster {
  const { username, password, protocol } = new URL(urls[0] as string);
  const { RESP, commandOptions, ...rest } = clientOptions(redis);
  const credentials = {
    ...(username !== "" && { username: decodeURIComponent(username) }),
    ...(password !== "" && { password: decodeURIComponent(password) }),
  };
  const socket = protocol === "rediss:" ? { ...socketOptions, tls: true as const } : { ...socketOptions };
  return redis.createCluster({
    RESP,
    commandOptions,
    rootNodes: urls.map((url) => ({ url, socket: { ...socketOptions, reconnectStrategy: false as const } })),
    defaults: { ...rest, ...credentials, socket },
  }) as unknown as Cluster;
}

/** Whether the first server that answers is part of a cluster; throws what the last one said if none answers. */
export async function isCluster(redis: Redis, urls: readonly string[]): Promise<boolean> {
  let failure: unknown;
  for (const url of urls) {
    const client = connectionTo(redis, url);
    client.on("error", () => {});
    try {
      await client.connect();
      return /cluster_enabled:1/.test(String(await client.sendCommand(["INFO", "cluster"])));
    } catch (error) {
      failure = error;
    } finally {
      if (client.isOpen) client.destroy();
    }
  }
  throw failure;
}

/**
 * The one of the servers that says it is the primary. Throws what one of them said if none does, and `store-failed` if
 * several do: taking one of them would lose what was written to the other.
 */
export async function findPrimary(redis: Redis, urls: readonly string[]): Promise<string> {
  const roles = await Promise.allSettled(
    urls.map(async (url) => {
      const client = connectionTo(redis, url);
      client.on("error", () => {});
      try {
        await client.connect();
        const [role] = (await client.sendCommand(["ROLE"])) as unknown as [Buffer];
        return role.toString();
      } finally {
        if (client.isOpen) client.destroy();
      }
    }),
  );
  const primaries = urls.filter((_, i) => {
    const role = roles[i];
    return role?.status === "fulfilled" && role.value === "master";
  });
  if (primaries.length > 1)
    throw new SubrosaError(
      "store-failed",
      "several Redis servers say they are the primary; make all but one replicas",
    );
  const [primary] = primaries;
  if (primary !== undefined) return primary;
  const failed = roles.find((role) => role.status === "rejected");
  throw failed?.reason ?? new SubrosaError("store-failed", "no Redis server is a primary");
}

/** Throws `missing-dependency` where the optional package `redis` is not installed. */
export async function importRedis(): Promise<Redis> {
  try {
    return await import("redis");
  } catch (cause) {
    throw new SubrosaError("missing-dependency", 'the Redis storage needs the package "redis"', { cause });
  }
}
