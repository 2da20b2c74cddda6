import { afterEach, expect, it, vi } from "vitest";
import { fromHex, toHex } from "../../../src/base/encoding.js";
import { decodeEcdsaSignature, encodeEcdsaSignature } from "../../../src/crypto/ecdsa-der.js";
import { generateSignatureKeyPair, sign, verify } from "../../../src/crypto/signature.js";
import { engineWith } from "./engine.js";

// In Node only: it is our own code that is looked at here, with another engine put in its way.

afterEach(() => {
  vi.unstubAllGlobals();
});

const raw = (r: string, s: string) => fromHex(r.padStart(64, "0") + s.padStart(64, "0"));

const ORDER = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const OUT_OF_RANGE: [string, string][] = [
  ["0", "0"],
  ["n", ORDER],
  ["n + 1", `${ORDER.slice(0, -1)}2`],
  ["all ff", "ff".repeat(32)],
];

it.each(OUT_OF_RANGE)(
  "refuses signatures with r or s of %s, without asking the engine",
  async (_name, value) => {
    const { privateKey, publicKey } = await generateSignatureKeyPair();
    const data = Uint8Array.of(1, 2, 3);
    const good = decodeEcdsaSignature(await sign(privateKey, data)) as Uint8Array;
    const [r, s] = [toHex(good.subarray(0, 32)), toHex(good.subarray(32))];
    const asked = engineWith({ verify: async () => true });
    for (const bad of [raw(value, s), raw(r, value), raw(value, value)]) {
      expect(await verify(publicKey, encodeEcdsaSignature(bad), data)).toBe(false);
    }
    expect(asked).not.toContain("verify");
    expect(await verify(publicKey, encodeEcdsaSignature(raw("1", ORDER.replace(/1$/, "0"))), data)).toBe(
      true,
    );
    expect(asked).toContain("verify");
  },
);

it("takes an engine that throws about a signature for one that says no, but throws for a bad key", async () => {
  const { privateKey, publicKey } = await generateSignatureKeyPair();
  const data = Uint8Array.of(1, 2, 3);
  const signature = await sign(privateKey, data);
  for (const fault of [() => Promise.reject(new DOMException("no", "OperationError")), thrown]) {
    const asked = engineWith({ verify: fault });
    expect(await verify(publicKey, signature, data)).toBe(false);
    expect(asked).toContain("verify");
    vi.unstubAllGlobals();
  }
  const invalid = expect.objectContaining({ code: "invalid-key" });
  await expect(verify(new Uint8Array(65).fill(4), signature, data)).rejects.toEqual(invalid);
});

function thrown(): never {
  throw new TypeError("no");
}
