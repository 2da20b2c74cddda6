import { toHex } from "../../base/encoding.js";
import type { LogId } from "../../wire/identifiers.js";
import { DEVICE_ID_LENGTH, GROUP_ID_LENGTH, LogKind } from "../../wire/protocol.js";
import { bytesOf } from "../embedded/keys.js";

/** Where a record with a key of embedded/keys.ts lies: a field of a hash. Keys with one tag share a hash slot. */
export interface Place {
  readonly tag: string;
  /** The letters before the tag; with the storage's prefix they make the Redis key. */
  readonly kind: string;
  /** A binary string. */
  readonly field: string;
}

/** What a tag begins with, by what owns the slot. */
const hex = (key: string, start: number, end?: number) => toHex(bytesOf(key, start, end));

export const groupTag = (groupId: Uint8Array) => `g:${toHex(groupId)}`;
export const deviceTag = (deviceId: Uint8Array) => `d:${toHex(deviceId)}`;
export const logTag = (log: LogId) => (log.kind === LogKind.inbox ? deviceTag(log.id) : groupTag(log.id));

export function placeOf(key: string): Place {
  const kind = key.charAt(0);
  switch (kind) {
    case "a":
      return { tag: `u:${hex(key, 1)}`, kind, field: "" };
    case "b": {
      const end = 2 + key.charCodeAt(1);
      return { tag: `u:${hex(key, 2, end)}`, kind, field: key.slice(end) };
    }
    case "n":
    case "s":
      return { tag: `${kind}:${hex(key, 1)}`, kind, field: "" };
    case "h":
    case "e":
    case "i": {
      const inbox = key.charCodeAt(1) === LogKind.inbox;
      const end = 2 + (inbox ? DEVICE_ID_LENGTH : GROUP_ID_LENGTH);
      return {
        tag: `${inbox ? "d" : "g"}:${hex(key, 2, end)}`,
        kind: kind + key.charCodeAt(1),
        field: key.slice(end),
      };
    }
    case "d":
    case "k":
    case "l":
    case "m":
    case "p": {
      const end = 1 + DEVICE_ID_LENGTH;
      return { tag: `d:${hex(key, 1, end)}`, kind, field: key.slice(end) };
    }
    default: {
      const end = 1 + GROUP_ID_LENGTH;
      return { tag: `g:${hex(key, 1, end)}`, kind, field: key.slice(end) };
    }
  }
}

/** What the name of a Redis key is made of. */
export function partsOf(key: string, prefix: string): { kind: string; tag: string } {
  const brace = key.indexOf("{", prefix.length);
  return { kind: key.slice(prefix.length, brace), tag: key.slice(brace + 1, -1) };
}

export function globEscape(text: string): string {
  return text.replace(/[\\*?[\]]/g, "\\$&");
}

/** Names of Redis keys, each with its hash tag. */
export class Names {
  readonly prefix: string;

  constructor(prefix: string) {
    this.prefix = prefix;
  }

  key(kind: string, tag: string): string {
    return `${this.prefix}${kind}{${tag}}`;
  }

  /** The channel on which changes of a slot are announced. */
  channel(tag: string): string {
    return this.key("news", tag);
  }
}
