import type { Bytes } from "../../../base/bytes.js";
import type { Reader } from "../../../codec/reader.js";
import type { Writer } from "../../../codec/writer.js";
import { DIGEST_LENGTH, GROUP_ID_LENGTH } from "../../../wire/protocol.js";

/** How many groups, and how many device lists, one message can tell of. */
export const MAX_HEADS = 64;
export const MAX_LISTS = 32;

/** An epoch of a group. */
export interface Head {
  readonly groupId: Bytes;
  readonly epoch: bigint;
  /** RFC 9420 §8.7: members with the same one have seen the same history. */
  readonly authenticator: Bytes;
}

/** The newest device list of an account, as a member knows it. */
export interface ListHead {
  /** A leaf of the account, in the epoch of the message: nobody else can be told of. */
  readonly leaf: number;
  readonly version: number;
  /** SHA-256 of the signed list. */
  readonly hash: Bytes;
}

/** What a member tells along with any message: where things stand that the others can compare with what they have. */
export interface Hearsay {
  /** Groups that everybody in the conversation is in. */
  readonly heads: readonly Head[];
  /** Accounts in the conversation. */
  readonly lists: readonly ListHead[];
}

export const NOTHING: Hearsay = { heads: [], lists: [] };

export function encodeHearsay(writer: Writer, { heads, lists }: Hearsay): void {
  writer.vector(heads, (w, { groupId, epoch, authenticator }) =>
    w.fixed(groupId).u64(epoch).fixed(authenticator),
  );
  writer.vector(lists, (w, { leaf, version, hash }) => w.u32(leaf).uint53(version).fixed(hash));
}

export function decodeHearsay(reader: Reader): Hearsay {
  const heads = reader.vector(
    (r) => ({ groupId: r.fixed(GROUP_ID_LENGTH), epoch: r.u64(), authenticator: r.fixed(DIGEST_LENGTH) }),
    MAX_HEADS,
  );
  const lists = reader.vector(
    (r) => ({ leaf: r.u32(), version: r.uint53(), hash: r.fixed(DIGEST_LENGTH) }),
    MAX_LISTS,
  );
  return { heads, lists };
}
