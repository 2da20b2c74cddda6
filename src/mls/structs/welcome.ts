import type { Bytes } from "../../base/bytes.js";
import type { Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { decodeHpkeCiphertext, encodeHpkeCiphertext, type HpkeCiphertext } from "./commit.js";
import { decodeExtensions, type Extension, encodeExtensions } from "./extension.js";
import { decodeGroupContext, encodeGroupContext, type GroupContext } from "./group-context.js";
import { type LeafIndex, toLeafIndex } from "./indices.js";
import { decodePreSharedKeyId, encodePreSharedKeyId, type PreSharedKeyId } from "./psk.js";

/** RFC 9420 §12.4.3 `GroupInfoTBS`. */
export interface GroupInfoContent {
  readonly groupContext: GroupContext;
  readonly extensions: readonly Extension[];
  readonly confirmationTag: Bytes;
  readonly signer: LeafIndex;
}

/** RFC 9420 §12.4.3. */
export interface GroupInfo extends GroupInfoContent {
  readonly signature: Bytes;
}

/** RFC 9420 §12.4.3.1. */
export interface GroupSecrets {
  readonly joinerSecret: Bytes;
  readonly pathSecret: Bytes | undefined;
  readonly psks: readonly PreSharedKeyId[];
}

/** RFC 9420 §12.4.3.1. */
export interface EncryptedGroupSecrets {
  /** The KeyPackageRef of the new member. */
  readonly newMember: Bytes;
  readonly encryptedGroupSecrets: HpkeCiphertext;
}

/** RFC 9420 §12.4.3.1. */
export interface Welcome {
  readonly cipherSuite: number;
  readonly secrets: readonly EncryptedGroupSecrets[];
  readonly encryptedGroupInfo: Bytes;
}

function encodeContent(writer: Writer, info: GroupInfoContent): void {
  encodeGroupContext(writer, info.groupContext);
  encodeExtensions(writer, info.extensions);
  writer.opaque(info.confirmationTag).u32(info.signer);
}

/** RFC 9420 §12.4.3 `GroupInfoTBS`, encoded. */
export function groupInfoTbs(info: GroupInfoContent): Bytes {
  return encode(encodeContent, info);
}

export function encodeGroupInfo(writer: Writer, info: GroupInfo): void {
  encodeContent(writer, info);
  writer.opaque(info.signature);
}

export function decodeGroupInfo(reader: Reader): GroupInfo {
  return {
    groupContext: decodeGroupContext(reader),
    extensions: decodeExtensions(reader),
    confirmationTag: reader.opaque(),
    signer: toLeafIndex(reader.u32()),
    signature: reader.opaque(),
  };
}

export function encodeGroupSecrets(writer: Writer, secrets: GroupSecrets): void {
  writer.opaque(secrets.joinerSecret);
  // PathSecret is a struct around one byte string.
  writer.optional(secrets.pathSecret, (w, pathSecret) => w.opaque(pathSecret));
  writer.vector(secrets.psks, encodePreSharedKeyId);
}

export function decodeGroupSecrets(reader: Reader): GroupSecrets {
  return {
    joinerSecret: reader.opaque(),
    pathSecret: reader.optional((r) => r.opaque()),
    psks: reader.vector(decodePreSharedKeyId),
  };
}

function encodeEncryptedGroupSecrets(writer: Writer, item: EncryptedGroupSecrets): void {
  writer.opaque(item.newMember).struct(item.encryptedGroupSecrets, encodeHpkeCiphertext);
}

function decodeEncryptedGroupSecrets(reader: Reader): EncryptedGroupSecrets {
  return { newMember: reader.opaque(), encryptedGroupSecrets: decodeHpkeCiphertext(reader) };
}

export function encodeWelcome(writer: Writer, welcome: Welcome): void {
  writer.u16(welcome.cipherSuite).vector(welcome.secrets, encodeEncryptedGroupSecrets);
  writer.opaque(welcome.encryptedGroupInfo);
}

export function decodeWelcome(reader: Reader): Welcome {
  return {
    cipherSuite: reader.u16(),
    secrets: reader.vector(decodeEncryptedGroupSecrets),
    encryptedGroupInfo: reader.opaque(),
  };
}
