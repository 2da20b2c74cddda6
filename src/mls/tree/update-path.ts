import type { Bytes } from "../../base/bytes.js";
import { constantTimeEqual, equalBytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import { HASH_LENGTH } from "../../crypto/hash.js";
import { randomBytes } from "../../crypto/random.js";
import { deriveKeyPair } from "../../hpke/kem.js";
import { decryptWithLabel, deriveSecret, encryptWithLabel } from "../labels.js";
import { assertFinding, type Rule, reject } from "../rules.js";
import type { UpdatePath, UpdatePathNode } from "../structs/commit.js";
import type { LeafIndex, NodeIndex } from "../structs/indices.js";
import type { LeafNode } from "../structs/leaf-node.js";
import { commonAncestor, isInSubtree, leafToNode } from "./math.js";
import { pathNodes } from "./parent-hash.js";
import type { PathStep, RatchetTree } from "./ratchet-tree.js";
import { TreeEdit } from "./tree-edit.js";

/** Private keys (32-byte scalars) that one member knows, by node. */
export type PrivateKeys = ReadonlyMap<NodeIndex, Bytes>;

interface PathKeys {
  readonly secrets: readonly Bytes[];
  readonly privateKeys: readonly Bytes[];
  readonly publicKeys: readonly Bytes[];
  readonly commitSecret: Bytes;
}

/** RFC 9420 §7.4. Secrets and key pairs of `count` nodes from the first path secret; then the commit secret (§8). */
async function derivePathKeys(first: Bytes, count: number): Promise<PathKeys> {
  const secrets: Bytes[] = [];
  const pairs: Promise<{ privateKey: Bytes; publicKey: Bytes }>[] = [];
  let secret = first;
  for (let i = 0; i < count; i++) {
    secrets.push(secret);
    // Key pairs are made while the next secrets are derived.
    pairs.push(deriveSecret(secret, "node").then(deriveKeyPair));
    secret = await deriveSecret(secret, "path");
  }
  const keys = await Promise.all(pairs);
  return {
    secrets,
    privateKeys: keys.map(({ privateKey }) => privateKey),
    publicKeys: keys.map(({ publicKey }) => publicKey),
    commitSecret: secret,
  };
}

/** What the sender of an update path has afterwards. */
export interface CreatedPath {
  readonly tree: RatchetTree;
  readonly updatePath: UpdatePath;
  readonly commitSecret: Bytes;
  /** Path secret of each node of the filtered direct path, for the welcomes. */
  readonly pathSecrets: ReadonlyMap<NodeIndex, Bytes>;
  /** Private keys of the filtered direct path (without the leaf). */
  readonly privateKeys: PrivateKeys;
}

export interface PathOptions {
  /** Signs the sender's new leaf. */
  readonly signLeaf: (parentHash: Bytes) => Promise<LeafNode>;
  /** Leaves added by the same commit: nothing is encrypted to them. */
  readonly added: ReadonlySet<LeafIndex>;
  /** The provisional group context for a tree hash, encoded. */
  readonly context: (treeHash: Bytes) => Bytes;
}

/** RFC 9420 §7.5. New keys for the direct path of `sender`, encrypted to everybody else; `tree` has the proposals applied. */
export async function createPath(
  tree: RatchetTree,
  sender: LeafIndex,
  { signLeaf, added, context }: PathOptions,
): Promise<CreatedPath> {
  const steps = tree.filteredDirectPath(sender);
  const keys = await derivePathKeys(randomBytes(HASH_LENGTH), steps.length);
  const { parents, leafParentHash } = await pathNodes(tree, steps, keys.publicKeys);
  const leafNode = await signLeaf(leafParentHash);
  const edit = new TreeEdit(tree);
  edit.updateLeaf(sender, leafNode);
  for (const [index, parentNode] of parents) edit.setParent(index, parentNode);
  const updated = edit.finish();
  const groupContext = context(await updated.hash());
  const nodes = await Promise.all(
    steps.map(async ({ copath }, i): Promise<UpdatePathNode> => {
      const secret = keys.secrets[i] as Bytes;
      const encryptedPathSecret = await Promise.all(
        tree
          .resolution(copath, added)
          .map((node) =>
            encryptWithLabel(tree.publicKey(node) as Bytes, "UpdatePathNode", groupContext, secret),
          ),
      );
      return { encryptionKey: keys.publicKeys[i] as Bytes, encryptedPathSecret };
    }),
  );
  const byNode = <T>(values: readonly T[]) => new Map(steps.map(({ node }, i) => [node, values[i] as T]));
  return {
    tree: updated,
    updatePath: { leafNode, nodes },
    commitSecret: keys.commitSecret,
    pathSecrets: byNode(keys.secrets),
    privateKeys: byNode(keys.privateKeys),
  };
}

/**
 * RFC 9420 §7.5, §12.4.2. The tree after a received update path. Checks everything about it that all members
 * evaluate alike, except the leaf node itself.
 */
export async function mergePath(
  tree: RatchetTree,
  sender: LeafIndex,
  { leafNode, nodes }: UpdatePath,
  added: ReadonlySet<LeafIndex>,
): Promise<RatchetTree> {
  const steps = tree.filteredDirectPath(sender);
  if (steps.length !== nodes.length) reject("RFC 9420 §7.5: length of the update path");
  steps.forEach(({ copath }, i) => {
    if (tree.resolution(copath, added).length !== nodes[i]?.encryptedPathSecret.length) {
      reject("RFC 9420 §7.6: number of encrypted path secrets");
    }
  });
  const publicKeys = nodes.map(({ encryptionKey }) => encryptionKey);
  const { parents, leafParentHash } = await pathNodes(tree, steps, publicKeys);
  if (leafNode.leafNodeSource !== "commit" || !equalBytes(leafNode.parentHash, leafParentHash)) {
    reject("RFC 9420 §7.9.2: parent hash");
  }
  const edit = new TreeEdit(tree);
  edit.updateLeaf(sender, leafNode);
  for (const [index, parentNode] of parents) edit.setParent(index, parentNode);
  return edit.finish();
}

/** What the receiver of an update path learns from it. */
export interface OpenedPath {
  readonly commitSecret: Bytes;
  readonly pathSecret: Bytes;
  readonly privateKeys: PrivateKeys;
}

/** The one error of everything that only some members can see to be wrong. */
function undecryptable(rule: Rule, cause?: unknown): SubrosaError {
  return new SubrosaError("decryption-failed", rule, { rule, ...(cause === undefined ? {} : { cause }) });
}

const IN_COMMIT: Rule = "RFC 9420 §7.5: path secret";
const IN_WELCOME: Rule = "RFC 9420 §12.4.3.1: path secret";

/**
 * RFC 9420 §7.5. Decrypts the path secret meant for `own` and derives the nodes above. `tree` has the proposals
 * applied but not the path. Throws `decryption-failed` when it does not open or does not fit the public keys.
 */
export async function openPath(
  tree: RatchetTree,
  sender: LeafIndex,
  own: LeafIndex,
  { nodes }: UpdatePath,
  privateKeys: PrivateKeys,
  added: ReadonlySet<LeafIndex>,
  groupContext: Bytes,
): Promise<OpenedPath> {
  const steps = tree.filteredDirectPath(sender);
  const at = steps.findIndex(({ copath }) => isInSubtree(leafToNode(own), copath));
  const step = steps[at];
  if (step === undefined) throw undecryptable(IN_COMMIT);
  const resolution = tree.resolution(step.copath, added);
  const which = resolution.findIndex((node) => privateKeys.has(node));
  const node = resolution[which];
  const ciphertext = nodes[at]?.encryptedPathSecret[which];
  if (node === undefined || ciphertext === undefined) throw undecryptable(IN_COMMIT);
  let pathSecret: Bytes;
  try {
    const keyPair = { privateKey: privateKeys.get(node) as Bytes, publicKey: tree.publicKey(node) as Bytes };
    pathSecret = await decryptWithLabel(keyPair, "UpdatePathNode", groupContext, ciphertext);
  } catch (cause) {
    assertFinding(cause);
    throw undecryptable(IN_COMMIT, cause);
  }
  const opened = await derivePathNodes(
    IN_COMMIT,
    pathSecret,
    steps.slice(at),
    (i) => nodes[at + i]?.encryptionKey,
  );
  return { ...opened, pathSecret };
}

/** RFC 9420 §7.5, steps 4 to 7: the private keys from one path secret upwards, checked against the public keys. */
async function derivePathNodes(
  rule: Rule,
  pathSecret: Bytes,
  steps: readonly PathStep[],
  expected: (i: number) => Bytes | undefined,
): Promise<{ commitSecret: Bytes; privateKeys: PrivateKeys }> {
  if (pathSecret.length !== HASH_LENGTH) throw undecryptable(rule);
  const keys = await derivePathKeys(pathSecret, steps.length);
  keys.publicKeys.forEach((publicKey, i) => {
    const other = expected(i);
    if (other === undefined || !constantTimeEqual(publicKey, other)) throw undecryptable(rule);
  });
  const found = new Map(steps.map(({ node }, i) => [node, keys.privateKeys[i] as Bytes]));
  return { commitSecret: keys.commitSecret, privateKeys: found };
}

/**
 * RFC 9420 §12.4.3.1. The private keys that a joiner derives from the path secret in its welcome, which belongs to
 * the lowest common ancestor with the committer.
 */
export async function openWelcomePath(
  tree: RatchetTree,
  committer: LeafIndex,
  own: LeafIndex,
  pathSecret: Bytes,
): Promise<PrivateKeys> {
  const ancestor = commonAncestor(leafToNode(committer), leafToNode(own));
  const path = tree.filteredDirectPath(committer);
  const at = path.findIndex(({ node }) => node === ancestor);
  if (at < 0) throw undecryptable(IN_WELCOME);
  const steps = path.slice(at);
  const { privateKeys } = await derivePathNodes(IN_WELCOME, pathSecret, steps, (i) => {
    const step = steps[i];
    return step && tree.publicKey(step.node);
  });
  return privateKeys;
}
