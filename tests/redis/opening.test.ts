import * as redis from "redis";
import { expect, it } from "vitest";
import type { Redis } from "../../src/relay/redis/client.js";
import { SingleLink } from "../../src/relay/redis/single-link.js";
import { ManualClock } from "../relay/manual-clock.js";
import { atEnd } from "./nodes.js";
import { RedisServer } from "./redis-server.js";

it("a link that could not be opened makes no more connections", async () => {
  const server = await RedisServer.start();
  atEnd(() => server.dispose());
  const clock = new ManualClock();
  const waiting: number[] = [];
  let made = 0;
  const createClient: Redis["createClient"] = (options) => {
    const client = redis.createClient(options);
    // One asks for the role, one reads, one writes: the server goes while the fourth, for messages, is made.
    if (++made === 4) {
      const connect = client.connect.bind(client);
      client.connect = () =>
        server
          .kill()
          .then(() => until(() => waiting.length > 0))
          .then(connect);
    }
    return client as never;
  };
  const until = (condition: () => boolean) => expect.poll(condition, { timeout: 10_000 }).toBe(true);
  const link = new SingleLink({
    urls: [server.url],
    redis: { ...redis, createClient } as Redis,
    clock: {
      now: () => clock.now(),
      after: (ms, callback) => {
        waiting.push(ms);
        return clock.after(ms, callback);
      },
    },
    report: () => {},
    replicas: 0,
    replicaTimeout: 1000,
    inspect: async () => {},
  });
  await expect(link.open()).rejects.toThrow();
  // The search that began when the connections were lost.
  const before = made;
  expect(before).toBeGreaterThan(4);
  clock.advance(1000);
  await new Promise((resolve) => setImmediate(resolve));
  expect(made).toBe(before);
});
