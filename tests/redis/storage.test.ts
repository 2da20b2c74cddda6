import { afterAll, beforeAll } from "vitest";
import { openRedisStorage } from "../../src/relay/redis/open.js";
import { relayStorageSuite } from "../contracts/relay-storage-suite.js";
import { RedisServer, startCluster } from "./redis-server.js";

let server: RedisServer;
let cluster: RedisServer[];
let prefixes = 0;

beforeAll(async () => {
  server = await RedisServer.start();
  cluster = await startCluster();
});
afterAll(() => Promise.all([server, ...cluster].map((one) => one.dispose())));

const opening = (urls: () => readonly string[]) => async () => {
  const prefix = `test${prefixes++}:`;
  const errors: unknown[] = [];
  const open = () => openRedisStorage(urls(), { prefix, onError: (error) => errors.push(error) });
  let storage = await open();
  return {
    storage,
    async reopen() {
      await storage.close();
      storage = await open();
      return storage;
    },
    async dispose() {
      await storage.close();
      if (errors.length > 0) throw errors[0];
    },
  };
};

relayStorageSuite(
  "Redis",
  opening(() => [server.url]),
);
relayStorageSuite(
  "a Redis cluster",
  opening(() => cluster.map(({ url }) => url)),
);
