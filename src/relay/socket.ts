import type { Bytes } from "../base/bytes.js";

/** One connection as the relay's core sees it; `server.ts` makes one of each WebSocket. */
export interface RelaySocket {
  /** Bytes handed to {@link send} that the other side has not taken yet. */
  readonly bufferedAmount: number;
  /** Sends one frame; does nothing once the connection is closing. */
  send(frame: Bytes): void;
  /** Resolves when little of what was sent is left here, or the connection has closed. Never rejects. */
  drained(): Promise<void>;
  /** Closes the connection; idempotent. */
  close(code: number, reason: string): void;
  /** Stops reading; frames read already may still come. */
  pause(): void;
  resume(): void;
}
