import type { Bytes } from "./bytes.js";
import { SubrosaError } from "./errors.js";

const HEX = "0123456789abcdef";
const BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** Lower-case hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  let out = "";
  for (const byte of bytes) out += HEX.charAt(byte >> 4) + HEX.charAt(byte & 15);
  return out;
}

/** Bytes of a hexadecimal string. Throws `malformed` on an odd length or another character. */
export function fromHex(text: string): Bytes {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) {
    throw new SubrosaError("malformed", "not a hexadecimal string");
  }
  const out = new Uint8Array(text.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return out;
}

/** RFC 4648 §5, without padding. */
export function toBase64Url(bytes: Uint8Array): string {
  let out = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const word = ((bytes[i] as number) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    const digits = Math.min(bytes.length - i, 3) + 1;
    for (let d = 0; d < digits; d++) out += BASE64URL.charAt((word >> (18 - 6 * d)) & 63);
  }
  return out;
}

/** Bytes of an unpadded base64url string. Throws `malformed` on anything but its one canonical form. */
export function fromBase64Url(text: string): Bytes {
  const out = new Uint8Array(Math.floor((text.length * 3) / 4));
  let bits = 0;
  let held = 0;
  let at = 0;
  for (const character of text) {
    const digit = BASE64URL.indexOf(character);
    if (digit < 0) throw new SubrosaError("malformed", "not a base64url string");
    bits = ((bits << 6) | digit) & 0xffff;
    held += 6;
    if (held >= 8) {
      held -= 8;
      out[at++] = (bits >> held) & 255;
    }
  }
  if (text.length % 4 === 1 || (bits & ((1 << held) - 1)) !== 0) {
    throw new SubrosaError("malformed", "not a base64url string");
  }
  return out;
}

/** UTF-8 bytes of a string. */
export function toUtf8(text: string): Bytes {
  return new TextEncoder().encode(text);
}

/** The string of UTF-8 bytes. Throws `malformed` on bytes that are not UTF-8; keeps a byte-order mark. */
export function fromUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new SubrosaError("malformed", "not UTF-8");
  }
}
