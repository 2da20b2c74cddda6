import { toHex } from "../../src/base/encoding.js";
import { decodeClientFrame, decodeRelayFrame } from "../../src/wire/frames.js";
import { LogKind } from "../../src/wire/protocol.js";

/** Types of frames (PROTOCOL.md, A session; Requests), which are their first bytes. */
const ENTRIES = 0x30;
const APPEND = 0x10;
const ACK = 0x08;

export const hasEntries = (frame: Uint8Array) => frame[0] === ENTRIES;

/**
 * What may come a second time as if the client had sent it again, once it has sent this frame: appends to group logs,
 * until it has acknowledged that part of the log. Other requests a client repeats by itself, when it connects anew.
 */
export function repeatable(before: readonly Uint8Array[], frame: Uint8Array): readonly Uint8Array[] {
  if (frame[0] === APPEND && frame[5] === LogKind.group) return [...before, frame];
  if (frame[0] !== ACK) return before;
  const log = toHex(frame.subarray(1, 34));
  return before.filter((request) => toHex(request.subarray(5, 38)) !== log);
}

/** A frame in a trace: what it is and how long. */
export function describe(frame: Uint8Array<ArrayBuffer>, direction: "up" | "down"): string {
  const decoded = direction === "up" ? decodeClientFrame(frame) : decodeRelayFrame(frame);
  const name =
    decoded.type === "request"
      ? decoded.name
      : decoded.type === "refuse"
        ? `${decoded.type} ${decoded.code}`
        : decoded.type;
  return `${name} ${frame.length}`;
}
