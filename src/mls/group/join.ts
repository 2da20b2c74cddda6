import { type Bytes, copyBytes, EMPTY, equalBytes } from "../../base/bytes.js";
import { assertArgument, SubrosaError } from "../../base/errors.js";
import { decode } from "../../codec/reader.js";
import { aeadOpen } from "../../crypto/aead.js";
import { decryptWithLabel } from "../labels.js";
import { ensure, reject } from "../rules.js";
import { deriveEpoch, deriveWelcomeKey, deriveWelcomeSecret } from "../schedule/key-schedule.js";
import { derivePskSecret } from "../schedule/psk-secret.js";
import { verifyConfirmationTag } from "../schedule/transcript.js";
import type { LeafIndex, NodeIndex } from "../structs/indices.js";
import { decodeMlsMessage } from "../structs/message.js";
import type { PreSharedKeyId } from "../structs/psk.js";
import { CIPHER_SUITE, MLS10 } from "../structs/registry.js";
import {
  decodeGroupInfo,
  decodeGroupSecrets,
  type GroupInfo,
  type GroupSecrets,
  type Welcome,
} from "../structs/welcome.js";
import { leafToNode } from "../tree/math.js";
import { encodedLeaf } from "../tree/node-bytes.js";
import type { RatchetTree } from "../tree/ratchet-tree.js";
import { openWelcomePath } from "../tree/update-path.js";
import { startEpoch } from "./epoch.js";
import { treeOf } from "./group-info.js";
import type { KeyPackageBundle } from "./key-package.js";
import { findPsks } from "./psks.js";
import type { GroupState } from "./state.js";
import { checkSuccession } from "./succession.js";
import type { LeafPolicy, PskSource, Signer } from "./types.js";
import { verifyGroup } from "./verify-group.js";

export interface JoinOptions extends LeafPolicy {
  /**
   * Whether to refuse a group with a leaf whose lifetime is over (default false: such a member is for the group to
   * remove, and would otherwise keep everybody from joining).
   */
  readonly checkLifetimes?: boolean;
  readonly signer: Signer;
  /** The public tree, when the Welcome does not hold it. */
  readonly ratchetTree?: Uint8Array;
  readonly psks?: PskSource;
  /** The group that this one continues or branches from (RFC 9420 §11.2, §11.3). */
  readonly previous?: GroupState;
  /** Told, once all is verified, which member made the Welcome. */
  readonly onSigner?: (leafIndex: LeafIndex) => void;
  /** Whether this client is in a group of this id already. */
  readonly isKnownGroup?: (groupId: Bytes) => boolean | Promise<boolean>;
}

/** RFC 9420 §12.4.3.1. What the Welcome holds for one key package. */
async function openSecrets(welcome: Welcome, bundle: KeyPackageBundle): Promise<GroupSecrets> {
  const entry = welcome.secrets.find(({ newMember }) => equalBytes(newMember, bundle.ref));
  ensure(entry !== undefined, "RFC 9420 §12.4.3.1: no secrets for this key package");
  ensure(
    welcome.cipherSuite === CIPHER_SUITE && bundle.keyPackage.cipherSuite === CIPHER_SUITE,
    "RFC 9420 §12.4.3.1: cipher suite",
  );
  const keyPair = { privateKey: bundle.initPrivateKey, publicKey: bundle.keyPackage.initKey };
  const { encryptedGroupInfo } = welcome;
  const plain = await decryptWithLabel(keyPair, "Welcome", encryptedGroupInfo, entry.encryptedGroupSecrets);
  return decode(decodeGroupSecrets, plain);
}

/** RFC 9420 §12.4.3.1. A PSK that links to another group stands alone; that one is returned. */
function linkingPsk(psks: readonly PreSharedKeyId[]): Extract<PreSharedKeyId, { usage: string }> | undefined {
  const resumption = psks.flatMap((id) => (id.pskType === "resumption" ? [id] : []));
  const linking = resumption.filter(({ usage }) => usage !== "application");
  ensure(linking.length <= 1, "RFC 9420 §12.4.3.1: reinit or branch PSK not alone");
  return linking[0];
}

