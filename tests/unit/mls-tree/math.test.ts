import { describe, expect, it } from "vitest";
import type { LeafIndex, NodeIndex } from "../../../src/mls/structs/indices.js";
import * as math from "../../../src/mls/tree/math.js";

/** A tree by pointers, built by halving: the model that the index arithmetic must agree with. */
interface ModelNode {
  index: number;
  parent?: ModelNode;
  left?: ModelNode;
  right?: ModelNode;
  leaves: number[];
}

function model(first: number, width: number): ModelNode[] {
  if (width === 1) return [{ index: 2 * first, leaves: [first] }];
  const below = model(first, width / 2);
  const above = model(first + width / 2, width / 2);
  const left = below.find((node) => node.parent === undefined) as ModelNode;
  const right = above.find((node) => node.parent === undefined) as ModelNode;
  const top: ModelNode = {
    index: 2 * first + width - 1,
    left,
    right,
    leaves: [...left.leaves, ...right.leaves],
  };
  left.parent = top;
  right.parent = top;
  return [...below, top, ...above];
}

describe("tree arithmetic", () => {
  for (const width of [1, 2, 4, 8, 64]) {
    it(`agrees with a linked tree of ${width} leaves`, () => {
      const nodes = model(0, width);
      expect(nodes.length).toBe(math.nodeWidth(width));
      for (const node of nodes) {
        const index = node.index as NodeIndex;
        const chain: number[] = [];
        const besides: number[] = [];
        for (let at = node; at.parent; at = at.parent) {
          chain.push(at.parent.index);
          besides.push((at.parent.left === at ? at.parent.right : at.parent.left)?.index as number);
        }
        expect(math.directPath(index, width)).toEqual(chain);
        expect(math.copath(index, width)).toEqual(besides);
        expect(math.leafRange(index)).toEqual([node.leaves[0], (node.leaves.at(-1) as number) + 1]);
        if (node.left && node.right) {
          expect([math.left(index), math.right(index)]).toEqual([node.left.index, node.right.index]);
        } else {
          expect(math.isLeaf(index)).toBe(true);
          expect(math.leafToNode(math.nodeToLeaf(index))).toBe(index);
        }
        for (const other of nodes) {
          const below = other.leaves.every((leaf) => node.leaves.includes(leaf));
          expect(math.isInSubtree(other.index as NodeIndex, index)).toBe(below);
        }
      }
    });
  }

  it("finds the lowest common ancestor", () => {
    const nodes = model(0, 8);
    for (const a of nodes) {
      for (const b of nodes) {
        const above = nodes.filter((n) =>
          [...a.leaves, ...b.leaves].every((leaf) => n.leaves.includes(leaf)),
        );
        const lowest = above.reduce((x, y) => (y.leaves.length < x.leaves.length ? y : x));
        expect(math.commonAncestor(a.index as NodeIndex, b.index as NodeIndex)).toBe(lowest.index);
      }
    }
  });

  it("knows the smallest full tree", () => {
    expect([0, 1, 2, 3, 4, 5, 8, 9, 512, 513].map(math.fullWidth)).toEqual([
      1, 1, 2, 4, 4, 8, 8, 16, 512, 1024,
    ]);
    expect(math.leafToNode(5 as LeafIndex)).toBe(10);
  });
});
