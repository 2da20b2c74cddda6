import { type Bytes, copyBytes } from "../base/bytes.js";
import { SubrosaError } from "../base/errors.js";
import { Delivery } from "./delivery.js";
import type { CloseInfo, Connection, Connector } from "./transport.js";

export interface PairOptions {
  /** Called once per frame and close in flight; calling `deliver` hands over the oldest. Default: `queueMicrotask`. */
  readonly schedule?: (deliver: () => void) => void;
}

/** Two ends of a connection within this process. Frames are copied and arrive in order, never inside `send`. */
export function connectionPair(options: PairOptions = {}): [Connection, Connection] {
  const { schedule = queueMicrotask } = options;
  const a = new PairEnd(schedule);
  const b = new PairEnd(schedule);
  a.attach(b);
  b.attach(a);
  return [a, b];
}

/** Connections to `accept` within this process, which gets the other end; it refuses by throwing. */
export function pairConnector(
  accept: (url: string, connection: Connection) => void,
  options: PairOptions = {},
): Connector {
  return {
    async connect(url, { signal } = {}) {
      if (signal?.aborted) {
        throw new SubrosaError("aborted", "connecting was aborted", { cause: signal.reason });
      }
      const [ours, theirs] = connectionPair(options);
      try {
        accept(url, theirs);
      } catch (error) {
        throw SubrosaError.is(error)
          ? error
          : new SubrosaError("connection-failed", "the connection was refused", { cause: error });
      }
      return ours;
    },
  };
}

class PairEnd implements Connection {
  readonly #schedule: (deliver: () => void) => void;
  readonly #delivery = new Delivery();
  #peer: PairEnd | undefined;
  /** What is on its way to the peer. */
  readonly #flight: (Bytes | CloseInfo)[] = [];
  #bufferedAmount = 0;
  #closed = false;

  constructor(schedule: (deliver: () => void) => void) {
    this.#schedule = schedule;
  }

  attach(peer: PairEnd): void {
    this.#peer = peer;
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
    return this.#bufferedAmount;
  }

  send(frame: Uint8Array): void {
    if (this.#closed) throw new SubrosaError("closed", "the connection is closed");
    this.#bufferedAmount += frame.length;
    this.#launch(copyBytes(frame));
  }

  close(code = 1000, reason = ""): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#delivery.mute();
    this.#launch({ code, reason });
  }

  #launch(item: Bytes | CloseInfo): void {
    this.#flight.push(item);
    this.#schedule(() => this.#land());
  }

  #land(): void {
    const item = this.#flight.shift();
    const peer = this.#peer;
    if (item === undefined || peer === undefined) return;
    if (item instanceof Uint8Array) {
      this.#bufferedAmount -= item.length;
      peer.#delivery.frame(item);
      return;
    }
    peer.#closed = true;
    peer.#delivery.end(item);
    this.#delivery.end(item);
  }
}
