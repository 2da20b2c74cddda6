import type { Bytes } from "../../base/bytes.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { type Credential, decodeCredential, encodeCredential } from "./credential.js";
import { ExtensionType } from "./registry.js";

/** RFC 9420 §7.2, §11. What it means depends on where it stands; unknown ones are carried along. */
export interface Extension {
  readonly extensionType: number;
  readonly data: Bytes;
}

/** RFC 9420 §11.1. */
export interface RequiredCapabilities {
  readonly extensionTypes: readonly number[];
  readonly proposalTypes: readonly number[];
  readonly credentialTypes: readonly number[];
}

/** RFC 9420 §12.1.8.1. */
export interface ExternalSender {
  readonly signatureKey: Bytes;
  readonly credential: Credential;
}

export function encodeExtension(writer: Writer, extension: Extension): void {
  writer.u16(extension.extensionType).opaque(extension.data);
}

export function decodeExtension(reader: Reader): Extension {
  return { extensionType: reader.u16(), data: reader.opaque() };
}

export function encodeExtensions(writer: Writer, extensions: readonly Extension[]): void {
  writer.vector(extensions, encodeExtension);
}

export function decodeExtensions(reader: Reader): Extension[] {
  return reader.vector(decodeExtension);
}

/** A list of registered numbers, `uint16 x<V>`. */
export function encodeTypes(writer: Writer, types: readonly number[]): void {
  writer.vector(types, (w, type) => w.u16(type));
}

export function decodeTypes(reader: Reader): number[] {
  return reader.vector((r) => r.u16());
}

export function encodeRequiredCapabilities(writer: Writer, required: RequiredCapabilities): void {
  encodeTypes(writer, required.extensionTypes);
  encodeTypes(writer, required.proposalTypes);
  encodeTypes(writer, required.credentialTypes);
}

export function decodeRequiredCapabilities(reader: Reader): RequiredCapabilities {
  return {
    extensionTypes: decodeTypes(reader),
    proposalTypes: decodeTypes(reader),
    credentialTypes: decodeTypes(reader),
  };
}

export function encodeExternalSender(writer: Writer, sender: ExternalSender): void {
  writer.opaque(sender.signatureKey).struct(sender.credential, encodeCredential);
}

export function decodeExternalSender(reader: Reader): ExternalSender {
  return { signatureKey: reader.opaque(), credential: decodeCredential(reader) };
}

/** The data of the first extension of a type. */
export function findExtension(extensions: readonly Extension[], extensionType: number): Bytes | undefined {
  return extensions.find((extension) => extension.extensionType === extensionType)?.data;
}

/** What the required_capabilities extension says, if there is one. Throws `malformed`. */
export function requiredCapabilitiesIn(extensions: readonly Extension[]): RequiredCapabilities | undefined {
  const data = findExtension(extensions, ExtensionType.requiredCapabilities);
  return data && decode(decodeRequiredCapabilities, data);
}

/** The senders that the external_senders extension names. Throws `malformed`. */
export function externalSendersIn(extensions: readonly Extension[]): ExternalSender[] {
  const data = findExtension(extensions, ExtensionType.externalSenders);
  return data === undefined ? [] : decode((reader) => reader.vector(decodeExternalSender), data);
}

/** The HPKE key in the external_pub extension of a GroupInfo (RFC 9420 §12.4.3.2). Throws `malformed`. */
export function externalPubIn(extensions: readonly Extension[]): Bytes | undefined {
  const data = findExtension(extensions, ExtensionType.externalPub);
  return data && decode((reader) => reader.opaque(), data);
}

export function requiredCapabilitiesExtension(required: RequiredCapabilities): Extension {
  const data = encode(encodeRequiredCapabilities, required);
  return { extensionType: ExtensionType.requiredCapabilities, data };
}

export function externalSendersExtension(senders: readonly ExternalSender[]): Extension {
  const data = encode((writer, value) => writer.vector(value, encodeExternalSender), senders);
  return { extensionType: ExtensionType.externalSenders, data };
}

export function externalPubExtension(publicKey: Bytes): Extension {
  const data = encode((writer, value) => writer.opaque(value), publicKey);
  return { extensionType: ExtensionType.externalPub, data };
}
