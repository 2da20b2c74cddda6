import { type Bytes, EMPTY } from "../../../base/bytes.js";
import { toHex } from "../../../base/encoding.js";
import { decode } from "../../../codec/reader.js";
import { encode } from "../../../codec/writer.js";
import { type GroupState, readKeyPackage } from "../../../mls/group/index.js";
import type { Change } from "../../../stores/store.js";
import { decodeJoinRequest, encodeJoinRequest, type JoinRequest } from "../../../wire/entries.js";
import type { Context } from "../../context.js";
import { DAY, layout } from "../../layout.js";
import { leavesOf } from "./leaves.js";

/** For how long it is known that a request was answered, in milliseconds: the key package in it lasts no longer. */
const KNOWN_FOR = 100 * DAY;

/** A request of another to join a group, as it is stored until it is answered. */
export interface StoredRequest {
  readonly request: JoinRequest;
  /**
   * The box shows it without its bytes: somebody has answered it, or its device has asked for something else; or the relay
   * lies, and shows it again.
   */
  readonly isWithdrawn: boolean;
}

/** The first byte of what is kept of one that was answered; the others have 0 or 1. */
const ANSWERED = 2;

export function storedRequest(request: JoinRequest, isWithdrawn = false): Bytes {
  return encode((writer) => void encodeJoinRequest(writer.u8(isWithdrawn ? 1 : 0), request), undefined);
}

/** Undefined for one that was answered. */
export function readStoredRequest(stored: Uint8Array): StoredRequest | undefined {
  if (stored[0] === ANSWERED) return undefined;
  return decode((reader) => {
    const isWithdrawn = reader.u8() === 1;
    return { isWithdrawn, request: decodeJoinRequest(reader) };
  }, stored);
}

/** When one was answered, in milliseconds since 1970. */
function answeredTime(stored: Uint8Array): number {
  return decode((reader) => reader.uint53(), stored.subarray(1));
}

/** Those of a group that are not answered, with their keys; forgets that others were, a long time ago. */
export async function waitingRequests(
  { store, clock, write }: Context,
  groupId: Bytes,
): Promise<(StoredRequest & { readonly key: string })[]> {
  const waiting: (StoredRequest & { readonly key: string })[] = [];
  const forgotten: Change[] = [];
  for (const [key, value] of await store.list(layout.request(groupId, EMPTY))) {
    const known = readStoredRequest(value);
    if (known !== undefined) waiting.push({ ...known, key });
    else if (answeredTime(value) + KNOWN_FOR < clock.now()) forgotten.push({ delete: key });
  }
  if (forgotten.length > 0) await write(forgotten);
  return waiting;
}

/** What is written of a request that was answered: its id and the time stay, without it. */
export function answered(context: Context, groupId: Bytes, requestId: Uint8Array): Change {
  return answeredAt(context, layout.request(groupId, requestId));
}

function answeredAt({ clock }: Context, key: string): Change {
  return { put: key, value: encode((writer) => void writer.u8(ANSWERED).uint53(clock.now()), undefined) };
}

/** The requests that a commit has granted: it has added their key packages. */
export async function granted(
  context: Context,
  groupId: Bytes,
  before: GroupState,
  after: GroupState,
): Promise<Change[]> {
  const added = new Set(
    leavesOf(after).flatMap(({ leafIndex }) => {
      const node = after.tree.leaf(leafIndex);
      const isAdded = node?.leafNodeSource === "key_package" && node !== before.tree.leaf(leafIndex);
      return isAdded ? [toHex(node.encryptionKey)] : [];
    }),
  );
  if (added.size === 0) return [];
  const waiting = await waitingRequests(context, groupId);
  return waiting.flatMap(({ key, request }) => {
    const { encryptionKey } = readKeyPackage(request.keyPackage).leafNode;
    return added.has(toHex(encryptionKey)) ? [answeredAt(context, key)] : [];
  });
}
