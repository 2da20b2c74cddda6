import type { WebSocket } from "ws";
import type { Bytes } from "../base/bytes.js";
import type { RelaySocket } from "./socket.js";

/** How long the other side has to answer a close, in milliseconds. */
const CLOSE_TIMEOUT = 5000;
/** Bytes that may still be on their way when the socket counts as drained. */
const LOW_WATER = 16 * 1024;
/** Close reasons have at most 123 bytes of UTF-8 (RFC 6455 §5.5). */
const MAX_REASON = 120;

/** A WebSocket of the package `ws` as the core wants it. */
export class ServerSocket implements RelaySocket {
  readonly #socket: WebSocket;
  #waiting: (() => void)[] = [];
  #unsent = 0;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.once("close", () => this.#wake());
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount;
  }

  send(frame: Bytes): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#unsent++;
    this.#socket.send(frame, { binary: true, compress: false, fin: true }, () => {
      this.#unsent--;
      if (this.#isDrained()) this.#wake();
    });
  }

  async drained(): Promise<void> {
    if (this.#isDrained() || this.#socket.readyState !== this.#socket.OPEN) return;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #isDrained(): boolean {
    return this.#unsent === 0 || this.bufferedAmount <= LOW_WATER;
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  close(code: number, reason: string): void {
    if (this.#socket.readyState > this.#socket.OPEN) return;
    // A paused socket would never read the other side's close.
    this.#socket.resume();
    this.#socket.close(code, reason.slice(0, MAX_REASON));
    const timer = setTimeout(() => this.#socket.terminate(), CLOSE_TIMEOUT);
    timer.unref();
    this.#socket.once("close", () => clearTimeout(timer));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }
}
