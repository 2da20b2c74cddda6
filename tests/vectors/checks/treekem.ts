import type { Bytes } from "../../../src/base/bytes.js";
import { EMPTY } from "../../../src/base/bytes.js";
import { fromHex, toHex } from "../../../src/base/encoding.js";
import { decode } from "../../../src/codec/reader.js";
import { encode } from "../../../src/codec/writer.js";
import { generateDhKeyPair, publicKeyOf } from "../../../src/crypto/p256.js";
import { importSignaturePrivateKey } from "../../../src/crypto/signature.js";
import { deriveKeyPair } from "../../../src/hpke/kem.js";
import { signLeafNode, verifyLeafSignature } from "../../../src/mls/group/leaf-node.js";
import { deriveSecret } from "../../../src/mls/labels.js";
import { decodeUpdatePath, type UpdatePath } from "../../../src/mls/structs/commit.js";
import { encodeGroupContext } from "../../../src/mls/structs/group-context.js";
import {
  type LeafIndex,
  type NodeIndex,
  toLeafIndex,
  toNodeIndex,
} from "../../../src/mls/structs/indices.js";
import { CIPHER_SUITE, MLS10 } from "../../../src/mls/structs/registry.js";
import { leafToNode } from "../../../src/mls/tree/math.js";
import { decodeRatchetTree, type RatchetTree } from "../../../src/mls/tree/ratchet-tree.js";
import { createPath, mergePath, openPath } from "../../../src/mls/tree/update-path.js";
import { same } from "./same.js";

interface Entry {
  group_id: string;
  epoch: number;
  confirmed_transcript_hash: string;
  ratchet_tree: string;
  leaves_private: {
    index: number;
    encryption_priv: string;
    signature_priv: string;
    path_secrets: { node: number; path_secret: string }[];
  }[];
  update_paths: {
    sender: number;
    update_path: string;
    path_secrets: (string | null)[];
    commit_secret: string;
    tree_hash_after: string;
  }[];
}

interface Member {
  readonly index: LeafIndex;
  readonly signatureKey: Bytes;
  readonly privateKeys: Map<NodeIndex, Bytes>;
}

const NOBODY: ReadonlySet<LeafIndex> = new Set();

/** The private state of each leaf, checked against the public tree. */
async function readMembers(entry: Entry, tree: RatchetTree): Promise<Member[]> {
  const members: Member[] = [];
  for (const own of entry.leaves_private) {
    const index = toLeafIndex(own.index);
    const privateKeys = new Map([[leafToNode(index), fromHex(own.encryption_priv)]]);
    for (const { node, path_secret } of own.path_secrets) {
      const pair = await deriveKeyPair(await deriveSecret(fromHex(path_secret), "node"));
      privateKeys.set(toNodeIndex(node), pair.privateKey);
    }
    for (const [node, privateKey] of privateKeys) {
      same(toHex(await publicKeyOf(privateKey)), toHex(tree.publicKey(node) ?? EMPTY), `key of node ${node}`);
    }
    members.push({ index, signatureKey: fromHex(own.signature_priv), privateKeys });
  }
  return members;
}

/** test-vectors.md, "TreeKEM". */
export async function check(entry: Entry): Promise<void> {
  const tree = decode(decodeRatchetTree, fromHex(entry.ratchet_tree));
  const groupId = fromHex(entry.group_id);
  const members = await readMembers(entry, tree);
  const context = (treeHash: Bytes) =>
    encode(encodeGroupContext, {
      version: MLS10,
      cipherSuite: CIPHER_SUITE,
      groupId,
      epoch: BigInt(entry.epoch),
      treeHash,
      confirmedTranscriptHash: fromHex(entry.confirmed_transcript_hash),
      extensions: [],
    });
  const openedBy = async (path: UpdatePath, sender: LeafIndex, groupContext: Bytes) =>
    Promise.all(
      members
        .filter(({ index }) => index !== sender)
        .map(async ({ index, privateKeys }) => ({
          index,
          opened: await openPath(tree, sender, index, path, privateKeys, NOBODY, groupContext),
        })),
    );

  for (const item of entry.update_paths) {
    const sender = toLeafIndex(item.sender);
    const path = decode(decodeUpdatePath, fromHex(item.update_path));
    const after = await mergePath(tree, sender, path, NOBODY);
    const treeHash = await after.hash();
    same(toHex(treeHash), item.tree_hash_after, "tree_hash_after");
    const position = { groupId, leafIndex: sender };
    same(await verifyLeafSignature(path.leafNode, position), true, "signature of the leaf");
    for (const { index, opened } of await openedBy(path, sender, context(treeHash))) {
      same(toHex(opened.pathSecret), item.path_secrets[index], `path secret for ${index}`);
      same(toHex(opened.commitSecret), item.commit_secret, `commit secret for ${index}`);
    }

    const member = members.find(({ index }) => index === sender) as Member;
    const old = tree.leaf(sender) as NonNullable<ReturnType<RatchetTree["leaf"]>>;
    const { publicKey } = await generateDhKeyPair();
    const privateKey = await importSignaturePrivateKey(member.signatureKey);
    const created = await createPath(tree, sender, {
      added: NOBODY,
      context,
      signLeaf: (parentHash) => {
        const { encryptionKey: _, ...rest } = old;
        const content = { ...rest, encryptionKey: publicKey, leafNodeSource: "commit" as const, parentHash };
        return signLeafNode(content, position, { privateKey, publicKey: old.signatureKey });
      },
    });
    const merged = await mergePath(tree, sender, created.updatePath, NOBODY);
    same(toHex(await merged.hash()), toHex(await created.tree.hash()), "tree hash of a new path");
    const leaf = created.updatePath.leafNode;
    same(await verifyLeafSignature(leaf, position), true, "signature of a new leaf");
    for (const { opened } of await openedBy(created.updatePath, sender, context(await merged.hash()))) {
      same(toHex(opened.commitSecret), toHex(created.commitSecret), "commit secret of a new path");
    }
  }
}
