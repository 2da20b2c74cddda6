import type { LeafIndex, NodeIndex } from "../structs/indices.js";
import type { LeafNode } from "../structs/leaf-node.js";
import type { ParentNode } from "../structs/parent-node.js";
import { directPath, leafToNode } from "./math.js";
import { RatchetTree, type TreeArrays } from "./ratchet-tree.js";

/** Changes to a copy of a tree. `finish` gives the new tree; the edit must not be used afterwards. */
export class TreeEdit {
  #arrays: TreeArrays;

  constructor(tree: RatchetTree) {
    this.#arrays = tree.arrays();
  }

  get leafCount(): number {
    return this.#arrays.leaves.length;
  }

  leaf(index: LeafIndex): LeafNode | undefined {
    return this.#arrays.leaves[index];
  }

  #path(index: LeafIndex): NodeIndex[] {
    return directPath(leafToNode(index), this.leafCount);
  }

  #setLeaf(index: LeafIndex, leafNode: LeafNode | undefined): void {
    const { leaves, hashes } = this.#arrays;
    leaves[index] = leafNode;
    hashes[leafToNode(index)] = undefined;
    for (const node of this.#path(index)) hashes[node] = undefined;
  }

  /** Replaces a leaf and nothing else. */
  setLeaf(index: LeafIndex, leafNode: LeafNode): void {
    this.#setLeaf(index, leafNode);
  }

  /** Replaces a parent; the caller has changed the leaf below it, so the hashes above are forgotten already. */
  setParent(index: NodeIndex, parentNode: ParentNode): void {
    this.#arrays.parents[(index - 1) >>> 1] = parentNode;
    this.#arrays.hashes[index] = undefined;
  }

  /** RFC 9420 §12.1.1. Puts the leaf at the leftmost blank place, extending the tree (§7.7) when there is none. */
  addLeaf(leafNode: LeafNode): LeafIndex {
    const index = this.leftmostBlank();
    this.#setLeaf(index, leafNode);
    const { parents } = this.#arrays;
    for (const node of this.#path(index)) {
      const parentNode = parents[(node - 1) >>> 1];
      if (parentNode === undefined) continue;
      const unmergedLeaves = [...parentNode.unmergedLeaves, index].sort((a, b) => a - b);
      this.setParent(node, { ...parentNode, unmergedLeaves });
    }
    return index;
  }

  /** The leftmost blank leaf; extends the tree when there is none. */
  leftmostBlank(): LeafIndex {
    const { leaves } = this.#arrays;
    const blank = leaves.indexOf(undefined);
    if (blank >= 0) return blank as LeafIndex;
    this.#extend();
    return leaves.length as LeafIndex;
  }

  /** RFC 9420 §7.7. */
  #extend(): void {
    const { leaves, parents, hashes } = this.#arrays;
    const count = leaves.length;
    const blanks = <T>(length: number): (T | undefined)[] => new Array<T | undefined>(length).fill(undefined);
    this.#arrays = {
      leaves: leaves.concat(blanks(count)),
      parents: parents.concat(blanks(count)),
      hashes: hashes.concat(blanks(2 * count)),
    };
  }

  /** RFC 9420 §12.1.2. Replaces a leaf and blanks its direct path. */
  updateLeaf(index: LeafIndex, leafNode: LeafNode): void {
    this.#setLeaf(index, leafNode);
    this.blankPath(index);
  }

  /** RFC 9420 §12.1.3. Blanks a leaf and its direct path; `truncate` comes after the last removal. */
  removeLeaf(index: LeafIndex): void {
    this.#setLeaf(index, undefined);
    this.blankPath(index);
  }

  /** Blanks every parent above a leaf. */
  blankPath(index: LeafIndex): void {
    const { parents, hashes } = this.#arrays;
    for (const node of this.#path(index)) {
      parents[(node - 1) >>> 1] = undefined;
      hashes[node] = undefined;
    }
  }

  /** RFC 9420 §7.7. Drops the right half while it holds no leaf. */
  truncate(): void {
    const { leaves, parents, hashes } = this.#arrays;
    let last = leaves.length - 1;
    while (last > 0 && leaves[last] === undefined) last--;
    let width = leaves.length;
    while (width > 1 && last < width / 2) width /= 2;
    if (width === leaves.length) return;
    leaves.length = width;
    parents.length = width - 1;
    hashes.length = 2 * width - 1;
  }

  finish(): RatchetTree {
    return new RatchetTree(this.#arrays);
  }
}
