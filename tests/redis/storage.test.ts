import { afterAll, beforeAll } from "vitest";
import { openRedisStorage } from "../../src/relay/redis/open.js";
import { relayStorageSuite } from "../contracts/relay-storage-suite.js";
import { RedisServer } from "./redis-server.js";

let server: RedisServer;
let prefixes = 0;

beforeAll(async () => {
  server = await RedisServer.start();
});
afterAll(() => server.dispose());

relayStorageSuite("Redis", async () => {
  const prefix = `test${prefixes++}:`;
  const errors: unknown[] = [];
  const open = () => openRedisStorage(server.url, { prefix, onError: (error) => errors.push(error) });
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
});
