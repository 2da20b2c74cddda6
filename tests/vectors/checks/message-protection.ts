import { type Bytes, equalBytes } from "../../../src/base/bytes.js";
import { fromHex, toHex } from "../../../src/base/encoding.js";
import { SubrosaError } from "../../../src/base/errors.js";
import { decode } from "../../../src/codec/reader.js";
import { encode } from "../../../src/codec/writer.js";
import { importSignaturePrivateKey } from "../../../src/crypto/signature.js";
import { signFramedContent, verifyFramedContent } from "../../../src/mls/framing/authentication.js";
import { protectPrivate, unprotectPrivate } from "../../../src/mls/framing/private-message.js";
import { protectPublic, unprotectPublic } from "../../../src/mls/framing/public-message.js";
import { SecretTree } from "../../../src/mls/schedule/secret-tree.js";
import { decodeCommit } from "../../../src/mls/structs/commit.js";
import {
  type AuthenticatedContent,
  type Content,
  encodeBareContent,
  type FramedContent,
  type FramingFormat,
} from "../../../src/mls/structs/framed-content.js";
import { toLeafIndex } from "../../../src/mls/structs/indices.js";
import { decodeMlsMessage, encodeMlsMessage, type MlsMessage } from "../../../src/mls/structs/message.js";
import { decodeProposal } from "../../../src/mls/structs/proposal.js";
import { MLS10 } from "../../../src/mls/structs/registry.js";

type Field =
  | "group_id"
  | "tree_hash"
  | "confirmed_transcript_hash"
  | "signature_priv"
  | "signature_pub"
  | "encryption_secret"
  | "sender_data_secret"
  | "membership_key"
  | "proposal"
  | "proposal_pub"
  | "proposal_priv"
  | "commit"
  | "commit_pub"
  | "commit_priv"
  | "application"
  | "application_priv";

export type Entry = Readonly<Record<Field, string>> & {
  readonly cipher_suite: number;
  readonly epoch: number;
};

const SENDER = toLeafIndex(1);
const RECEIVER = { ownLeafIndex: toLeafIndex(0), isMember: () => true };

function again(message: MlsMessage): MlsMessage {
  return decode(decodeMlsMessage, encode(encodeMlsMessage, message));
}

/** message-protection.json: three contents, given and protected anew, in both wire formats. */
export async function check(entry: Entry): Promise<void> {
  const groupContext = {
    version: MLS10,
    cipherSuite: entry.cipher_suite,
    groupId: fromHex(entry.group_id),
    epoch: BigInt(entry.epoch),
    treeHash: fromHex(entry.tree_hash),
    confirmedTranscriptHash: fromHex(entry.confirmed_transcript_hash),
    extensions: [],
  };
  const publicKey = fromHex(entry.signature_pub);
  const privateKey = await importSignaturePrivateKey(fromHex(entry.signature_priv));
  const membershipKey = fromHex(entry.membership_key);
  const privateFraming = () => ({
    senderDataSecret: fromHex(entry.sender_data_secret),
    secretTree: SecretTree.create(fromHex(entry.encryption_secret), 2),
  });

  const open = async (message: MlsMessage): Promise<AuthenticatedContent> => {
    if (message.wireFormat === "public_message") {
      return unprotectPublic(message.publicMessage, { groupContext, membershipKey });
    }
    if (message.wireFormat !== "private_message") throw new Error("wire format");
    return (await unprotectPrivate(message.privateMessage, privateFraming(), RECEIVER)).authenticated;
  };
  const expectContent = async (what: string, message: MlsMessage, raw: Bytes) => {
    const authenticated = await open(message);
    await verifyFramedContent(authenticated, groupContext, publicKey);
    const bytes = encode(encodeBareContent, authenticated.content);
    if (!equalBytes(bytes, raw)) throw new Error(`${what}: ${toHex(bytes)}, not ${toHex(raw)}`);
  };
  const signed = async (
    wireFormat: FramingFormat,
    content: FramedContent,
  ): Promise<AuthenticatedContent> => ({
    wireFormat,
    content,
    auth: {
      signature: await signFramedContent(wireFormat, content, groupContext, privateKey),
      confirmationTag: content.contentType === "commit" ? new Uint8Array(32) : undefined,
    },
  });

  const contents: [string, Content, string | undefined, string][] = [
    [
      "proposal",
      { contentType: "proposal", proposal: decode(decodeProposal, fromHex(entry.proposal)) },
      entry.proposal_pub,
      entry.proposal_priv,
    ],
    [
      "commit",
      { contentType: "commit", commit: decode(decodeCommit, fromHex(entry.commit)) },
      entry.commit_pub,
      entry.commit_priv,
    ],
    [
      "application",
      { contentType: "application", applicationData: fromHex(entry.application) },
      undefined,
      entry.application_priv,
    ],
  ];
  for (const [name, bare, publicBytes, privateBytes] of contents) {
    const raw = encode(encodeBareContent, bare);
    const content: FramedContent = {
      ...bare,
      groupId: groupContext.groupId,
      epoch: groupContext.epoch,
      sender: { senderType: "member", leafIndex: SENDER },
      authenticatedData: new Uint8Array(0),
    };
    await expectContent(`${name}_priv`, decode(decodeMlsMessage, fromHex(privateBytes)), raw);
    const { auth } = await signed("private_message", content);
    const { message } = await protectPrivate(content, auth, privateFraming(), (length) => length + 20);
    await expectContent(
      `${name} protected`,
      again({ wireFormat: "private_message", privateMessage: message }),
      raw,
    );

    const framed = signed("public_message", content).then((value) => {
      return protectPublic(value, { groupContext, membershipKey });
    });
    if (publicBytes === undefined) {
      const error: unknown = await framed.catch((reason) => reason);
      if (!SubrosaError.is(error)) throw new Error("application data was framed as a PublicMessage");
      continue;
    }
    await expectContent(`${name}_pub`, decode(decodeMlsMessage, fromHex(publicBytes)), raw);
    const publicMessage = again({ wireFormat: "public_message", publicMessage: await framed });
    await expectContent(`${name} protected`, publicMessage, raw);
  }
}
