import { toUtf8 } from "../../base/encoding.js";
import type { LogId } from "../../wire/identifiers.js";

/** Bytes as a binary string. */
export function binary(bytes: Uint8Array): string {
  let out = "";
  for (const byte of bytes) out += String.fromCharCode(byte);
  return out;
}

/** Eight bytes, most significant first, so that keys sort as numbers do. */
export function binaryNumber(value: number): string {
  let out = "";
  for (let power = 7; power >= 0; power--) out += String.fromCharCode(Math.floor(value / 256 ** power) % 256);
  return out;
}

/** The first binary string after all that begin with `prefix`. */
export function after(prefix: string): string {
  let at = prefix.length - 1;
  while (at > 0 && prefix.charCodeAt(at) === 255) at--;
  return prefix.slice(0, at) + String.fromCharCode(prefix.charCodeAt(at) + 1);
}

/** Preceded by its length in bytes, at most 128. */
const namePart = (name: string) => {
  const bytes = binary(toUtf8(name));
  return String.fromCharCode(bytes.length) + bytes;
};

const logPart = (log: LogId) => String.fromCharCode(log.kind) + binary(log.id);

/** One letter per kind of record, then ids of fixed length; PROTOCOL.md has the words. */
export const keys = {
  account: (userId: string) => `a${binary(toUtf8(userId))}`,
  blocks: (userId: string) => `b${namePart(userId)}`,
  block: (userId: string, other: string) => `b${namePart(userId)}${binary(toUtf8(other))}`,
  device: (deviceId: Uint8Array) => `d${binary(deviceId)}`,
  keyPackages: (deviceId: Uint8Array) => `k${binary(deviceId)}`,
  keyPackage: (deviceId: Uint8Array, number: number) => `k${binary(deviceId)}${binaryNumber(number)}`,
  lastResort: (deviceId: Uint8Array) => `l${binary(deviceId)}`,
  group: (groupId: Uint8Array) => `g${binary(groupId)}`,
  name: (nameHash: Uint8Array) => `n${binary(nameHash)}`,
  direct: (slot: Uint8Array) => `s${binary(slot)}`,
  head: (log: LogId) => `h${logPart(log)}`,
  heads: "h",
  entries: (log: LogId) => `e${logPart(log)}`,
  entry: (log: LogId, seq: number) => `e${logPart(log)}${binaryNumber(seq)}`,
  entryId: (log: LogId, entryId: Uint8Array) => `i${logPart(log)}${binary(entryId)}`,
  welcome: (groupId: Uint8Array, seq: number) => `w${binary(groupId)}${binaryNumber(seq)}`,
  accesses: (groupId: Uint8Array) => `x${binary(groupId)}`,
  access: (groupId: Uint8Array, deviceId: Uint8Array) => `x${binary(groupId)}${binary(deviceId)}`,
  memberships: (deviceId: Uint8Array) => `m${binary(deviceId)}`,
  membership: (deviceId: Uint8Array, groupId: Uint8Array) => `m${binary(deviceId)}${binary(groupId)}`,
  pointers: (deviceId: Uint8Array) => `p${binary(deviceId)}`,
  pointer: (deviceId: Uint8Array, groupId: Uint8Array) => `p${binary(deviceId)}${binary(groupId)}`,
  blobs: "f",
  blob: (blobId: Uint8Array) => `f${binary(blobId)}`,
  chunk: (blobId: Uint8Array, index: number) => `c${binary(blobId)}${binaryNumber(index)}`,
  buriedBlobs: "z",
  buriedBlob: (blobId: Uint8Array) => `z${binary(blobId)}`,
  blobUsage: (userId: string) => `u${binary(toUtf8(userId))}`,
  blobTotal: "t",
  probe: "o",
  request: (groupId: Uint8Array, deviceId: Uint8Array) => `r${binary(groupId)}${binary(deviceId)}`,
} as const;

/** The bytes of a binary string from character `start` on. */
export function bytesOf(text: string, start: number, end = text.length): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(end - start);
  for (let i = 0; i < out.length; i++) out[i] = text.charCodeAt(start + i);
  return out;
}
