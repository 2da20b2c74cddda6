import type { Bytes } from "../base/bytes.js";
import { decode, type Reader } from "../codec/reader.js";
import { encode, type Writer } from "../codec/writer.js";
import { decodeName, encodeName } from "../wire/identifiers.js";
import {
  type DirectoryNews,
  decodeDirectoryNews,
  decodeNotice,
  encodeDirectoryNews,
  encodeNotice,
  type Notice,
} from "../wire/operator.js";

/** What every relay that shares a storage does for the sessions it has. */
export type Word =
  /** Shows the notice to everybody. */
  | ({ readonly type: "notice" } & Notice)
  /** Tells everybody, where the directory is open. */
  | ({ readonly type: "directory" } & DirectoryNews)
  /** Ends the sessions of a user that the operator removed. */
  | { readonly type: "userRemoved"; readonly userId: string };

/** The topic on which relays that share a storage pass words on. */
export const RELAYS = "relays";

const TYPES = { notice: 1, directory: 2, userRemoved: 3 } as const;

function write(writer: Writer, word: Word): void {
  writer.u8(TYPES[word.type]);
  if (word.type === "notice") encodeNotice(writer, word);
  else if (word.type === "directory") encodeDirectoryNews(writer, word);
  else encodeName(writer, word.userId);
}

function read(reader: Reader): Word {
  switch (reader.u8()) {
    case TYPES.notice:
      return { type: "notice", ...decodeNotice(reader) };
    case TYPES.directory:
      return { type: "directory", ...decodeDirectoryNews(reader) };
    case TYPES.userRemoved:
      return { type: "userRemoved", userId: decodeName(reader) };
    default:
      return reader.fail("unknown kind of word");
  }
}

export const encodeWord = (word: Word): Bytes => encode(write, word);
/** Throws `malformed` for what is none. */
export const decodeWord = (bytes: Uint8Array): Word => decode(read, bytes);
