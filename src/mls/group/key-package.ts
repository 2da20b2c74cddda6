import { type Bytes, copyBytes, equalBytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { generateDhKeyPair, isValidPublicKey } from "../../crypto/p256.js";
import { makeKeyPackageRef, signWithLabel, verifyWithLabel } from "../labels.js";
import { ensure } from "../rules.js";
import type { Credential } from "../structs/credential.js";
import type { Extension } from "../structs/extension.js";
import {
  decodeKeyPackage,
  encodeKeyPackage,
  type KeyPackage,
  type KeyPackageContent,
  keyPackageTbs,
} from "../structs/key-package.js";
import type { Capabilities, Lifetime } from "../structs/leaf-node.js";
import { CIPHER_SUITE, MLS10 } from "../structs/registry.js";
import { checkExtensionList, makeCapabilities } from "./capabilities.js";
import { checkLeafNode, signLeafNode, verifyLeafNode } from "./leaf-node.js";
import type { LeafPolicy, Signer } from "./types.js";

/** A key package with its private keys, which only its owner has. */
export interface KeyPackageBundle {
  readonly keyPackage: KeyPackage;
  /** The encoded KeyPackage. */
  readonly bytes: Bytes;
  /** RFC 9420 §5.2 KeyPackageRef. */
  readonly ref: Bytes;
  /** 32 bytes, as is `encryptionPrivateKey`. */
  readonly initPrivateKey: Bytes;
  readonly encryptionPrivateKey: Bytes;
}

export interface KeyPackageOptions {
  readonly credential: Credential;
  readonly signer: Signer;
  /** Seconds since 1970. */
  readonly lifetime: Lifetime;
  /** Default: this engine's, with the credential type `basic`. */
  readonly capabilities?: Capabilities;
  readonly leafExtensions?: readonly Extension[];
  readonly keyPackageExtensions?: readonly Extension[];
}

/** RFC 9420 §10. A new key package with fresh keys, by which its owner can be added to one group. */
export async function generateKeyPackage(options: KeyPackageOptions): Promise<KeyPackageBundle> {
  const { credential, signer, lifetime } = options;
  const [init, encryption] = await Promise.all([generateDhKeyPair(), generateDhKeyPair()]);
  const leafNode = await signLeafNode(
    {
      encryptionKey: encryption.publicKey,
      signatureKey: signer.publicKey,
      credential,
      capabilities: options.capabilities ?? makeCapabilities(),
      leafNodeSource: "key_package",
      lifetime,
      extensions: options.leafExtensions ?? [],
    },
    undefined,
    signer,
  );
  const keyPackage = await signKeyPackage(
    {
      version: MLS10,
      cipherSuite: CIPHER_SUITE,
      initKey: init.publicKey,
      leafNode,
      extensions: options.keyPackageExtensions ?? [],
    },
    signer,
  );
  const bytes = encode(encodeKeyPackage, keyPackage);
  return {
    keyPackage,
    bytes,
    ref: await makeKeyPackageRef(keyPackage),
    initPrivateKey: init.privateKey,
    encryptionPrivateKey: encryption.privateKey,
  };
}

/** RFC 9420 §10. */
export async function signKeyPackage(content: KeyPackageContent, signer: Signer): Promise<KeyPackage> {
  const signature = await signWithLabel(signer.privateKey, "KeyPackageTBS", keyPackageTbs(content));
  return { ...content, signature };
}

/** RFC 9420 §10.1. The checks of a key package and its leaf node that need no cryptography. */
export function checkKeyPackage(
  keyPackage: KeyPackage,
  groupExtensions: readonly Extension[],
  policy: Omit<LeafPolicy, "authenticate">,
): void {
  ensure(
    keyPackage.version === MLS10 && keyPackage.cipherSuite === CIPHER_SUITE,
    "RFC 9420 §10.1: version or cipher suite",
  );
  checkExtensionList(keyPackage.extensions);
  ensure(isValidPublicKey(keyPackage.initKey), "RFC 9420 §5.1.1: public key");
  ensure(
    !equalBytes(keyPackage.initKey, keyPackage.leafNode.encryptionKey),
    "RFC 9420 §10.1: init key equals encryption key",
  );
  checkLeafNode(keyPackage.leafNode, { groupExtensions, source: "key_package" }, policy);
}

/** RFC 9420 §10.1. The signatures of a key package, and the application's word about its identity. */
export async function verifyKeyPackage(keyPackage: KeyPackage, policy: LeafPolicy): Promise<void> {
  const { leafNode, signature } = keyPackage;
  const [isSigned] = await Promise.all([
    verifyWithLabel(leafNode.signatureKey, "KeyPackageTBS", keyPackageTbs(keyPackage), signature),
    verifyLeafNode(leafNode, { groupExtensions: [] }, policy),
  ]);
  ensure(isSigned, "RFC 9420 §10.1: key package signature");
}

/**
 * RFC 9420 §10.1. Everything about a key package that does not depend on who is in the group. Throws
 * `invalid-message` with the broken rule.
 */
export async function validateKeyPackage(
  keyPackage: KeyPackage,
  groupExtensions: readonly Extension[],
  policy: LeafPolicy,
): Promise<void> {
  checkKeyPackage(keyPackage, groupExtensions, policy);
  await verifyKeyPackage(keyPackage, policy);
}

/** The key package in `bytes`. Throws `malformed`. */
export function readKeyPackage(bytes: Uint8Array): KeyPackage {
  return decode(decodeKeyPackage, copyBytes(bytes));
}

const BUNDLE_VERSION = 1;

function writeBundle(writer: Writer, bundle: KeyPackageBundle): void {
  writer.u8(BUNDLE_VERSION).opaque(bundle.bytes).opaque(bundle.ref);
  writer.opaque(bundle.initPrivateKey).opaque(bundle.encryptionPrivateKey);
}

function readBundle(reader: Reader): KeyPackageBundle {
  if (reader.u8() !== BUNDLE_VERSION) {
    throw new SubrosaError("store-outdated", "a key package bundle of another version");
  }
  const bytes = reader.opaque();
  return {
    keyPackage: decode(decodeKeyPackage, bytes),
    bytes,
    ref: reader.opaque(),
    initPrivateKey: reader.opaque(),
    encryptionPrivateKey: reader.opaque(),
  };
}

/** A bundle as bytes; they hold private keys. */
export function encodeKeyPackageBundle(bundle: KeyPackageBundle): Bytes {
  return encode(writeBundle, bundle);
}

/** Inverse of {@link encodeKeyPackageBundle}. Throws `malformed`, and `store-outdated` for another version. */
export function decodeKeyPackageBundle(bytes: Uint8Array): KeyPackageBundle {
  return decode(readBundle, copyBytes(bytes));
}
