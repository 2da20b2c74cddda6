import type { Bytes } from "../base/bytes.js";

/** Why a connection ended: a WebSocket close code (RFC 6455 §7.4) and reason. 1006: it broke without saying why. */
export interface CloseInfo {
  readonly code: number;
  readonly reason: string;
}

/**
 * An open connection that carries frames of bytes in order.
 * Frames and the end wait until their handler is set, so that none is lost between opening and setting it.
 */
export interface Connection {
  /** Hands over a frame; the caller may reuse it at once. Throws `closed` when the connection is closing or closed. */
  send(frame: Uint8Array): void;
  /** Bytes handed over that have not left yet. */
  readonly bufferedAmount: number;
  /** Starts closing; no frame is delivered after this. Idempotent. */
  close(code?: number, reason?: string): void;
  /** Called for each frame, in order. */
  onframe: ((frame: Bytes) => void) | undefined;
  /** Called once, after the last frame, whichever side closed. */
  onclose: ((info: CloseInfo) => void) | undefined;
}

/** A way to open connections. */
export interface Connector {
  /**
   * Throws `connection-failed` or `timeout` when no connection came about, `aborted`, `protocol-error` when the
   * other side does not speak our protocol, `invalid-argument` for an unusable address, `missing-dependency`.
   */
  connect(url: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<Connection>;
}
