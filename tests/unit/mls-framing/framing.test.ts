import { beforeAll, describe, expect, it } from "vitest";
import { toHex, toUtf8 } from "../../../src/base/encoding.js";
import { encode } from "../../../src/codec/writer.js";
import { aeadSeal } from "../../../src/crypto/aead.js";
import { generateSignatureKeyPair, type SignatureKeyPair } from "../../../src/crypto/signature.js";
import { signFramedContent, verifyFramedContent } from "../../../src/mls/framing/authentication.js";
import { type Padding, protectPrivate, unprotectPrivate } from "../../../src/mls/framing/private-message.js";
import { protectPublic, unprotectPublic } from "../../../src/mls/framing/public-message.js";
import { openSenderData, sealSenderData } from "../../../src/mls/framing/sender-data.js";
import { SecretTree } from "../../../src/mls/schedule/secret-tree.js";
import type {
  AuthenticatedContent,
  FramedContent,
  FramingFormat,
} from "../../../src/mls/structs/framed-content.js";
import type { GroupContext } from "../../../src/mls/structs/group-context.js";
import { toLeafIndex } from "../../../src/mls/structs/indices.js";
import { encodePrivateMessage, type PrivateMessage } from "../../../src/mls/structs/message.js";

const filled = (value: number) => new Uint8Array(32).fill(value);
const groupContext: GroupContext = {
  version: 1,
  cipherSuite: 2,
  groupId: toUtf8("group"),
  epoch: 4n,
  treeHash: filled(1),
  confirmedTranscriptHash: filled(2),
  extensions: [],
};
const membershipKey = filled(3);
const senderDataSecret = filled(4);
const ALICE = toLeafIndex(0);
const BOB = toLeafIndex(1);
const bob = { ownLeafIndex: BOB, isMember: (leaf: number) => leaf < 2 };

let keys: SignatureKeyPair;
beforeAll(async () => {
  keys = await generateSignatureKeyPair();
});

const base = {
  groupId: groupContext.groupId,
  epoch: groupContext.epoch,
  sender: { senderType: "member", leafIndex: ALICE },
  authenticatedData: toUtf8("aad"),
} as const;
const application: FramedContent = { ...base, contentType: "application", applicationData: toUtf8("hello") };
const removal: FramedContent = {
  ...base,
  contentType: "proposal",
  proposal: { kind: "remove", removed: BOB },
};
const commit: FramedContent = {
  ...base,
  contentType: "commit",
  commit: { proposals: [{ kind: "reference", reference: filled(5) }], path: undefined },
};

async function signed(wireFormat: FramingFormat, content: FramedContent): Promise<AuthenticatedContent> {
  const signature = await signFramedContent(wireFormat, content, groupContext, keys.privateKey);
  const confirmationTag = content.contentType === "commit" ? filled(6) : undefined;
  return { wireFormat, content, auth: { signature, confirmationTag } };
}

const epoch = (secretTree = SecretTree.create(filled(7), 2)) => ({ senderDataSecret, secretTree });

async function protect(content: FramedContent, padding?: Padding, secretTree?: SecretTree) {
  const { auth } = await signed("private_message", content);
  return protectPrivate(content, auth, epoch(secretTree), padding);
}

describe("signatures", () => {
  it.each([
    ["another content", (value: AuthenticatedContent) => ({ ...value, content: removal })],
    [
      "another wire format",
      (value: AuthenticatedContent) => ({ ...value, wireFormat: "public_message" as const }),
    ],
    [
      "another sender",
      (value: AuthenticatedContent) => ({
        ...value,
        content: { ...value.content, sender: { senderType: "member", leafIndex: BOB } as const },
      }),
    ],
    [
      "other authenticated data",
      (value: AuthenticatedContent) => ({
        ...value,
        content: { ...value.content, authenticatedData: toUtf8("other") },
      }),
    ],
  ])("do not hold for %s", async (_name, change) => {
    const authenticated = await signed("private_message", application);
    await verifyFramedContent(authenticated, groupContext, keys.publicKey);
    const attempt = verifyFramedContent(change(authenticated), groupContext, keys.publicKey);
    await expect(attempt).rejects.toMatchObject({
      code: "invalid-signature",
      rule: "RFC 9420 §6.1: signature",
    });
  });

  it("bind members and those who join by a commit to the group context, external senders not", async () => {
    const other = { ...groupContext, treeHash: filled(9) };
    for (const content of [removal, { ...commit, sender: { senderType: "new_member_commit" } as const }]) {
      const bound = await signed("public_message", content);
      await verifyFramedContent(bound, groupContext, keys.publicKey);
      await expect(verifyFramedContent(bound, other, keys.publicKey)).rejects.toMatchObject({
        code: "invalid-signature",
      });
    }
    const external = await signed("public_message", {
      ...removal,
      sender: { senderType: "external", senderIndex: 0 },
    });
    await verifyFramedContent(external, other, keys.publicKey);
  });

  it("need a public key on the curve", async () => {
    const authenticated = await signed("private_message", application);
    const offCurve = new Uint8Array(65).fill(4, 0, 1);
    await expect(verifyFramedContent(authenticated, groupContext, offCurve)).rejects.toMatchObject({
      code: "invalid-key",
    });
  });
});

