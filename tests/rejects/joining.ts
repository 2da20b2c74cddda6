import { toUtf8 } from "../../src/base/encoding.js";
import { createCommitWith } from "../../src/mls/group/create-commit.js";
import { toLeafIndex } from "../../src/mls/structs/indices.js";
import type { ParentNode } from "../../src/mls/structs/parent-node.js";
import { RatchetTree } from "../../src/mls/tree/ratchet-tree.js";
import * as mls from "../../src/mls.js";
import { Actor, commitBy, groupOf, trusting } from "../unit/mls-group/actors.js";
import { flipped, reforge, set, type WelcomeChanges } from "./builder.js";
import { type Case, type Cases, trio } from "./fixture.js";

/** A welcome by a for d, changed inside. */
const welcomeWith =
  (changes: WelcomeChanges, options: Partial<mls.JoinOptions> = {}): Case =>
  async () => {
    const { a, d } = await trio();
    const { welcome } = await a.commit({ proposals: [d.add], forcePath: true });
    const forged = await reforge(welcome as mls.Bytes, d, a.signer, changes);
    return () => d.join(forged, options);
  };

/** The tree with one parent changed. */
const parentWith =
  (index: number | "root", change: (node: ParentNode) => ParentNode) =>
  (tree: RatchetTree): RatchetTree => {
    const arrays = tree.arrays();
    const at = ((index === "root" ? tree.root : index) - 1) / 2;
    arrays.parents[at] = change(arrays.parents[at] as ParentNode);
    arrays.hashes.fill(undefined);
    return new RatchetTree(arrays);
  };

/** A group of five in which leaf 3 is new, and so unmerged at node 3 and at the root, node 7. */
async function withUnmerged(change: (tree: RatchetTree) => RatchetTree) {
  const all = await Actor.createAll(6);
  const members = all.slice(0, 5);
  const [a] = members as [Actor];
  await groupOf(members);
  await commitBy(a, members, { proposals: [{ kind: "remove", removed: toLeafIndex(3) }] });
  const d = all[5] as Actor;
  const { welcome } = await a.commit({ proposals: [d.add] });
  const forged = await reforge(welcome as mls.Bytes, d, a.signer, { tree: change });
  return () => d.join(forged);
}

const changeParent = (tree: RatchetTree, index: number, unmergedLeaves: number[]): RatchetTree =>
  parentWith(index, (node) => ({ ...node, unmergedLeaves: unmergedLeaves.map(toLeafIndex) }))(tree);

const resumption = (usage: "reinit" | "branch", groupId = toUtf8("group"), epoch = 0n) =>
  mls.resumptionPskProposal(groupId, epoch, usage).psk;

export const JOINING: Cases = {
  "RFC 9420 §12.4.3: GroupInfo signature": welcomeWith({
    info: (info) => ({ ...info, signature: flipped(info.signature) }),
    sign: false,
  }),
  "RFC 9420 §12.4.3: group id not unique": welcomeWith({}, { isKnownGroup: () => true }),
  "RFC 9420 §12.4.3.1: no secrets for this key package": async () => {
    const { a, d } = await trio();
    const { welcome } = await a.commit({ proposals: [d.add] });
    await d.renewKeyPackage();
    return () => d.join(welcome as mls.Bytes);
  },
  "RFC 9420 §12.4.3.1: cipher suite": [
    welcomeWith({ cipherSuite: 1 }),
    welcomeWith({ info: (info) => ({ ...info, groupContext: { ...info.groupContext, cipherSuite: 3 } }) }),
    welcomeWith({ info: (info) => ({ ...info, groupContext: { ...info.groupContext, version: 2 } }) }),
  ],
  "RFC 9420 §12.4.3.1: reinit or branch PSK not alone": welcomeWith({
    secrets: set<any>({ psks: [resumption("reinit"), resumption("branch")] }),
  }),
  "RFC 9420 §12.4.3.1: PSK not available": welcomeWith({
    secrets: set<any>({ psks: [mls.externalPskProposal(toUtf8("k")).psk] }),
  }),
  "RFC 9420 §12.4.3.1: signer is not a member": [
    welcomeWith({ info: set<any>({ signer: toLeafIndex(7) }) }),
    welcomeWith({ info: set<any>({ signer: toLeafIndex(0xffffffff) }) }),
  ],
  "RFC 9420 §12.4.3.1: tree hash": welcomeWith({
    tree: parentWith("root", (node) => ({ ...node, parentHash: toUtf8("x") })),
    keepTreeHash: true,
  }),
  "RFC 9420 §7.9.2: parent hash": [
    welcomeWith({ tree: parentWith("root", (node) => ({ ...node, parentHash: toUtf8("x") })) }),
    welcomeWith({ tree: parentWith(1, (node) => ({ ...node, parentHash: toUtf8("x") })) }),
  ],
  "RFC 9420 §7.1: unmerged leaves not in increasing order": () =>
    withUnmerged((tree) => changeParent(tree, 3, [3, 3])),
  "RFC 9420 §12.4.3.1: unmerged leaf is not a descendant": [
    () => withUnmerged((tree) => changeParent(tree, 3, [4])),
    () => withUnmerged((tree) => changeParent(tree, 1, [3])),
    () => withUnmerged((tree) => changeParent(tree, 3, [0xffffffff])),
  ],
  "RFC 9420 §12.4.3.1: unmerged leaf missing in between": () =>
    withUnmerged((tree) => changeParent(tree, 3, [])),
  "RFC 9420 §12.4.3.1: encryption key of a parent not unique": async () => {
    const { a, d } = await trio();
    const { welcome } = await a.commit({ proposals: [d.add], forcePath: true });
    const tree = (before: RatchetTree) =>
      parentWith(1, (node) => ({ ...node, encryptionKey: before.publicKey(before.root) as mls.Bytes }))(
        before,
      );
    const forged = await reforge(welcome as mls.Bytes, d, a.signer, { tree });
    return () => d.join(forged);
  },
  "RFC 9420 §12.4.3.1: own leaf not in the tree": async () => {
    const { a, c, d } = await trio();
    const { welcome } = await a.commit({ proposals: [d.add] });
    const tree = mls.exportRatchetTree(c.state);
    const forged = await reforge(welcome as mls.Bytes, d, a.signer, { withoutTree: true });
    return () => d.join(forged, { ratchetTree: tree });
  },
  "RFC 9420 §12.4.3.1: path secret": [
    welcomeWith({
      secrets: (secrets) => ({ ...secrets, pathSecret: flipped(secrets.pathSecret as mls.Bytes) }),
    }),
    welcomeWith({ secrets: set<any>({ pathSecret: toUtf8("short") }) }),
  ],
  "RFC 9420 §12.4.3.1: confirmation tag": welcomeWith({
    info: (info) => ({ ...info, confirmationTag: flipped(info.confirmationTag) }),
  }),
  "RFC 9420 §12.4.3.1: epoch is not 1": async () => {
    const { a, b, d } = await trio();
    // The link is added when the group is past its first epoch: by a member that ignores the rule.
    const link = resumption("branch", toUtf8("group"), b.state.groupContext.epoch);
    const previous = b.state;
    const psk = previous.secrets.resumptionPsk;
    const created = await createCommitWith(
      a.state,
      { signer: a.signer, ...trusting, proposals: [d.add, { kind: "psk", psk: link }], psks: () => psk },
      { pskUsage: "branch" },
    );
    return () => d.join(created.welcome as mls.Bytes, { previous });
  },
  "RFC 9420 §12.4.3.2: no external_pub": async () => {
    const { a, d } = await trio();
    const info = await mls.exportGroupInfo(a.state, { signer: a.signer });
    const { credential, signer } = d;
    return () => mls.createExternalCommit(info, { credential, signer, ...trusting });
  },
  "RFC 9420 §12.4.3.3: no ratchet tree": welcomeWith({ withoutTree: true }),
};

