import { describe, expect, it } from "vitest";
import { fromHex, fromUtf8, toHex, toUtf8 } from "../../../src/base/encoding.js";
import { importSignaturePrivateKey } from "../../../src/crypto/signature.js";
import * as mls from "../../../src/mls.js";
import { trusting } from "./actors.js";
import { STORED } from "./fixtures/stored-v1.js";

const bytes = (text: string): mls.Bytes => fromHex(text.replaceAll(/\s/g, ""));

/** States, a staged commit and a key package as version 1 of the formats wrote them. */
describe("stored forms of version 1", () => {
  it("are read, and read the same once written again", async () => {
    const records = STORED.ratchets.map(([key, value]) => [key, bytes(value)] as const);
    const state = mls.decodeGroup(bytes(STORED.epoch), records);
    expect(toHex(mls.encodeEpoch(state))).toBe(toHex(bytes(STORED.epoch)));
    const again = mls.encodeRatchets(state.secretTree).map(({ key, value }) => [key, value && toHex(value)]);
    expect(new Map(again as [string, string][])).toEqual(new Map(STORED.ratchets));
    expect(state.pendingProposals.length).toBe(1);

    const application = await mls.processMessage(state, bytes(STORED.message), trusting);
    expect(application.kind === "application" && fromUtf8(application.content)).toBe("from the past");

    const staged = mls.decodeStagedCommit(bytes(STORED.staged));
    expect(toHex(mls.encodeStagedCommit(staged))).toBe(toHex(bytes(STORED.staged)));
    expect(staged.removed.length).toBe(1);
    const merged = mls.merge(staged);
    const privateKey = await importSignaturePrivateKey(bytes(STORED.signatureKey));
    const publicKey = state.tree.leaf(state.ownLeafIndex)?.signatureKey as mls.Bytes;
    const sealed = await mls.protectApplication(merged, toUtf8("x"), { signer: { privateKey, publicKey } });
    expect(sealed.changes.length).toBeGreaterThan(0);
  });

  it("join a group with a stored key package", async () => {
    const bundle = mls.decodeKeyPackageBundle(bytes(STORED.bundle));
    expect(toHex(mls.encodeKeyPackageBundle(bundle))).toBe(toHex(bytes(STORED.bundle)));
    const privateKey = await importSignaturePrivateKey(bytes(STORED.joinerKey));
    const signer = { privateKey, publicKey: bundle.keyPackage.leafNode.signatureKey };
    const state = await mls.joinGroup(bytes(STORED.welcome), bundle, { signer, ...trusting });
    expect(toHex(mls.epochAuthenticator(state))).toBe(STORED.authenticator);
  });

  it("of another version are refused as outdated", () => {
    for (const [decode, text] of [
      [(data: mls.Bytes) => mls.decodeGroup(data, []), STORED.epoch],
      [mls.decodeStagedCommit, STORED.staged],
      [mls.decodeKeyPackageBundle, STORED.bundle],
    ] as const) {
      const other = bytes(text);
      other[0] = 2;
      expect(() => decode(other)).toThrow(expect.objectContaining({ code: "store-outdated" }));
    }
  });
});
