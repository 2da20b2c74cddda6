import type { Bytes } from "../../base/bytes.js";
import type { Reader } from "../../codec/reader.js";
import { Writer } from "../../codec/writer.js";
import type { LeafIndex, NodeIndex } from "../structs/indices.js";
import { decodeLeafNode, type LeafNode } from "../structs/leaf-node.js";
import { decodeParentNode, type ParentNode } from "../structs/parent-node.js";
import {
  directPath,
  fullWidth,
  isLeaf,
  leafRange,
  leafToNode,
  left,
  MAX_LEAVES,
  nodeToLeaf,
  nodeWidth,
  right,
  root,
  sibling,
} from "./math.js";
import { encodedLeaf, encodedParent, rememberLeafBytes, rememberParentBytes } from "./node-bytes.js";
import { fillTreeHashes } from "./tree-hash.js";

const NODE_TYPE_LEAF = 1;
const NODE_TYPE_PARENT = 2;

/** One step of a filtered direct path: a node, and its child off the path. */
export interface PathStep {
  readonly node: NodeIndex;
  readonly copath: NodeIndex;
}

/** The three arrays of a tree; `hashes` is by node index, the others by leaf index and by (node index - 1) / 2. */
export interface TreeArrays {
  readonly leaves: (LeafNode | undefined)[];
  readonly parents: (ParentNode | undefined)[];
  readonly hashes: (Bytes | undefined)[];
}

/**
 * RFC 9420 §4, §7. The public state of a ratchet tree: always full, blanks included. Immutable; `TreeEdit` makes
 * the next one. Tree hashes are remembered per node, so that an edit recomputes only the paths it touched.
 */
export class RatchetTree {
  readonly #arrays: TreeArrays;

  /** Takes the arrays over: the caller must not change them afterwards. */
  constructor(arrays: TreeArrays) {
    this.#arrays = arrays;
  }

  /** The tree of one leaf (RFC 9420 §11). */
  static ofOneLeaf(leafNode: LeafNode): RatchetTree {
    return new RatchetTree({ leaves: [leafNode], parents: [], hashes: [undefined] });
  }

  /** How many leaves the tree has, blank ones included; a power of two. */
  get leafCount(): number {
    return this.#arrays.leaves.length;
  }

  get root(): NodeIndex {
    return root(this.leafCount);
  }

  /** Copies of the arrays, for an edit. */
  arrays(): TreeArrays {
    const { leaves, parents, hashes } = this.#arrays;
    return { leaves: leaves.slice(), parents: parents.slice(), hashes: hashes.slice() };
  }

  /** The leaf node at an index, unless it is blank or outside the tree. */
  leaf(index: LeafIndex): LeafNode | undefined {
    return this.#arrays.leaves[index];
  }

  /** The parent node at an odd node index, unless it is blank. */
  parent(index: NodeIndex): ParentNode | undefined {
    return this.#arrays.parents[(index - 1) >>> 1];
  }

  isBlank(index: NodeIndex): boolean {
    return (isLeaf(index) ? this.leaf(nodeToLeaf(index)) : this.parent(index)) === undefined;
  }

  /** The HPKE public key of a node that is not blank. */
  publicKey(index: NodeIndex): Bytes | undefined {
    return (isLeaf(index) ? this.leaf(nodeToLeaf(index)) : this.parent(index))?.encryptionKey;
  }

  /** The leaves that are not blank, from the left. */
  *members(): IterableIterator<[LeafIndex, LeafNode]> {
    const { leaves } = this.#arrays;
    for (let i = 0; i < leaves.length; i++) {
      const leafNode = leaves[i];
      if (leafNode !== undefined) yield [i as LeafIndex, leafNode];
    }
  }

  /** The parents that are not blank, from the left. */
  *parents(): IterableIterator<[NodeIndex, ParentNode]> {
    const { parents } = this.#arrays;
    for (let i = 0; i < parents.length; i++) {
      const parentNode = parents[i];
      if (parentNode !== undefined) yield [(2 * i + 1) as NodeIndex, parentNode];
    }
  }