/** A successor of a group, as somebody would make it who keeps to no rule. */
async function forgeSuccessor(
  usage: "reinit" | "branch",
  maker: Actor,
  joiners: readonly Actor[],
  groupId: mls.Bytes,
): Promise<{ welcome: mls.Bytes; previous: mls.GroupState }> {
  const previous = maker.state;
  const { credential, signer } = maker;
  const created = await mls.createGroup({ groupId, credential, signer });
  const link = mls.resumptionPskProposal(previous.groupContext.groupId, previous.groupContext.epoch, usage);
  const proposals = [...joiners.map((joiner) => joiner.add), link];
  const { welcome } = await createCommitWith(
    created,
    { signer, ...trusting, proposals },
    { pskUsage: usage, previous },
  );
  return { welcome: welcome as mls.Bytes, previous };
}

async function reinitialized() {
  const group = await trio();
  const { a, b, c } = group;
  await commitBy(a, [a, b, c], { proposals: [mls.reInitProposal(toUtf8("next"))] });
  await Promise.all([b, c].map((actor) => actor.renewKeyPackage()));
  return group;
}

export const SUCCESSION: Cases = {
  "RFC 9420 §11.2: new group does not match the ReInit": [
    async () => {
      const { a, b, c } = await reinitialized();
      const { welcome } = await forgeSuccessor("reinit", a, [b, c], toUtf8("another"));
      const previous = b.state;
      return () => b.join(welcome, { previous });
    },
    async () => {
      const { a } = await trio();
      return () => mls.reinitializeGroup(a.state, { keyPackages: [], signer: a.signer, ...trusting });
    },
  ],
  "RFC 9420 §11.2: members of the old group missing": async () => {
    const { a, b } = await reinitialized();
    const { welcome } = await forgeSuccessor("reinit", a, [b], toUtf8("next"));
    const previous = b.state;
    return () => b.join(welcome, { previous });
  },
  "RFC 9420 §11.3: new group does not match the old one": async () => {
    const { a, b } = await trio();
    await b.renewKeyPackage();
    const psk = a.state.secrets.resumptionPsk;
    const { welcome } = await forgeSuccessor("branch", a, [b], toUtf8("branch"));
    const other = await Actor.create("other");
    await other.createGroup({ groupId: toUtf8("unrelated") });
    return () => b.join(welcome, { previous: other.state, psks: () => psk });
  },
  "RFC 9420 §11.3: member not in the old group": async () => {
    const { a, b, d } = await trio();
    await b.renewKeyPackage();
    const { welcome } = await forgeSuccessor("branch", a, [b, d], toUtf8("branch"));
    const previous = b.state;
    return () => b.join(welcome, { previous });
  },
};
