import { fromHex, toHex } from "../../../src/base/encoding.js";
import { derivePskSecret } from "../../../src/mls/schedule/psk-secret.js";

export interface Entry {
  readonly psks: readonly Readonly<Record<"psk_id" | "psk" | "psk_nonce", string>>[];
  readonly psk_secret: string;
}

/** psk_secret.json: external PSKs combined into one secret. */
export async function check(entry: Entry): Promise<void> {
  const psks = entry.psks.map(({ psk_id, psk, psk_nonce }) => ({
    id: { pskType: "external", pskId: fromHex(psk_id), pskNonce: fromHex(psk_nonce) } as const,
    psk: fromHex(psk),
  }));
  const secret = toHex(await derivePskSecret(psks));
  if (secret !== entry.psk_secret) throw new Error(`psk_secret: ${secret}, not ${entry.psk_secret}`);
}
