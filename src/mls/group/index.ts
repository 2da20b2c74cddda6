export {
  exportSecret,
  type ProtectedApplication,
  type ProtectOptions,
  protectApplication,
} from "./application.js";
export { makeCapabilities } from "./capabilities.js";
export {
  type CommitOptions,
  type CommitPreview,
  type CreatedCommit,
  createCommit,
  type LeafChange,
} from "./create-commit.js";
export { type CreateGroupOptions, createGroup } from "./create-group.js";
export {
  type CreatedExternalCommit,
  createExternalCommit,
  type ExternalCommitOptions,
} from "./external-commit.js";
export {
  type OutsideOptions,
  type OutsideView,
  proposeFromOutside,
  proposeOwnAddition,
} from "./external-proposal.js";
export type { FramingOptions, WireFormat } from "./framing-out.js";
export { exportGroupInfo, exportRatchetTree, type GroupInfoOptions } from "./group-info.js";
export { type JoinOptions, joinGroup } from "./join.js";
export {
  decodeKeyPackageBundle,
  encodeKeyPackageBundle,
  generateKeyPackage,
  type KeyPackageBundle,
  type KeyPackageOptions,
  readKeyPackage,
  validateKeyPackage,
} from "./key-package.js";
export {
  type ProcessedApplication,
  type ProcessedCommit,
  type ProcessedMessage,
  type ProcessedProposal,
  type ProcessOptions,
  processMessage,
} from "./process-message.js";
export type { Committer, ListedProposal } from "./proposal-list.js";
export {
  externalPskProposal,
  type ProposeOptions,
  propose,
  proposeAdd,
  proposeGroupContextExtensions,
  proposePsk,
  proposeReInit,
  proposeRemove,
  proposeUpdate,
  reInitProposal,
  resumptionPskProposal,
  type SentProposal,
} from "./propose.js";
export { merge, type StagedCommit } from "./staged-commit.js";
export {
  dropProposals,
  epochAuthenticator,
  type GroupState,
  type Member,
  members,
  type PendingProposal,
} from "./state.js";
export {
  decodeGroup,
  decodeStagedCommit,
  encodeEpoch,
  encodeRatchets,
  encodeStagedCommit,
} from "./state-codec.js";
export { branchGroup, reinitializeGroup, type Successor, type SuccessorOptions } from "./successor.js";
export type { AuthService, Identity, LeafPolicy, PskSource, Signer } from "./types.js";
