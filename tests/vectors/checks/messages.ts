import { concat } from "../../../src/base/bytes.js";
import { fromHex, toHex } from "../../../src/base/encoding.js";
import { type Decoder, decode } from "../../../src/codec/reader.js";
import { type Encoder, encode } from "../../../src/codec/writer.js";
import { decodeCommit, encodeCommit } from "../../../src/mls/structs/commit.js";
import { decodeMlsMessage, encodeMlsMessage, type MlsMessage } from "../../../src/mls/structs/message.js";
import { decodeProposal, encodeProposal } from "../../../src/mls/structs/proposal.js";
import { ProposalType } from "../../../src/mls/structs/registry.js";
import { decodeGroupSecrets, encodeGroupSecrets } from "../../../src/mls/structs/welcome.js";
import { decodeRatchetTree, encodeRatchetTree } from "../../../src/mls/tree/ratchet-tree.js";

export type Entry = Readonly<Record<string, string>>;

function recode<T>(name: string, bytes: Uint8Array, decoder: Decoder<T>, encoder: Encoder<T>): T {
  const value = decode(decoder, bytes);
  if (toHex(encode(encoder, value)) !== toHex(bytes)) throw new Error(`${name}: encodes to other bytes`);
  return value;
}

const MESSAGES: Readonly<Record<string, (message: MlsMessage) => boolean>> = {
  mls_welcome: (m) => m.wireFormat === "welcome",
  mls_group_info: (m) => m.wireFormat === "group_info",
  mls_key_package: (m) => m.wireFormat === "key_package",
  public_message_application: (m) => contentOf(m) === "application",
  public_message_proposal: (m) => contentOf(m) === "proposal",
  public_message_commit: (m) => contentOf(m) === "commit",
  private_message: (m) => m.wireFormat === "private_message",
};

function contentOf(message: MlsMessage): string | undefined {
  return message.wireFormat === "public_message" ? message.publicMessage.content.contentType : undefined;
}

const PROPOSALS: Readonly<Record<string, keyof typeof ProposalType>> = {
  add_proposal: "add",
  update_proposal: "update",
  remove_proposal: "remove",
  pre_shared_key_proposal: "psk",
  re_init_proposal: "reInit",
  external_init_proposal: "externalInit",
  group_context_extensions_proposal: "groupContextExtensions",
};

/** messages.json: every field decodes as its structure and encodes to the same bytes. */
export async function check(entry: Entry): Promise<void> {
  for (const [name, text] of Object.entries(entry)) {
    const bytes = fromHex(text);
    const isRight = MESSAGES[name];
    const kind = PROPOSALS[name];
    if (isRight !== undefined) {
      if (!isRight(recode(name, bytes, decodeMlsMessage, encodeMlsMessage)))
        throw new Error(`${name}: wrong kind`);
    } else if (kind !== undefined) {
      const typed = concat(Uint8Array.of(0, ProposalType[kind]), bytes);
      if (recode(name, typed, decodeProposal, encodeProposal).kind !== kind)
        throw new Error(`${name}: wrong kind`);
    } else if (name === "ratchet_tree") recode(name, bytes, decodeRatchetTree, encodeRatchetTree);
    else if (name === "group_secrets") recode(name, bytes, decodeGroupSecrets, encodeGroupSecrets);
    else if (name === "commit") recode(name, bytes, decodeCommit, encodeCommit);
    else throw new Error(`${name}: unknown field`);
  }
}
