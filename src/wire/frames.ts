import type { Bytes } from "../base/bytes.js";
import { fromUtf8, toUtf8 } from "../base/encoding.js";
import { decode, type Reader } from "../codec/reader.js";
import { encode, type Writer } from "../codec/writer.js";
import { type ChannelData, decodeChannelData, encodeChannelData } from "./channels.js";
import { decodeLogEntry, encodeLogEntry, type LogEntry } from "./entries.js";
import {
  type Cursor,
  decodeCursor,
  decodeLogId,
  encodeCursor,
  encodeLogId,
  type LogId,
} from "./identifiers.js";
import {
  type Authentication,
  type Challenge,
  decodeAuthentication,
  decodeChallenge,
  encodeAuthentication,
  encodeChallenge,
} from "./identity.js";
import {
  type DirectoryNews,
  decodeDirectoryNews,
  decodeNotice,
  encodeDirectoryNews,
  encodeNotice,
  type Notice,
} from "./operator.js";
import { GROUP_ID_LENGTH } from "./protocol.js";
import { REFUSALS, type RefusalCode, refusalOf } from "./refusals.js";
import { type BodyOf, type OperationName, operationOf, operations, type ResultOf } from "./requests.js";

const Type = {
  challenge: 0x01,
  authenticate: 0x02,
  ready: 0x03,
  ping: 0x04,
  pong: 0x05,
  reply: 0x06,
  refuse: 0x07,
  ack: 0x08,
  signal: 0x09,
  entries: 0x30,
  ended: 0x31,
  relayedSignal: 0x32,
  data: 0x33,
  notice: 0x34,
  directory: 0x35,
} as const;

/** A request of any operation. */
export type Request = {
  [Name in OperationName]: {
    readonly type: "request";
    readonly id: number;
    readonly name: Name;
    readonly body: BodyOf<Name>;
  };
}[OperationName];

/** Something of the moment for who reads a group's log now; kept nowhere. What it says only members can read. */
export interface SignalFrame {
  readonly type: "signal";
  readonly groupId: Bytes;
  readonly payload: Bytes;
}

/** Frames that a client sends. */
export type ClientFrame =
  | { readonly type: "authenticate"; readonly authentication: Authentication }
  | { readonly type: "ping"; readonly id: number }
  | { readonly type: "ack"; readonly log: LogId; readonly cursor: Cursor }
  | SignalFrame
  | Request;

/** What the relay says when a session begins. */
export interface Ready {
  /** True if this session registered the user: the relay knew nothing of it. */
  readonly registered: boolean;
  /** One-time key packages of this device that are left. */
  readonly keyPackages: number;
  /** The largest frame the relay accepts, in bytes. */
  readonly maxFrameBytes: number;
  /** Milliseconds since 1970 by the relay's clock. */
  readonly time: number;
}

/** Why a log ended for a reader. */
export const EndReason = { removed: 1, closed: 2 } as const;
export type EndReason = (typeof EndReason)[keyof typeof EndReason];

/** Frames that a relay sends. `result` of a reply is decoded by {@link decodeResult}. */
export type RelayFrame =
  | { readonly type: "challenge"; readonly challenge: Challenge }
  | { readonly type: "ready"; readonly ready: Ready }
  | { readonly type: "pong"; readonly id: number }
  | { readonly type: "reply"; readonly id: number; readonly result: Bytes }
  | { readonly type: "refuse"; readonly id: number; readonly code: RefusalCode; readonly reason: string }
  | { readonly type: "entries"; readonly log: LogId; readonly entries: readonly LogEntry[] }
  | { readonly type: "ended"; readonly log: LogId; readonly reason: EndReason }
  | SignalFrame
  | ({ readonly type: "data" } & ChannelData)
  | ({ readonly type: "notice" } & Notice)
  | ({ readonly type: "directory" } & DirectoryNews);

const MAX_REASON_BYTES = 512;

function decodeSignal(reader: Reader): SignalFrame {
  return { type: "signal", groupId: reader.fixed(GROUP_ID_LENGTH), payload: reader.opaque() };
}

export function encodeClientFrame(frame: ClientFrame): Bytes {
  return encode((writer) => {
    switch (frame.type) {
      case "authenticate":
        return encodeAuthentication(writer.u8(Type.authenticate), frame.authentication);
      case "ping":
        return void writer.u8(Type.ping).u32(frame.id);
      case "ack":
        encodeLogId(writer.u8(Type.ack), frame.log);
        return encodeCursor(writer, frame.cursor);
      case "signal":
        return void writer.u8(Type.signal).fixed(frame.groupId).opaque(frame.payload);
      case "request": {
        const operation = operations[frame.name];
        writer.u8(operation.type).u32(frame.id);
        // The union of operations is keyed by name, which the compiler cannot follow through the index.
        return (operation.encode as (writer: Writer, body: unknown) => void)(writer, frame.body);
      }
    }
  }, undefined);
}

