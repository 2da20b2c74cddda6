import { SubrosaError } from "../../base/errors.js";
import type { Argument } from "./link.js";
import type { Script } from "./scripts.js";

/** The part of the package's client that is used: one connection. */
export interface Connection {
  sendCommand(args: readonly Argument[]): Promise<unknown>;
}

/** Runs a script by its digest, and by its text on a server that has not seen it. */
export class ScriptRunner {
  readonly #digests = new Map<string, string>();
  /** How often a script had to be sent a second time. */
  repeated = 0;

  async load(connection: Connection, scripts: readonly Script[]): Promise<void> {
    for (const { name, source } of scripts) {
      const digest = await connection.sendCommand(["SCRIPT", "LOAD", source]);
      this.#digests.set(name, String(digest));
    }
  }

  async run(
    connection: Connection,
    script: Script,
    keys: readonly string[],
    args: readonly Argument[],
  ): Promise<unknown> {
    const rest = [String(keys.length), ...keys, ...args];
    try {
      return await connection.sendCommand(["EVALSHA", this.#digests.get(script.name) as string, ...rest]);
    } catch (error) {
      if (!(error as Error).message.startsWith("NOSCRIPT")) throw error;
      this.repeated++;
      return connection.sendCommand(["EVAL", script.source, ...rest]);
    }
  }
}

/** Both are sent before anything else can be; the text, because a digest that is not known would use up the first. */
export async function askFor(
  connection: Connection,
  script: Script,
  keys: readonly string[],
  args: readonly Argument[],
): Promise<unknown> {
  const asking = connection.sendCommand(["ASKING"]);
  const reply = connection.sendCommand(["EVAL", script.source, String(keys.length), ...keys, ...args]);
  return (await Promise.all([asking, reply]))[1];
}

export interface ReplicationOptions {
  /** How many replicas must have a write before it is answered; undefined: one, while any are connected. */
  readonly replicas: number | undefined;
  /** Milliseconds they have for it. */
  readonly replicaTimeout: number;
}

interface Pending {
  readonly run: () => Promise<unknown>;
  readonly resolve: (reply: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The writes of one connection. Where they wait for replicas, all that gathered while others waited are sent
 * together with one WAIT behind them, which covers everything its connection wrote before. A write whose replicas
 * are late is refused though it was done: its repetition finds it, changes nothing but a key that WAIT then waits for,
 * and is answered once that has arrived.
 */
export class WriteQueue {
  readonly #connection: Connection;
  readonly #runner: ScriptRunner;
  readonly #options: ReplicationOptions;
  #replicas: number;
  #gathering: Pending[] = [];
  #writing = false;

  constructor(connection: Connection, runner: ScriptRunner, options: ReplicationOptions) {
    this.#connection = connection;
    this.#runner = runner;
    this.#options = options;
    this.#replicas = options.replicas ?? 0;
  }

  /** Looks how many replicas there are, where it is not said how many must have each write. */
  async count(): Promise<void> {
    if (this.#options.replicas !== undefined) return;
    const [, , connected] = (await this.#connection.sendCommand(["ROLE"])) as [unknown, unknown, unknown[]?];
    this.#replicas = Math.min(1, connected?.length ?? 0);
  }

  run(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    return this.#add(() => this.#runner.run(this.#connection, script, keys, args));
  }

  /** The same at a server that has the slot only for who asks for it, which `ASKING` does for the command behind it. */
  ask(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    return this.#add(() => askFor(this.#connection, script, keys, args));
  }

  #add(run: () => Promise<unknown>): Promise<unknown> {
    if (this.#replicas === 0) return run();
    return new Promise((resolve, reject) => {
      this.#gathering.push({ run, resolve, reject });
      if (!this.#writing) void this.#write();
    });
  }

  async #write(): Promise<void> {
    this.#writing = true;
    await Promise.resolve();
    while (this.#gathering.length > 0) {
      const batch = this.#gathering;
      this.#gathering = [];
      const repeated = this.#runner.repeated;
      const replies = Promise.allSettled(batch.map(({ run }) => run()));
      let failure = await this.#wait();
      const results = await replies;
      // What had to be sent again came behind that WAIT.
      if (failure === undefined && repeated !== this.#runner.repeated) failure = await this.#wait();
      for (const [i, { resolve, reject }] of batch.entries()) {
        const result = results[i] as PromiseSettledResult<unknown>;
        if (result.status === "rejected") reject(result.reason);
        else if (failure !== undefined) reject(failure);
        else resolve(result.value);
      }
    }
    this.#writing = false;
  }

  async #wait(): Promise<unknown> {
    const replicas = this.#replicas;
    if (replicas === 0) return undefined;
    try {
      const reached = await this.#connection.sendCommand([
        "WAIT",
        String(replicas),
        String(this.#options.replicaTimeout),
      ]);
      if (Number(reached) >= replicas) return undefined;
      return new SubrosaError(
        "store-failed",
        `only ${reached} of ${replicas} replicas have the change in time`,
      );
    } catch (error) {
      return error;
    }
  }
}
