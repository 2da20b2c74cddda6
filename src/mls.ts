export { type ErrorCode, SubrosaError } from "./base/errors.js";
export {
  exportSignaturePrivateKey,
  generateSignatureKeyPair,
  importSignaturePrivateKey,
  type SignatureKeyPair,
} from "./crypto/signature.js";
export type { Padding } from "./mls/framing/private-message.js";
export {
  exportSecret,
  type ProtectedApplication,
  type ProtectOptions,
  protectApplication,
} from "./mls/group/application.js";
export { makeCapabilities } from "./mls/group/capabilities.js";
export {
  type CommitOptions,
  type CommitPreview,
  type CreatedCommit,
  createCommit,
  type LeafChange,
} from "./mls/group/create-commit.js";
export { type CreateGroupOptions, createGroup } from "./mls/group/create-group.js";
export type { FramingOptions, WireFormat } from "./mls/group/framing-out.js";
export { exportGroupInfo, exportRatchetTree, type GroupInfoOptions } from "./mls/group/group-info.js";
export { type JoinOptions, joinGroup } from "./mls/group/join.js";
export {
  decodeKeyPackageBundle,
  encodeKeyPackageBundle,
  generateKeyPackage,
  type KeyPackageBundle,
  type KeyPackageOptions,
  readKeyPackage,
  validateKeyPackage,
} from "./mls/group/key-package.js";
export {
  type ProcessedApplication,
  type ProcessedCommit,
  type ProcessedMessage,
  type ProcessedProposal,
  type ProcessOptions,
  processMessage,
} from "./mls/group/process-message.js";
export type { Committer, ListedProposal } from "./mls/group/proposal-list.js";
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
} from "./mls/group/propose.js";
export { merge, type StagedCommit } from "./mls/group/staged-commit.js";
export {
  dropProposals,
  epochAuthenticator,
  type GroupState,
  type Member,
  members,
  type PendingProposal,
} from "./mls/group/state.js";
export {
  decodeGroup,
  decodeStagedCommit,
  encodeEpoch,
  encodeRatchets,
  encodeStagedCommit,
} from "./mls/group/state-codec.js";
export type { AuthService, Identity, LeafPolicy, PskSource, Signer } from "./mls/group/types.js";
export { makeKeyPackageRef } from "./mls/labels.js";
export { RULES, type Rule } from "./mls/rules.js";
export type { RatchetChange } from "./mls/schedule/secret-tree.js";
export { type Credential, credentialTypeOf } from "./mls/structs/credential.js";
export {
  type Extension,
  type ExternalSender,
  externalSendersExtension,
  findExtension,
  type RequiredCapabilities,
  requiredCapabilitiesExtension,
} from "./mls/structs/extension.js";
export type { Sender } from "./mls/structs/framed-content.js";
export type { GroupContext } from "./mls/structs/group-context.js";
export { type LeafIndex, type NodeIndex, toLeafIndex } from "./mls/structs/indices.js";
export type { KeyPackage } from "./mls/structs/key-package.js";
export type { Capabilities, LeafNode, Lifetime } from "./mls/structs/leaf-node.js";
export type { Proposal } from "./mls/structs/proposal.js";
export type { PreSharedKeyId } from "./mls/structs/psk.js";
export { CIPHER_SUITE, CredentialType, ExtensionType, MLS10, ProposalType } from "./mls/structs/registry.js";
