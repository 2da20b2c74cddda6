import { afterEach } from "vitest";
import { openRedisStorage, type RedisOptions, Relay, type RelayStorage } from "../../src/relay.js";

const cleanups: (() => Promise<unknown>)[] = [];

/** Runs at the end of the test, last added first. */
export function atEnd(cleanup: () => Promise<unknown>): void {
  cleanups.push(cleanup);
}

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

let prefixes = 0;
/** What no other test's keys begin with. */
export const newPrefix = (): string => `nodes${process.pid}.${prefixes++}:`;

export interface Node {
  readonly relay: Relay;
  readonly storage: RelayStorage;
  readonly url: string;
  /** What went wrong in the background. */
  readonly errors: unknown[];
}

/** Relays that share one Redis. */
export async function startNodes(
  count: number,
  urls: readonly string[],
  options: RedisOptions = {},
  name: readonly string[] = [],
): Promise<Node[]> {
  const prefix = options.prefix ?? newPrefix();
  const nodes: Node[] = [];
  for (let i = 0; i < count; i++) {
    const errors: unknown[] = [];
    const onError = (error: unknown) => void errors.push(error);
    const storage = await openRedisStorage(urls, { ...options, prefix, onError });
    const relay = new Relay({ storage, onError, ...(name.length > 0 && { name }) });
    const { url } = await relay.listen();
    nodes.push({ relay, storage, url, errors });
    atEnd(() => relay.close().then(() => storage.close()));
  }
  return nodes;
}
