import { SubrosaError } from "../../base/errors.js";

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

/** Throws `missing-dependency` where the optional package `redis` is not installed. */
export async function importRedis(): Promise<Redis> {
  try {
    return await import("redis");
  } catch (cause) {
    throw new SubrosaError("missing-dependency", 'the Redis storage needs the package "redis"', { cause });
  }
}
