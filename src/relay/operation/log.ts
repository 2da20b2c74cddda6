import type { Clock } from "../../base/clock.js";

/**
 * One thing an operator may want to know. Nothing in it comes from users: no user id, no device, no group, and no
 * address unless `logAddresses` is on.
 */
export interface LogRecord {
  /** ISO 8601, UTC. */
  readonly time: string;
  readonly level: "info" | "warn" | "error";
  /** `listening`, `proxy`, `draining`, `closed`, `limited`, `failure`. */
  readonly event: string;
  readonly [detail: string]: string | number | boolean | undefined;
}

export type LogSink = (record: LogRecord) => void;

/** How long limits that were hit are gathered into one record, in milliseconds. */
const GATHER = 10_000;
/** Kinds of limits, with their addresses, that are told apart within that time. */
const MAX_KINDS = 100;

/** Writes records, gathering those that an attacker could make as many of as he likes. */
export class Log {
  readonly #sink: LogSink | undefined;
  readonly #clock: Clock;
  readonly #addresses: boolean;
  readonly #limited = new Map<string, { what: string; address: string; count: number }>();
  #cancel: (() => void) | undefined;

  constructor(sink: LogSink | undefined, clock: Clock, addresses: boolean) {
    this.#sink = sink;
    this.#clock = clock;
    this.#addresses = addresses;
  }

  write(
    level: LogRecord["level"],
    event: string,
    details: Readonly<Record<string, string | number>> = {},
  ): void {
    const time = new Date(this.#clock.now()).toISOString();
    try {
      this.#sink?.({ time, level, event, ...details });
    } catch {
      // A sink that fails has nobody left to tell.
    }
  }

  failure(error: unknown): void {
    const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
    const cause =
      error instanceof Error && error.cause instanceof Error ? { cause: error.cause.message } : {};
    this.write("error", "failure", { detail, ...cause });
  }

  /** A limit was hit: `what` is a close code or a refusal. */
  limited(what: string, address: string): void {
    if (this.#sink === undefined) return;
    const shown = this.#addresses ? address : "";
    const key = `${what} ${shown}`;
    const known = this.#limited.get(key);
    if (known !== undefined) known.count++;
    else if (this.#limited.size < MAX_KINDS) this.#limited.set(key, { what, address: shown, count: 1 });
    this.#cancel ??= this.#clock.after(GATHER, () => this.flush());
  }

  /** Writes what was gathered. */
  flush(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    for (const { what, address, count } of this.#limited.values())
      this.write("warn", "limited", { what, count, ...(address !== "" && { address }) });
    this.#limited.clear();
  }
}
