import type { Clock } from "../../base/clock.js";
import type { Redis } from "./client.js";
import type { Script } from "./scripts.js";
import type { Connection, ReplicationOptions } from "./writer.js";

export type Argument = string | Buffer;

/** One call of a script; its keys share the slot of `tag`. */
export interface ScriptCall {
  readonly tag: string;
  readonly script: Script;
  readonly keys: readonly string[];
  readonly args: readonly Argument[];
}

export interface LinkOptions extends ReplicationOptions {
  readonly urls: readonly string[];
  readonly redis: Redis;
  readonly clock: Clock;
  readonly report: (error: unknown) => void;
  /** Is given a connection to each server that is going to be used. */
  readonly inspect: (connection: Connection, url: string) => Promise<void>;
}

/**
 * The connections to Redis, be it one server, one with replicas, or a cluster. Replies hold Buffers. What fails is
 * not tried again here: it rejects, and whether it was carried out is not known then.
 */
export interface RedisLink {
  /** A command that reads or does not matter when it is lost. */
  command(tag: string, args: readonly Argument[]): Promise<unknown>;
  /** A script that changes nothing, or nothing that must not be lost. */
  script(call: ScriptCall): Promise<unknown>;
  /** A script that changes something; resolves once that is as durable as the options ask for. */
  write(call: ScriptCall): Promise<unknown>;
  /** Resolves once messages come. One listener per channel. */
  subscribe(channel: string, listener: (message: Buffer) => void): Promise<void>;
  unsubscribe(channel: string): Promise<void>;
  /** Calls the listener whenever messages may have been missed. */
  onGap(listener: () => void): void;
  /** Some of the keys like `pattern` of `count` that are looked at; `next` goes in again, undefined when all have been seen. */
  scan(
    pattern: string,
    from: ScanPlace | undefined,
    count?: number,
  ): Promise<{ keys: string[]; next?: ScanPlace }>;
  /** Looks after itself; called every few seconds. */
  maintain(): Promise<void>;
  /** Rejects if Redis does not answer. */
  ping(): Promise<void>;
  /** Keys of all kinds. */
  size(): Promise<number>;
  close(): Promise<void>;
}

export interface ScanPlace {
  readonly server: number;
  readonly cursor: string;
}