describe("public messages", () => {
  const rule = "RFC 9420 §6.2: membership tag";

  it("carry a member's proposals and commits", async () => {
    for (const content of [removal, commit]) {
      const authenticated = await signed("public_message", content);
      const message = await protectPublic(authenticated, { groupContext, membershipKey });
      expect(message.membershipTag?.length).toBe(32);
      const received = await unprotectPublic(message, { groupContext, membershipKey });
      expect(received).toEqual(authenticated);
      await verifyFramedContent(received, groupContext, keys.publicKey);
    }
  });

  it("are refused with a false, missing or misplaced membership tag", async () => {
    const message = await protectPublic(await signed("public_message", commit), {
      groupContext,
      membershipKey,
    });
    const refused = { code: "invalid-message", rule };
    const attempts = [
      unprotectPublic(message, { groupContext, membershipKey: filled(8) }),
      unprotectPublic(message, { groupContext }),
      unprotectPublic({ ...message, membershipTag: undefined }, { groupContext, membershipKey }),
      unprotectPublic({ ...message, membershipTag: filled(0) }, { groupContext, membershipKey }),
      unprotectPublic(
        { ...message, auth: { ...message.auth, confirmationTag: filled(0) } },
        {
          groupContext,
          membershipKey,
        },
      ),
      unprotectPublic(message, { groupContext: { ...groupContext, epoch: 5n }, membershipKey }),
    ];
    for (const outcome of await Promise.allSettled(attempts)) {
      expect(outcome).toMatchObject({ status: "rejected", reason: refused });
    }
    await expect(
      protectPublic(await signed("public_message", commit), { groupContext }),
    ).rejects.toMatchObject(refused);
  });

  it("by others than members carry no membership tag", async () => {
    const content: FramedContent = { ...removal, sender: { senderType: "external", senderIndex: 1 } };
    const message = await protectPublic(await signed("public_message", content), { groupContext });
    expect(message.membershipTag).toBeUndefined();
    expect((await unprotectPublic(message, { groupContext })).content).toEqual(content);
  });

  it("never carry application data", async () => {
    const refused = { code: "invalid-message", rule: "RFC 9420 §6.2: application data in a PublicMessage" };
    const authenticated = await signed("public_message", application);
    await expect(protectPublic(authenticated, { groupContext, membershipKey })).rejects.toMatchObject(
      refused,
    );
    const message = { content: application, auth: authenticated.auth, membershipTag: filled(0) };
    await expect(unprotectPublic(message, { groupContext, membershipKey })).rejects.toMatchObject(refused);
  });
});

