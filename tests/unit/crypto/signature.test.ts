import { expect, it } from "vitest";
import { fromHex, toHex } from "../../../src/base/encoding.js";
import { decodeEcdsaSignature, encodeEcdsaSignature } from "../../../src/crypto/ecdsa-der.js";
import { generateSignatureKeyPair, sign, verify } from "../../../src/crypto/signature.js";

const raw = (r: string, s: string) => fromHex(r.padStart(64, "0") + s.padStart(64, "0"));

it("writes and reads DER in its shortest form", () => {
  const cases: [string, string, string][] = [
    ["1", "2", "3006020101020102"],
    ["80", "7f", "30070202008002017f"],
    ["ff".repeat(32), "1", `3026022100${"ff".repeat(32)}020101`],
    ["0", "0", "3006020100020100"],
  ];
  for (const [r, s, der] of cases) {
    expect(toHex(encodeEcdsaSignature(raw(r, s)))).toBe(der);
    expect(toHex(decodeEcdsaSignature(fromHex(der)) as Uint8Array)).toBe(toHex(raw(r, s)));
  }
});

it.each([
  ["empty", ""],
  ["a wrong tag", "3106020101020102"],
  ["a wrong length", "3007020101020102"],
  ["trailing bytes inside", "300702010102010200"],
  ["trailing bytes outside", "300602010102010200"],
  ["a padded integer", "300702020001020102"],
  ["a negative integer", "3006020180020102"],
  ["a long length form", "308106020101020102"],
  ["an integer tag missing", "3006030101020102"],
  ["an empty integer", "30050200020102"],
  ["an integer of 34 bytes", `302702220100${"ff".repeat(32)}020101`],
  ["an integer of 33 significant bytes", `3026022101${"ff".repeat(32)}020101`],
  ["one integer only", "3003020101"],
])("refuses %s", (_name, der) => {
  expect(decodeEcdsaSignature(fromHex(der))).toBeUndefined();
});

it("verifies what it signed and nothing else", async () => {
  const [a, b] = await Promise.all([generateSignatureKeyPair(), generateSignatureKeyPair()]);
  const data = Uint8Array.of(1, 2, 3);
  const signature = await sign(a.privateKey, data);
  expect(await verify(a.publicKey, signature, data)).toBe(true);
  expect(await verify(a.publicKey, signature, Uint8Array.of(1, 2, 4))).toBe(false);
  expect(await verify(b.publicKey, signature, data)).toBe(false);
  expect(await verify(a.publicKey, decodeEcdsaSignature(signature) as Uint8Array, data)).toBe(false);
  for (let i = 0; i < signature.length; i += 7) {
    const changed = signature.slice();
    changed[i] = (changed[i] as number) ^ 1;
    expect(await verify(a.publicKey, changed, data)).toBe(false);
  }
});

const ORDER = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const OUT_OF_RANGE: [string, string][] = [
  ["0", "0"],
  ["n", ORDER],
  ["n + 1", `${ORDER.slice(0, -1)}2`],
  ["all ff", "ff".repeat(32)],
];

it.each(OUT_OF_RANGE)("refuses signatures with r or s of %s", async (_name, value) => {
  const { privateKey, publicKey } = await generateSignatureKeyPair();
  const data = Uint8Array.of(1, 2, 3);
  const good = decodeEcdsaSignature(await sign(privateKey, data)) as Uint8Array;
  const [r, s] = [toHex(good.subarray(0, 32)), toHex(good.subarray(32))];
  for (const bad of [raw(value, s), raw(r, value), raw(value, value)]) {
    expect(await verify(publicKey, encodeEcdsaSignature(bad), data)).toBe(false);
  }
});
