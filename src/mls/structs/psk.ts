import type { Bytes } from "../../base/bytes.js";
import type { Reader } from "../../codec/reader.js";
import type { Writer } from "../../codec/writer.js";
import { decodeName } from "./registry.js";

const PSK_TYPES = { external: 1, resumption: 2 } as const;
const USAGES = { application: 1, reinit: 2, branch: 3 } as const;

/** RFC 9420 §8.4. */
export type ResumptionPskUsage = keyof typeof USAGES;

/** RFC 9420 §8.4 `PreSharedKeyID`. */
export type PreSharedKeyId =
  | { readonly pskType: "external"; readonly pskId: Bytes; readonly pskNonce: Bytes }
  | {
      readonly pskType: "resumption";
      readonly usage: ResumptionPskUsage;
      readonly pskGroupId: Bytes;
      readonly pskEpoch: bigint;
      readonly pskNonce: Bytes;
    };

export function encodePreSharedKeyId(writer: Writer, id: PreSharedKeyId): void {
  writer.u8(PSK_TYPES[id.pskType]);
  if (id.pskType === "external") writer.opaque(id.pskId);
  else writer.u8(USAGES[id.usage]).opaque(id.pskGroupId).u64(id.pskEpoch);
  writer.opaque(id.pskNonce);
}

export function decodePreSharedKeyId(reader: Reader): PreSharedKeyId {
  const pskType = decodeName(PSK_TYPES, reader.u8(), reader, "PSK type");
  if (pskType === "external") return { pskType, pskId: reader.opaque(), pskNonce: reader.opaque() };
  return {
    pskType,
    usage: decodeName(USAGES, reader.u8(), reader, "resumption PSK usage"),
    pskGroupId: reader.opaque(),
    pskEpoch: reader.u64(),
    pskNonce: reader.opaque(),
  };
}
