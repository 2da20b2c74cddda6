import { fromHex, toHex } from "../../../src/base/encoding.js";
import { Reader } from "../../../src/codec/reader.js";
import { Writer } from "../../../src/codec/writer.js";

export interface Entry {
  readonly vlbytes_header: string;
  readonly length: number;
}

/** deserialization.json: lengths of vectors, read and written. */
export async function check(entry: Entry): Promise<void> {
  const reader = new Reader(fromHex(entry.vlbytes_header));
  const length = reader.varint();
  reader.end();
  if (length !== entry.length) throw new Error(`read ${length}, not ${entry.length}`);
  const written = toHex(new Writer().varint(length).finish());
  if (written !== entry.vlbytes_header) throw new Error(`wrote ${written}, not ${entry.vlbytes_header}`);
}