/** Throws `malformed` on anything but exactly one client frame. */
export function decodeClientFrame(bytes: Uint8Array): ClientFrame {
  return decode((reader) => {
    const type = reader.u8();
    switch (type) {
      case Type.authenticate:
        return { type: "authenticate", authentication: decodeAuthentication(reader) };
      case Type.ping:
        return { type: "ping", id: reader.u32() };
      case Type.ack:
        return { type: "ack", log: decodeLogId(reader), cursor: decodeCursor(reader) };
      case Type.signal:
        return decodeSignal(reader);
      default: {
        const name = operationOf(type);
        if (name === undefined) return reader.fail("unknown frame type");
        const id = reader.u32();
        return { type: "request", id, name, body: operations[name].decode(reader) } as Request;
      }
    }
  }, bytes);
}

export function encodeRelayFrame(frame: RelayFrame): Bytes {
  return encode((writer) => {
    switch (frame.type) {
      case "challenge":
        return encodeChallenge(writer.u8(Type.challenge), frame.challenge);
      case "ready":
        return void writer
          .u8(Type.ready)
          .u8(frame.ready.registered ? 1 : 0)
          .u32(frame.ready.keyPackages)
          .u32(frame.ready.maxFrameBytes)
          .uint53(frame.ready.time);
      case "pong":
        return void writer.u8(Type.pong).u32(frame.id);
      case "reply":
        return void writer.u8(Type.reply).u32(frame.id).fixed(frame.result);
      case "refuse":
        return void writer
          .u8(Type.refuse)
          .u32(frame.id)
          .u8(REFUSALS[frame.code])
          .opaque(toUtf8(frame.reason));
      case "entries":
        encodeLogId(writer.u8(Type.entries), frame.log);
        return void writer.vector(frame.entries, encodeLogEntry);
      case "ended":
        encodeLogId(writer.u8(Type.ended), frame.log);
        return void writer.u8(frame.reason);
      case "signal":
        return void writer.u8(Type.relayedSignal).fixed(frame.groupId).opaque(frame.payload);
      case "data":
        return encodeChannelData(writer.u8(Type.data), frame);
      case "notice":
        return encodeNotice(writer.u8(Type.notice), frame);
      case "directory":
        return encodeDirectoryNews(writer.u8(Type.directory), frame);
    }
  }, undefined);
}

/** Throws `malformed` on anything but exactly one relay frame. */
export function decodeRelayFrame(bytes: Uint8Array): RelayFrame {
  return decode((reader): RelayFrame => {
    const type = reader.u8();
    switch (type) {
      case Type.challenge:
        return { type: "challenge", challenge: decodeChallenge(reader) };
      case Type.ready: {
        const registered = reader.u8();
        if (registered > 1) reader.fail("invalid flag");
        return {
          type: "ready",
          ready: {
            registered: registered === 1,
            keyPackages: reader.u32(),
            maxFrameBytes: reader.u32(),
            time: reader.uint53(),
          },
        };
      }
      case Type.pong:
        return { type: "pong", id: reader.u32() };
      case Type.reply:
        return { type: "reply", id: reader.u32(), result: reader.fixed(reader.remaining) };
      case Type.refuse: {
        const id = reader.u32();
        const code = refusalOf(reader.u8()) ?? reader.fail("unknown refusal");
        return { type: "refuse", id, code, reason: fromUtf8(reader.opaque(MAX_REASON_BYTES)) };
      }
      case Type.entries:
        return { type: "entries", log: decodeLogId(reader), entries: reader.vector(decodeLogEntry) };
      case Type.ended: {
        const log = decodeLogId(reader);
        const reason = reader.u8();
        if (reason !== EndReason.removed && reason !== EndReason.closed) return reader.fail("unknown reason");
        return { type: "ended", log, reason };
      }
      case Type.relayedSignal:
        return decodeSignal(reader);
      case Type.data:
        return { type: "data", ...decodeChannelData(reader) };
      case Type.notice:
        return { type: "notice", ...decodeNotice(reader) };
      case Type.directory:
        return { type: "directory", ...decodeDirectoryNews(reader) };
      default:
        return reader.fail("unknown frame type");
    }
  }, bytes);
}

/** The `result` bytes of a reply to the named operation. */
export function encodeResult<Name extends OperationName>(name: Name, result: ResultOf<Name>): Bytes {
  return encode(operations[name].encodeResult as (writer: Writer, result: ResultOf<Name>) => void, result);
}

/** Throws `malformed` unless the bytes are exactly one result of the named operation. */
export function decodeResult<Name extends OperationName>(name: Name, bytes: Uint8Array): ResultOf<Name> {
  return decode(operations[name].decodeResult as (reader: Reader) => ResultOf<Name>, bytes);
}
