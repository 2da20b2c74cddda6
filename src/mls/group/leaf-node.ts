import { equalBytes } from "../../base/bytes.js";
import { encode } from "../../codec/writer.js";
import { isValidPublicKey } from "../../crypto/p256.js";
import { signWithLabel, verifyWithLabel } from "../labels.js";
import { assertFinding, ensure, reject } from "../rules.js";
import { credentialTypeOf, encodeCredential } from "../structs/credential.js";
import type { Extension } from "../structs/extension.js";
import { type LeafNode, type LeafNodeContent, type LeafPosition, leafNodeTbs } from "../structs/leaf-node.js";
import type { RatchetTree } from "../tree/ratchet-tree.js";
import { keyText } from "../tree/validate-tree.js";
import { checkCapabilities, checkExtensionList } from "./capabilities.js";
import type { AuthService, Identity, LeafPolicy, Signer } from "./types.js";

/** RFC 9420 §7.2. Signs a leaf node; `position` is covered unless it belongs to a key package. */
export async function signLeafNode(
  content: LeafNodeContent,
  position: LeafPosition | undefined,
  signer: Signer,
): Promise<LeafNode> {
  const signature = await signWithLabel(signer.privateKey, "LeafNodeTBS", leafNodeTbs(content, position));
  return { ...content, signature };
}

/**
 * RFC 9420 §5.3.1. Asks the application about an identity; its refusal, a SubrosaError, becomes a broken rule. What
 * else it throws is a fault of its own and thrown on: no message may be refused for that.
 */
export async function authenticateIdentity(
  authenticate: AuthService,
  { credential, signatureKey }: Identity,
  replaces?: Identity,
): Promise<void> {
  try {
    await authenticate({ credential, signatureKey }, replaces);
  } catch (cause) {
    assertFinding(cause);
    reject("RFC 9420 §7.3: credential refused", cause);
  }
}

/** True when two leaves present the same credential and signature key. */
export function sameIdentity(a: Identity, b: Identity): boolean {
  return (
    equalBytes(a.signatureKey, b.signatureKey) &&
    equalBytes(encode(encodeCredential, a.credential), encode(encodeCredential, b.credential))
  );
}

/** Where a leaf node that is to be validated stands. */
export interface LeafContext {
  /** The extensions of the group context that will be in force. */
  readonly groupExtensions: readonly Extension[];
  /** What the place demands; undefined for the leaves of a tree, which may have any. */
  readonly source?: LeafNode["leafNodeSource"];
  /** Needed unless it belongs to a key package. */
  readonly position?: LeafPosition;
  /** The leaf of the same member before. */
  readonly replaces?: LeafNode | undefined;
}

/** RFC 9420 §7.3. The checks of one leaf node that need no cryptography. */
export function checkLeafNode(
  leaf: LeafNode,
  context: LeafContext,
  policy: Omit<LeafPolicy, "authenticate">,
): void {
  ensure(
    context.source === undefined || leaf.leafNodeSource === context.source,
    "RFC 9420 §7.3: leaf node source",
  );
  checkExtensionList(leaf.extensions);
  checkCapabilities(leaf, context.groupExtensions);
  ensure(
    isValidPublicKey(leaf.encryptionKey) && isValidPublicKey(leaf.signatureKey),
    "RFC 9420 §5.1.1: public key",
  );
  if (leaf.leafNodeSource === "key_package") {
    const { notBefore, notAfter } = leaf.lifetime;
    const { now, maxLifetime } = policy;
    ensure(now === undefined || (notBefore <= now && now <= notAfter), "RFC 9420 §7.3: lifetime");
    ensure(
      notBefore <= notAfter && (maxLifetime === undefined || notAfter - notBefore <= maxLifetime),
      "RFC 9420 §7.2: total lifetime",
    );
  }
  const { replaces } = context;
  if (replaces !== undefined && equalBytes(leaf.encryptionKey, replaces.encryptionKey)) {
    reject("RFC 9420 §7.3: encryption key not replaced");
  }
}

/** RFC 9420 §7.3. The signature of one leaf node, and the application's word about its identity if that is new. */
export async function verifyLeafNode(
  leaf: LeafNode,
  { position, replaces }: LeafContext,
  { authenticate }: LeafPolicy,
): Promise<void> {
  const isKnown = replaces !== undefined && sameIdentity(leaf, replaces);
  const [isSigned] = await Promise.all([
    verifyLeafSignature(leaf, position),
    isKnown ? undefined : authenticateIdentity(authenticate, leaf, replaces),
  ]);
  ensure(isSigned, "RFC 9420 §7.3: leaf signature");
}

/** RFC 9420 §7.3. All checks of one leaf node, except those against the other members. */
export async function validateLeafNode(
  leaf: LeafNode,
  context: LeafContext,
  policy: LeafPolicy,
): Promise<void> {
  checkLeafNode(leaf, context, policy);
  await verifyLeafNode(leaf, context, policy);
}

/** RFC 9420 §7.2. Whether the signature of a leaf is valid at its place. */
export function verifyLeafSignature(leaf: LeafNode, position: LeafPosition | undefined): Promise<boolean> {
  return verifyWithLabel(leaf.signatureKey, "LeafNodeTBS", leafNodeTbs(leaf, position), leaf.signature);
}

/** RFC 9420 §7.3. Keys are unique among the members, and every credential type in use is supported by all. */
export function checkMembers(tree: RatchetTree): void {
  const signatureKeys = new Set<string>();
  const encryptionKeys = new Set<string>();
  const inUse = new Set<number>();
  const supported: (readonly number[])[] = [];
  for (const [, leaf] of tree.members()) {
    const signatureKey = keyText(leaf.signatureKey);
    const encryptionKey = keyText(leaf.encryptionKey);
    ensure(!signatureKeys.has(signatureKey), "RFC 9420 §7.3: signature key not unique");
    ensure(!encryptionKeys.has(encryptionKey), "RFC 9420 §7.3: encryption key not unique");
    signatureKeys.add(signatureKey);
    encryptionKeys.add(encryptionKey);
    inUse.add(credentialTypeOf(leaf.credential));
    supported.push(leaf.capabilities.credentials);
  }
  for (const type of inUse) {
    ensure(
      supported.every((types) => types.includes(type)),
      "RFC 9420 §7.3: credential type not supported by all members",
    );
  }
}
