import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import type { Bytes } from "../base/bytes.js";
import type { RelaySocket } from "./socket.js";

/** How long the other side has to answer a close, in milliseconds. */
const CLOSE_TIMEOUT = 5000;
/** Bytes that wait for the end of the tick at most. */
const MAX_CORKED = 64 * 1024;
/** Close reasons have at most 123 bytes of UTF-8 (RFC 6455 §5.5). */
const MAX_REASON = 120;

/**
 * A WebSocket of the package `ws` as the core wants it. Messages go to the stream below it as finished WebSocket
 * frames, so that a frame for many readers is built once; handshake, control frames, and all that comes in are left
 * to `ws`. Both write whole frames in one go (nothing is compressed), so the frames cannot mix.
 */
export class ServerSocket implements RelaySocket {
  readonly #socket: WebSocket;
  readonly #stream: Duplex;
  #waiting: (() => void)[] = [];
  #corked = false;

  /** `stream`: that of the request from which `ws` made the socket. */
  constructor(socket: WebSocket, stream: Duplex) {
    this.#socket = socket;
    this.#stream = stream;
    const wake = () => this.#wake();
    stream.on("drain", wake);
    socket.once("close", wake);
  }

  get bufferedAmount(): number {
    return this.#stream.writableLength;
  }

  send(frame: Bytes): void {
    if (this.#socket.readyState !== this.#socket.OPEN || !this.#stream.writable) return;
    // What one tick sends leaves in one piece, unless it is much: what waits here counts against the reader.
    if (!this.#corked && this.bufferedAmount < MAX_CORKED) {
      this.#corked = true;
      this.#stream.cork();
      uncorkLater(this);
    }
    this.#stream.write(wireFrame(frame));
    if (this.bufferedAmount >= MAX_CORKED) this.uncork();
  }

  uncork(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#stream.uncork();
  }

  async drained(): Promise<void> {
    if (!this.#stream.writableNeedDrain || this.#socket.readyState !== this.#socket.OPEN) return;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
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

let corked: ServerSocket[] = [];

/** At the end of the tick: after all that its promises lead to. */
function uncorkLater(socket: ServerSocket): void {
  if (corked.push(socket) > 1) return;
  process.nextTick(() => {
    const sockets = corked;
    corked = [];
    for (const one of sockets) one.uncork();
  });
}

let last: { readonly payload: Bytes; readonly frame: Uint8Array } | undefined;

/** The binary message as a WebSocket frame (RFC 6455 §5.2); kept for the next socket that sends the same bytes. */
function wireFrame(payload: Bytes): Uint8Array {
  if (last?.payload === payload) return last.frame;
  const { length } = payload;
  const header = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const frame = new Uint8Array(header + length);
  const view = new DataView(frame.buffer);
  view.setUint8(0, 0x82);
  view.setUint8(1, header === 2 ? length : header === 4 ? 126 : 127);
  if (header === 4) view.setUint16(2, length);
  if (header === 10) view.setUint32(6, length);
  frame.set(payload, header);
  last = { payload, frame };
  return frame;
}