  get memberCount(): number {
    let count = 0;
    for (const leafNode of this.#arrays.leaves) if (leafNode !== undefined) count++;
    return count;
  }

  /** RFC 9420 §4.1.1. The non-blank nodes that cover all non-blank descendants; `without` are leaves left out. */
  resolution(index: NodeIndex, without?: ReadonlySet<LeafIndex>): NodeIndex[] {
    const out: NodeIndex[] = [];
    const visit = (at: NodeIndex): void => {
      if (isLeaf(at)) {
        const leafIndex = nodeToLeaf(at);
        if (this.leaf(leafIndex) !== undefined && !without?.has(leafIndex)) out.push(at);
        return;
      }
      const parentNode = this.parent(at);
      if (parentNode === undefined) {
        visit(left(at));
        visit(right(at));
        return;
      }
      out.push(at);
      for (const unmerged of parentNode.unmergedLeaves) {
        if (!without?.has(unmerged)) out.push(leafToNode(unmerged));
      }
    };
    visit(index);
    return out;
  }

  /** True when the resolution of a node is empty. */
  #isEmpty(index: NodeIndex): boolean {
    if (!this.isBlank(index)) return false;
    if (isLeaf(index)) return true;
    const [first, end] = leafRange(index);
    for (let i: number = first; i < end; i++) if (this.#arrays.leaves[i] !== undefined) return false;
    return true;
  }

  /** RFC 9420 §4.1.2. The direct path of a leaf without the nodes whose child on the copath resolves to nothing. */
  filteredDirectPath(leafIndex: LeafIndex): PathStep[] {
    const steps: PathStep[] = [];
    let below = leafToNode(leafIndex);
    for (const node of directPath(below, this.leafCount)) {
      const copath = sibling(below);
      if (!this.#isEmpty(copath)) steps.push({ node, copath });
      below = node;
    }
    return steps;
  }

  /** RFC 9420 §7.8. The tree hash of a node, by default of the root. */
  async hash(index: NodeIndex = this.root): Promise<Bytes> {
    return fillTreeHashes(this.#arrays, index);
  }
}

/** RFC 9420 §12.4.3.3. The `ratchet_tree` vector: nodes from left to right, up to the last that is not blank. */
export function encodeRatchetTree(writer: Writer, tree: RatchetTree): void {
  let last = nodeWidth(tree.leafCount) - 1;
  while (last > 0 && tree.isBlank(last as NodeIndex)) last--;
  const inner = new Writer();
  for (let i = 0; i <= last; i++) {
    const index = i as NodeIndex;
    if (isLeaf(index)) {
      const leafNode = tree.leaf(nodeToLeaf(index));
      if (leafNode === undefined) inner.u8(0);
      else inner.u8(1).u8(NODE_TYPE_LEAF).fixed(encodedLeaf(leafNode));
    } else {
      const parentNode = tree.parent(index);
      if (parentNode === undefined) inner.u8(0);
      else inner.u8(1).u8(NODE_TYPE_PARENT).fixed(encodedParent(parentNode));
    }
  }
  writer.opaque(inner.finish());
}

/** RFC 9420 §12.4.3.3. Throws `malformed` when the last node is blank or a node stands where its kind cannot. */
export function decodeRatchetTree(reader: Reader): RatchetTree {
  const nodes = reader.vector((inner) => ({ node: inner.optional(decodeNode) }), 2 * MAX_LEAVES);
  if (nodes.at(-1)?.node === undefined) reader.fail("a ratchet tree that ends in a blank node");
  const leafCount = fullWidth((nodes.length + 1) >>> 1);
  const leaves = new Array<LeafNode | undefined>(leafCount).fill(undefined);
  const parents = new Array<ParentNode | undefined>(leafCount - 1).fill(undefined);
  nodes.forEach(({ node }, index) => {
    if (node === undefined) return;
    if (isLeaf(index as NodeIndex))
      leaves[index >>> 1] = node.leaf ?? reader.fail("a parent where a leaf stands");
    else parents[index >>> 1] = node.parent ?? reader.fail("a leaf where a parent stands");
  });
  return new RatchetTree({ leaves, parents, hashes: new Array(nodeWidth(leafCount)).fill(undefined) });
}

function decodeNode(reader: Reader): { leaf?: LeafNode; parent?: ParentNode } {
  const type = reader.u8();
  const start = reader.offset;
  if (type === NODE_TYPE_LEAF) {
    const leaf = decodeLeafNode(reader);
    rememberLeafBytes(leaf, reader.since(start));
    return { leaf };
  }
  if (type !== NODE_TYPE_PARENT) reader.fail("unknown node type");
  const parent = decodeParentNode(reader);
  rememberParentBytes(parent, reader.since(start));
  return { parent };
}
