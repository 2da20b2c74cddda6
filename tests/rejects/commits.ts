import { toUtf8 } from "../../src/base/encoding.js";
import { toLeafIndex } from "../../src/mls/structs/indices.js";
import * as mls from "../../src/mls.js";
import { Actor } from "../unit/mls-group/actors.js";
import {
  flipped,
  publicMessage,
  sendCommit,
  sendExternalCommit,
  sendProposal,
  set,
  updateOf,
} from "./builder.js";
import { type Case, type Cases, type Trio, trio } from "./fixture.js";

const remove = (leafIndex: number): mls.Proposal => ({ kind: "remove", removed: toLeafIndex(leafIndex) });
const byValue = (proposal: mls.Proposal) => ({ kind: "proposal" as const, proposal });
const gce = (extensions: mls.Extension[] = []): mls.Proposal => ({
  kind: "groupContextExtensions",
  extensions,
});

/** A commit by a of proposals that break the rule by themselves or together. */
const commitOf =
  (
    proposals: (group: Trio) => mls.Proposal[] | Promise<mls.Proposal[]>,
    path: false | "force" = "force",
  ): Case =>
  async () => {
    const group = await trio();
    const message = await sendCommit(group.a, await proposals(group), { path });
    return () => group.b.process(message);
  };

/** A commit with a list that builders of paths cannot apply: nothing but the list is looked at. */
const bareCommitOf =
  (proposals: (group: Trio) => mls.Proposal[] | Promise<mls.Proposal[]>): Case =>
  async () => {
    const group = await trio();
    const items = (await proposals(group)).map(byValue);
    const commit = { proposals: items, path: undefined };
    const message = await publicMessage(group.a, { contentType: "commit", commit });
    return () => group.b.process(message);
  };

const externalCommitOf =
  (proposals: (group: Trio) => mls.Proposal[] | Promise<mls.Proposal[]>): Case =>
  async () => {
    const group = await trio();
    const items = (await proposals(group)).map(byValue);
    const message = await sendExternalCommit(group.a, group.d, items);
    return () => group.b.process(message);
  };

const externalInit = ({ a }: Trio): mls.Proposal => ({ kind: "externalInit", kemOutput: a.signer.publicKey });

/** Proposes x in a regular way, so that it can be committed by reference. */
async function pending(group: Trio, by: Actor, proposal: mls.Proposal): Promise<mls.Bytes> {
  const message = await sendProposal(by, proposal);
  let ref: mls.Bytes | undefined;
  for (const actor of [group.a, group.b, group.c]) {
    if (actor === by) continue;
    const processed = await actor.process(message);
    if (processed.kind === "proposal") ref = processed.ref;
  }
  return ref as mls.Bytes;
}

export const PROPOSALS: Cases = {
  "RFC 9420 §12.1.3: removal of a blank leaf": [
    async () => {
      const { a, b } = await trio();
      const message = await sendProposal(a, remove(3));
      return () => b.process(message);
    },
    bareCommitOf(() => [remove(0xffffffff)]),
  ],
  "RFC 9420 §12.1.4: resumption PSK usage": (["reinit", "branch"] as const).map((usage) =>
    commitOf(({ a }) => [mls.resumptionPskProposal(a.state.groupContext.groupId, 0n, usage)]),
  ),
  "RFC 9420 §12.1.4: length of the PSK nonce": commitOf(() => [
    { kind: "psk", psk: { pskType: "external", pskId: toUtf8("k"), pskNonce: toUtf8("short") } },
  ]),
  "RFC 9420 §12.1.5: version of a ReInit": async () => {
    const { a, b } = await trio();
    const message = await sendProposal(a, { ...mls.reInitProposal(toUtf8("next")), version: 0 });
    return () => b.process(message);
  },
  "RFC 9420 §12.1.7: required capabilities not supported by all members": async () => {
    const { a, b } = await trio();
    const required = { extensionTypes: [0xf001], proposalTypes: [], credentialTypes: [] };
    const message = await sendCommit(a, [gce([mls.requiredCapabilitiesExtension(required)])], {
      leaf: (leaf) => ({ ...leaf, capabilities: { ...leaf.capabilities, extensions: [0xf001] } }),
    });
    return () => b.process(message);
  },
};

