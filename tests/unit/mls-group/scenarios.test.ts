import { afterEach, describe, expect, it, vi } from "vitest";
import { fromUtf8, toHex, toUtf8 } from "../../../src/base/encoding.js";
import { generateSignatureKeyPair } from "../../../src/crypto/signature.js";
import * as mls from "../../../src/mls.js";
import { engineWith } from "../crypto/engine.js";
import { Actor, agree, commitBy, groupOf, talk, trusting } from "./actors.js";

afterEach(() => {
  vi.unstubAllGlobals();
});

async function three(): Promise<[Actor, Actor, Actor]> {
  const all = (await Actor.createAll(3)) as [Actor, Actor, Actor];
  await groupOf(all);
  return all;
}

const formats: mls.WireFormat[] = ["private", "public"];

describe.each(formats)("proposals (%s)", (wireFormat) => {
  it("are committed by reference by somebody else", async () => {
    const [a, b, c] = await three();
    const d = await Actor.create("d");
    const options = { wireFormat, now: trusting.now };
    const update = await mls.proposeUpdate(a.state, { signer: a.signer, ...options });
    a.state = update.state;
    const removal = await mls.proposeRemove(b.state, c.state.ownLeafIndex, { signer: b.signer, ...options });
    b.state = removal.state;
    const addition = await mls.proposeAdd(b.state, d.bundle.keyPackage, { signer: b.signer, ...options });
    b.state = addition.state;
    for (const [sender, message] of [
      [a, update.message],
      [b, removal.message],
      [b, addition.message],
    ] as const) {
      for (const reader of [a, b, c]) if (reader !== sender) await reader.process(message);
    }
    const before = a.state.tree.leaf(a.state.ownLeafIndex)?.encryptionKey;
    const commit = await commitBy(b, [a, b, c], { wireFormat }, [d]);
    expect(commit.staged.proposals.length).toBe(3);
    expect(commit.staged.updated).toEqual([0, 1]);
    expect(c.isMember).toBe(false);
    expect(a.state.tree.leaf(a.state.ownLeafIndex)?.encryptionKey).not.toEqual(before);
    agree([a, b, d]);
    await talk([a, b, d]);
    // The updated leaf can be encrypted to.
    await commitBy(d, [a, b, d], { wireFormat });
    agree([a, b, d]);
  });

  it("hold back application data until they are committed", async () => {
    const [a, b, c] = await three();
    const leave = await mls.proposeRemove(c.state, c.state.ownLeafIndex, { signer: c.signer, wireFormat });
    c.state = leave.state;
    await a.process(leave.message);
    await b.process(leave.message);
    await expect(a.send("x")).rejects.toMatchObject({
      rule: "RFC 9420 §12.4: pending proposals before application data",
    });
    await commitBy(a, [a, b, c], { wireFormat });
    expect(c.isMember).toBe(false);
    await talk([a, b]);
  });
});

