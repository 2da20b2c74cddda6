import { type Bytes, equalBytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import type { Rule } from "../rules.js";
import type { Psk } from "../schedule/psk-secret.js";
import type { PreSharedKeyId } from "../structs/psk.js";
import type { GroupState } from "./state.js";
import type { PskSource } from "./types.js";

/** RFC 9420 §8.6. The resumption PSK of a group and epoch, when this member still has it. */
export function resumptionPskOf(state: GroupState, groupId: Bytes, epoch: bigint): Bytes | undefined {
  if (!equalBytes(groupId, state.groupContext.groupId)) return undefined;
  if (epoch === state.groupContext.epoch) return state.secrets.resumptionPsk;
  return state.resumptionPsks.find((past) => past.epoch === epoch)?.psk;
}

/**
 * RFC 9420 §8.4. The keys that identifiers name: resumption PSKs from the groups at hand, everything else from the
 * application. Throws `decryption-failed` with `rule` when one is missing, since other members may have it.
 */
export function findPsks(
  ids: readonly PreSharedKeyId[],
  groups: readonly (GroupState | undefined)[],
  source: PskSource | undefined,
  rule: Rule,
): Promise<Psk[]> {
  return Promise.all(
    ids.map(async (id) => {
      let psk: Bytes | undefined;
      if (id.pskType === "resumption") {
        for (const state of groups) {
          if (state !== undefined) psk ??= resumptionPskOf(state, id.pskGroupId, id.pskEpoch);
        }
      }
      psk ??= await source?.(id);
      if (psk === undefined) throw new SubrosaError("decryption-failed", rule, { rule });
      return { id, psk };
    }),
  );
}
