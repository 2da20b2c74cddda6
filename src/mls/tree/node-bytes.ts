import type { Bytes } from "../../base/bytes.js";
import { encode } from "../../codec/writer.js";
import { encodeLeafNode, type LeafNode } from "../structs/leaf-node.js";
import { encodeParentNode, type ParentNode } from "../structs/parent-node.js";

// Nodes are immutable and hashed, compared and sent again and again: each is encoded once.
const leafBytes = new WeakMap<LeafNode, Bytes>();
const parentBytes = new WeakMap<ParentNode, Bytes>();

/** The encoding of a leaf node, made once per object. */
export function encodedLeaf(leafNode: LeafNode): Bytes {
  let bytes = leafBytes.get(leafNode);
  if (bytes === undefined) {
    bytes = encode(encodeLeafNode, leafNode);
    leafBytes.set(leafNode, bytes);
  }
  return bytes;
}

/** The encoding of a parent node, made once per object. */
export function encodedParent(parentNode: ParentNode): Bytes {
  let bytes = parentBytes.get(parentNode);
  if (bytes === undefined) {
    bytes = encode(encodeParentNode, parentNode);
    parentBytes.set(parentNode, bytes);
  }
  return bytes;
}

/** Decoding is strict, so the bytes a node was read from are its encoding. */
export function rememberLeafBytes(leafNode: LeafNode, bytes: Bytes): void {
  leafBytes.set(leafNode, bytes);
}

/** As {@link rememberLeafBytes}. */
export function rememberParentBytes(parentNode: ParentNode, bytes: Bytes): void {
  parentBytes.set(parentNode, bytes);
}
