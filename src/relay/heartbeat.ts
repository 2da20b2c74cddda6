import type { WebSocket } from "ws";
import type { Clock } from "../base/clock.js";

/** A connection that is not read from cannot be heard, but nobody is read from so rarely who takes what is sent. */
const MAX_SILENT_PAUSED = 4;

/** Gives up connections on which nothing comes any more, not even the answer to a WebSocket ping. */
export class Heartbeat {
  readonly #clock: Clock;
  readonly #interval: number;
  /** How often each was pinged since something came from it. */
  readonly #silent = new Map<WebSocket, number>();
  #cancel: () => void = () => {};

  constructor(clock: Clock, interval: number) {
    this.#clock = clock;
    this.#interval = interval;
    this.#schedule();
  }

  add(socket: WebSocket): void {
    const heard = () => void this.#silent.set(socket, 0);
    heard();
    socket.on("pong", heard);
    socket.on("message", heard);
    socket.on("close", () => this.#silent.delete(socket));
  }

  #schedule(): void {
    this.#cancel = this.#clock.after(this.#interval, () => {
      this.#beat();
      this.#schedule();
    });
  }

  #beat(): void {
    for (const [socket, silent] of this.#silent) {
      if (silent >= (socket.isPaused ? MAX_SILENT_PAUSED : 1)) {
        socket.terminate();
        continue;
      }
      this.#silent.set(socket, silent + 1);
      if (socket.readyState === socket.OPEN) socket.ping();
    }
  }

  stop(): void {
    this.#cancel();
  }
}
