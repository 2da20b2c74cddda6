import { toUtf8 } from "../../src/base/encoding.js";
import { SubrosaError } from "../../src/base/errors.js";
import { generateSignatureKeyPair } from "../../src/crypto/signature.js";
import { toLeafIndex } from "../../src/mls/structs/indices.js";
import * as mls from "../../src/mls.js";
import { Actor } from "../unit/mls-group/actors.js";
import { addOf, flipped, publicMessage, sendCommit, sendProposal, set, updateOf } from "./builder.js";
import { type Cases, trio } from "./fixture.js";

const refuse = (why: string) => Promise.reject(new SubrosaError("invalid-argument", why));
const remove = (leafIndex: number): mls.Proposal => ({ kind: "remove", removed: toLeafIndex(leafIndex) });

/** RFC 9420 §6, §8: frames, signatures, tags. */
export const MESSAGES: Cases = {
  "RFC 9420 §6: group id": async () => {
    const { a, b } = await trio();
    const message = await publicMessage(
      a,
      { contentType: "proposal", proposal: remove(2) },
      { frame: { groupId: toUtf8("other") } },
    );
    return () => b.process(message);
  },
  "RFC 9420 §6: epoch": [
    async () => {
      const { a, b } = await trio();
      const { epoch } = a.state.groupContext;
      const message = await publicMessage(
        a,
        { contentType: "proposal", proposal: remove(2) },
        { frame: { epoch: epoch + 1n } },
      );
      return () => b.process(message);
    },
    async () => {
      const { a, b } = await trio();
      const message = await a.send("late");
      const { commit, staged } = await b.commit();
      await a.process(commit);
      b.state = mls.merge(staged);
      return () => b.process(message);
    },
  ],
  "RFC 9420 §6: sender is not a member": async () => {
    const { a, b } = await trio();
    const sender = { senderType: "member", leafIndex: toLeafIndex(3) } as const;
    const message = await publicMessage(a, { contentType: "proposal", proposal: remove(2) }, { sender });
    return () => b.process(message);
  },
  "RFC 9420 §6: own message": [
    async () => {
      const { a } = await trio();
      const message = await sendProposal(a, remove(2));
      return () => a.process(message);
    },
    async () => {
      const { a } = await trio();
      const message = await a.send("to myself");
      return () => a.process(message);
    },
  ],
  "RFC 9420 §9.2: key of a generation used": async () => {
    const { a, b } = await trio();
    const messages = [await a.send("first"), await a.send("second")];
    for (const message of messages) await b.process(message);
    return () => b.process(messages[0] as mls.Bytes);
  },
  "RFC 9420 §6: kind of message": [
    async () => {
      const { a, b, d } = await trio();
      const { welcome } = await a.commit({ proposals: [d.add] });
      return () => b.process(welcome as mls.Bytes);
    },
    async () => {
      const { a, d } = await trio();
      const { commit } = await a.commit({ proposals: [d.add] });
      return () => d.join(commit);
    },
  ],
  "RFC 9420 §6.1: content type of this sender": [
    async () => {
      const signer = await generateSignatureKeyPair();
      const senders = [
        { signatureKey: signer.publicKey, credential: { kind: "basic", identity: toUtf8("s") } as const },
      ];
      const { a, b } = await trio({ extensions: [mls.externalSendersExtension(senders)] });
      const sender = { senderType: "external", senderIndex: 0 } as const;
      const commit = { proposals: [], path: undefined };
      const message = await publicMessage(a, { contentType: "commit", commit }, { sender, signer });
      return () => b.process(message);
    },
    async () => {
      const { a, b, d } = await trio();
      const sender = { senderType: "new_member_proposal" } as const;
      const message = await publicMessage(
        a,
        { contentType: "proposal", proposal: remove(0) },
        { sender, signer: d.signer },
      );
      return () => b.process(message);
    },
    async () => {
      const { a, b, d } = await trio();
      const sender = { senderType: "new_member_commit" } as const;
      const message = await publicMessage(
        a,
        { contentType: "proposal", proposal: d.add },
        { sender, signer: d.signer },
      );
      return () => b.process(message);
    },
  ],
  "RFC 9420 §6.1: signature": [
    async () => {
      const { a, b, c } = await trio();
      const message = await publicMessage(
        a,
        { contentType: "proposal", proposal: remove(2) },
        { signer: c.signer },
      );
      return () => b.process(message);
    },
    async () => {
      const { a, b, d } = await trio();
      const signer = { privateKey: d.signer.privateKey, publicKey: a.signer.publicKey };
      const sealed = await mls.protectApplication(a.state, toUtf8("x"), { signer });
      return () => b.process(sealed.message);
    },
  ],
  "RFC 9420 §6.1: confirmation tag": async () => {
    const { a, b } = await trio();
    const message = await sendCommit(a, [], { tag: flipped });
    return () => b.process(message);
  },
  "RFC 9420 §6.2: membership tag": async () => {
    const { a, b } = await trio();
    const message = await publicMessage(
      a,
      { contentType: "proposal", proposal: remove(2) },
      { tag: flipped },
    );
    return () => b.process(message);
  },
  "RFC 9420 §6.2: application data in a PublicMessage": async () => {
    const { a, b } = await trio();
    const message = await publicMessage(a, { contentType: "application", applicationData: toUtf8("x") });
    return () => b.process(message);
  },
  "RFC 9420 §12.1.8: external sender": async () => {
    const { a, b, d } = await trio();
    const sender = { senderType: "external", senderIndex: 0 } as const;
    const message = await publicMessage(
      a,
      { contentType: "proposal", proposal: remove(0) },
      { sender, signer: d.signer },
    );
    return () => b.process(message);
  },
  "RFC 9420 §12.1.8: proposal type of an external sender": async () => {
    const signer = await generateSignatureKeyPair();
    const senders = [
      { signatureKey: signer.publicKey, credential: { kind: "basic", identity: toUtf8("s") } as const },
    ];
    const { a, b } = await trio({ extensions: [mls.externalSendersExtension(senders)] });
    const sender = { senderType: "external", senderIndex: 0 } as const;
    const proposal = await updateOf(a);
    const message = await publicMessage(a, { contentType: "proposal", proposal }, { sender, signer });
    return () => b.process(message);
  },
  "RFC 9420 §12.4: pending proposals before application data": async () => {
    const { a, b } = await trio();
    await b.process(await sendProposal(a, remove(2)));
    return () => b.send("too early");
  },
  "RFC 9420 §11.2: the group was reinitialized": [
    async () => {
      const { a } = await trio();
      const { staged } = await a.commit({ proposals: [mls.reInitProposal(toUtf8("next"))] });
      a.state = mls.merge(staged);
      return () => a.commit();
    },
    async () => {
      const { a, b } = await trio();
      const { staged } = await a.commit({ proposals: [mls.reInitProposal(toUtf8("next"))] });
      const message = await b.send("x");
      a.state = mls.merge(staged);
      return () => a.process(message);
    },
  ],
};