function findOwnLeaf(tree: RatchetTree, bundle: KeyPackageBundle): LeafIndex {
  const own = encodedLeaf(bundle.keyPackage.leafNode);
  for (const [leafIndex, leafNode] of tree.members()) {
    if (equalBytes(leafNode.signatureKey, bundle.keyPackage.leafNode.signatureKey)) {
      if (equalBytes(encodedLeaf(leafNode), own)) return leafIndex;
    }
  }
  return reject("RFC 9420 §12.4.3.1: own leaf not in the tree");
}

/** RFC 9420 §12.4.3.1. The private keys that a joiner starts with. */
async function joinerKeys(
  tree: RatchetTree,
  own: LeafIndex,
  committer: LeafIndex,
  bundle: KeyPackageBundle,
  pathSecret: Bytes | undefined,
): Promise<Map<NodeIndex, Bytes>> {
  const keys = new Map([[leafToNode(own), bundle.encryptionPrivateKey]]);
  if (pathSecret === undefined) return keys;
  return new Map([...keys, ...(await openWelcomePath(tree, committer, own, pathSecret))]);
}

async function openGroupInfo(welcome: Welcome, joinerSecret: Bytes, pskSecret: Bytes): Promise<GroupInfo> {
  const { key, nonce } = await deriveWelcomeKey(await deriveWelcomeSecret(joinerSecret, pskSecret));
  return decode(decodeGroupInfo, await aeadOpen(key, nonce, EMPTY, welcome.encryptedGroupInfo));
}

/**
 * RFC 9420 §12.4.3.1. Joins a group by a Welcome, an MLSMessage, that was made for the bundle's key package, and checks
 * all that can be checked about the group. Throws `malformed`, `decryption-failed`, or `invalid-message` with the rule.
 */
export async function joinGroup(
  welcomeMessage: Uint8Array,
  bundle: KeyPackageBundle,
  options: JoinOptions,
): Promise<GroupState> {
  const { signatureKey } = bundle.keyPackage.leafNode;
  assertArgument(
    equalBytes(options.signer.publicKey, signatureKey),
    "the signer is not that of the key package",
  );
  const message = decode(decodeMlsMessage, copyBytes(welcomeMessage));
  if (message.wireFormat !== "welcome") reject("RFC 9420 §6: kind of message");
  const { welcome } = message;
  const secrets = await openSecrets(welcome, bundle);
  const link = linkingPsk(secrets.psks);
  const rule = "RFC 9420 §12.4.3.1: PSK not available";
  const psks = await findPsks(secrets.psks, [options.previous], options.psks, rule);
  const pskSecret = await derivePskSecret(psks);
  const info = await openGroupInfo(welcome, secrets.joinerSecret, pskSecret);
  const { groupContext, confirmationTag } = info;
  ensure(
    groupContext.version === MLS10 && groupContext.cipherSuite === CIPHER_SUITE,
    "RFC 9420 §12.4.3.1: cipher suite",
  );
  const isKnown = await options.isKnownGroup?.(groupContext.groupId);
  ensure(isKnown !== true, "RFC 9420 §12.4.3: group id not unique");
  const tree = treeOf(info, options.ratchetTree && copyBytes(options.ratchetTree));
  ensure(tree.leaf(info.signer) !== undefined, "RFC 9420 §12.4.3.1: signer is not a member");
  const own = findOwnLeaf(tree, bundle);
  const [privateKeys, epoch] = await Promise.all([
    joinerKeys(tree, own, info.signer, bundle, secrets.pathSecret),
    deriveEpoch(secrets.joinerSecret, pskSecret, groupContext),
    verifyGroup(info, tree, own, options.checkLifetimes ? options : { ...options, now: undefined }),
  ]);
  const { confirmationKey } = epoch.secrets;
  const isConfirmed = await verifyConfirmationTag(
    confirmationKey,
    groupContext.confirmedTranscriptHash,
    confirmationTag,
  );
  ensure(isConfirmed, "RFC 9420 §12.4.3.1: confirmation tag");
  if (link !== undefined) {
    ensure(groupContext.epoch === 1n, "RFC 9420 §12.4.3.1: epoch is not 1");
    if (options.previous === undefined) throw new SubrosaError("decryption-failed", rule, { rule });
    checkSuccession(link, groupContext, tree, options.previous);
  }
  options.onSigner?.(info.signer);
  return startEpoch({
    derived: { ...epoch, groupContext },
    confirmationTag,
    tree,
    ownLeafIndex: own,
    privateKeys,
    resumptionPsks: [],
  });
}
