import type { Bytes } from "../../src/base/bytes.js";
import { SubrosaError } from "../../src/base/errors.js";
import type { Connection, Connector } from "../../src/transport/transport.js";
import { webSocketConnector } from "../../src/transport/websocket.js";
import {
  type ClientFrame,
  decodeClientFrame,
  decodeRelayFrame,
  decodeResult,
  encodeRelayFrame,
  encodeResult,
  type RelayFrame,
} from "../../src/wire/frames.js";
import { LogKind } from "../../src/wire/protocol.js";
import type { BodyOf, OperationName, ResultOf } from "../../src/wire/requests.js";

/** What stands between a client and an honest relay: a hostile relay, as far as the client can tell. */
export interface Tamper {
  /** Frames from the relay: what the client gets instead of each; undefined leaves it as it is. */
  fromRelay?(frame: RelayFrame, bytes: Bytes): readonly (RelayFrame | Bytes)[] | undefined;
  /** Frames from the client, likewise. */
  fromClient?(frame: ClientFrame, bytes: Bytes): readonly Bytes[] | undefined;
  /** Replies, by what was asked. */
  replies?: {
    [Name in OperationName]?: (
      result: ResultOf<Name>,
      body: BodyOf<Name>,
    ) => ResultOf<Name> | Bytes | undefined;
  };
}

/** A connector by which a client gets no welcome until they are let through; counts what it asks of request boxes. */
export function withheldWelcomes() {
  const held: Bytes[] = [];
  const connector = new TamperedConnector({
    fromClient(frame, bytes) {
      if (frame.type !== "request") return undefined;
      if (frame.name === "append" && frame.body.log.kind === LogKind.requestBox) counts.asked++;
      if (frame.name !== "fetchBundle") return undefined;
      held.push(bytes);
      return [];
    },
  });
  const counts = { asked: 0 };
  const release = () => {
    connector.tamper = {};
    for (const bytes of held) connector.forward(bytes);
  };
  return { connector, held, counts, release };
}

/** A connector through which `tamper` sees and changes everything; also says something of its own. */
export class TamperedConnector implements Connector {
  tamper: Tamper;
  /** False: there is no connection to be had, as with a cable that is pulled out. */
  isReachable = true;
  connections = 0;
  /** Bytes that wait at the connection for a slow uplink, beside those that do. */
  backlog = 0;
  #current: Connection | undefined;
  #inner: Connection | undefined;
  readonly #connector = webSocketConnector({});

  constructor(tamper: Tamper = {}) {
    this.tamper = tamper;
  }

  /** Hands the client a frame that no relay sent. */
  inject(frame: RelayFrame | Bytes): void {
    this.#current?.onframe?.(frame instanceof Uint8Array ? frame : encodeRelayFrame(frame));
  }

  /** Hands the relay a frame as if the client had sent it now. */
  forward(frame: Bytes): void {
    this.#inner?.send(frame);
  }

  async connect(url: string, options?: Parameters<Connector["connect"]>[1]): Promise<Connection> {
    if (!this.isReachable) throw new SubrosaError("connection-failed", "unplugged");
    const inner = await this.#connector.connect(url, options);
    this.#inner = inner;
    this.connections++;
    const asked = new Map<number, { name: OperationName; body: unknown }>();
    let onframe: Connection["onframe"];
    const incoming = (bytes: Bytes) => this.#incoming(bytes, asked);
    const backlog = () => this.backlog;
    const outer: Connection = {
      get onframe() {
        return onframe;
      },
      // Frames wait at the inner connection until there is someone to take them.
      set onframe(handler) {
        onframe = handler;
        inner.onframe = handler && ((bytes) => incoming(bytes).forEach((frame) => void onframe?.(frame)));
      },
      get onclose() {
        return inner.onclose;
      },
      set onclose(handler) {
        inner.onclose = handler;
      },
      get bufferedAmount() {
        return inner.bufferedAmount + backlog();
      },
      send: (bytes) => {
        const own = bytes.slice();
        const frame = decodeClientFrame(own);
        if (frame.type === "request") asked.set(frame.id, { name: frame.name, body: frame.body });
        for (const out of this.tamper.fromClient?.(frame, own) ?? [own]) inner.send(out);
      },
      close: (code, reason) => inner.close(code, reason),
    };
    this.#current = outer;
    return outer;
  }

  #incoming(bytes: Bytes, asked: Map<number, { name: OperationName; body: unknown }>): Bytes[] {
    let frame = decodeRelayFrame(bytes);
    let current = bytes;
    if (frame.type === "reply") {
      const question = asked.get(frame.id);
      const change = question && this.tamper.replies?.[question.name];
      if (question && change) {
        const result = decodeResult(question.name, frame.result);
        const changed = (change as (result: unknown, body: unknown) => unknown)(result, question.body);
        if (changed instanceof Uint8Array) frame = { ...frame, result: changed as Bytes };
        else if (changed !== undefined) {
          frame = { ...frame, result: encodeResult(question.name, changed as never) };
        }
        current = encodeRelayFrame(frame);
      }
    }
    const instead = this.tamper.fromRelay?.(frame, current) ?? [current];
    return instead.map((one) => (one instanceof Uint8Array ? one : encodeRelayFrame(one)));
  }
}
