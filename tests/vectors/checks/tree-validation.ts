import { fromHex, toHex } from "../../../src/base/encoding.js";
import { decode } from "../../../src/codec/reader.js";
import { verifyLeafSignature } from "../../../src/mls/group/leaf-node.js";
import { toNodeIndex } from "../../../src/mls/structs/indices.js";
import { nodeWidth } from "../../../src/mls/tree/math.js";
import { decodeRatchetTree } from "../../../src/mls/tree/ratchet-tree.js";
import { verifyTree } from "../../../src/mls/tree/validate-tree.js";
import { same } from "./same.js";

interface Entry {
  tree: string;
  group_id: string;
  resolutions: number[][];
  tree_hashes: string[];
}

/** test-vectors.md, "Tree Validation". */
export async function check(entry: Entry): Promise<void> {
  const tree = decode(decodeRatchetTree, fromHex(entry.tree));
  const groupId = fromHex(entry.group_id);
  const width = nodeWidth(tree.leafCount);
  same(entry.resolutions.length, width, "number of nodes");
  for (let i = 0; i < width; i++) {
    same(tree.resolution(toNodeIndex(i)), entry.resolutions[i], `resolution of ${i}`);
    same(toHex(await tree.hash(toNodeIndex(i))), entry.tree_hashes[i], `tree hash of ${i}`);
  }
  await verifyTree(tree);
  for (const [leafIndex, leaf] of tree.members()) {
    same(await verifyLeafSignature(leaf, { groupId, leafIndex }), true, `signature of leaf ${leafIndex}`);
  }
}
