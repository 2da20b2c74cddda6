import { toHex } from "../../src/base/encoding.js";
import { decodeClientFrame, decodeRelayFrame } from "../../src/wire/frames.js";
import type { LogId } from "../../src/wire/identifiers.js";
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

/** A frame in a trace: what it is, which log it is about, and how long. */
export function describe(frame: Uint8Array<ArrayBuffer>, direction: "up" | "down"): string {
  return `${direction === "up" ? whatIsSaid(frame) : whatIsHeard(frame)} ${frame.length}`;
}

const logName = ({ kind, id }: LogId) => `${LOGS[kind]} ${toHex(id).slice(0, 8)}`;
const LOGS: Readonly<Record<number, string>> = {
  [LogKind.group]: "group",
  [LogKind.inbox]: "inbox",
  [LogKind.requestBox]: "box",
};

function whatIsSaid(frame: Uint8Array<ArrayBuffer>): string {
  const decoded = decodeClientFrame(frame);
  if (decoded.type !== "request") return decoded.type;
  const { name, body } = decoded;
  if ("log" in body) return `${name} ${logName(body.log)}`;
  if ("groupId" in body) return `${name} ${toHex(body.groupId).slice(0, 8)}`;
  return "userId" in body ? `${name} ${body.userId}` : name;
}

function whatIsHeard(frame: Uint8Array<ArrayBuffer>): string {
  const decoded = decodeRelayFrame(frame);
  if (decoded.type === "refuse") return `refuse ${decoded.code}`;
  if (decoded.type !== "entries") return decoded.type;
  const { log, entries } = decoded;
  return `entries ${logName(log)} ${entries[0]?.seq}-${entries.at(-1)?.seq}`;
}
