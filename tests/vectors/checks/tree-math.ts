import type { NodeIndex } from "../../../src/mls/structs/indices.js";
import { left, level, nodeWidth, parent, right, root, sibling } from "../../../src/mls/tree/math.js";
import { same } from "./same.js";

interface Entry {
  n_leaves: number;
  n_nodes: number;
  root: number;
  left: (number | null)[];
  right: (number | null)[];
  parent: (number | null)[];
  sibling: (number | null)[];
}

/** test-vectors.md, "Tree Math". */
export async function check(entry: Entry): Promise<void> {
  const count = entry.n_leaves;
  same(nodeWidth(count), entry.n_nodes, "n_nodes");
  same(root(count), entry.root, "root");
  for (let i = 0; i < entry.n_nodes; i++) {
    const node = i as NodeIndex;
    const isRoot = node === root(count);
    same(level(node) === 0 ? null : left(node), entry.left[i], `left(${i})`);
    same(level(node) === 0 ? null : right(node), entry.right[i], `right(${i})`);
    same(isRoot ? null : parent(node), entry.parent[i], `parent(${i})`);
    same(isRoot ? null : sibling(node), entry.sibling[i], `sibling(${i})`);
  }
}
