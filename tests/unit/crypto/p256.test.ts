import { describe, expect, it } from "vitest";
import { equalBytes } from "../../../src/base/bytes.js";
import { fromHex, toHex } from "../../../src/base/encoding.js";
import { SubrosaError } from "../../../src/base/errors.js";
import {
  assertPublicKey,
  assertScalar,
  dh,
  generateDhKeyPair,
  generateEphemeralKeyPair,
  importDhPrivateKey,
  isValidPublicKey,
  isValidScalar,
  pkcs8Of,
  publicKeyByJwk,
  publicKeyByRecipe,
  publicKeyOf,
  scalarOfPkcs8,
} from "../../../src/crypto/p256.js";
import {
  exportSignaturePrivateKey,
  generateSignatureKeyPair,
  importSignaturePrivateKey,
  sign,
  verify,
} from "../../../src/crypto/signature.js";

const ORDER = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const PRIME = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
const G =
  "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296" +
  "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
/** The point (0, sqrt b) and one with y = 5. */
const SQRT_B = "66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4";
const X_OF_5 = "d7325d7646cd60d80a92738ceb345f844cffaf35841022cab176f692de8de1d7";
const FIVE_PLUS_P = "ffffffff00000001000000000000000000000001000000000000000000000004";
const ONE = "1".padStart(64, "0");

async function codeOf(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    if (SubrosaError.is(error)) return error.code;
    throw error;
  }
  return "no error";
}

const offCurve = {
  "y changed": fromHex(`${G.slice(0, -2)}f4`),
  "all zero": fromHex(`04${"00".repeat(64)}`),
  "x = p, on the curve when reduced": fromHex(`04${PRIME}${SQRT_B}`),
  "y = 5 + p, on the curve when reduced": fromHex(`04${X_OF_5}${FIVE_PLUS_P}`),
  compressed: fromHex(`03${G.slice(2, 66)}`),
  "hybrid prefix": fromHex(`07${G.slice(2)}`),
  "one byte short": fromHex(G.slice(0, -2)),
  "one byte long": fromHex(`${G}00`),
  infinity: fromHex("00"),
  empty: new Uint8Array(0),
};

const badScalars = {
  zero: fromHex("00".repeat(32)),
  "the order": fromHex(ORDER),
  "the order + 1": fromHex(`${ORDER.slice(0, -2)}52`),
  "all ones": fromHex("ff".repeat(32)),
  "one byte short": fromHex(ONE.slice(2)),
  "one byte long": fromHex(`00${ONE}`),
};

const goodScalars = {
  one: fromHex(ONE),
  two: fromHex("2".padStart(64, "0")),
  "the order - 1": fromHex(`${ORDER.slice(0, -2)}50`),
  "a high byte below the order's": fromHex(`fffffffe${"ff".repeat(28)}`),
  "a low byte above the order's": fromHex(`${ORDER.slice(0, 62).slice(0, -1)}4ff`),
};

describe("P-256 points", () => {
  it("accepts points with small coordinates and the base point", () => {
    for (const point of [G, `04${"0".repeat(64)}${SQRT_B}`, `04${X_OF_5}${"5".padStart(64, "0")}`]) {
      expect(isValidPublicKey(fromHex(point))).toBe(true);
    }
  });

  it.each(Object.entries(offCurve))("refuses a point: %s", async (_name, point) => {
    expect(isValidPublicKey(point)).toBe(false);
    expect(await codeOf(() => assertPublicKey(point))).toBe("invalid-key");
    const { privateKey } = await generateEphemeralKeyPair();
    expect(await codeOf(() => dh(privateKey, point))).toBe("invalid-key");
    expect(await codeOf(() => verify(point, new Uint8Array(8), new Uint8Array(1)))).toBe("invalid-key");
    expect(await codeOf(() => importDhPrivateKey(fromHex(ONE), point))).toBe("invalid-key");
  });
});

