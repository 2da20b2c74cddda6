import { type Bytes, EMPTY } from "../../../base/bytes.js";
import { toHex } from "../../../base/encoding.js";
import { decode } from "../../../codec/reader.js";
import { encode } from "../../../codec/writer.js";
import { type GroupState, readKeyPackage } from "../../../mls/group/index.js";
import type { Change } from "../../../stores/store.js";
import { decodeJoinRequest, encodeJoinRequest, type JoinRequest } from "../../../wire/entries.js";
import type { Context } from "../../context.js";
import { layout } from "../../layout.js";
import { leavesOf } from "./leaves.js";

/** A request of another to join a group, as it is stored until it is answered. */
export interface StoredRequest {
  readonly request: JoinRequest;
  /**
   * The box shows it without its bytes: somebody has answered it, or its device has asked for something else; or the relay
   * lies, and shows it again.
   */
  readonly isWithdrawn: boolean;
}

export function storedRequest(request: JoinRequest, isWithdrawn = false): Bytes {
  return encode((writer) => void encodeJoinRequest(writer.u8(isWithdrawn ? 1 : 0), request), undefined);
}

/** Undefined for one that was answered. */
export function readStoredRequest(stored: Uint8Array): StoredRequest | undefined {
  if (stored.length === 0) return undefined;
  return decode((reader) => {
    const isWithdrawn = reader.u8() === 1;
    return { isWithdrawn, request: decodeJoinRequest(reader) };
  }, stored);
}

/** What is written of a request that was answered: its id stays, without it. */
export function answered(groupId: Bytes, requestId: Uint8Array): Change {
  return { put: layout.request(groupId, requestId), value: EMPTY };
}

/** The requests that a commit has granted: it has added their key packages. */
export async function granted(
  { store }: Context,
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
  const stored = await store.list(layout.request(groupId, EMPTY));
  return stored.flatMap(([key, value]) => {
    const known = readStoredRequest(value);
    const leaf = known && readKeyPackage(known.request.keyPackage).leafNode;
    return leaf && added.has(toHex(leaf.encryptionKey)) ? [{ put: key, value: EMPTY }] : [];
  });
}
