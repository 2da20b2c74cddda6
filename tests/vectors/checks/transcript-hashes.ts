import { fromHex, toHex } from "../../../src/base/encoding.js";
import { decode } from "../../../src/codec/reader.js";
import {
  confirmationTag,
  confirmedTranscriptHash,
  interimTranscriptHash,
  verifyConfirmationTag,
} from "../../../src/mls/schedule/transcript.js";
import { decodeAuthenticatedContent } from "../../../src/mls/structs/framed-content.js";

export type Entry = Readonly<
  Record<
    | "confirmation_key"
    | "authenticated_content"
    | "interim_transcript_hash_before"
    | "confirmed_transcript_hash_after"
    | "interim_transcript_hash_after",
    string
  >
>;

/** transcript-hashes.json: both hashes and the confirmation tag of one commit. */
export async function check(entry: Entry): Promise<void> {
  const commit = decode(decodeAuthenticatedContent, fromHex(entry.authenticated_content));
  const tag = commit.auth.confirmationTag;
  if (commit.content.contentType !== "commit" || tag === undefined) throw new Error("not a commit");
  const confirmed = await confirmedTranscriptHash(fromHex(entry.interim_transcript_hash_before), commit);
  const interim = await interimTranscriptHash(confirmed, tag);
  const key = fromHex(entry.confirmation_key);
  if (toHex(confirmed) !== entry.confirmed_transcript_hash_after)
    throw new Error("confirmed transcript hash");
  if (toHex(interim) !== entry.interim_transcript_hash_after) throw new Error("interim transcript hash");
  if (!(await verifyConfirmationTag(key, confirmed, tag))) throw new Error("confirmation tag refused");
  if (toHex(await confirmationTag(key, confirmed)) !== toHex(tag)) throw new Error("confirmation tag");
}
