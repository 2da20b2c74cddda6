import IsomorphicWebSocket from "isomorphic-ws";
import { asBytes, type Bytes } from "../base/bytes.js";
import { type Clock, systemClock } from "../base/clock.js";
import { SubrosaError } from "../base/errors.js";
import { CloseCode, DEFAULT_MAX_FRAME_BYTES, SUBPROTOCOL } from "../wire/protocol.js";
import { Delivery } from "./delivery.js";
import type { CloseInfo, Connection, Connector } from "./transport.js";

/** The part of the W3C WebSocket that is used. */
export interface WebSocketLike {
  binaryType: string;
  readonly readyState: number;
  readonly bufferedAmount: number;
  readonly protocol: string;
  send(data: Bytes): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: "open" | "error", listener: (event: unknown) => void): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  addEventListener(type: "close", listener: (event: { code: number; reason: string }) => void): void;
}

/** A WebSocket class: the browser's, that of `ws`, or another with the same interface. */
export type WebSocketConstructor = new (url: string, protocols?: string | string[]) => WebSocketLike;

export interface WebSocketOptions {
  /** Default: the platform's in browsers, that of `ws` in Node. */
  readonly WebSocket?: WebSocketConstructor | undefined;
  /** Milliseconds to wait for an open connection; default 10,000. */
  readonly connectTimeout?: number;
  /** The largest frame taken in, in bytes. Browsers set no limit, there it is checked after reception. */
  readonly maxFrameBytes?: number;
  readonly clock?: Clock;
}

/** Options that `ws` takes beyond the W3C interface: nothing to compress in ciphertext, and no waiting for the dead. */
interface NodeOptions {
  readonly perMessageDeflate: false;
  readonly maxPayload: number;
  readonly closeTimeout: number;
}

const OPEN = 1;
/** A close reason must fit a control frame (RFC 6455 §5.5). */
const MAX_REASON_BYTES = 123;

/** Connections over WebSocket, with the subprotocol of this version. */
export function webSocketConnector(options: WebSocketOptions = {}): Connector {
  const { connectTimeout = 10_000, maxFrameBytes = DEFAULT_MAX_FRAME_BYTES, clock = systemClock } = options;
  return {
    connect: (url, { signal } = {}) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(aborted(signal));
        const socket = openSocket(options.WebSocket, url, maxFrameBytes);
        const connection = new WebSocketConnection(socket, maxFrameBytes);
        let cause: unknown;
        let settled = false;
        const settle = () => {
          settled = true;
          stopClock();
          signal?.removeEventListener("abort", abort);
        };
        const fail = (error: SubrosaError) => {
          if (settled) return;
          settle();
          connection.close();
          reject(error);
        };
        const abort = () => fail(aborted(signal as AbortSignal));
        const stopClock = clock.after(connectTimeout, () =>
          fail(new SubrosaError("timeout", "the relay did not answer in time")),
        );
        signal?.addEventListener("abort", abort);
        // Stays attached: in Node an error event without a listener ends the process.
        socket.addEventListener("error", (event) => {
          cause ??= (event as { error?: unknown } | null)?.error;
        });
        socket.addEventListener("close", ({ code }) =>
          fail(new SubrosaError("connection-failed", `cannot connect to the relay (${code})`, { cause })),
        );
        socket.addEventListener("open", () => {
          if (settled) return;
          if (socket.protocol !== SUBPROTOCOL) {
            return fail(new SubrosaError("protocol-error", `the relay does not speak ${SUBPROTOCOL}`));
          }
          settle();
          resolve(connection);
        });
      }),
  };
}

function aborted(signal: AbortSignal): SubrosaError {
  return new SubrosaError("aborted", "connecting was aborted", { cause: signal.reason });
}

function openSocket(given: WebSocketConstructor | undefined, url: string, maxPayload: number): WebSocketLike {
  const Chosen = given ?? (IsomorphicWebSocket as unknown as WebSocketConstructor | null | undefined);
  if (typeof Chosen !== "function") {
    throw new SubrosaError("missing-dependency", "no WebSocket here: pass one as the option WebSocket");
  }
  try {
    if (!("WebSocketServer" in Chosen)) return new Chosen(url, SUBPROTOCOL);
    const NodeWebSocket = Chosen as unknown as new (
      url: string,
      protocol: string,
      options: NodeOptions,
    ) => WebSocketLike;
    return new NodeWebSocket(url, SUBPROTOCOL, { perMessageDeflate: false, maxPayload, closeTimeout: 2_000 });
  } catch (cause) {
    throw new SubrosaError("invalid-argument", "not the address of a WebSocket", { cause });
  }
}

class WebSocketConnection implements Connection {
  readonly #socket: WebSocketLike;
  readonly #delivery = new Delivery();
  /** Why we closed, if we did: browsers report their own reason for that. */
  #closed: CloseInfo | undefined;

  constructor(socket: WebSocketLike, maxFrameBytes: number) {
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }) => {
      if (!(typeof data === "object" && data !== null && "byteLength" in data)) {
        return this.close(CloseCode.unsupportedData, "not a binary frame");
      }
      const frame = new Uint8Array(data as ArrayBuffer);
      if (frame.length > maxFrameBytes) return this.close(CloseCode.tooLarge, "frame too large");
      this.#delivery.frame(frame);
    });
    socket.addEventListener("close", ({ code, reason }) => {
      this.#delivery.end(this.#closed ?? { code, reason });
    });
  }

  get onframe(): Connection["onframe"] {
    return this.#delivery.onframe;
  }

  set onframe(handler: Connection["onframe"]) {
    this.#delivery.onframe = handler;
  }

  get onclose(): Connection["onclose"] {
    return this.#delivery.onclose;
  }

  set onclose(handler: Connection["onclose"]) {
    this.#delivery.onclose = handler;
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount;
  }

  send(frame: Uint8Array): void {
    if (this.#closed !== undefined || this.#socket.readyState !== OPEN) {
      throw new SubrosaError("closed", "the connection is closed");
    }
    this.#socket.send(asBytes(frame));
  }

  close(code: number = CloseCode.normal, reason = ""): void {
    if (this.#closed !== undefined) return;
    this.#closed = { code, reason };
    this.#delivery.mute();
    try {
      this.#socket.close(code, fitReason(reason));
    } catch {
      // Browsers let pages send 1000 and 3000 to 4999 only.
      this.#socket.close();
    }
  }
}

/** The longest beginning of `reason` that fits a control frame. */
function fitReason(reason: string): string {
  let fitting = "";
  let bytes = 0;
  for (const character of reason) {
    bytes += new TextEncoder().encode(character).length;
    if (bytes > MAX_REASON_BYTES) break;
    fitting += character;
  }
  return fitting;
}
