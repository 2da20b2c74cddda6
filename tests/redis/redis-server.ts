import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "redis";

/** A port that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

/** A `redis-server` of its own, in a folder of its own, that writes to the disk before it answers. */
export class RedisServer {
  readonly port: number;
  /** Where the servers of a cluster tell each other who they are. */
  readonly clusterPort: number;
  readonly #folder: string;
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;
  output = "";

  private constructor(port: number, clusterPort: number, folder: string, args: readonly string[]) {
    this.port = port;
    this.clusterPort = clusterPort;
    this.#folder = folder;
    this.#args = args;
  }

  static async start(...args: string[]): Promise<RedisServer> {
    const folder = await mkdtemp(join(tmpdir(), "subrosa-redis-"));
    const server = new RedisServer(await freePort(), await freePort(), folder, args);
    await server.run();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  async run(): Promise<void> {
    const child = spawn(
      "redis-server",
      [
        ...["--port", String(this.port), "--bind", "127.0.0.1", "--dir", this.#folder, "--save", ""],
        ...["--repl-diskless-sync-delay", "0"],
        ...["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"],
        ...["--cluster-port", String(this.clusterPort), ...this.#args],
      ],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    this.#child = child;
    let started = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data) => {
        started += data;
        this.output += data;
      });
    }
    while (!started.includes("Ready to accept connections")) {
      if (child.exitCode !== null) throw new Error(`redis-server ended: ${this.output}`);
      await pause();
    }
  }

  /** One command over a connection of its own. */
  async command(...args: string[]): Promise<unknown> {
    const client = createClient({ url: this.url, RESP: 2 });
    client.on("error", () => {});
    await client.connect();
    try {
      return await client.sendCommand(args);
    } finally {
      client.destroy();
    }
  }

  /** A server that follows this one, and has caught up. */
  async replica(): Promise<RedisServer> {
    const replica = await RedisServer.start("--replicaof", "127.0.0.1", String(this.port));
    await replica.untilInfo("replication", /master_link_status:up/);
    await this.untilInfo("replication", /slave0:.*state=online/);
    return replica;
  }

  /** Resolves once `INFO` of the section says so. */
  async untilInfo(section: string, pattern: RegExp): Promise<void> {
    while (!pattern.test(String(await this.command("INFO", section)))) await pause();
  }

  async signal(signal: NodeJS.Signals): Promise<void> {
    this.#child?.kill(signal);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }

  async dispose(): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true });
  }
}

/** Between two looks at a server that cannot say when it is ready. */
export const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

/** Three primaries that share all slots. */
export async function startCluster(): Promise<RedisServer[]> {
  const servers = await Promise.all([1, 2, 3].map(() => RedisServer.start("--cluster-enabled", "yes")));
  const [first] = servers;
  const third = 16384 / 3;
  for (const [i, server] of servers.entries()) {
    await server.command("CLUSTER", "SET-CONFIG-EPOCH", String(i + 1));
    const [from, to] = [Math.ceil(i * third), Math.ceil((i + 1) * third) - 1];
    await server.command("CLUSTER", "ADDSLOTSRANGE", String(from), String(to));
  }
  for (const server of servers.slice(1)) {
    await server.command("CLUSTER", "MEET", "127.0.0.1", String(first?.port), String(first?.clusterPort));
  }
  for (const server of servers) {
    const whole = /cluster_state:ok[\s\S]*cluster_known_nodes:3/;
    while (!whole.test(String(await server.command("CLUSTER", "INFO")))) await pause();
  }
  return servers;
}
