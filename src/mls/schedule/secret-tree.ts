import { type Bytes, EMPTY } from "../../base/bytes.js";
import { toUtf8 } from "../../base/encoding.js";
import { SubrosaError } from "../../base/errors.js";
import { HASH_LENGTH } from "../../crypto/hash.js";
import { importHmacKey } from "../../crypto/hmac.js";
import { expandWithLabel } from "../labels.js";
import type { LeafIndex, NodeIndex } from "../structs/indices.js";
import { isInSubtree, isLeaf, leafToNode, left, nodeToLeaf, right, root } from "../tree/math.js";
import { HashRatchet, type MessageKey, type RatchetLimits } from "./hash-ratchet.js";

/** One record of a secret tree in a store; `undefined` deletes it. */
export interface RatchetChange {
  readonly key: string;
  readonly value: Bytes | undefined;
}

/** RFC 9420 §9: proposals and commits use one ratchet of a leaf, application messages the other. */
export type RatchetKind = "handshake" | "application";

/** A key, the tree without it, and what changed in the tree's records. */
export interface TakenKey {
  readonly messageKey: MessageKey;
  readonly tree: SecretTree;
  readonly changes: RatchetChange[];
}

/** An inner node or a leaf nobody has used yet: its secret stands for the whole subtree. */
interface Unused {
  readonly secret: Bytes;
}
interface Inner {
  readonly left: Slot | undefined;
  readonly right: Slot | undefined;
}
interface Ratchets {
  readonly handshake: HashRatchet;
  readonly application: HashRatchet;
}
type Slot = Unused | Inner | Ratchets;

const DEFAULTS: RatchetLimits = { maxForward: 1000, maxSkipped: 32 };

const nodeKey = (node: NodeIndex): string => `n/${node}`;
const ratchetKey = (kind: RatchetKind, leaf: LeafIndex): string => `${kind.charAt(0)}/${leaf}`;

/** Changes of one operation: what is written and deleted again within it never shows. */
class Changes {
  readonly #values = new Map<string, Bytes | undefined>();

  set(key: string, value: Bytes): void {
    this.#values.set(key, value);
  }

