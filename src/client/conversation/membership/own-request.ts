import { decode, type Reader } from "../../../codec/reader.js";
import type { Writer } from "../../../codec/writer.js";
import type { Change, StoreSession } from "../../../stores/store.js";
import { decodeJoinRequest } from "../../../wire/entries.js";
import { decodeName, encodeName } from "../../../wire/identifiers.js";
import { ENTRY_ID_LENGTH } from "../../../wire/protocol.js";
import { layout } from "../../layout.js";

/** A request of ours to join a group, until it is answered. */
export interface OwnRequest {
  /** Absent where nobody asked, but this device could not open the welcome that was made for it. */
  readonly name?: string;
  readonly requestId: Uint8Array;
  /** The signed request: it goes out again with every session, which the relay takes for one request. */
  readonly payload: Uint8Array;
  /** The fingerprint that the member who admits must have. */
  readonly expected?: string;
  /** The number of the commit whose welcome could not be opened: what follows it is lost until the request is granted. */
  readonly since?: number;
  /** The number of the newest such commit: it has answered what was asked before. */
  readonly answers?: number;
}

export function encodeOwnRequest(writer: Writer, request: OwnRequest): void {
  writer.u8(3).optional(request.name, encodeName);
  writer.fixed(request.requestId).opaque(request.payload).optional(request.expected, encodeName);
  writer.optional(request.since, (w, since) => w.uint53(since));
  writer.optional(request.answers, (w, answers) => w.uint53(answers));
}

export function decodeOwnRequest(reader: Reader): OwnRequest {
  if (reader.u8() !== 3) reader.fail("unknown version of request");
  const name = reader.optional(decodeName);
  const requestId = reader.fixed(ENTRY_ID_LENGTH);
  const payload = reader.opaque();
  const expected = reader.optional(decodeName);
  const since = reader.optional((r) => r.uint53());
  const answers = reader.optional((r) => r.uint53());
  return {
    requestId,
    payload,
    ...(name !== undefined && { name }),
    ...(expected !== undefined && { expected }),
    ...(since !== undefined && { since }),
    ...(answers !== undefined && { answers }),
  };
}

/** Whether it asks to go on in a stay that there was, so that it ends with that. */
export function isOfStay({ payload }: OwnRequest): boolean {
  return decode(decodeJoinRequest, payload).replaces !== undefined;
}

/** What is written of a request of this device where the stay ends that it was to go on in. */
export async function endOfStay(store: StoreSession, groupId: Uint8Array): Promise<Change[]> {
  const key = layout.join(groupId);
  const stored = await store.get(key);
  return stored !== undefined && isOfStay(decode(decodeOwnRequest, stored)) ? [{ delete: key }] : [];
}
