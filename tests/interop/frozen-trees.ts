import { generateKeyPackageWithKey } from "ts-mls/keyPackage.js";
import type { LeafNodeUpdate } from "ts-mls/leafNode.js";
import { verifyParentHashes } from "ts-mls/parentHash.js";
import { getCommitSecret } from "ts-mls/pathSecrets.js";
import { encodeProposal, type Proposal } from "ts-mls/proposal.js";
import {
  addLeafNode,
  encodeRatchetTree,
  type RatchetTree,
  removeLeafNode,
  resolution,
  updateLeafNode,
} from "ts-mls/ratchetTree.js";
import { treeHash, treeHashRoot } from "ts-mls/treeHash.js";
import { isAncestor, leafToNodeIndex, nodeToLeafIndex, toLeafIndex, toNodeIndex } from "ts-mls/treemath.js";
import { createUpdatePath, encodeUpdatePath } from "ts-mls/updatePath.js";
import { CAPABILITIES, hex, signUpdate } from "./ts-mls-tools.js";
import { SUITE, scalarOf, suite } from "./webcrypto-provider.js";

const CIPHER_SUITE = 2;
const LIFETIME = { notBefore: 0n, notAfter: 4_000_000_000n };

interface Private {
  readonly signKey: Uint8Array;
  encryption: Uint8Array;
  /** By node. */
  readonly pathSecrets: Map<number, Uint8Array>;
}

async function makeKeyPackage(name: string) {
  const keys = await suite.signature.keygen();
  const identity = new TextEncoder().encode(name);
  const credential = { credentialType: "basic", identity } as const;
  const made = await generateKeyPackageWithKey(credential, CAPABILITIES, LIFETIME, [], keys, suite);
  return { ...made, signKey: keys.signKey };
}

/** A tree of ts-mls, with what each of its leaves knows. */
class Tree {
  readonly groupId = suite.rng.randomBytes(16);
  readonly confirmedTranscriptHash = suite.rng.randomBytes(32);
  readonly epoch = 7;
  nodes: RatchetTree = [];
  readonly #private = new Map<number, Private>();

  static async of(leaves: number): Promise<Tree> {
    const tree = new Tree();
    for (let i = 0; i < leaves; i++) {
      await tree.add();
      if (i > 0) await tree.commit(i - 1);
    }
    return tree;
  }

