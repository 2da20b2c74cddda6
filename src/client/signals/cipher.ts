import type { Bytes } from "../../base/bytes.js";
import { concat, EMPTY } from "../../base/bytes.js";
import { toUtf8 } from "../../base/encoding.js";
import { decode } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import {
  AEAD_KEY_LENGTH,
  AEAD_NONCE_LENGTH,
  AEAD_TAG_LENGTH,
  aeadOpen,
  aeadSeal,
  importAeadKey,
} from "../../crypto/aead.js";
import { randomBytes } from "../../crypto/random.js";
import { sign, verify } from "../../crypto/signature.js";
import { exportSecret, type GroupState } from "../../mls/group/index.js";
import type { LeafIndex } from "../../mls/structs/indices.js";

export const SignalKind = { typing: 1, presence: 2 } as const;
export type SignalKind = (typeof SignalKind)[keyof typeof SignalKind];

/** What one member says of itself at this moment. */
export interface Signal {
  readonly kind: SignalKind;
  readonly value: boolean;
  /** Whose signal it is. */
  readonly leaf: LeafIndex;
  /** Milliseconds since 1970 by the relay's clock; grows from signal to signal of one leaf. */
  readonly time: number;
}

/** One that was decrypted: by a member, but which one only the signature says. */
export interface OpenedSignal extends Signal {
  readonly signature: Bytes;
}

const LABEL = "Subrosa 1 signal";
/** Every signal is as long as every other. */
const PLAIN_LENGTH = 128;
export const SIGNAL_LENGTH = AEAD_NONCE_LENGTH + PLAIN_LENGTH + AEAD_TAG_LENGTH;

const keys = new WeakMap<GroupState["secrets"], Promise<CryptoKey>>();

function keyOf(group: GroupState): Promise<CryptoKey> {
  let key = keys.get(group.secrets);
  if (key === undefined) {
    key = exportSecret(group, LABEL, EMPTY, AEAD_KEY_LENGTH).then((raw) => importAeadKey(raw));
    keys.set(group.secrets, key);
  }
  return key;
}

function encodeSignal(writer: Writer, { kind, value, leaf, time }: Signal): void {
  writer
    .u8(kind)
    .u8(value ? 1 : 0)
    .u32(leaf)
    .uint53(time);
}

function toBeSigned({ groupContext }: GroupState, signal: Signal): Bytes {
  return encode((writer) => {
    writer.opaque(toUtf8(LABEL)).fixed(groupContext.groupId).u64(groupContext.epoch);
    encodeSignal(writer, signal);
  }, undefined);
}

/** A signal for the members of the group's present epoch, signed with the key of this member's leaf. */
export async function sealSignal(
  group: GroupState,
  said: Omit<Signal, "leaf">,
  privateKey: CryptoKey,
): Promise<Bytes> {
  const signal = { ...said, leaf: group.ownLeafIndex };
  const signature = await sign(privateKey, toBeSigned(group, signal));
  const plain = new Uint8Array(PLAIN_LENGTH);
  plain.set(
    encode((writer) => {
      encodeSignal(writer, signal);
      writer.opaque(signature);
    }, undefined),
  );
  const nonce = randomBytes(AEAD_NONCE_LENGTH);
  return concat(nonce, await aeadSeal(await keyOf(group), nonce, group.groupContext.groupId, plain));
}

/** Throws `decryption-failed` and `malformed`: it is not by a member, or of another epoch, or not of this form. */
export async function openSignal(group: GroupState, payload: Uint8Array): Promise<OpenedSignal> {
  const [nonce, sealed] = [payload.subarray(0, AEAD_NONCE_LENGTH), payload.subarray(AEAD_NONCE_LENGTH)];
  const plain = await aeadOpen(await keyOf(group), nonce, group.groupContext.groupId, sealed);
  return decode((reader) => {
    const kind = reader.u8();
    const value = reader.u8();
    if ((kind !== SignalKind.typing && kind !== SignalKind.presence) || value > 1)
      return reader.fail("unknown signal");
    const leaf = reader.u32() as LeafIndex;
    const opened = { kind, value: value === 1, leaf, time: reader.uint53(), signature: reader.opaque(80) };
    if (reader.fixed(reader.remaining).some((byte) => byte !== 0)) reader.fail("padding other than zeros");
    return opened as OpenedSignal;
  }, plain);
}

/** Whether the leaf that it names has signed it. */
export async function isGenuine(group: GroupState, signal: OpenedSignal): Promise<boolean> {
  const leaf = group.tree.leaf(signal.leaf);
  return leaf !== undefined && verify(leaf.signatureKey, signal.signature, toBeSigned(group, signal));
}
