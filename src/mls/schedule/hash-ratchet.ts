import type { Bytes } from "../../base/bytes.js";
import type { PlatformCryptoKey } from "../../base/crypto-key.js";
import { SubrosaError } from "../../base/errors.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { AEAD_KEY_LENGTH, AEAD_NONCE_LENGTH, importAeadKey } from "../../crypto/aead.js";
import { HASH_LENGTH } from "../../crypto/hash.js";
import { importHmacKey } from "../../crypto/hmac.js";
import { deriveTreeSecret } from "../labels.js";
import type { Rule } from "../rules.js";

const KEY_USED: Rule = "RFC 9420 §9.2: key of a generation used";

/** How far receiving may run ahead, and how many keys of messages not seen yet it keeps, per ratchet. */
export interface RatchetLimits {
  /** Generations that one message may skip. */
  readonly maxForward: number;
  /** Keys kept for skipped generations; the oldest go first. */
  readonly maxSkipped: number;
}

/** RFC 9420 §9.1: the key and nonce of one generation of one sender, for one message. */
export class MessageKey {
  readonly generation: number;
  readonly key: Bytes;
  readonly nonce: Bytes;
  #imported: Promise<CryptoKey> | undefined;

  constructor(generation: number, key: Bytes, nonce: Bytes) {
    this.generation = generation;
    this.key = key;
    this.nonce = nonce;
  }

  /** The key as the AEAD takes it, imported once. */
  aead(): Promise<PlatformCryptoKey> {
    this.#imported ??= importAeadKey(this.key);
    return this.#imported;
  }
}

interface Step {
  readonly messageKey: MessageKey;
  readonly nextSecret: Bytes;
}

/** The last generation that a ratchet gives out: the one after it must still be a uint32. */
const LAST_GENERATION = 0xfffffffe;

/** RFC 9420 §9.1: the hash ratchet of one sender and one kind of message. Immutable; it gives out its successor. */
export class HashRatchet {
  /** The next generation. */
  readonly generation: number;
  readonly #secret: Bytes;
  readonly #skipped: ReadonlyMap<number, MessageKey>;
  #step: Promise<Step> | undefined;

  constructor(generation: number, secret: Bytes, skipped: ReadonlyMap<number, MessageKey> = new Map()) {
    this.generation = generation;
    this.#secret = secret;
    this.#skipped = skipped;
  }

  /** How many keys of skipped generations are kept. */
  get skippedCount(): number {
    return this.#skipped.size;
  }

  /** Derives the next key now, so that the message which needs it need not wait. */
  prepare(): void {
    this.#nextStep().then(
      ({ messageKey }) => messageKey.aead().catch(() => undefined),
      () => undefined,
    );
  }

  #nextStep(): Promise<Step> {
    this.#step ??= this.#derive();
    return this.#step;
  }

  async #derive(): Promise<Step> {
    const { generation } = this;
    const secret = await importHmacKey(this.#secret);
    const [key, nonce, nextSecret] = await Promise.all([
      deriveTreeSecret(secret, "key", generation, AEAD_KEY_LENGTH),
      deriveTreeSecret(secret, "nonce", generation, AEAD_NONCE_LENGTH),
      deriveTreeSecret(secret, "secret", generation, HASH_LENGTH),
    ]);
    return { messageKey: new MessageKey(generation, key, nonce), nextSecret };
  }

  /** The key of the next generation, for sending. Throws `too-large` when the ratchet is exhausted. */
  async next(): Promise<{ messageKey: MessageKey; ratchet: HashRatchet }> {
    if (this.generation > LAST_GENERATION)
      throw new SubrosaError("too-large", "too many messages in one epoch");
    const { messageKey, nextSecret } = await this.#nextStep();
    return { messageKey, ratchet: new HashRatchet(this.generation + 1, nextSecret, this.#skipped) };
  }

  /**
   * The key of a generation, for receiving. Throws `decryption-failed` when it was used, with a rule where that is
   * certain, or is too far ahead.
   */
  async at(
    generation: number,
    limits: RatchetLimits,
  ): Promise<{ messageKey: MessageKey; ratchet: HashRatchet }> {
    if (generation < this.generation) {
      const messageKey = this.#skipped.get(generation);
      if (messageKey === undefined) {
        // Had it been skipped, it would be among the last keys that are kept.
        const isUsed = this.generation - generation <= limits.maxSkipped;
        throw new SubrosaError("decryption-failed", "cannot decrypt", isUsed ? { rule: KEY_USED } : {});
      }
      const skipped = new Map(this.#skipped);
      skipped.delete(generation);
      return { messageKey, ratchet: new HashRatchet(this.generation, this.#secret, skipped) };
    }
    if (generation - this.generation > limits.maxForward || generation > LAST_GENERATION) {
      throw new SubrosaError("decryption-failed", "cannot decrypt");
    }
    if (generation === this.generation) return this.next();
    return this.#skipTo(generation, limits.maxSkipped);
  }

  async #skipTo(
    generation: number,
    maxSkipped: number,
  ): Promise<{ messageKey: MessageKey; ratchet: HashRatchet }> {
    const skipped = new Map(this.#skipped);
    let secret = this.#secret;
    for (let at = this.generation; at < generation; at++) {
      if (generation - at > maxSkipped) {
        secret = await deriveTreeSecret(secret, "secret", at, HASH_LENGTH);
        continue;
      }
      const step = await new HashRatchet(at, secret).#nextStep();
      skipped.set(at, step.messageKey);
      secret = step.nextSecret;
    }
    // A Map keeps the order of insertion, and generations were inserted in theirs.
    for (const old of skipped.keys()) {
      if (skipped.size <= maxSkipped) break;
      skipped.delete(old);
    }
    const { messageKey, nextSecret } = await new HashRatchet(generation, secret).#nextStep();
    return { messageKey, ratchet: new HashRatchet(generation + 1, nextSecret, skipped) };
  }

  /** Its record in a store. */
  encode(): Bytes {
    return encode((writer: Writer) => {
      writer.u32(this.generation).opaque(this.#secret);
      writer.vector([...this.#skipped.values()], (w, { generation, key, nonce }) => {
        w.u32(generation).opaque(key).opaque(nonce);
      });
    }, undefined);
  }

  /** Inverse of {@link encode}. Throws `malformed`. */
  static decode(record: Uint8Array): HashRatchet {
    return decode((reader: Reader) => {
      const generation = reader.u32();
      const secret = reader.opaque();
      const kept = reader.vector((r) => new MessageKey(r.u32(), r.opaque(), r.opaque()));
      const skipped = new Map(kept.map((messageKey) => [messageKey.generation, messageKey]));
      return new HashRatchet(generation, secret, skipped);
    }, record);
  }
}
