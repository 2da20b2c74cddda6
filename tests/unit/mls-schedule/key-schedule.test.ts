import { describe, expect, it } from "vitest";
import { fromHex, toHex, toUtf8 } from "../../../src/base/encoding.js";
import { decode } from "../../../src/codec/reader.js";
import { encode } from "../../../src/codec/writer.js";
import { aeadOpen, aeadSeal } from "../../../src/crypto/aead.js";
import { exportFrom } from "../../../src/mls/schedule/exporter.js";
import {
  decodeEpochSecrets,
  deriveEpoch,
  deriveEpochFromSecret,
  deriveExternalKeyPair,
  deriveJoinerSecret,
  deriveWelcomeKey,
  deriveWelcomeSecret,
  encodeEpochSecrets,
  openExternalInit,
  sealExternalInit,
} from "../../../src/mls/schedule/key-schedule.js";
import { derivePskSecret } from "../../../src/mls/schedule/psk-secret.js";
import {
  confirmationTag,
  confirmedTranscriptHash,
  interimTranscriptHash,
  verifyConfirmationTag,
} from "../../../src/mls/schedule/transcript.js";
import type { GroupContext } from "../../../src/mls/structs/group-context.js";
import { toLeafIndex } from "../../../src/mls/structs/indices.js";

const bytes = (value: number) => new Uint8Array(32).fill(value);
const groupContext: GroupContext = {
  version: 1,
  cipherSuite: 2,
  groupId: toUtf8("group"),
  epoch: 1n,
  treeHash: bytes(1),
  confirmedTranscriptHash: bytes(2),
  extensions: [],
};

describe("epoch secrets", () => {
  it("differ from each other and depend on every input", async () => {
    const derive = async (init: number, commit: number, psk: number, context: GroupContext) => {
      const joiner = await deriveJoinerSecret(bytes(init), bytes(commit), context);
      return deriveEpoch(joiner, bytes(psk), context);
    };
    const base = await derive(3, 4, 5, groupContext);
    const all = [base.welcomeSecret, base.encryptionSecret, ...Object.values(base.secrets)].map(toHex);
    expect(new Set(all).size).toBe(10);
    const others = await Promise.all([
      derive(6, 4, 5, groupContext),
      derive(3, 6, 5, groupContext),
      derive(3, 4, 6, groupContext),
      derive(3, 4, 5, { ...groupContext, epoch: 2n }),
    ]);
    const seen = [base, ...others].map(({ secrets }) => toHex(secrets.epochAuthenticator));
    expect(new Set(seen).size).toBe(5);
  });

  it("survive encoding", async () => {
    const { secrets } = await deriveEpochFromSecret(bytes(7));
    expect(decode(decodeEpochSecrets, encode(encodeEpochSecrets, secrets))).toEqual(secrets);
  });

  it("a group context above Node's HKDF limit is no obstacle", async () => {
    const large = { ...groupContext, extensions: [{ extensionType: 99, data: new Uint8Array(5000) }] };
    expect((await deriveJoinerSecret(bytes(1), bytes(2), large)).length).toBe(32);
  });
});

it("the welcome key opens for whoever knows joiner and PSK secret", async () => {
  const joiner = bytes(1);
  const { welcomeSecret } = await deriveEpoch(joiner, bytes(2), groupContext);
  const sealing = await deriveWelcomeKey(welcomeSecret);
  const sealed = await aeadSeal(sealing.key, sealing.nonce, new Uint8Array(0), toUtf8("info"));
  const opening = await deriveWelcomeKey(await deriveWelcomeSecret(joiner, bytes(2)));
  expect(await aeadOpen(opening.key, opening.nonce, new Uint8Array(0), sealed)).toEqual(toUtf8("info"));
  const wrong = await deriveWelcomeKey(await deriveWelcomeSecret(joiner, bytes(3)));
  await expect(aeadOpen(wrong.key, wrong.nonce, new Uint8Array(0), sealed)).rejects.toMatchObject({
    code: "decryption-failed",
  });
});

