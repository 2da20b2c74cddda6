import { fromHex, toHex } from "../../../src/base/encoding.js";
import { decode } from "../../../src/codec/reader.js";
import { encode } from "../../../src/codec/writer.js";
import { toLeafIndex } from "../../../src/mls/structs/indices.js";
import { decodeProposal } from "../../../src/mls/structs/proposal.js";
import { decodeRatchetTree, encodeRatchetTree } from "../../../src/mls/tree/ratchet-tree.js";
import { TreeEdit } from "../../../src/mls/tree/tree-edit.js";
import { same } from "./same.js";

interface Entry {
  tree_before: string;
  proposal: string;
  proposal_sender: number;
  tree_hash_before: string;
  tree_after: string;
  tree_hash_after: string;
}

/** test-vectors.md, "Tree Operations". */
export async function check(entry: Entry): Promise<void> {
  const before = decode(decodeRatchetTree, fromHex(entry.tree_before));
  same(toHex(await before.hash()), entry.tree_hash_before, "tree_hash_before");
  const proposal = decode(decodeProposal, fromHex(entry.proposal));
  const edit = new TreeEdit(before);
  if (proposal.kind === "add") edit.addLeaf(proposal.keyPackage.leafNode);
  else if (proposal.kind === "update") edit.updateLeaf(toLeafIndex(entry.proposal_sender), proposal.leafNode);
  else if (proposal.kind === "remove") {
    edit.removeLeaf(proposal.removed);
    edit.truncate();
  } else throw new Error(`unexpected proposal: ${proposal.kind}`);
  const after = edit.finish();
  same(toHex(encode(encodeRatchetTree, after)), entry.tree_after, "tree_after");
  same(toHex(await after.hash()), entry.tree_hash_after, "tree_hash_after");
  same(toHex(await before.hash()), entry.tree_hash_before, "tree_hash_before, again");
}
