import type { Reader } from "../codec/reader.js";
import type { Writer } from "../codec/writer.js";

/** How one kind of request and its result look on the wire. */
export interface Operation<Body, Result> {
  readonly type: number;
  readonly encode: (writer: Writer, body: Body) => void;
  readonly decode: (reader: Reader) => Body;
  readonly encodeResult: (writer: Writer, result: Result) => void;
  readonly decodeResult: (reader: Reader) => Result;
}

export function operation<Body, Result>(definition: Operation<Body, Result>): Operation<Body, Result> {
  return definition;
}

/** A result of no bytes. */
export const nothing = { encode: () => {}, decode: () => undefined } as const;