describe("commits", () => {
  it("are staged: a dropped one leaves everything as it was, but for the used key", async () => {
    const [a, b, c] = await three();
    const { epoch } = a.state.groupContext;
    const dropped = await a.commit();
    expect(dropped.staged.state.groupContext.epoch).toBe(epoch + 1n);
    expect(a.state.groupContext.epoch).toBe(epoch);
    await talk([a, b, c]);
    const processed = await mls.processMessage(b.state, dropped.commit, trusting);
    b.state = processed.state;
    await talk([a, b, c]);
    await expect(b.process(dropped.commit)).rejects.toMatchObject({ code: "decryption-failed" });
    await commitBy(a, [a, b, c]);
    agree([a, b, c]);
  });

  it("take only those pending proposals that go together", async () => {
    const [a, b, c] = await three();
    const [d, e] = (await Actor.createAll(2)) as [Actor, Actor];
    const members = [a, b, c];
    const deliver = async (by: Actor, sent: mls.SentProposal) => {
      by.state = sent.state;
      for (const other of members) if (other !== by) await other.process(sent.message);
      return sent.ref;
    };
    const as = (by: Actor) => ({ signer: by.signer, now: trusting.now });
    const leafOf = (actor: Actor) => actor.state.ownLeafIndex;
    await deliver(a, await mls.proposeUpdate(a.state, as(a)));
    await deliver(b, await mls.proposeRemove(b.state, leafOf(a), as(b)));
    await deliver(c, await mls.proposeUpdate(c.state, as(c)));
    const later = await deliver(c, await mls.proposeUpdate(c.state, as(c)));
    const added = await deliver(c, await mls.proposeAdd(c.state, d.bundle.keyPackage, as(c)));
    await deliver(b, await mls.proposeReInit(b.state, toUtf8("next"), [], as(b)));
    const unusable = mls.requiredCapabilitiesExtension({
      extensionTypes: [0xf001],
      proposalTypes: [],
      credentialTypes: [],
    });
    await deliver(b, await mls.proposeGroupContextExtensions(b.state, [unusable], as(b)));
    // a cannot commit its own update or removal; the older update of c, the ReInit and what nobody supports stay out.
    const { staged } = await commitBy(a, members, { proposals: [e.add] }, [d, e]);
    expect(staged.proposals.map(({ ref }) => ref && toHex(ref))).toEqual([
      toHex(later),
      toHex(added),
      undefined,
    ]);
    agree([a, b, c, d, e]);
    expect(mls.dropProposals(a.state, []).pendingProposals).toEqual([]);
  });

  it("prefer the removal of a member to its update", async () => {
    const [a, b, c] = await three();
    const update = await mls.proposeUpdate(c.state, { signer: c.signer });
    c.state = update.state;
    const removal = await mls.proposeRemove(b.state, c.state.ownLeafIndex, { signer: b.signer });
    b.state = removal.state;
    for (const [reader, message] of [
      [a, removal],
      [c, removal],
      [a, update],
      [b, update],
    ] as const) {
      await reader.process(message.message);
    }
    const { staged } = await commitBy(a, [a, b, c]);
    expect(staged.proposals.map(({ proposal }) => proposal.kind)).toEqual(["remove"]);
    expect(c.isMember).toBe(false);
  });

  it("leave out what was dropped", async () => {
    const [a, b, c] = await three();
    const removal = await mls.proposeRemove(b.state, c.state.ownLeafIndex, { signer: b.signer });
    await a.process(removal.message);
    a.state = mls.dropProposals(a.state, [removal.ref]);
    const { staged } = await a.commit();
    expect(staged.proposals).toEqual([]);
    await expect(
      a.process(removal.message, {
        onProposal: () => Promise.reject(new mls.SubrosaError("forbidden", "no")),
      }),
    ).rejects.toThrow();
    expect(a.state.pendingProposals).toEqual([]);
  });

  it("change signature keys, credentials and leaf extensions", async () => {
    const [a, b, c] = await three();
    const signer = await generateSignatureKeyPair();
    const credential: mls.Credential = { kind: "basic", identity: toUtf8("new name") };
    const seen: string[] = [];
    const created = await a.commit({ leaf: { signer, credential } });
    const authenticate: mls.AuthService = async (identity, replaces) => {
      seen.push(
        [identity, replaces]
          .map((one) => one && fromUtf8((one.credential as { identity: Uint8Array }).identity))
          .join("<"),
      );
    };
    await b.process(created.commit, { authenticate });
    await c.process(created.commit);
    a.state = mls.merge(created.staged);
    expect(seen).toEqual(["new name<member 0"]);
    agree([a, b, c]);
    const message = await mls.protectApplication(a.state, toUtf8("x"), { signer });
    a.state = message.state;
    expect((await b.process(message.message)).kind).toBe("application");
  });

  it("tell what they will do before their authenticated data is fixed", async () => {
    const [a, b, c] = await three();
    const d = await Actor.create("d");
    const { staged, commit } = await a.commit({
      proposals: [d.add, { kind: "remove", removed: b.state.ownLeafIndex }],
      authenticatedData: ({ added, members, proposals }) =>
        toUtf8(`${proposals.length} ${added.map(({ leafIndex }) => leafIndex)} of ${members.length}`),
    });
    expect(fromUtf8(staged.authenticatedData)).toBe("2 1 of 3");
    const processed = await c.process(commit);
    expect(fromUtf8(processed.authenticatedData)).toBe("2 1 of 3");
  });

  it("replace the extensions of the group and demand capabilities", async () => {
    const capabilities = mls.makeCapabilities({ extensions: [0xf001] });
    const all = await Promise.all(["a", "b"].map((name) => Actor.create(name, { capabilities })));
    const [a, b] = all as [Actor, Actor];
    await groupOf(all, { capabilities });
    const extensions = [
      { extensionType: 0xf001, data: toUtf8("policy") },
      mls.requiredCapabilitiesExtension({
        extensionTypes: [0xf001],
        proposalTypes: [],
        credentialTypes: [1],
      }),
    ];
    await commitBy(a, all, { proposals: [{ kind: "groupContextExtensions", extensions }] });
    agree(all);
    expect(b.state.groupContext.extensions).toEqual(extensions);
    const without = await Actor.create("c");
    await expect(b.commit({ proposals: [without.add] })).rejects.toMatchObject({
      rule: "RFC 9420 §7.3: required capabilities",
    });
    const proposed = await mls.proposeGroupContextExtensions(b.state, [], { signer: b.signer });
    b.state = proposed.state;
    await a.process(proposed.message);
    await commitBy(a, all);
    expect(b.state.groupContext.extensions).toEqual([]);
  });
});