  delete(key: string): void {
    if (this.#values.get(key) !== undefined) this.#values.delete(key);
    else this.#values.set(key, undefined);
  }

  list(): RatchetChange[] {
    return Array.from(this.#values, ([key, value]) => ({ key, value }));
  }
}

/**
 * RFC 9420 §9. The secret tree of an epoch. Immutable; trees share what did not change, so that one message costs
 * the path of one leaf. Every secret is dropped when what follows from it was derived (§9.2).
 */
export class SecretTree {
  readonly leafCount: number;
  readonly #root: Slot | undefined;
  readonly #limits: RatchetLimits;

  private constructor(leafCount: number, slot: Slot | undefined, limits: RatchetLimits) {
    this.leafCount = leafCount;
    this.#root = slot;
    this.#limits = limits;
  }

  /** The tree of a new epoch over `leafCount` leaves, a power of two. */
  static create(encryptionSecret: Bytes, leafCount: number, limits: Partial<RatchetLimits> = {}): SecretTree {
    return new SecretTree(leafCount, { secret: encryptionSecret }, { ...DEFAULTS, ...limits });
  }

  /** The key of the sender's next generation. */
  async next(leaf: LeafIndex, kind: RatchetKind): Promise<TakenKey> {
    return this.#take(leaf, kind, (ratchet) => ratchet.next());
  }

  /** The key of a received generation. Throws `decryption-failed` when it was used or is too far ahead. */
  async at(leaf: LeafIndex, kind: RatchetKind, generation: number): Promise<TakenKey> {
    return this.#take(leaf, kind, (ratchet) => ratchet.at(generation, this.#limits));
  }

  async #take(
    leaf: LeafIndex,
    kind: RatchetKind,
    step: (ratchet: HashRatchet) => Promise<{ messageKey: MessageKey; ratchet: HashRatchet }>,
  ): Promise<TakenKey> {
    if (this.#root === undefined || leaf >= this.leafCount) {
      throw new SubrosaError("decryption-failed", "cannot decrypt");
    }
    const changes = new Changes();
    const path: { slot: Inner; isLeft: boolean }[] = [];
    const target = leafToNode(leaf);
    let node = root(this.leafCount);
    let slot: Slot | undefined = this.#root;
    while (!isLeaf(node)) {
      const inner: Inner = await split(slot, node, changes);
      const isLeft = isInSubtree(target, left(node));
      path.push({ slot: inner, isLeft });
      node = isLeft ? left(node) : right(node);
      slot = isLeft ? inner.left : inner.right;
      if (slot === undefined) throw new SubrosaError("decryption-failed", "cannot decrypt");
    }
    const ratchets = await open(slot, leaf, changes);
    const { messageKey, ratchet } = await step(ratchets[kind]);
    changes.set(ratchetKey(kind, leaf), ratchet.encode());
    if (kind === "application") ratchet.prepare();
    let above: Slot = { ...ratchets, [kind]: ratchet };
    for (const { slot: inner, isLeft } of path.reverse()) {
      above = isLeft ? { left: above, right: inner.right } : { left: inner.left, right: above };
    }
    return {
      messageKey,
      tree: new SecretTree(this.leafCount, above, this.#limits),
      changes: changes.list(),
    };
  }

  /** All records of the tree. */
  records(): RatchetChange[] {
    const out: RatchetChange[] = [];
    const visit = (slot: Slot | undefined, node: NodeIndex): void => {
      if (slot === undefined) return;
      if ("secret" in slot) out.push({ key: nodeKey(node), value: slot.secret });
      else if ("handshake" in slot) {
        const leaf = nodeToLeaf(node);
        out.push({ key: ratchetKey("handshake", leaf), value: slot.handshake.encode() });
        out.push({ key: ratchetKey("application", leaf), value: slot.application.encode() });
      } else {
        visit(slot.left, left(node));
        visit(slot.right, right(node));
      }
    };
    visit(this.#root, root(this.leafCount));
    return out;
  }

  /** The tree that records describe; those of no node of it are ignored. Throws `malformed`. */
  static fromRecords(
    records: Iterable<readonly [string, Bytes]>,
    leafCount: number,
    limits: Partial<RatchetLimits> = {},
  ): SecretTree {
    const byKey = new Map(records);
    const build = (node: NodeIndex): Slot | undefined => {
      const secret = byKey.get(nodeKey(node));
      if (secret !== undefined) return { secret };
      if (isLeaf(node)) {
        const leaf = nodeToLeaf(node);
        const handshake = byKey.get(ratchetKey("handshake", leaf));
        const application = byKey.get(ratchetKey("application", leaf));
        if (handshake === undefined || application === undefined) return undefined;
        return { handshake: HashRatchet.decode(handshake), application: HashRatchet.decode(application) };
      }
      const inner = { left: build(left(node)), right: build(right(node)) };
      return inner.left === undefined && inner.right === undefined ? undefined : inner;
    };
    return new SecretTree(leafCount, build(root(leafCount)), { ...DEFAULTS, ...limits });
  }
}

/** RFC 9420 §9: the secrets of the two children of a node, which drop its own. */
async function split(slot: Slot, node: NodeIndex, changes: Changes): Promise<Inner> {
  if (!("secret" in slot)) return slot as Inner;
  const secret = await importHmacKey(slot.secret);
  const [leftSecret, rightSecret] = await Promise.all([
    expandWithLabel(secret, "tree", toUtf8("left"), HASH_LENGTH),
    expandWithLabel(secret, "tree", toUtf8("right"), HASH_LENGTH),
  ]);
  changes.delete(nodeKey(node));
  changes.set(nodeKey(left(node)), leftSecret);
  changes.set(nodeKey(right(node)), rightSecret);
  return { left: { secret: leftSecret }, right: { secret: rightSecret } };
}

/** RFC 9420 §9: the two ratchets of a leaf, which drop its secret. */
async function open(slot: Slot, leaf: LeafIndex, changes: Changes): Promise<Ratchets> {
  if (!("secret" in slot)) return slot as Ratchets;
  const secret = await importHmacKey(slot.secret);
  const [handshakeSecret, applicationSecret] = await Promise.all([
    expandWithLabel(secret, "handshake", EMPTY, HASH_LENGTH),
    expandWithLabel(secret, "application", EMPTY, HASH_LENGTH),
  ]);
  const handshake = new HashRatchet(0, handshakeSecret);
  const application = new HashRatchet(0, applicationSecret);
  changes.delete(nodeKey(leafToNode(leaf)));
  changes.set(ratchetKey("handshake", leaf), handshake.encode());
  changes.set(ratchetKey("application", leaf), application.encode());
  return { handshake, application };
}

/** Every record of a tree, to store it for the first time. */
export function encodeRatchets(tree: SecretTree): RatchetChange[] {
  return tree.records();
}

/** The tree that stored records describe. Throws `malformed`. */
export function decodeRatchets(
  records: Iterable<readonly [string, Bytes]>,
  leafCount: number,
  limits?: Partial<RatchetLimits>,
): SecretTree {
  return SecretTree.fromRecords(records, leafCount, limits);
}
