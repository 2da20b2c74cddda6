export type { Bytes } from "./base/bytes.js";
export { type ErrorCode, SubrosaError } from "./base/errors.js";
export {
  exportSignaturePrivateKey,
  generateSignatureKeyPair,
  importSignaturePrivateKey,
  type SignatureKeyPair,
} from "./crypto/signature.js";
export type { Padding } from "./mls/framing/private-message.js";
export * from "./mls/group/index.js";
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
