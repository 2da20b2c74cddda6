import { copyBytes, EMPTY } from "../../base/bytes.js";
import { HASH_LENGTH } from "../../crypto/hash.js";
import { generateDhKeyPair } from "../../crypto/p256.js";
import { randomBytes } from "../../crypto/random.js";
import { deriveEpochFromSecret } from "../schedule/key-schedule.js";
import { confirmationTag as makeConfirmationTag } from "../schedule/transcript.js";
import type { Credential } from "../structs/credential.js";
import type { Extension } from "../structs/extension.js";
import type { GroupContext } from "../structs/group-context.js";
import { toLeafIndex, toNodeIndex } from "../structs/indices.js";
import type { Capabilities, Lifetime } from "../structs/leaf-node.js";
import { CIPHER_SUITE, MLS10 } from "../structs/registry.js";
import { RatchetTree } from "../tree/ratchet-tree.js";
import { checkExtensionList, makeCapabilities } from "./capabilities.js";
import { startEpoch } from "./epoch.js";
import { checkLeafNode, signLeafNode } from "./leaf-node.js";
import type { GroupState } from "./state.js";
import type { Signer } from "./types.js";

export interface CreateGroupOptions {
  readonly groupId: Uint8Array;
  readonly credential: Credential;
  readonly signer: Signer;
  /** Of the creator's leaf, in seconds since 1970; default: without limit. */
  readonly lifetime?: Lifetime;
  /** Of the group context. */
  readonly extensions?: readonly Extension[];
  readonly capabilities?: Capabilities;
  readonly leafExtensions?: readonly Extension[];
}

const FOREVER: Lifetime = { notBefore: 0n, notAfter: 0xffff_ffff_ffff_ffffn };

/** RFC 9420 §11. A group of one, in epoch 0. */
export async function createGroup(options: CreateGroupOptions): Promise<GroupState> {
  const { credential, signer, extensions = [] } = options;
  const groupId = copyBytes(options.groupId);
  const { privateKey, publicKey } = await generateDhKeyPair();
  const leafNode = await signLeafNode(
    {
      encryptionKey: publicKey,
      signatureKey: signer.publicKey,
      credential,
      capabilities: options.capabilities ?? makeCapabilities(),
      leafNodeSource: "key_package",
      lifetime: options.lifetime ?? FOREVER,
      extensions: options.leafExtensions ?? [],
    },
    undefined,
    signer,
  );
  checkExtensionList(extensions);
  checkLeafNode(leafNode, { groupExtensions: extensions, source: "key_package" }, {});
  const tree = RatchetTree.ofOneLeaf(leafNode);
  const groupContext: GroupContext = {
    version: MLS10,
    cipherSuite: CIPHER_SUITE,
    groupId,
    epoch: 0n,
    treeHash: await tree.hash(),
    confirmedTranscriptHash: EMPTY,
    extensions,
  };
  const epoch = await deriveEpochFromSecret(randomBytes(HASH_LENGTH));
  return startEpoch({
    derived: { ...epoch, groupContext },
    confirmationTag: await makeConfirmationTag(epoch.secrets.confirmationKey, EMPTY),
    tree,
    ownLeafIndex: toLeafIndex(0),
    privateKeys: new Map([[toNodeIndex(0), privateKey]]),
    resumptionPsks: [],
  });
}