/** RFC 9420 §5, §7, §10: leaf nodes and key packages, by way of Add and Update proposals. */
const add =
  (
    changes: Parameters<typeof addOf>[1],
    options: { process?: Partial<mls.ProcessOptions>; group?: Partial<mls.CreateGroupOptions> } = {},
  ) =>
  async () => {
    const { a, b, d } = await trio(options.group);
    const message = await sendProposal(a, await addOf(d, changes));
    return () => b.process(message, options.process);
  };

export const LEAVES: Cases = {
  "RFC 9420 §5.1.1: public key": [
    add({ content: (content) => ({ ...content, initKey: flipped(content.initKey) }) }),
    add({ leaf: (leaf) => ({ ...leaf, encryptionKey: flipped(leaf.encryptionKey) }) }),
    add({ leaf: (leaf) => ({ ...leaf, encryptionKey: leaf.encryptionKey.slice(0, 33) }) }),
    add({ leaf: (leaf) => ({ ...leaf, signatureKey: new Uint8Array(65) }) }),
    async () => {
      const { a, b } = await trio();
      const message = await sendCommit(a, [], {
        updatePath: (path) => ({
          ...path,
          nodes: path.nodes.map((node) => ({ ...node, encryptionKey: flipped(node.encryptionKey) })),
        }),
      });
      return () => b.process(message);
    },
  ],
  "RFC 9420 §7.2: leaf extension not in capabilities": add({
    leaf: set<any>({ extensions: [{ extensionType: 0xf001, data: toUtf8("x") }] }),
  }),
  "RFC 9420 §7.2: credential type not in capabilities": add({
    leaf: (leaf) => ({ ...leaf, capabilities: { ...leaf.capabilities, credentials: [2] } }),
  }),
  "RFC 9420 §7.2: version or cipher suite not in capabilities": [
    add({ leaf: (leaf) => ({ ...leaf, capabilities: { ...leaf.capabilities, versions: [2] } }) }),
    add({ leaf: (leaf) => ({ ...leaf, capabilities: { ...leaf.capabilities, cipherSuites: [1, 3] } }) }),
  ],
  "RFC 9420 §7.2: total lifetime": [
    add({}, { process: { maxLifetime: 86400n } }),
    add({ leaf: set<any>({ lifetime: { notBefore: 2n, notAfter: 1n } }) }, { process: { now: undefined } }),
  ],
  "RFC 9420 §7.3: credential refused": [
    add({}, { process: { authenticate: () => refuse("unknown") } }),
    async () => {
      const { a, b } = await trio();
      const credential = { kind: "basic", identity: toUtf8("somebody else") } as const;
      const message = await sendCommit(a, [], { leaf: set<any>({ credential }) });
      return () => b.process(message, { authenticate: () => refuse("not a successor") });
    },
    async () => {
      const { a, b, d } = await trio();
      const senders = [{ signatureKey: d.signer.publicKey, credential: d.credential }];
      const extensions = [mls.externalSendersExtension(senders)];
      const message = await sendProposal(a, { kind: "groupContextExtensions", extensions });
      return () => b.process(message, { authenticate: () => refuse("unknown") });
    },
    async () => {
      const { a, d } = await trio();
      const { welcome } = await a.commit({ proposals: [d.add] });
      return () => d.join(welcome as mls.Bytes, { authenticate: () => refuse("unknown") });
    },
  ],
  "RFC 9420 §7.3: leaf signature": [
    add({ leafNode: (leaf) => ({ ...leaf, signature: flipped(leaf.signature) }) }),
    async () => {
      const { a, b, c } = await trio();
      const message = await sendProposal(a, await updateOf(a, undefined, c.signer));
      return () => b.process(message);
    },
    async () => {
      const { a, b, c } = await trio();
      const message = await sendCommit(a, [], { leafSigner: c.signer });
      return () => b.process(message);
    },
  ],
  "RFC 9420 §7.3: required capabilities": [
    { extensionTypes: [0xf001], proposalTypes: [], credentialTypes: [] },
    { extensionTypes: [], proposalTypes: [0xf001], credentialTypes: [] },
    { extensionTypes: [], proposalTypes: [], credentialTypes: [0xf001] },
  ].map((required) => async () => {
    const able = mls.makeCapabilities({
      extensions: [0xf001],
      proposals: [0xf001],
      credentials: [1, 0xf001],
    });
    const [a, b] = (await Promise.all(
      ["a", "b"].map((name) => Actor.create(name, { capabilities: able })),
    )) as [Actor, Actor];
    await a.createGroup({ capabilities: able, extensions: [mls.requiredCapabilitiesExtension(required)] });
    const { staged, welcome } = await a.commit({ proposals: [b.add] });
    a.state = mls.merge(staged);
    await b.join(welcome as mls.Bytes);
    const d = await Actor.create("d");
    const message = await sendProposal(a, d.add);
    return () => b.process(message);
  }),
  "RFC 9420 §7.3: credential type not supported by all members": async () => {
    const { a, b, d } = await trio();
    const proposal = await addOf(d, {
      leaf: (leaf) => ({
        ...leaf,
        credential: { kind: "x509", certificates: [toUtf8("certificate")] },
        capabilities: { ...leaf.capabilities, credentials: [1, 2] },
      }),
    });
    const message = await sendCommit(a, [proposal]);
    return () => b.process(message);
  },
  "RFC 9420 §7.3: lifetime": [
    add({ leaf: set<any>({ lifetime: { notBefore: 0n, notAfter: 1000n } }) }),
    add({ leaf: set<any>({ lifetime: { notBefore: 3_000_000_000n, notAfter: 3_000_001_000n } }) }),
    async () => {
      const { a, d } = await trio();
      const { welcome } = await a.commit({ proposals: [d.add] });
      return () => d.join(welcome as mls.Bytes, { now: 3_000_000_000n, checkLifetimes: true });
    },
  ],
  "RFC 9420 §7.3: leaf node source": [
    add({
      leaf: ({ signatureKey, encryptionKey, credential, capabilities, extensions }) => ({
        leafNodeSource: "update",
        signatureKey,
        encryptionKey,
        credential,
        capabilities,
        extensions,
      }),
    }),
    async () => {
      const { a, b, d } = await trio();
      const message = await sendProposal(a, { kind: "update", leafNode: d.bundle.keyPackage.leafNode });
      return () => b.process(message);
    },
    async () => {
      const { a, b } = await trio();
      const message = await sendCommit(a, [], { leaf: set<any>({ leafNodeSource: "update" }) });
      return () => b.process(message);
    },
  ],
  "RFC 9420 §7.3: encryption key not replaced": [
    async () => {
      const { a, b } = await trio();
      const encryptionKey = a.state.tree.leaf(a.state.ownLeafIndex)?.encryptionKey as mls.Bytes;
      const message = await sendProposal(a, await updateOf(a, set<any>({ encryptionKey })));
      return () => b.process(message);
    },
    async () => {
      const { a, b } = await trio();
      const encryptionKey = a.state.tree.leaf(a.state.ownLeafIndex)?.encryptionKey as mls.Bytes;
      const message = await sendCommit(a, [], { leaf: set<any>({ encryptionKey }) });
      return () => b.process(message);
    },
  ],
  "RFC 9420 §7.3: signature key not unique": async () => {
    const { a, b, c } = await trio();
    const message = await sendCommit(a, [], {
      leaf: set<any>({ signatureKey: c.signer.publicKey }),
      leafSigner: c.signer,
    });
    return () => b.process(message);
  },
  "RFC 9420 §7.3: encryption key not unique": async () => {
    const { a, b, d } = await trio();
    const encryptionKey = a.state.tree.leaf(a.state.ownLeafIndex)?.encryptionKey as mls.Bytes;
    const proposal = await addOf(d, { leaf: set<any>({ encryptionKey }) });
    const message = await sendCommit(a, [proposal], { path: false });
    return () => b.process(message);
  },
  "RFC 9420 §10.1: version or cipher suite": [
    add({ content: set<any>({ version: 2 }) }),
    add({ content: set<any>({ cipherSuite: 1 }) }),
  ],
  "RFC 9420 §10.1: key package signature": add({
    signed: (signed) => ({ ...signed, signature: flipped(signed.signature) }),
  }),
  "RFC 9420 §10.1: init key equals encryption key": add({
    content: (content) => ({ ...content, initKey: content.leafNode.encryptionKey }),
  }),
  "RFC 9420 §13.4: duplicate extension": [
    add({
      content: set<any>({
        extensions: [1, 1].map((extensionType) => ({ extensionType, data: toUtf8("x") })),
      }),
    }),
    add({
      leaf: set<any>({ extensions: [1, 1].map((extensionType) => ({ extensionType, data: toUtf8("x") })) }),
    }),
    async () => {
      const { a, b } = await trio();
      const extension = mls.externalSendersExtension([]);
      const message = await sendProposal(a, {
        kind: "groupContextExtensions",
        extensions: [extension, extension],
      });
      return () => b.process(message);
    },
    async () => {
      const { a, b } = await trio();
      const extension = mls.externalSendersExtension([]);
      const message = await sendProposal(a, mls.reInitProposal(toUtf8("next"), [extension, extension]));
      return () => b.process(message);
    },
  ],
  "RFC 9420 §13.4: group extension not supported": [
    async () => {
      const capabilities = mls.makeCapabilities({ extensions: [0xf001] });
      const a = await Actor.create("a", { capabilities });
      const b = await Actor.create("b", { capabilities });
      const d = await Actor.create("d");
      await a.createGroup({ capabilities, extensions: [{ extensionType: 0xf001, data: toUtf8("x") }] });
      const { staged, welcome } = await a.commit({ proposals: [b.add] });
      a.state = mls.merge(staged);
      await b.join(welcome as mls.Bytes);
      const message = await sendProposal(a, d.add);
      return () => b.process(message);
    },
  ],
};
