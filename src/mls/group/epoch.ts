import type { Bytes } from "../../base/bytes.js";
import { HASH_LENGTH } from "../../crypto/hash.js";
import { deriveEpoch, deriveJoinerSecret, type NewEpoch } from "../schedule/key-schedule.js";
import { derivePskSecret, type Psk } from "../schedule/psk-secret.js";
import { SecretTree } from "../schedule/secret-tree.js";
import { confirmedTranscriptHash, interimTranscriptHash } from "../schedule/transcript.js";
import type { AuthenticatedContent } from "../structs/framed-content.js";
import type { GroupContext } from "../structs/group-context.js";
import type { LeafIndex, NodeIndex } from "../structs/indices.js";
import type { RatchetTree } from "../tree/ratchet-tree.js";
import type { PrivateKeys } from "../tree/update-path.js";
import type { AppliedProposals } from "./apply-proposals.js";
import type { GroupState, ResumptionPsk } from "./state.js";

/** RFC 9420 §12.4.1. Stands for the commit secret of a commit without a path. */
export const NO_COMMIT_SECRET: Bytes = new Uint8Array(HASH_LENGTH);

/** RFC 9420 §12.4.1. The context of the next epoch, but for its transcript hash. */
export function provisionalContext(
  { groupContext }: Pick<GroupState, "groupContext">,
  treeHash: Bytes,
  extensions: AppliedProposals["extensions"],
): GroupContext {
  return { ...groupContext, epoch: groupContext.epoch + 1n, treeHash, extensions };
}

/** A new epoch, up to what its confirmation tag decides. */
export interface DerivedEpoch extends NewEpoch {
  readonly groupContext: GroupContext;
  readonly joinerSecret: Bytes;
  readonly welcomeSecret: Bytes;
}

/** RFC 9420 §8, §8.2. The new epoch that a signed commit leads to. */
export async function deriveNextEpoch(
  commit: Pick<AuthenticatedContent, "wireFormat" | "content"> & {
    readonly auth: { readonly signature: Bytes };
  },
  previous: { readonly initSecret: Bytes; readonly interimTranscriptHash: Bytes },
  provisional: GroupContext,
  commitSecret: Bytes,
  psks: readonly Psk[],
): Promise<DerivedEpoch> {
  const [confirmed, pskSecret] = await Promise.all([
    confirmedTranscriptHash(previous.interimTranscriptHash, commit),
    derivePskSecret(psks),
  ]);
  const groupContext: GroupContext = { ...provisional, confirmedTranscriptHash: confirmed };
  const joinerSecret = await deriveJoinerSecret(previous.initSecret, commitSecret, groupContext);
  const epoch = await deriveEpoch(joinerSecret, pskSecret, groupContext);
  return { ...epoch, groupContext, joinerSecret };
}

/** What a new state is made of. */
export interface EpochParts {
  readonly derived: Pick<DerivedEpoch, "secrets" | "encryptionSecret" | "groupContext">;
  readonly confirmationTag: Bytes;
  readonly tree: RatchetTree;
  readonly ownLeafIndex: LeafIndex;
  readonly privateKeys: PrivateKeys;
  readonly resumptionPsks: readonly ResumptionPsk[];
  readonly reInit?: GroupState["reInit"];
}

/** The state at the beginning of an epoch. */
export async function startEpoch(parts: EpochParts): Promise<GroupState> {
  const { derived, confirmationTag, tree, ownLeafIndex, privateKeys, resumptionPsks, reInit } = parts;
  const { groupContext, secrets, encryptionSecret } = derived;
  return {
    groupContext,
    tree,
    ownLeafIndex,
    privateKeys,
    secrets,
    confirmationTag,
    interimTranscriptHash: await interimTranscriptHash(groupContext.confirmedTranscriptHash, confirmationTag),
    pendingProposals: [],
    resumptionPsks,
    reInit,
    secretTree: SecretTree.create(encryptionSecret, tree.leafCount),
  };
}

/** RFC 9420 §7.5. Private keys of nodes whose public keys are still the same; outdated ones are dropped. */
export function keptKeys(keys: PrivateKeys, before: RatchetTree, after: RatchetTree): Map<NodeIndex, Bytes> {
  const kept = new Map<NodeIndex, Bytes>();
  for (const [node, key] of keys) {
    const publicKey = before.publicKey(node);
    if (publicKey !== undefined && publicKey === after.publicKey(node)) kept.set(node, key);
  }
  return kept;
}
