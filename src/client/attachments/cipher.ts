import { type Bytes, concat } from "../../base/bytes.js";
import { toUtf8 } from "../../base/encoding.js";
import { SubrosaError } from "../../base/errors.js";
import { AEAD_NONCE_LENGTH, aeadOpen, aeadSeal, importAeadKey } from "../../crypto/aead.js";
import { hkdfExpand, hkdfExtract } from "../../crypto/hkdf.js";
import { type AttachmentReference, CHUNK_LENGTH, chunkLength, chunksOf } from "./reference.js";

const label = () => toUtf8("Subrosa 1 attachment");
const KEY_LENGTH = 32;

/**
 * Encrypts the chunks of one attachment, under a key that is used for nothing else. A chunk is bound to its blob, to
 * its place and to whether it is the last (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár): one that
 * is changed, moved, left out, repeated or another attachment's does not open.
 */
export class AttachmentCipher {
  readonly #key: CryptoKey;
  readonly #context: Bytes;

  private constructor(key: CryptoKey, context: Bytes) {
    this.#key = key;
    this.#context = context;
  }

  static async make({ key, blobId }: Pick<AttachmentReference, "key" | "blobId">): Promise<AttachmentCipher> {
    const secret = await hkdfExtract(label(), key);
    const chunkKey = await hkdfExpand(secret, concat(label(), toUtf8(" chunks")), KEY_LENGTH);
    return new AttachmentCipher(await importAeadKey(chunkKey), concat(label(), blobId));
  }

  /** `plaintext` with its padding. Each place must be sealed once only. */
  seal(index: number, isLast: boolean, plaintext: Uint8Array): Promise<Bytes> {
    return aeadSeal(this.#key, nonceOf(index, isLast), this.#context, plaintext);
  }

  /** The plaintext of a chunk without its padding. Throws `decryption-failed`. */
  async open({ size }: AttachmentReference, index: number, chunk: Uint8Array): Promise<Bytes> {
    const isLast = index === chunksOf(size) - 1;
    const padded = await aeadOpen(this.#key, nonceOf(index, isLast), this.#context, chunk);
    const length = chunkLength(size, index);
    if (padded.length !== length) throw new SubrosaError("decryption-failed", "cannot decrypt");
    return padded.subarray(0, size - index * CHUNK_LENGTH);
  }
}

/** Seven zero bytes, the index, and whether it is the last. */
function nonceOf(index: number, isLast: boolean): Bytes {
  const nonce = new Uint8Array(AEAD_NONCE_LENGTH);
  const view = new DataView(nonce.buffer);
  view.setUint32(7, index);
  view.setUint8(11, isLast ? 1 : 0);
  return nonce;
}