describe("pre-shared keys", () => {
  it("external ones enter the key schedule of members and joiners", async () => {
    const [a, b, c] = await three();
    const d = await Actor.create("d");
    const psks: mls.PskSource = (id) =>
      id.pskType === "external" && fromUtf8(id.pskId) === "k" ? toUtf8("secret") : undefined;
    const created = await a.commit({ proposals: [d.add, mls.externalPskProposal(toUtf8("k"))], psks });
    await expect(b.process(created.commit)).rejects.toMatchObject({
      code: "decryption-failed",
      rule: "RFC 9420 §12.4.2: PSK not available",
    });
    await expect(b.process(created.commit, { psks: () => toUtf8("wrong") })).rejects.toMatchObject({
      rule: "RFC 9420 §6.1: confirmation tag",
    });
    await b.process(created.commit, { psks });
    await c.process(created.commit, { psks });
    await expect(d.join(created.welcome as Uint8Array)).rejects.toMatchObject({
      rule: "RFC 9420 §12.4.3.1: PSK not available",
    });
    await d.join(created.welcome as Uint8Array, { psks });
    a.state = mls.merge(created.staged);
    agree([a, b, c, d]);
  });

  it("of earlier epochs are found by the members themselves", async () => {
    const [a, b, c] = await three();
    const { groupId, epoch } = a.state.groupContext;
    await commitBy(b, [a, b, c]);
    const proposals = [
      mls.resumptionPskProposal(groupId, epoch),
      mls.resumptionPskProposal(groupId, epoch + 1n),
    ];
    const sent = await mls.proposePsk(c.state, mls.resumptionPskProposal(groupId, epoch), {
      signer: c.signer,
    });
    c.state = sent.state;
    await a.process(sent.message);
    await b.process(sent.message);
    const { staged } = await commitBy(a, [a, b, c], { proposals });
    expect(staged.proposals.length).toBe(3);
    agree([a, b, c]);
  });
});

describe("joining from outside", () => {
  it("by an external commit", async () => {
    const [a, b, c] = await three();
    const d = await Actor.create("d");
    const info = await mls.exportGroupInfo(b.state, { signer: b.signer, externalPub: true });
    const { credential, signer } = d;
    const { staged, commit } = await mls.createExternalCommit(info, { credential, signer, ...trusting });
    for (const member of [a, b, c]) {
      const processed = await member.process(commit);
      expect(processed.kind === "commit" && [processed.sender, processed.staged.added]).toEqual([
        "external",
        [3],
      ]);
    }
    d.state = mls.merge(staged);
    agree([a, b, c, d]);
    await talk([a, b, c, d]);
  });

  it("again, in place of one's former self, and with a PSK", async () => {
    const [a, b, c] = await three();
    const info = await mls.exportGroupInfo(a.state, {
      signer: a.signer,
      externalPub: true,
      ratchetTree: false,
    });
    const psks: mls.PskSource = () => toUtf8("k");
    const { staged, commit } = await mls.createExternalCommit(info, {
      credential: c.credential,
      signer: c.signer,
      replaces: c.state.ownLeafIndex,
      ratchetTree: mls.exportRatchetTree(a.state),
      pskProposals: [mls.externalPskProposal(toUtf8("id"))],
      psks,
      ...trusting,
    });
    await a.process(commit, { psks });
    await b.process(commit, { psks });
    c.state = mls.merge(staged);
    expect(mls.members(a.state).length).toBe(3);
    agree([a, b, c]);
    await commitBy(c, [a, b, c]);
    await talk([a, b, c]);
  });

  it("after being proposed by an external sender, or by oneself", async () => {
    const service = await generateSignatureKeyPair();
    const sender: mls.ExternalSender = {
      signatureKey: service.publicKey,
      credential: { kind: "basic", identity: toUtf8("service") },
    };
    const all = await Actor.createAll(2);
    const [a, b] = all as [Actor, Actor];
    await groupOf(all, { extensions: [mls.externalSendersExtension([sender])] });
    const [d, e] = (await Actor.createAll(2)) as [Actor, Actor];
    const { groupId, epoch } = a.state.groupContext;
    const view = { groupId, epoch };
    const invited = await mls.proposeFromOutside(view, 0, d.add, { signer: service });
    const asked = await mls.proposeOwnAddition(view, e.bundle.keyPackage, { signer: e.signer });
    for (const member of all) {
      for (const message of [invited, asked]) {
        const processed = await member.process(message);
        expect(processed.kind === "proposal" && processed.sender).toBe("external");
      }
    }
    await commitBy(b, all, {}, [d, e]);
    agree([a, b, d, e]);
  });
});