it("an external init secret is the same on both sides", async () => {
  const { publicKey } = await deriveExternalKeyPair(bytes(5));
  const { initSecret, kemOutput } = await sealExternalInit(publicKey);
  expect(toHex(await openExternalInit(bytes(5), kemOutput))).toBe(toHex(initSecret));
  expect(toHex(await openExternalInit(bytes(6), kemOutput))).not.toBe(toHex(initSecret));
  await expect(openExternalInit(bytes(5), new Uint8Array(65))).rejects.toMatchObject({ code: "invalid-key" });
});

it("the PSK secret depends on order, ids and keys; without PSKs it is zero", async () => {
  const psk = (id: string, key: number) => ({
    id: { pskType: "external", pskId: toUtf8(id), pskNonce: bytes(9) } as const,
    psk: bytes(key),
  });
  const lists = [
    [],
    [psk("a", 1)],
    [psk("b", 1)],
    [psk("a", 2)],
    [psk("a", 1), psk("b", 2)],
    [psk("b", 2), psk("a", 1)],
  ];
  const secrets = (await Promise.all(lists.map(derivePskSecret))).map(toHex);
  expect(secrets[0]).toBe("00".repeat(32));
  expect(new Set(secrets).size).toBe(lists.length);
});

it("exported secrets depend on label, context and length", async () => {
  const secret = bytes(8);
  const context = toUtf8("context");
  const base = await exportFrom(secret, "label", context, 16);
  expect(base.length).toBe(16);
  expect(await exportFrom(secret, "label", context, 16)).toEqual(base);
  const longer = await exportFrom(secret, "label", context, 100);
  expect(longer.length).toBe(100);
  const others = [
    longer,
    await exportFrom(secret, "other", context, 16),
    await exportFrom(secret, "label", secret, 16),
  ];
  for (const other of others) expect(toHex(other.subarray(0, 16))).not.toBe(toHex(base));
  expect((await exportFrom(secret, "label", context, 0)).length).toBe(0);
  for (const length of [-1, 8161, 1.5]) {
    await expect(exportFrom(secret, "label", context, length)).rejects.toMatchObject({
      code: "invalid-argument",
    });
  }
});

it("the confirmed transcript hash covers all of a commit but its confirmation tag", async () => {
  const content = {
    contentType: "commit",
    commit: { proposals: [], path: undefined },
    groupId: toUtf8("group"),
    epoch: 1n,
    sender: { senderType: "member", leafIndex: toLeafIndex(0) },
    authenticatedData: toUtf8("aad"),
  } as const;
  const commit = { wireFormat: "private_message", content, auth: { signature: bytes(3) } } as const;
  const tagged = { ...commit, auth: { ...commit.auth, confirmationTag: bytes(4) } };
  const hash = async (...args: Parameters<typeof confirmedTranscriptHash>) =>
    toHex(await confirmedTranscriptHash(...args));
  const base = await hash(bytes(1), commit);
  expect(await hash(bytes(1), tagged)).toBe(base);
  const others = await Promise.all([
    hash(bytes(2), commit),
    hash(bytes(1), { ...commit, wireFormat: "public_message" }),
    hash(bytes(1), { ...commit, auth: { signature: bytes(5) } }),
    hash(bytes(1), { ...commit, content: { ...content, authenticatedData: toUtf8("other") } }),
  ]);
  expect(new Set([base, ...others]).size).toBe(5);
});

it("a confirmation tag holds for one key and hash, and the interim hash covers it", async () => {
  const tag = await confirmationTag(bytes(1), bytes(2));
  expect(await verifyConfirmationTag(bytes(1), bytes(2), tag)).toBe(true);
  expect(await verifyConfirmationTag(bytes(1), bytes(3), tag)).toBe(false);
  expect(await verifyConfirmationTag(bytes(3), bytes(2), tag)).toBe(false);
  expect(await verifyConfirmationTag(bytes(1), bytes(2), tag.subarray(0, 31))).toBe(false);
  expect(await verifyConfirmationTag(bytes(1), bytes(2), fromHex(""))).toBe(false);
  expect(await interimTranscriptHash(bytes(2), tag)).not.toEqual(
    await interimTranscriptHash(bytes(2), bytes(1)),
  );
});
