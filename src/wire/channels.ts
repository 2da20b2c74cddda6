import { asBytes, type Bytes } from "../base/bytes.js";
import { fromUtf8, toUtf8 } from "../base/encoding.js";
import type { Reader } from "../codec/reader.js";
import type { Writer } from "../codec/writer.js";
import { decodeName, encodeName } from "./identifiers.js";
import { nothing, operation } from "./operation.js";

/** What is sent beside the encrypted conversations: nothing of it is encrypted by this protocol. */
export type Data = string | Uint8Array;

const TEXT = 1;
const BYTES = 2;

export function encodeData(writer: Writer, data: Data): void {
  if (typeof data === "string") writer.u8(TEXT).opaque(toUtf8(data));
  else writer.u8(BYTES).opaque(asBytes(data));
}

export function decodeData(reader: Reader): string | Bytes {
  const kind = reader.u8();
  if (kind !== TEXT && kind !== BYTES) reader.fail("neither text nor bytes");
  const bytes = reader.opaque();
  return kind === TEXT ? fromUtf8(bytes) : bytes;
}

/** What subscribers of a channel get (`channel`, and who published it), or what the operator's program says. */
export interface ChannelData {
  readonly channel?: string;
  readonly from?: string;
  readonly data: Data;
}

export function encodeChannelData(writer: Writer, { channel, from, data }: ChannelData): void {
  writer.optional(channel, encodeName).optional(from, encodeName);
  encodeData(writer, data);
}

export function decodeChannelData(reader: Reader): ChannelData {
  const channel = reader.optional(decodeName);
  const from = reader.optional(decodeName);
  return {
    ...(channel !== undefined && { channel }),
    ...(from !== undefined && { from }),
    data: decodeData(reader),
  };
}

const done = { encodeResult: nothing.encode, decodeResult: nothing.decode } as const;
const named = {
  encode: (writer: Writer, body: { readonly channel: string }) => encodeName(writer, body.channel),
  decode: (reader: Reader) => ({ channel: decodeName(reader) }),
};

/** Requests about what is not encrypted. */
export const channelOperations = {
  write: operation<{ readonly data: Data }, undefined>({
    type: 0x0a,
    encode: (writer, { data }) => encodeData(writer, data),
    decode: (reader) => ({ data: decodeData(reader) }),
    ...done,
  }),
  publish: operation<{ readonly channel: string; readonly data: Data }, undefined>({
    type: 0x0b,
    encode(writer, body) {
      named.encode(writer, body);
      encodeData(writer, body.data);
    },
    decode: (reader) => ({ ...named.decode(reader), data: decodeData(reader) }),
    ...done,
  }),
  subscribeChannel: operation<{ readonly channel: string }, undefined>({ type: 0x0c, ...named, ...done }),
  unsubscribeChannel: operation<{ readonly channel: string }, undefined>({ type: 0x0d, ...named, ...done }),
} as const;
