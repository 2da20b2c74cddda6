import type { Bytes } from "../base/bytes.js";
import { SubrosaError } from "../base/errors.js";
import { type HpkePsk, setupReceiver, setupSender } from "./context.js";
import type { KemKeyPair } from "./kem.js";

/** RFC 9180 §6.1 `SealBase`, and with a PSK `SealPSK`. Throws `invalid-key` for a key that is not on the curve. */
export async function seal(
  recipient: Bytes,
  info: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
  psk?: HpkePsk,
): Promise<{ enc: Bytes; ciphertext: Bytes }> {
  const sender = await setupSender(recipient, info, psk);
  return { enc: sender.enc, ciphertext: await sender.seal(aad, plaintext) };
}

/** RFC 9180 §6.1 `OpenBase`, and with a PSK `OpenPSK`. Throws `decryption-failed`, for an invalid `enc` too. */
export async function open(
  enc: Bytes,
  recipient: KemKeyPair,
  info: Uint8Array,
  aad: Uint8Array,
  ciphertext: Uint8Array,
  psk?: HpkePsk,
): Promise<Bytes> {
  try {
    const receiver = await setupReceiver(enc, recipient, info, psk);
    return await receiver.open(aad, ciphertext);
  } catch (error) {
    if (SubrosaError.is(error) && error.code === "invalid-key") {
      throw new SubrosaError("decryption-failed", "cannot decrypt");
    }
    throw error;
  }
}