describe("private messages", () => {
  it("carry all contents, hidden, and move one ratchet each", async () => {
    for (const content of [application, removal, commit]) {
      const { message, changes, secretTree } = await protect(content);
      expect(changes.length).toBeGreaterThan(0);
      expect(toHex(encode(encodePrivateMessage, message))).not.toContain(toHex(toUtf8("hello")));
      const received = await unprotectPrivate(message, epoch(), bob);
      expect(received.sender).toBe(ALICE);
      expect(received.authenticated).toMatchObject({ wireFormat: "private_message", content });
      await verifyFramedContent(received.authenticated, groupContext, keys.publicKey);
      await expect(unprotectPrivate(message, epoch(received.secretTree), bob)).rejects.toMatchObject({
        code: "decryption-failed",
      });
      const { message: second } = await protect(content, undefined, secretTree);
      expect((await unprotectPrivate(second, epoch(received.secretTree), bob)).authenticated.content).toEqual(
        content,
      );
    }
  });

  it("take a signature that is still on its way", async () => {
    const auth = signed("private_message", application).then((value) => value.auth);
    const { message } = await protectPrivate(application, auth, epoch());
    expect((await unprotectPrivate(message, epoch(), bob)).authenticated.content).toEqual(application);
  });

  it("are padded as asked, and never with anything but zeros", async () => {
    const lengths = await Promise.all(
      ["", "a", "a longer text"].map(async (text) => {
        const content = { ...application, applicationData: toUtf8(text) };
        const { message } = await protect(content, (length) => Math.ceil(length / 256) * 256);
        expect((await unprotectPrivate(message, epoch(), bob)).authenticated.content).toEqual(content);
        return message.ciphertext.length;
      }),
    );
    expect(lengths).toEqual([272, 272, 272]);
    await expect(protect(application, (length) => length - 1)).rejects.toMatchObject({
      code: "invalid-argument",
    });

    const { messageKey } = await SecretTree.create(filled(7), 2).next(ALICE, "application");
    const plaintext = Uint8Array.of(1, 65, 1, 66, 0, 0, 1, 0);
    const aad = Uint8Array.of(5, ...groupContext.groupId, 0, 0, 0, 0, 0, 0, 0, 4, 1, 3, ...toUtf8("aad"));
    const header = { ...base, contentType: "application" as const };
    const ciphertext = await aeadSeal(await messageKey.aead(), messageKey.nonce, aad, plaintext);
    const reuseGuard = new Uint8Array(4);
    const data = { leafIndex: ALICE, generation: 0, reuseGuard };
    const encryptedSenderData = await sealSenderData(senderDataSecret, header, ciphertext, data);
    const message: PrivateMessage = {
      groupId: base.groupId,
      epoch: base.epoch,
      contentType: "application",
      authenticatedData: base.authenticatedData,
      encryptedSenderData,
      ciphertext,
    };
    await expect(unprotectPrivate(message, epoch(), bob)).rejects.toMatchObject({ code: "malformed" });
    // The same with zeros is a message: the refusal was for the padding.
    const clean = await aeadSeal(await messageKey.aead(), messageKey.nonce, aad, plaintext.with(6, 0));
    const opened = await unprotectPrivate(
      {
        ...message,
        ciphertext: clean,
        encryptedSenderData: await sealSenderData(senderDataSecret, header, clean, data),
      },
      epoch(),
      bob,
    );
    expect(opened.authenticated.auth.signature).toEqual(Uint8Array.of(66));
  });

  it("of no member and of oneself are refused", async () => {
    const { message } = await protect(application);
    await expect(
      unprotectPrivate(message, epoch(), { ownLeafIndex: BOB, isMember: () => false }),
    ).rejects.toMatchObject({ code: "invalid-message", rule: "RFC 9420 §6: sender is not a member" });
    await expect(unprotectPrivate(message, epoch(), { ...bob, ownLeafIndex: ALICE })).rejects.toMatchObject({
      code: "invalid-message",
      rule: "RFC 9420 §6: own message",
    });
  });

  it("changed anywhere are decryption-failed", async () => {
    const { message } = await protect(application);
    const flip = (bytes: Uint8Array<ArrayBuffer>, at: number) => bytes.with(at, (bytes[at] as number) ^ 1);
    const changed: PrivateMessage[] = [
      { ...message, groupId: toUtf8("groop") },
      { ...message, epoch: 5n },
      { ...message, contentType: "proposal" },
      { ...message, authenticatedData: toUtf8("other") },
      { ...message, encryptedSenderData: flip(message.encryptedSenderData, 0) },
      { ...message, encryptedSenderData: new Uint8Array(0) },
      { ...message, ciphertext: flip(message.ciphertext, 0) },
      { ...message, ciphertext: flip(message.ciphertext, message.ciphertext.length - 1) },
      { ...message, ciphertext: new Uint8Array(0) },
    ];
    for (const attempt of changed) {
      await expect(unprotectPrivate(attempt, epoch(), bob)).rejects.toMatchObject({
        code: "decryption-failed",
      });
    }
  });

  it("never repeat bytes for the same generation, thanks to the reuse guard", async () => {
    const [a, b] = await Promise.all([protect(application), protect(application)]);
    const [first, second] = await Promise.all(
      [a, b].map(({ message }) => openSenderData(senderDataSecret, message)),
    );
    expect(first?.generation).toBe(second?.generation);
    expect(toHex(first?.reuseGuard as Uint8Array)).not.toBe(toHex(second?.reuseGuard as Uint8Array));
  });

  it("are sent by members only", async () => {
    const content: FramedContent = { ...removal, sender: { senderType: "external", senderIndex: 0 } };
    await expect(protect(content)).rejects.toMatchObject({ code: "internal" });
  });
});
