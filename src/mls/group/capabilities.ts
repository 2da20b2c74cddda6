import { randomBytes } from "../../crypto/random.js";
import { ensure } from "../rules.js";
import { credentialTypeOf } from "../structs/credential.js";
import { type Extension, type RequiredCapabilities, requiredCapabilitiesIn } from "../structs/extension.js";
import type { Capabilities, LeafNodeContent } from "../structs/leaf-node.js";
import {
  CIPHER_SUITE,
  CredentialType,
  ExtensionType,
  isGrease,
  MLS10,
  ProposalType,
} from "../structs/registry.js";

const DEFAULT_EXTENSIONS: readonly number[] = Object.values(ExtensionType);
const DEFAULT_PROPOSALS: readonly number[] = Object.values(ProposalType);

/** RFC 9420 §13.5. One of the values that have no meaning and must be tolerated. */
function grease(): number {
  const digit = (randomBytes(1)[0] as number) % 15;
  return (digit * 16 + 10) * 0x101;
}

/**
 * RFC 9420 §7.2. What this engine can do, with what the application can do besides, and some GREASE (§13.5). Types that
 * everybody supports must not be listed and are left out. `credentials` is by default `basic` alone.
 */
export function makeCapabilities(
  own: Partial<Pick<Capabilities, "extensions" | "proposals" | "credentials">> = {},
): Capabilities {
  return {
    versions: [MLS10],
    cipherSuites: [CIPHER_SUITE, grease()],
    extensions: [...(own.extensions ?? []).filter((type) => !DEFAULT_EXTENSIONS.includes(type)), grease()],
    proposals: [...(own.proposals ?? []).filter((type) => !DEFAULT_PROPOSALS.includes(type)), grease()],
    credentials: [...(own.credentials ?? [CredentialType.basic]), grease()],
  };
}

export function supportsExtension(capabilities: Capabilities, extensionType: number): boolean {
  return DEFAULT_EXTENSIONS.includes(extensionType) || capabilities.extensions.includes(extensionType);
}

export function supportsProposal(capabilities: Capabilities, proposalType: number): boolean {
  return DEFAULT_PROPOSALS.includes(proposalType) || capabilities.proposals.includes(proposalType);
}

/** RFC 9420 §11.1. */
export function meetsRequirements(capabilities: Capabilities, required: RequiredCapabilities): boolean {
  return (
    required.extensionTypes.every((type) => supportsExtension(capabilities, type)) &&
    required.proposalTypes.every((type) => supportsProposal(capabilities, type)) &&
    required.credentialTypes.every((type) => capabilities.credentials.includes(type))
  );
}

/** RFC 9420 §13.4. The extensions of a group context must be supported by every member. */
export function supportsGroupExtensions(
  capabilities: Capabilities,
  extensions: readonly Extension[],
): boolean {
  return extensions.every(({ extensionType }) => supportsExtension(capabilities, extensionType));
}

/** RFC 9420 §13.5. What a client really supports of what it says. */
export function withoutGrease(capabilities: Capabilities): Capabilities {
  const real = (types: readonly number[]) => types.filter((type) => !isGrease(type));
  return {
    versions: capabilities.versions,
    cipherSuites: real(capabilities.cipherSuites),
    extensions: real(capabilities.extensions),
    proposals: real(capabilities.proposals),
    credentials: real(capabilities.credentials),
  };
}

/** RFC 9420 §13.4. No type twice. */
export function checkExtensionList(extensions: readonly Extension[]): void {
  const types = new Set(extensions.map(({ extensionType }) => extensionType));
  ensure(types.size === extensions.length, "RFC 9420 §13.4: duplicate extension");
}

/** RFC 9420 §7.2, §7.3, §13.4. Whether what a leaf says about itself fits itself and the group. */
export function checkCapabilities(leaf: LeafNodeContent, groupExtensions: readonly Extension[]): void {
  const { capabilities } = leaf;
  ensure(
    capabilities.versions.includes(MLS10) && capabilities.cipherSuites.includes(CIPHER_SUITE),
    "RFC 9420 §7.2: version or cipher suite not in capabilities",
  );
  ensure(
    leaf.extensions.every(({ extensionType }) => supportsExtension(capabilities, extensionType)),
    "RFC 9420 §7.2: leaf extension not in capabilities",
  );
  ensure(
    capabilities.credentials.includes(credentialTypeOf(leaf.credential)),
    "RFC 9420 §7.2: credential type not in capabilities",
  );
  const required = requiredCapabilitiesIn(groupExtensions);
  ensure(
    required === undefined || meetsRequirements(capabilities, required),
    "RFC 9420 §7.3: required capabilities",
  );
  ensure(
    supportsGroupExtensions(capabilities, groupExtensions),
    "RFC 9420 §13.4: group extension not supported",
  );
}
