import { describe, expect, it } from "vitest";
import { fromHex, toUtf8 } from "../../../src/base/encoding.js";
import { generateDhKeyPair } from "../../../src/crypto/p256.js";
import { setupReceiver, setupSender } from "../../../src/hpke/context.js";
import { deriveKeyPair } from "../../../src/hpke/kem.js";
import { open, seal } from "../../../src/hpke/single-shot.js";

const info = toUtf8("info");
const aad = toUtf8("aad");
const text = toUtf8("text");
const psk = { psk: new Uint8Array(32).fill(7), pskId: toUtf8("name") };
const failed = { code: "decryption-failed" };
const offCurve = fromHex(`04${"00".repeat(64)}`);

describe("single shot", () => {
  it("opens only with the same key, info, AAD and PSK", async () => {
    const [own, other] = await Promise.all([generateDhKeyPair(), generateDhKeyPair()]);
    const { enc, ciphertext } = await seal(own.publicKey, info, aad, text);
    expect(await open(enc, own, info, aad, ciphertext)).toEqual(text);
    await expect(open(enc, other, info, aad, ciphertext)).rejects.toMatchObject(failed);
    await expect(open(enc, own, aad, aad, ciphertext)).rejects.toMatchObject(failed);
    await expect(open(enc, own, info, info, ciphertext)).rejects.toMatchObject(failed);
    await expect(open(enc, own, info, aad, ciphertext, psk)).rejects.toMatchObject(failed);
    const withPsk = await seal(own.publicKey, info, aad, text, psk);
    expect(await open(withPsk.enc, own, info, aad, withPsk.ciphertext, psk)).toEqual(text);
    await expect(open(withPsk.enc, own, info, aad, withPsk.ciphertext)).rejects.toMatchObject(failed);
  });

  it("refuses keys that are not on the curve", async () => {
    const own = await generateDhKeyPair();
    const { ciphertext } = await seal(own.publicKey, info, aad, text);
    await expect(seal(offCurve, info, aad, text)).rejects.toMatchObject({ code: "invalid-key" });
    await expect(open(offCurve, own, info, aad, ciphertext)).rejects.toMatchObject(failed);
    await expect(open(new Uint8Array(0), own, info, aad, ciphertext)).rejects.toMatchObject(failed);
  });

  it("refuses a short PSK", async () => {
    const { publicKey } = await generateDhKeyPair();
    const short = { psk: new Uint8Array(31), pskId: psk.pskId };
    await expect(seal(publicKey, info, aad, text, short)).rejects.toMatchObject({ code: "invalid-argument" });
  });
});

describe("contexts", () => {
  it("keep overlapping calls in order; a false ciphertext takes no turn", async () => {
    const own = await deriveKeyPair(toUtf8("ikm"));
    const sender = await setupSender(own.publicKey, info);
    const receiver = await setupReceiver(sender.enc, own, info);
    const sealed = await Promise.all([0, 1, 2].map((i) => sender.seal(aad, Uint8Array.of(i))));
    await expect(receiver.open(aad, sealed[1] as Uint8Array)).rejects.toMatchObject(failed);
    const opened = await Promise.all(sealed.map((ciphertext) => receiver.open(aad, ciphertext)));
    expect(opened.map((bytes) => bytes[0])).toEqual([0, 1, 2]);
    await expect(receiver.open(aad, sealed[0] as Uint8Array)).rejects.toMatchObject(failed);
  });
});