describe("a successor", () => {
  it("takes over from a reinitialized group", async () => {
    const old = await three();
    const [a, b, c] = old;
    await commitBy(a, old, { proposals: [mls.reInitProposal(toUtf8("next"))] });
    await expect(b.send("x")).rejects.toMatchObject({ rule: "RFC 9420 §11.2: the group was reinitialized" });
    await Promise.all([a, c].map((actor) => actor.renewKeyPackage()));
    const keyPackages = [a, c].map((actor) => actor.bundle.keyPackage);
    const { staged, welcome } = await mls.reinitializeGroup(b.state, {
      keyPackages,
      signer: b.signer,
      ...trusting,
    });
    const previous = { a: a.state, c: c.state };
    await expect(a.join(welcome as Uint8Array)).rejects.toMatchObject({ code: "decryption-failed" });
    await a.join(welcome as Uint8Array, { previous: previous.a });
    await c.join(welcome as Uint8Array, { previous: previous.c });
    b.state = mls.merge(staged);
    expect(fromUtf8(a.state.groupContext.groupId)).toBe("next");
    agree(old);
    await talk(old);
  });

  it("branches off with some of the members", async () => {
    const [a, b, c] = await three();
    const before = [a, b, c].map((actor) => actor.state);
    await a.renewKeyPackage();
    const { staged, welcome } = await mls.branchGroup(b.state, toUtf8("branch"), {
      keyPackages: [a.bundle.keyPackage],
      signer: b.signer,
      ...trusting,
    });
    await a.join(welcome as Uint8Array, { previous: before[0] as mls.GroupState });
    b.state = mls.merge(staged);
    agree([a, b]);
    [a.state, b.state] = before as [mls.GroupState, mls.GroupState];
    await talk([a, b, c]);
  });
});

describe("stored state", () => {
  it("goes on where it was, written record by record", async () => {
    const [a, b, c] = await three();
    const records = new Map<string, mls.Bytes>();
    const write = (changes: readonly mls.RatchetChange[]) => {
      for (const { key, value } of changes)
        value === undefined ? records.delete(key) : records.set(key, value);
    };
    write(mls.encodeRatchets(a.state.secretTree));
    const epoch = mls.encodeEpoch(a.state);
    for (let i = 0; i < 5; i++) {
      const sealed = await mls.protectApplication(a.state, toUtf8(`own ${i}`), { signer: a.signer });
      a.state = sealed.state;
      write(sealed.changes);
      await b.process(sealed.message);
      const processed = await a.process(await c.send(`other ${i}`));
      write(processed.changes);
    }
    const all = mls.encodeRatchets(a.state.secretTree);
    expect(new Map(all.map(({ key, value }) => [key, value && toHex(value)]))).toEqual(
      new Map(Array.from(records, ([key, value]) => [key, toHex(value)])),
    );
    a.state = mls.decodeGroup(epoch, records);
    await talk([a, b, c]);
    const created = await a.commit({ proposals: [(await Actor.create("d")).add] });
    const staged = mls.decodeStagedCommit(mls.encodeStagedCommit(created.staged));
    await b.process(created.commit);
    await c.process(created.commit);
    a.state = mls.merge(staged);
    agree([a, b, c]);
    await talk([a, b, c]);
  });

  it("keeps pending proposals and the keys of own updates", async () => {
    const [a, b, c] = await three();
    const update = await mls.proposeUpdate(a.state, { signer: a.signer });
    const records = mls
      .encodeRatchets(update.state.secretTree)
      .map(({ key, value }) => [key, value as mls.Bytes] as const);
    a.state = mls.decodeGroup(mls.encodeEpoch(update.state), records);
    await b.process(update.message);
    await c.process(update.message);
    await commitBy(b, [a, b, c]);
    await commitBy(c, [a, b, c]);
    agree([a, b, c]);
  });

  it("shows a removed member the others, and no secret", async () => {
    const [a, b, c] = await three();
    const created = await a.commit({ proposals: [{ kind: "remove", removed: c.state.ownLeafIndex }] });
    const processed = await mls.processMessage(c.state, created.commit, trusting);
    if (processed.kind !== "commit") throw new Error(processed.kind);
    const staged = mls.decodeStagedCommit(mls.encodeStagedCommit(processed.staged));
    expect(mls.members(staged.state).length).toBe(2);
    expect(staged.state.groupContext.treeHash).toEqual(created.staged.state.groupContext.treeHash);
    expect(() => mls.merge(staged)).toThrow(expect.objectContaining({ code: "removed" }));
    await b.process(created.commit);
  });
});

