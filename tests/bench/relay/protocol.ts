/** What the processes of this benchmark say to each other. */

export type Competitor = "subrosa" | "ws" | "socket.io";

/** Bytes of one message. */
export const MESSAGE_BYTES = 512;
/** Connections that send; they do not read, so that what is counted is what the readers get. */
export const SENDERS = 8;

/** To the process with the load. */
export type LoadCommand =
  | {
      readonly type: "connect";
      readonly competitor: Competitor;
      readonly url: string;
      readonly readers: number;
    }
  | {
      readonly type: "run";
      readonly competitor: Competitor;
      readonly readers: number;
      /** Messages on their way at once: the next goes out when the oldest has reached all readers. */
      readonly window: number;
      readonly ms: number;
    }
  | { readonly type: "idle"; readonly url: string; readonly count: number };

export interface RunResult {
  readonly deliveriesPerSecond: number;
  readonly messagesPerSecond: number;
  /** Milliseconds from an append to its answer; empty for competitors that do not answer. */
  readonly appendMs: readonly number[];
  /** Share of one core that the load itself took. */
  readonly loadCpu: number;
}

/** To a server. */
export type ServerCommand = { readonly type: "stats" } | { readonly type: "profile"; readonly on: boolean };

export interface ServerStats {
  readonly cpuMicros: number;
  readonly rss: number;
  readonly heapUsed: number;
  readonly external: number;
  /** Commits to the disk, and the milliseconds that they took together. */
  readonly commits: number;
  readonly commitMs: number;
  readonly entries: number;
}

/** Answers carry the number of the command. */
export interface Numbered<T> {
  readonly id: number;
  readonly body: T;
}