  async add(): Promise<void> {
    const { publicPackage, privatePackage, signKey } = await makeKeyPackage(`leaf ${this.#private.size}`);
    const { leafNode } = publicPackage;
    let index = 0;
    if (this.nodes.length === 0) this.nodes = [{ nodeType: "leaf", leaf: leafNode }];
    else {
      const [nodes, node] = addLeafNode(this.nodes, leafNode);
      this.nodes = nodes;
      index = nodeToLeafIndex(node);
    }
    this.#private.set(index, {
      signKey,
      encryption: privatePackage.hpkePrivateKey,
      pathSecrets: new Map(),
    });
  }

  remove(leaf: number): void {
    this.nodes = removeLeafNode(this.nodes, toLeafIndex(leaf));
    this.#private.delete(leaf);
    this.#forgetBlank();
  }

  #forgetBlank(): void {
    for (const { pathSecrets } of this.#private.values()) {
      for (const node of pathSecrets.keys()) if (this.nodes[node] === undefined) pathSecrets.delete(node);
    }
  }

  #of(leaf: number): Private {
    const found = this.#private.get(leaf);
    if (found === undefined) throw new Error(`no leaf ${leaf}`);
    return found;
  }

  async #path(sender: number) {
    const context = {
      version: "mls10",
      cipherSuite: SUITE,
      groupId: this.groupId,
      // ts-mls counts up by itself.
      epoch: BigInt(this.epoch - 1),
      treeHash: new Uint8Array(),
      confirmedTranscriptHash: this.confirmedTranscriptHash,
      extensions: [],
    } as const;
    const { signKey } = this.#of(sender);
    const [nodes, path, secrets, key] = await createUpdatePath(
      this.nodes,
      toLeafIndex(sender),
      { ...context, extensions: [] },
      signKey,
      suite,
    );
    const secretsOf = (leaf: number) => {
      const child = leafToNodeIndex(toLeafIndex(leaf));
      const first = secrets.findIndex(({ nodeIndex }) =>
        isAncestor(child, toNodeIndex(nodeIndex), nodes.length),
      );
      return leaf === sender ? secrets : secrets.slice(first);
    };
    return { nodes, path, secrets, secretsOf, encryption: await suite.hpke.exportPrivateKey(key) };
  }

  /** A new path in force. */
  async commit(sender: number): Promise<void> {
    const made = await this.#path(sender);
    this.nodes = made.nodes;
    this.#forgetBlank();
    for (const [leaf, known] of this.#private) {
      for (const { nodeIndex, secret } of made.secretsOf(leaf)) known.pathSecrets.set(nodeIndex, secret);
    }
    this.#of(sender).encryption = made.encryption;
  }

  /** A "Tree Validation" entry. */
  async validation() {
    if (!(await verifyParentHashes(this.nodes, suite.hash))) throw new Error("parent hashes");
    const indices = this.nodes.map((_, node) => toNodeIndex(node));
    return {
      cipher_suite: CIPHER_SUITE,
      tree: hex(encodeRatchetTree(this.nodes)),
      group_id: hex(this.groupId),
      resolutions: indices.map((node) => resolution(this.nodes, node)),
      tree_hashes: await Promise.all(
        indices.map(async (node) => hex(await treeHash(this.nodes, node, suite.hash))),
      ),
    };
  }

  /** A "TreeKEM" entry with paths of the first and of the last leaf. */
  async treeKem() {
    const leaves = [...this.#private.keys()].sort((a, b) => a - b);
    const senders = [leaves[0] as number, leaves.at(-1) as number];
    const update_paths = [];
    for (const sender of senders) {
      const { nodes, path, secrets, secretsOf } = await this.#path(sender);
      const last = secrets.at(-1);
      if (last === undefined) throw new Error("a path of nothing");
      const received: (string | null)[] = [];
      for (let leaf = 0; leaf * 2 < nodes.length; leaf++) {
        const [first] = leaves.includes(leaf) && leaf !== sender ? secretsOf(leaf) : [];
        received.push(first === undefined ? null : hex(first.secret));
      }
      const { kdf } = suite;
      const commitSecret = await getCommitSecret(nodes, toNodeIndex(last.nodeIndex), last.secret, kdf);
      update_paths.push({
        sender,
        update_path: hex(encodeUpdatePath(path)),
        path_secrets: received,
        commit_secret: hex(commitSecret),
        tree_hash_after: hex(await treeHashRoot(nodes, suite.hash)),
      });
    }
    return {
      cipher_suite: CIPHER_SUITE,
      group_id: hex(this.groupId),
      epoch: this.epoch,
      confirmed_transcript_hash: hex(this.confirmedTranscriptHash),
      ratchet_tree: hex(encodeRatchetTree(this.nodes)),
      leaves_private: leaves.map((index) => {
        const { signKey, encryption, pathSecrets } = this.#of(index);
        return {
          index,
          encryption_priv: hex(encryption),
          signature_priv: hex(scalarOf(signKey)),
          path_secrets: Array.from(pathSecrets, ([node, secret]) => ({ node, path_secret: hex(secret) })),
        };
      }),
      update_paths,
    };
  }

  /** An Update for a leaf. */
  async update(leafIndex: number): Promise<LeafNodeUpdate> {
    const node = this.nodes[leafIndex * 2];
    if (node?.nodeType !== "leaf") throw new Error(`no leaf ${leafIndex}`);
    const position = { groupId: this.groupId, leafIndex };
    return (await signUpdate(node.leaf, position, this.#of(leafIndex).signKey)).leafNode;
  }
}

async function operation(before: RatchetTree, proposal: Proposal, sender: number, after: RatchetTree) {
  return {
    cipher_suite: CIPHER_SUITE,
    tree_before: hex(encodeRatchetTree(before)),
    proposal: hex(encodeProposal(proposal)),
    proposal_sender: sender,
    tree_hash_before: hex(await treeHashRoot(before, suite.hash)),
    tree_after: hex(encodeRatchetTree(after)),
    tree_hash_after: hex(await treeHashRoot(after, suite.hash)),
  };
}

/** Additions to a full tree, over a blank and with unmerged leaves; an update; removals, with truncation. */
export async function treeOperations() {
  const entries = [];
  const full = await Tree.of(4);
  const holed = await Tree.of(5);
  holed.remove(1);
  await holed.commit(4);
  for (const { nodes } of [full, await Tree.of(5), holed]) {
    const { publicPackage } = await makeKeyPackage("added");
    const proposal: Proposal = { proposalType: "add", add: { keyPackage: publicPackage } };
    entries.push(await operation(nodes, proposal, 0, addLeafNode(nodes, publicPackage.leafNode)[0]));
  }
  const leafNode = await full.update(2);
  const update: Proposal = { proposalType: "update", update: { leafNode } };
  entries.push(await operation(full.nodes, update, 2, updateLeafNode(full.nodes, leafNode, toLeafIndex(2))));
  for (const [tree, removed] of [
    [full, 1],
    [await Tree.of(5), 4],
    [await Tree.of(3), 2],
  ] as const) {
    const { nodes } = tree;
    const remove: Proposal = { proposalType: "remove", remove: { removed } };
    entries.push(await operation(nodes, remove, 0, removeLeafNode(nodes, toLeafIndex(removed))));
  }
  return entries;
}

/** Full trees, trailing and internal blanks, unmerged leaves. */
async function trees(): Promise<Tree[]> {
  const blanks = await Tree.of(8);
  for (const leaf of [2, 3]) blanks.remove(leaf);
  await blanks.add();
  await blanks.commit(0);
  const skipping = await Tree.of(8);
  for (const leaf of [1, 2, 3]) skipping.remove(leaf);
  await skipping.commit(0);
  const unmerged = await Tree.of(7);
  await unmerged.add();
  return [await Tree.of(2), await Tree.of(3), await Tree.of(5), await Tree.of(8), blanks, skipping, unmerged];
}

export async function treeValidation() {
  return Promise.all((await trees()).map((tree) => tree.validation()));
}

export async function treeKem() {
  return Promise.all((await trees()).map((tree) => tree.treeKem()));
}
