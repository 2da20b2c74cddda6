import { aeadOpen, aeadSeal, importAeadKey } from "../../../src/crypto/aead.js";
import { hmac } from "../../../src/crypto/hmac.js";
import { randomBytes } from "../../../src/crypto/random.js";
import { generateSignatureKeyPair, sign, verify } from "../../../src/crypto/signature.js";

/**
 * What RFC 9420 makes unavoidable for a PrivateMessage, and nothing else: the signature, both AEADs, the keys of the
 * sender data, and one step of the ratchet. What does not depend on each other is in flight together, and the
 * ratchet's keys were derived ahead.
 */
export async function privateMessageFloor(size: number) {
  const signer = await generateSignatureKeyPair();
  const secret = randomBytes(32);
  const plaintext = randomBytes(size + 100);
  const nonce = randomBytes(12);
  const aad = randomBytes(60);
  const ahead = await importAeadKey(randomBytes(16));
  const ratchet = async () => {
    const [key] = await Promise.all([hmac(secret, aad), hmac(secret, nonce), hmac(secret, plaintext)]);
    await importAeadKey(key.slice(0, 16));
  };
  const senderDataKey = async (sample: Uint8Array) => {
    const [key] = await Promise.all([hmac(secret, sample), hmac(secret, nonce)]);
    return importAeadKey(key.slice(0, 16));
  };
  const seal = async () => {
    const next = ratchet();
    const signature = await sign(signer.privateKey, plaintext);
    const ciphertext = await aeadSeal(ahead, nonce, aad, plaintext);
    const senderData = await aeadSeal(await senderDataKey(ciphertext.subarray(0, 32)), nonce, aad, aad);
    await next;
    return { signature, ciphertext, senderData };
  };
  const open = async ({ signature, ciphertext, senderData }: Awaited<ReturnType<typeof seal>>) => {
    const next = ratchet();
    await aeadOpen(await senderDataKey(ciphertext.subarray(0, 32)), nonce, aad, senderData);
    const opened = await aeadOpen(ahead, nonce, aad, ciphertext);
    if (!(await verify(signer.publicKey, signature, opened))) throw new Error("the signature is wrong");
    await next;
  };
  return { seal, open };
}
