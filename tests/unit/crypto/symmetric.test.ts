import { describe, expect, it } from "vitest";
import { fromHex, toHex, toUtf8 } from "../../../src/base/encoding.js";
import { aeadOpen, aeadSeal, generateStoreKey, importAeadKey } from "../../../src/crypto/aead.js";
import { sha256 } from "../../../src/crypto/hash.js";
import { hkdfExpand, hkdfExtract } from "../../../src/crypto/hkdf.js";
import { hmac, importHmacKey, verifyMac } from "../../../src/crypto/hmac.js";
import {
  deriveStoreKey,
  openAtRest,
  sealAtRest,
  unwrapKey,
  wrapKey,
} from "../../../src/crypto/keys-at-rest.js";
import { randomBytes } from "../../../src/crypto/random.js";
import { generateSignatureKeyPair, sign, verify } from "../../../src/crypto/signature.js";
import { cryptoInFlight, whenCryptoIdle } from "../../../src/crypto/subtle.js";

const none = new Uint8Array(0);

it("hashes (FIPS 180-4 example)", async () => {
  expect(toHex(await sha256(toUtf8("abc")))).toBe(
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
});

it("makes MACs (RFC 4231 case 2), with an empty key too", async () => {
  const mac = await hmac(toUtf8("Jefe"), toUtf8("what do ya want for nothing?"));
  expect(toHex(mac)).toBe("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  expect(toHex(await hmac(none, none))).toBe(
    "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad",
  );
  const key = await importHmacKey(toUtf8("Jefe"));
  expect(await verifyMac(key, toUtf8("what do ya want for nothing?"), mac)).toBe(true);
  expect(await verifyMac(key, toUtf8("what do ya want for nothing?"), mac.subarray(1))).toBe(false);
  expect(await verifyMac(toUtf8("Jefe"), toUtf8("what do ya want for nothing!"), mac)).toBe(false);
});

describe("HKDF", () => {
  it("agrees with RFC 5869 A.1, A.2 and A.3", async () => {
    const range = (from: number, count: number) => Uint8Array.from({ length: count }, (_, i) => from + i);
    const cases = [
      [
        fromHex("0b".repeat(22)),
        range(0, 13),
        range(0xf0, 10),
        42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
      ],
      [
        range(0, 80),
        range(0x60, 80),
        range(0xb0, 80),
        82,
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09" +
          "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
      ],
      [
        fromHex("0b".repeat(22)),
        none,
        none,
        42,
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
      ],
    ] as const;
    for (const [ikm, salt, info, length, okm] of cases) {
      const prk = await hkdfExtract(salt, ikm);
      expect(toHex(await hkdfExpand(prk, info, length))).toBe(okm);
      expect(toHex(await hkdfExpand(await importHmacKey(prk), info, length))).toBe(okm);
    }
  });

  it("takes an info above Node's own limit and refuses more output than there is", async () => {
    const prk = await hkdfExtract(none, none);
    expect((await hkdfExpand(prk, new Uint8Array(5000), 32)).length).toBe(32);
    await expect(hkdfExpand(prk, none, 255 * 32 + 1)).rejects.toMatchObject({ code: "invalid-argument" });
  });
});

describe("AES-GCM", () => {
  it("opens what it sealed; anything changed is decryption-failed", async () => {
    const key = await importAeadKey(randomBytes(16));
    expect(key.extractable).toBe(false);
    const [nonce, aad] = [randomBytes(12), toUtf8("header")];
    const sealed = await aeadSeal(key, nonce, aad, toUtf8("hello"));
    expect(sealed.length).toBe(5 + 16);
    expect(await aeadOpen(key, nonce, aad, sealed)).toEqual(toUtf8("hello"));
    expect(await aeadOpen(key, nonce, none, await aeadSeal(key, nonce, none, none))).toEqual(none);
    const changed = sealed.slice();
    changed[0] = (changed[0] as number) ^ 1;
    const other = await importAeadKey(randomBytes(32));
    for (const attempt of [
      () => aeadOpen(key, nonce, aad, changed),
      () => aeadOpen(key, nonce, none, sealed),
      () => aeadOpen(key, randomBytes(12), aad, sealed),
      () => aeadOpen(other, nonce, aad, sealed),
      () => aeadOpen(key, nonce, aad, none),
      () => aeadOpen(key, nonce, aad, new Uint8Array(15)),
    ]) {
      await expect(attempt()).rejects.toMatchObject({ code: "decryption-failed" });
    }
    await expect(importAeadKey(new Uint8Array(24))).rejects.toMatchObject({ code: "invalid-argument" });
  });

  it("keeps values at rest", async () => {
    const key = await generateStoreKey();
    expect(key.extractable).toBe(false);
    const sealed = await sealAtRest(key, toUtf8("a"), toUtf8("value"));
    expect(await openAtRest(key, toUtf8("a"), sealed)).toEqual(toUtf8("value"));
    await expect(openAtRest(key, toUtf8("b"), sealed)).rejects.toMatchObject({ code: "decryption-failed" });
    await expect(openAtRest(key, toUtf8("a"), new Uint8Array(5))).rejects.toMatchObject({
      code: "decryption-failed",
    });
  });

  it("wraps signature keys under a passphrase", async () => {
    const pair = await generateSignatureKeyPair({ extractable: true });
    const salt = randomBytes(16);
    const wrapped = await wrapKey(pair.privateKey, await deriveStoreKey("pässwort", salt, 1000), none);
    const key = await unwrapKey(wrapped, await deriveStoreKey("pässwort", salt, 1000), none);
    expect(key.extractable).toBe(false);
    expect(await verify(pair.publicKey, await sign(key, salt), salt)).toBe(true);
    await expect(unwrapKey(wrapped, await deriveStoreKey("other", salt, 1000), none)).rejects.toMatchObject({
      code: "decryption-failed",
    });
    await expect(deriveStoreKey("x", salt, 1e12)).rejects.toMatchObject({ code: "invalid-argument" });
  });
});

it("gives any number of random bytes", () => {
  const bytes = randomBytes(200_000);
  expect(bytes.length).toBe(200_000);
  expect(bytes.subarray(-100).some((byte) => byte !== 0)).toBe(true);
  expect(randomBytes(0).length).toBe(0);
});

it("counts what is in flight, through chains and failures", async () => {
  await whenCryptoIdle();
  let done = 0;
  const chain = async () => {
    for (let i = 0; i < 5; i++) await sha256(none);
    await aeadOpen(await generateStoreKey(), new Uint8Array(12), none, none).catch(() => undefined);
    done++;
  };
  void chain();
  void chain();
  expect(cryptoInFlight()).toBe(2);
  await whenCryptoIdle();
  expect([done, cryptoInFlight()]).toEqual([2, 0]);
});