describe("key packages", () => {
  it("survive a store", async () => {
    const { bundle } = await Actor.create("a");
    const again = mls.decodeKeyPackageBundle(mls.encodeKeyPackageBundle(bundle));
    expect(again).toEqual(bundle);
    await mls.validateKeyPackage(mls.readKeyPackage(bundle.bytes), [], trusting);
  });
});

describe("the application", () => {
  it("is asked about every identity that is new, and only about those", async () => {
    const asked: string[] = [];
    const authenticate: mls.AuthService = async ({ credential }) => {
      asked.push(fromUtf8((credential as { identity: Uint8Array }).identity));
    };
    const [a, b, c] = await three();
    const d = await Actor.create("d");
    const created = await a.commit({ proposals: [d.add], forcePath: true, authenticate });
    expect(asked.splice(0)).toEqual(["d"]);
    await b.process(created.commit, { authenticate });
    expect(asked.splice(0)).toEqual(["d"]);
    await d.join(created.welcome as mls.Bytes, { authenticate });
    expect(asked.splice(0).sort()).toEqual(["d", "member 0", "member 1", "member 2"]);
    await c.process(created.commit);
    a.state = mls.merge(created.staged);
    const update = await mls.proposeUpdate(c.state, { signer: c.signer });
    await a.process(update.message, { authenticate });
    expect(asked).toEqual([]);
  });

  it("refuses by a SubrosaError; whatever else it throws is thrown on, and the same message is good later", async () => {
    const [a, b] = await three();
    const d = await Actor.create("d");
    const { commit, staged, welcome } = await a.commit({ proposals: [d.add], forcePath: true });
    a.state = mls.merge(staged);
    const faults = [
      new Error("the database is gone"),
      new TypeError("not a function"),
      "no error at all",
      new mls.SubrosaError("internal", "a bug"),
      new mls.SubrosaError("store-failed", "the disk is full"),
    ];
    for (const fault of faults) {
      const authenticate = () => Promise.reject(fault);
      await expect(b.process(commit, { authenticate })).rejects.toBe(fault);
      await expect(d.join(welcome as mls.Bytes, { authenticate })).rejects.toBe(fault);
    }
    const no = new mls.SubrosaError("invalid-signature", "not certified");
    const refusal = { code: "invalid-message", rule: "RFC 9420 §7.3: credential refused", cause: no };
    const authenticate = () => Promise.reject(no);
    await expect(b.process(commit, { authenticate })).rejects.toMatchObject(refusal);
    await b.process(commit);
    agree([a, b]);
  });

  it("is told of an engine that fails while a path is opened, which breaks no rule", async () => {
    const [a, b] = await three();
    const { commit, staged } = await a.commit({ forcePath: true });
    a.state = mls.merge(staged);
    const fault = new DOMException("out of memory", "OperationError");
    let opening = false;
    engineWith({
      deriveBits: () => {
        opening = true;
        return undefined;
      },
      sign: () => (opening ? Promise.reject(fault) : undefined),
    });
    await expect(b.process(commit)).rejects.toBe(fault);
    vi.unstubAllGlobals();
    await b.process(commit);
    agree([a, b]);
  });

  it("must sign with the key of its leaf", async () => {
    const [a, b] = await three();
    const { signer } = b;
    for (const attempt of [
      () => a.commit({ signer }),
      () => mls.protectApplication(a.state, toUtf8("x"), { signer }),
      () => mls.proposeUpdate(a.state, { signer }),
      () => mls.exportGroupInfo(a.state, { signer }),
    ]) {
      await expect(attempt()).rejects.toMatchObject({ code: "invalid-argument" });
    }
  });
});

describe("exported secrets", () => {
  it("are the same for all members, and differ by label, context and epoch", async () => {
    const [a, b, c] = await three();
    const get = async (actor: Actor, label: string, context: string) =>
      toHex(await mls.exportSecret(actor.state, label, toUtf8(context), 40));
    const first = await get(a, "l", "c");
    expect(first.length).toBe(80);
    expect(await get(b, "l", "c")).toBe(first);
    const values = [first, await get(a, "m", "c"), await get(a, "l", "d")];
    await commitBy(a, [a, b, c]);
    values.push(await get(c, "l", "c"));
    expect(new Set(values).size).toBe(4);
  });
});
