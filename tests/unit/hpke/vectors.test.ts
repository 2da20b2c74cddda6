import { describe, expect, it } from "vitest";
import { fromHex, toHex } from "../../../src/base/encoding.js";
import { importDhPrivateKey } from "../../../src/crypto/p256.js";
import { setupReceiver, setupSender } from "../../../src/hpke/context.js";
import { decap, deriveKeyPair, encap } from "../../../src/hpke/kem.js";
import vectors from "../../vectors/frozen/hpke-p256.json" with { type: "json" };

interface Entry {
  suite: string;
  mode: number;
  keys: { ikm: string; sk: string; pk: string }[];
  enc?: string;
  shared_secret?: string;
  info?: string;
  psk?: string;
  psk_id?: string;
  encryptions?: { sequence: number; pt: string; aad: string; ct: string }[];
  exports?: { context: string; length: number; value: string }[];
}

const entries: Entry[] = vectors.entries;

function keyPair({ sk, pk }: Entry["keys"][number]) {
  return { privateKey: fromHex(sk), publicKey: fromHex(pk) };
}

it("holds the three P-256 suites of RFC 9180 Appendix A in four modes", () => {
  expect(entries.length).toBe(12);
  expect(entries.filter((entry) => entry.encryptions).map((entry) => entry.mode)).toEqual([0, 1]);
});

describe.each(entries)("$suite, mode $mode", (entry) => {
  it("derives the key pairs", async () => {
    expect(entry.keys.length).toBe(entry.mode < 2 ? 2 : 3);
    for (const { ikm, sk, pk } of entry.keys) {
      const pair = await deriveKeyPair(fromHex(ikm));
      expect([toHex(pair.privateKey), toHex(pair.publicKey)]).toEqual([sk, pk]);
    }
  });

  const { enc, shared_secret: sharedSecret } = entry;
  const [ephemeral, recipient] = entry.keys.map(keyPair);
  if (!ephemeral || !recipient || enc === undefined || sharedSecret === undefined) return;

  it("encapsulates and decapsulates", async () => {
    const sent = await encap(recipient.publicKey, ephemeral);
    expect([toHex(sent.enc), toHex(sent.sharedSecret)]).toEqual([enc, sharedSecret]);
    expect(toHex(await decap(fromHex(enc), recipient))).toBe(sharedSecret);
    const imported = { ...recipient, privateKey: await importDhPrivateKey(recipient.privateKey) };
    expect(toHex(await decap(fromHex(enc), imported))).toBe(sharedSecret);
  });

  const { encryptions, exports } = entry;
  if (!encryptions || !exports) return;

  it("seals, opens and exports", async () => {
    const info = fromHex(entry.info ?? "");
    const psk = entry.psk ? { psk: fromHex(entry.psk), pskId: fromHex(entry.psk_id ?? "") } : undefined;
    const sender = await setupSender(recipient.publicKey, info, psk, ephemeral);
    const receiver = await setupReceiver(fromHex(enc), recipient, info, psk);
    const wanted = new Map(encryptions.map((encryption) => [encryption.sequence, encryption]));
    const last = Math.max(...wanted.keys());
    expect([wanted.size, last]).toEqual([6, 256]);
    for (let sequence = 0; sequence <= last; sequence++) {
      const { pt, aad, ct } = wanted.get(sequence) ?? { pt: "", aad: "", ct: undefined };
      const sealed = await sender.seal(fromHex(aad), fromHex(pt));
      if (ct !== undefined) expect(toHex(sealed)).toBe(ct);
      expect(toHex(await receiver.open(fromHex(aad), sealed))).toBe(pt);
    }
    for (const { context, length, value } of exports) {
      expect(toHex(await sender.export(fromHex(context), length))).toBe(value);
      expect(toHex(await receiver.export(fromHex(context), length))).toBe(value);
    }
  });
});
