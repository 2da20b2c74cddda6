import { type Bytes, concat, copyBytes, EMPTY } from "../base/bytes.js";
import { assertArgument, SubrosaError } from "../base/errors.js";
import { AEAD_KEY_LENGTH, AEAD_NONCE_LENGTH, aeadOpen, aeadSeal, importAeadKey } from "../crypto/aead.js";
import { HASH_LENGTH } from "../crypto/hash.js";
import { importHmacKey } from "../crypto/hmac.js";
import { decap, encap, type KemKeyPair } from "./kem.js";
import { HPKE_SUITE_ID, labeledExpand, labeledExtract } from "./labeled.js";

/** RFC 9180 §5.1.2: a secret both sides know, at least 32 bytes, and its name. */
export interface HpkePsk {
  readonly psk: Bytes;
  readonly pskId: Bytes;
}

const MODE_BASE = 0;
const MODE_PSK = 1;

/** RFC 9180 §5.2: sequence numbers run up to 2^96 - 1; whole numbers of JavaScript end before. */
const LAST_SEQUENCE = Number.MAX_SAFE_INTEGER;

interface Schedule {
  readonly key: CryptoKey;
  readonly baseNonce: Bytes;
  readonly exporter: CryptoKey;
}

let noPskHash: Promise<Bytes> | undefined;

/** RFC 9180 §5.1 `KeySchedule`. */
async function keySchedule(
  sharedSecret: Promise<Bytes>,
  info: Uint8Array,
  psk: HpkePsk | undefined,
): Promise<Schedule> {
  const ikm = psk?.psk ?? EMPTY;
  if (psk === undefined) noPskHash ??= labeledExtract(HPKE_SUITE_ID, EMPTY, "psk_id_hash", EMPTY);
  const [pskIdHash, infoHash, secret] = await Promise.all([
    psk === undefined
      ? (noPskHash as Promise<Bytes>)
      : labeledExtract(HPKE_SUITE_ID, EMPTY, "psk_id_hash", psk.pskId),
    labeledExtract(HPKE_SUITE_ID, EMPTY, "info_hash", info),
    sharedSecret
      .then((shared) => labeledExtract(HPKE_SUITE_ID, shared, "secret", ikm))
      .then((bytes) => importHmacKey(bytes)),
  ]);
  const context = concat(Uint8Array.of(psk === undefined ? MODE_BASE : MODE_PSK), pskIdHash, infoHash);
  const [key, baseNonce, exporter] = await Promise.all([
    labeledExpand(HPKE_SUITE_ID, secret, "key", context, AEAD_KEY_LENGTH).then((raw) => importAeadKey(raw)),
    labeledExpand(HPKE_SUITE_ID, secret, "base_nonce", context, AEAD_NONCE_LENGTH),
    labeledExpand(HPKE_SUITE_ID, secret, "exp", context, HASH_LENGTH).then((raw) => importHmacKey(raw)),
  ]);
  return { key, baseNonce, exporter };
}

function checkPsk(psk: HpkePsk | undefined): void {
  assertArgument(
    psk === undefined || (psk.psk.length >= 32 && psk.pskId.length > 0),
    "an HPKE PSK has at least 32 bytes and a name",
  );
}

/** RFC 9180 §5.2 `ComputeNonce`. */
function computeNonce(baseNonce: Bytes, sequence: number): Bytes {
  if (sequence > LAST_SEQUENCE) throw new SubrosaError("internal", "HPKE message limit reached");
  const nonce = copyBytes(baseNonce);
  let rest = sequence;
  for (let i = AEAD_NONCE_LENGTH - 1; rest > 0; i--) {
    nonce[i] = (nonce[i] as number) ^ (rest % 256);
    rest = Math.floor(rest / 256);
  }
  return nonce;
}

class ContextBase {
  protected readonly schedule: Schedule;

  constructor(schedule: Schedule) {
    this.schedule = schedule;
  }

  /** RFC 9180 §5.3 `Context.Export`. */
  export(exporterContext: Uint8Array, length: number): Promise<Bytes> {
    return labeledExpand(HPKE_SUITE_ID, this.schedule.exporter, "sec", exporterContext, length);
  }
}

/** RFC 9180 §5.2: the sender's side. Every call takes the next sequence number, also when calls overlap. */
export class HpkeSender extends ContextBase {
  /** What the recipient needs to set up its side, 65 bytes. */
  readonly enc: Bytes;
  #sequence = 0;

  constructor(schedule: Schedule, enc: Bytes) {
    super(schedule);
    this.enc = enc;
  }

  seal(aad: Uint8Array, plaintext: Uint8Array): Promise<Bytes> {
    const nonce = computeNonce(this.schedule.baseNonce, this.#sequence++);
    return aeadSeal(this.schedule.key, nonce, aad, plaintext);
  }
}

/** RFC 9180 §5.2: the recipient's side. A ciphertext that does not open takes no sequence number. */
export class HpkeReceiver extends ContextBase {
  #sequence = 0;
  #tail: Promise<unknown> = Promise.resolve();

  /** Opens the next ciphertext; overlapping calls run in order. Throws `decryption-failed`. */
  open(aad: Uint8Array, ciphertext: Uint8Array): Promise<Bytes> {
    const opened = this.#tail.then(async () => {
      const nonce = computeNonce(this.schedule.baseNonce, this.#sequence);
      const plaintext = await aeadOpen(this.schedule.key, nonce, aad, ciphertext);
      this.#sequence++;
      return plaintext;
    });
    this.#tail = opened.catch(() => undefined);
    return opened;
  }
}

/** RFC 9180 §5.1.1, §5.1.2 `SetupBaseS`, `SetupPSKS`. `ephemeral` is for test vectors. Throws `invalid-key`. */
export async function setupSender(
  recipient: Bytes,
  info: Uint8Array,
  psk?: HpkePsk,
  ephemeral?: KemKeyPair,
): Promise<HpkeSender> {
  checkPsk(psk);
  const encapsulated = encap(recipient, ephemeral);
  const schedule = await keySchedule(
    encapsulated.then(({ sharedSecret }) => sharedSecret),
    info,
    psk,
  );
  return new HpkeSender(schedule, (await encapsulated).enc);
}

/** RFC 9180 §5.1.1, §5.1.2 `SetupBaseR`, `SetupPSKR`. Throws `invalid-key`. */
export async function setupReceiver(
  enc: Bytes,
  recipient: KemKeyPair,
  info: Uint8Array,
  psk?: HpkePsk,
): Promise<HpkeReceiver> {
  checkPsk(psk);
  return new HpkeReceiver(await keySchedule(decap(enc, recipient), info, psk));
}
