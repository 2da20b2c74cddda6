import { type Bytes, EMPTY } from "../../base/bytes.js";
import { toUtf8 } from "../../base/encoding.js";
import type { Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { AEAD_KEY_LENGTH, AEAD_NONCE_LENGTH, importAeadKey } from "../../crypto/aead.js";
import { HASH_LENGTH } from "../../crypto/hash.js";
import { hkdfExtract } from "../../crypto/hkdf.js";
import { importHmacKey } from "../../crypto/hmac.js";
import type { DhKeyPair } from "../../crypto/p256.js";
import { setupReceiver, setupSender } from "../../hpke/context.js";
import { deriveKeyPair } from "../../hpke/kem.js";
import { deriveSecret, expandWithLabel } from "../labels.js";
import { encodeGroupContext, type GroupContext } from "../structs/group-context.js";

const EPOCH_LABELS = {
  senderDataSecret: "sender data",
  exporterSecret: "exporter",
  externalSecret: "external",
  confirmationKey: "confirm",
  membershipKey: "membership",
  resumptionPsk: "resumption",
  epochAuthenticator: "authentication",
  initSecret: "init",
} as const;

/**
 * RFC 9420 §8: what an epoch keeps. The encryption secret is not among it, since the secret tree consumes it.
 * The arrays are never changed, so that imports of them can be shared.
 */
export type EpochSecrets = { readonly [Name in keyof typeof EPOCH_LABELS]: Bytes };

const NAMES = Object.keys(EPOCH_LABELS) as (keyof EpochSecrets)[];

/** The secrets of a new epoch, with those that are used once. */
export interface NewEpoch {
  readonly secrets: EpochSecrets;
  readonly encryptionSecret: Bytes;
}

export function encodeEpochSecrets(writer: Writer, secrets: EpochSecrets): void {
  for (const name of NAMES) writer.opaque(secrets[name]);
}

export function decodeEpochSecrets(reader: Reader): EpochSecrets {
  return Object.fromEntries(NAMES.map((name) => [name, reader.opaque()])) as unknown as EpochSecrets;
}

/** RFC 9420 §8: the joiner secret, from the previous epoch's init secret and the commit secret. */
export async function deriveJoinerSecret(
  initSecret: Bytes,
  commitSecret: Bytes,
  groupContext: GroupContext,
): Promise<Bytes> {
  const prk = await hkdfExtract(initSecret, commitSecret);
  return expandWithLabel(prk, "joiner", encode(encodeGroupContext, groupContext), HASH_LENGTH);
}

/** RFC 9420 §8, §12.4.3.1: the welcome secret, from the joiner secret and the PSK secret. */
export async function deriveWelcomeSecret(joinerSecret: Bytes, pskSecret: Bytes): Promise<Bytes> {
  return deriveSecret(await hkdfExtract(joinerSecret, pskSecret), "welcome");
}

/** RFC 9420 §12.4.3.1: the key and nonce under which a Welcome carries its GroupInfo. */
export async function deriveWelcomeKey(welcomeSecret: Bytes): Promise<{ key: CryptoKey; nonce: Bytes }> {
  const secret = await importHmacKey(welcomeSecret);
  const [key, nonce] = await Promise.all([
    expandWithLabel(secret, "key", EMPTY, AEAD_KEY_LENGTH).then((raw) => importAeadKey(raw)),
    expandWithLabel(secret, "nonce", EMPTY, AEAD_NONCE_LENGTH),
  ]);
  return { key, nonce };
}

/** RFC 9420 §8: the secrets of an epoch, and the welcome secret, from the joiner secret and the PSK secret. */
export async function deriveEpoch(
  joinerSecret: Bytes,
  pskSecret: Bytes,
  groupContext: GroupContext,
): Promise<NewEpoch & { readonly welcomeSecret: Bytes }> {
  const member = await importHmacKey(await hkdfExtract(joinerSecret, pskSecret));
  const [welcomeSecret, epoch] = await Promise.all([
    deriveSecret(member, "welcome"),
    expandWithLabel(member, "epoch", encode(encodeGroupContext, groupContext), HASH_LENGTH).then(
      deriveEpochFromSecret,
    ),
  ]);
  return { ...epoch, welcomeSecret };
}

/** RFC 9420 §8, Table 4. Group creation starts here, with a random epoch secret (§11). */
export async function deriveEpochFromSecret(epochSecret: Bytes): Promise<NewEpoch> {
  const key = await importHmacKey(epochSecret);
  const [encryptionSecret, ...derived] = await Promise.all([
    deriveSecret(key, "encryption"),
    ...NAMES.map((name) => deriveSecret(key, EPOCH_LABELS[name])),
  ]);
  const secrets = Object.fromEntries(NAMES.map((name, i) => [name, derived[i]])) as unknown as EpochSecrets;
  return { secrets, encryptionSecret };
}

/** RFC 9420 §8: the key pair that external commits encapsulate to. */
export function deriveExternalKeyPair(externalSecret: Bytes): Promise<DhKeyPair> {
  return deriveKeyPair(externalSecret);
}

const EXTERNAL_INIT = "MLS 1.0 external init secret";

/** RFC 9420 §8.3: the init secret of an external commit, and the `kem_output` of its ExternalInit. */
export async function sealExternalInit(externalPub: Bytes): Promise<{ initSecret: Bytes; kemOutput: Bytes }> {
  const sender = await setupSender(externalPub, EMPTY);
  return { initSecret: await sender.export(toUtf8(EXTERNAL_INIT), HASH_LENGTH), kemOutput: sender.enc };
}

/** RFC 9420 §8.3: the same secret, for the members. Throws `invalid-key` for a `kem_output` off the curve. */
export async function openExternalInit(externalSecret: Bytes, kemOutput: Bytes): Promise<Bytes> {
  const receiver = await setupReceiver(kemOutput, await deriveExternalKeyPair(externalSecret), EMPTY);
  return receiver.export(toUtf8(EXTERNAL_INIT), HASH_LENGTH);
}
