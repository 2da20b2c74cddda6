import type { LeafIndex, NodeIndex } from "../structs/indices.js";

/** Trees of more leaves than this are refused; bit operations on node indices stay within 31 bits. */
export const MAX_LEAVES = 1 << 24;

/** The array position of a leaf (RFC 9420 Appendix C). */
export function leafToNode(leaf: LeafIndex): NodeIndex {
  return (leaf * 2) as NodeIndex;
}

/** The leaf at an even array position. */
export function nodeToLeaf(node: NodeIndex): LeafIndex {
  return (node >>> 1) as LeafIndex;
}

/** Leaves stand at even positions. */
export function isLeaf(node: NodeIndex): boolean {
  return (node & 1) === 0;
}

/** RFC 9420 Appendix C. Leaves are level 0, their parents level 1, and so on. */
export function level(node: NodeIndex): number {
  return 31 - Math.clz32(~node & (node + 1));
}

/** RFC 9420 Appendix C. How many nodes a tree of `leafCount` leaves has. */
export function nodeWidth(leafCount: number): number {
  return leafCount === 0 ? 0 : 2 * leafCount - 1;
}

/** The number of leaves, a power of two, of the smallest full tree that has at least `leaves` of them. */
export function fullWidth(leaves: number): number {
  return leaves <= 1 ? 1 : 1 << (32 - Math.clz32(leaves - 1));
}

/** RFC 9420 Appendix C. The root of a full tree of `leafCount` leaves. */
export function root(leafCount: number): NodeIndex {
  return (leafCount - 1) as NodeIndex;
}

/** RFC 9420 Appendix C. The left child of a parent node. */
export function left(node: NodeIndex): NodeIndex {
  return (node ^ (1 << (level(node) - 1))) as NodeIndex;
}

/** RFC 9420 Appendix C. The right child of a parent node. */
export function right(node: NodeIndex): NodeIndex {
  return (node ^ (3 << (level(node) - 1))) as NodeIndex;
}

/** RFC 9420 Appendix C. The parent of a node that is not the root. */
export function parent(node: NodeIndex): NodeIndex {
  const k = level(node);
  const b = (node >>> (k + 1)) & 1;
  return ((node | (1 << k)) ^ (b << (k + 1))) as NodeIndex;
}

/** RFC 9420 Appendix C. The other child of the node's parent. */
export function sibling(node: NodeIndex): NodeIndex {
  const above = parent(node);
  return node < above ? right(above) : left(above);
}

/** RFC 9420 §4.1.2. The ancestors of a node, from its parent to the root. */
export function directPath(node: NodeIndex, leafCount: number): NodeIndex[] {
  const top = root(leafCount);
  const path: NodeIndex[] = [];
  for (let at = node; at !== top; ) {
    at = parent(at);
    path.push(at);
  }
  return path;
}

/** RFC 9420 §4.1.2. The sibling of the node and of each of its ancestors, from the bottom up. */
export function copath(node: NodeIndex, leafCount: number): NodeIndex[] {
  const top = root(leafCount);
  const path: NodeIndex[] = [];
  for (let at = node; at !== top; at = parent(at)) path.push(sibling(at));
  return path;
}

/** RFC 9420 Appendix C. The lowest node that is above (or is) both. */
export function commonAncestor(a: NodeIndex, b: NodeIndex): NodeIndex {
  let at = a;
  while (!isInSubtree(b, at)) at = parent(at);
  return at;
}

/** True when `node` is `head` or below it. */
export function isInSubtree(node: NodeIndex, head: NodeIndex): boolean {
  const reach = (1 << level(head)) - 1;
  return node >= head - reach && node <= head + reach;
}

/** The first leaf below a node (or the leaf itself), and the one after the last. */
export function leafRange(node: NodeIndex): readonly [LeafIndex, LeafIndex] {
  const half = 1 << level(node);
  const first = (node + 1 - half) >>> 1;
  return [first as LeafIndex, (first + half) as LeafIndex];
}