export const LISTS: Cases = {
  "RFC 9420 §12.2: update by the committer": [
    async () => {
      const group = await trio();
      const { a, b } = group;
      const update = await mls.proposeUpdate(a.state, { signer: a.signer });
      a.state = update.state;
      await b.process(update.message);
      const message = await sendCommit(a, [], { references: [update.ref] });
      return () => b.process(message);
    },
    bareCommitOf(async ({ a }) => [await updateOf(a)]),
  ],
  "RFC 9420 §12.2: removal of the committer": bareCommitOf(() => [remove(0)]),
  "RFC 9420 §12.2: several updates or removals of one leaf": [
    bareCommitOf(() => [remove(2), remove(2)]),
    async () => {
      const group = await trio();
      const ref = await pending(group, group.c, await updateOf(group.c));
      const message = await sendCommit(group.a, [remove(2)], { references: [ref] });
      return () => group.b.process(message);
    },
  ],
  "RFC 9420 §12.2: duplicate addition": bareCommitOf(({ d }) => [d.add, d.add]),
  "RFC 9420 §12.2: addition of a member": bareCommitOf(async ({ c }) => {
    await c.renewKeyPackage();
    return [c.add];
  }),
  "RFC 9420 §12.2: duplicate PSK": [
    bareCommitOf(() => {
      const psk = mls.externalPskProposal(toUtf8("k"));
      return [psk, psk];
    }),
    externalCommitOf((group) => {
      const psk = mls.externalPskProposal(toUtf8("k"));
      return [externalInit(group), psk, psk];
    }),
  ],
  "RFC 9420 §12.2: several GroupContextExtensions": bareCommitOf(() => [gce(), gce()]),
  "RFC 9420 §12.2: ReInit with other proposals": bareCommitOf(({ d }) => [
    mls.reInitProposal(toUtf8("next")),
    d.add,
  ]),
  "RFC 9420 §12.2: ExternalInit in a regular commit": bareCommitOf((group) => [externalInit(group)]),
  "RFC 9420 §12.2: proposal type not supported by all members": bareCommitOf(() => [
    { kind: "unknown", proposalType: 0xf00d, data: toUtf8("x") },
  ]),
  "RFC 9420 §12.2: not exactly one ExternalInit": [
    externalCommitOf(() => []),
    externalCommitOf((group) => [externalInit(group), externalInit(group)]),
  ],
  "RFC 9420 §12.2: several removals in an external commit": externalCommitOf((group) => [
    externalInit(group),
    remove(0),
    remove(2),
  ]),
  "RFC 9420 §12.2: proposal type in an external commit": [
    externalCommitOf((group) => [externalInit(group), group.d.add]),
    externalCommitOf((group) => [externalInit(group), gce()]),
    externalCommitOf((group) => [externalInit(group), mls.reInitProposal(toUtf8("next"))]),
  ],
};

/** Any commit, its path changed. */
const pathOf =
  (changes: Parameters<typeof sendCommit>[2]): Case =>
  async () => {
    const { a, b } = await trio();
    const message = await sendCommit(a, [], changes);
    return () => b.process(message);
  };

export const COMMITS: Cases = {
  "RFC 9420 §7.5: length of the update path": [
    pathOf({ updatePath: (path) => ({ ...path, nodes: path.nodes.slice(1) }) }),
    pathOf({ updatePath: ({ leafNode }) => ({ leafNode, nodes: [] }) }),
  ],
  "RFC 9420 §7.5: path secret": [
    pathOf({
      updatePath: ({ leafNode, nodes }) => ({
        leafNode,
        nodes: nodes.map((node) => ({
          ...node,
          encryptedPathSecret: node.encryptedPathSecret.map(({ kemOutput, ciphertext }) => ({
            kemOutput,
            ciphertext: flipped(ciphertext),
          })),
        })),
      }),
    }),
    pathOf({
      updatePath: ({ leafNode, nodes }) => ({
        leafNode,
        nodes: nodes.map((node) => ({
          ...node,
          encryptedPathSecret: node.encryptedPathSecret.map(({ kemOutput, ciphertext }) => ({
            kemOutput: flipped(kemOutput),
            ciphertext,
          })),
        })),
      }),
    }),
  ],
  "RFC 9420 §7.6: number of encrypted path secrets": pathOf({
    updatePath: ({ leafNode, nodes }) => ({
      leafNode,
      nodes: nodes.map((node) => ({ ...node, encryptedPathSecret: [] })),
    }),
  }),
  "RFC 9420 §7.9.2: parent hash": pathOf({ leaf: set<any>({ parentHash: new Uint8Array(32) }) }),
  "RFC 9420 §12.4: path required": [
    commitOf(() => [], false),
    commitOf(() => [remove(2)], false),
    commitOf(() => [gce()], false),
    async () => {
      const group = await trio();
      const message = await sendExternalCommit(group.a, group.d, [byValue(externalInit(group))], false);
      return () => group.b.process(message);
    },
  ],
  "RFC 9420 §12.4: unknown proposal reference": pathOf({ references: [new Uint8Array(32)] }),
  "RFC 9420 §12.4.2: PSK not available": commitOf(() => [mls.externalPskProposal(toUtf8("k"))]),
  "RFC 9420 §12.4.2: key of the update path not new": [
    async () => {
      const { a, b, c } = await trio();
      const key = c.state.tree.leaf(c.state.ownLeafIndex)?.encryptionKey as mls.Bytes;
      const message = await sendCommit(a, [], { leaf: set<any>({ encryptionKey: key }) });
      return () => b.process(message);
    },
    async () => {
      const { a, b, c } = await trio();
      const encryptionKey = c.state.tree.publicKey(c.state.tree.root) as mls.Bytes;
      const message = await sendCommit(a, [], {
        updatePath: ({ leafNode, nodes }) => ({
          leafNode,
          nodes: nodes.map((node) => ({ ...node, encryptionKey })),
        }),
      });
      return () => b.process(message);
    },
  ],
  "RFC 9420 §12.4.3.2: proposal by reference": async () => {
    const group = await trio();
    const ref = await pending(group, group.c, group.d.add);
    const joiner = await Actor.create("e");
    const items = [byValue(externalInit(group)), { kind: "reference" as const, reference: ref }];
    const message = await sendExternalCommit(group.a, joiner, items);
    return () => group.b.process(message);
  },
};
