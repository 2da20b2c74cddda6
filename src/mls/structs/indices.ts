declare const leaf: unique symbol;
declare const node: unique symbol;

/** RFC 9420 §4.1. Position of a leaf among the leaves of a ratchet tree, from the left, from 0. */
export type LeafIndex = number & { readonly [leaf]: true };

/** RFC 9420 §4.1. Position of a node in the array form of a ratchet tree: leaves are even, parents odd. */
export type NodeIndex = number & { readonly [node]: true };

/** `value` as a leaf index. */
export function toLeafIndex(value: number): LeafIndex {
  return value as LeafIndex;
}

/** `value` as a node index. */
export function toNodeIndex(value: number): NodeIndex {
  return value as NodeIndex;
}