describe("P-256 scalars", () => {
  it.each(Object.entries(badScalars))("refuses a scalar: %s", async (_name, scalar) => {
    expect(isValidScalar(scalar)).toBe(false);
    expect(await codeOf(() => assertScalar(scalar))).toBe("invalid-key");
    expect(await codeOf(() => publicKeyOf(scalar))).toBe("invalid-key");
    expect(await codeOf(() => publicKeyByRecipe(scalar))).toBe("invalid-key");
    expect(await codeOf(() => dh(scalar, fromHex(G)))).toBe("invalid-key");
    expect(await codeOf(() => importDhPrivateKey(scalar, fromHex(G)))).toBe("invalid-key");
    expect(await codeOf(() => importSignaturePrivateKey(scalar))).toBe("invalid-key");
  });

  it.each(Object.entries(goodScalars))("accepts a scalar: %s", async (_name, scalar) => {
    expect(isValidScalar(scalar)).toBe(true);
    expect(isValidPublicKey(await publicKeyOf(scalar))).toBe(true);
  });

  it("refuses a scalar out of range inside PKCS #8", async () => {
    for (const scalar of [badScalars.zero, badScalars["the order"]]) {
      const pkcs8 = pkcs8Of(fromHex(ONE));
      pkcs8.set(scalar, pkcs8.length - 32);
      expect(await codeOf(() => scalarOfPkcs8(pkcs8))).toBe("invalid-key");
      expect(await codeOf(() => importSignaturePrivateKey(pkcs8))).toBe("invalid-key");
    }
  });
});

describe("public key of a scalar", () => {
  it("is the base point for 1, whichever way", async () => {
    expect(toHex(await publicKeyOf(fromHex(ONE)))).toBe(G);
    expect(toHex(await publicKeyByRecipe(fromHex(ONE)))).toBe(G);
  });

  it("is -G for n - 1, whichever way", async () => {
    const point = await publicKeyByRecipe(goodScalars["the order - 1"]);
    expect(toHex(point.subarray(0, 33))).toBe(G.slice(0, 66));
    expect(toHex(point)).not.toBe(G);
    expect(toHex(await publicKeyOf(goodScalars["the order - 1"]))).toBe(toHex(point));
  });

  it("is the same by export, where the engine can, by the portable recipe, and as generated", async () => {
    for (let i = 0; i < 6; i++) {
      const { privateKey, publicKey } = await generateDhKeyPair();
      expect(toHex(await publicKeyByRecipe(privateKey))).toBe(toHex(publicKey));
      expect(toHex(await publicKeyOf(privateKey))).toBe(toHex(publicKey));
      const exported = await publicKeyByJwk(privateKey).catch(() => undefined);
      if (exported !== undefined) expect(toHex(exported)).toBe(toHex(publicKey));
    }
  });
});

describe("ECDH", () => {
  it("agrees between the two sides, with keys imported either way", async () => {
    const [a, b] = await Promise.all([generateDhKeyPair(), generateDhKeyPair()]);
    const shared = await dh(a.privateKey, b.publicKey);
    expect(shared.length).toBe(32);
    expect(
      equalBytes(await dh(await importDhPrivateKey(b.privateKey, b.publicKey), a.publicKey), shared),
    ).toBe(true);
    expect(equalBytes(await dh(await importDhPrivateKey(b.privateKey), a.publicKey), shared)).toBe(true);
  });

  it("of 1 and a point is the point's x", async () => {
    const { publicKey } = await generateDhKeyPair();
    expect(toHex(await dh(fromHex(ONE), publicKey))).toBe(toHex(publicKey.subarray(1, 33)));
  });
});

describe("private signature keys", () => {
  it("survive export and import, extractable only when asked", async () => {
    const pair = await generateSignatureKeyPair({ extractable: true });
    const pkcs8 = await exportSignaturePrivateKey(pair.privateKey);
    const again = await importSignaturePrivateKey(pkcs8);
    expect(again.extractable).toBe(false);
    const data = Uint8Array.of(1, 2, 3);
    expect(await verify(pair.publicKey, await sign(again, data), data)).toBe(true);
    expect(toHex(await publicKeyOf(scalarOfPkcs8(pkcs8)))).toBe(toHex(pair.publicKey));
    const closed = await generateSignatureKeyPair();
    await expect(exportSignaturePrivateKey(closed.privateKey)).rejects.toThrow();
  });

  it("are refused in any other form", async () => {
    const pkcs8 = pkcs8Of(fromHex(ONE));
    expect(await codeOf(() => importSignaturePrivateKey(pkcs8.subarray(1)))).toBe("invalid-key");
    expect(await codeOf(() => importSignaturePrivateKey(new Uint8Array(0)))).toBe("invalid-key");
  });
});
