import fc from "fast-check";
import type { Bytes } from "../../../src/base/bytes.js";
import type { Commit, ProposalOrRef, UpdatePath } from "../../../src/mls/structs/commit.js";
import type { Credential } from "../../../src/mls/structs/credential.js";
import type { Extension } from "../../../src/mls/structs/extension.js";
import type {
  AuthenticatedContent,
  FramedContent,
  FramedContentAuthData,
  Sender,
} from "../../../src/mls/structs/framed-content.js";
import type { GroupContext } from "../../../src/mls/structs/group-context.js";
import { type LeafIndex, toLeafIndex } from "../../../src/mls/structs/indices.js";
import type { KeyPackage } from "../../../src/mls/structs/key-package.js";
import type { LeafNode } from "../../../src/mls/structs/leaf-node.js";
import type { MlsMessage, PrivateMessage, PublicMessage } from "../../../src/mls/structs/message.js";
import type { ParentNode } from "../../../src/mls/structs/parent-node.js";
import type { Proposal } from "../../../src/mls/structs/proposal.js";
import type { PreSharedKeyId } from "../../../src/mls/structs/psk.js";
import type { GroupInfo, GroupSecrets, Welcome } from "../../../src/mls/structs/welcome.js";

/** Byte strings around the lengths at which the form of a length changes. */
export const bytes: fc.Arbitrary<Bytes> = fc
  .oneof(
    { weight: 8, arbitrary: fc.uint8Array({ maxLength: 40 }) },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: 60, maxLength: 70 }) },
  )
  .map((value) => new Uint8Array(value));

const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const leafIndex: fc.Arbitrary<LeafIndex> = u32.map(toLeafIndex);
const types = fc.array(u16, { maxLength: 4 });
const few = { maxLength: 3 };

export const extension: fc.Arbitrary<Extension> = fc.record({ extensionType: u16, data: bytes });
const extensions = fc.array(extension, few);

export const credential: fc.Arbitrary<Credential> = fc.oneof(
  fc.record({ kind: fc.constant("basic" as const), identity: bytes }),
  fc.record({ kind: fc.constant("x509" as const), certificates: fc.array(bytes, few) }),
  fc.record({
    kind: fc.constant("unknown" as const),
    credentialType: fc.integer({ min: 3, max: 0xffff }),
    data: bytes,
  }),
);

const leafCommon = {
  encryptionKey: bytes,
  signatureKey: bytes,
  credential,
  capabilities: fc.record({
    versions: types,
    cipherSuites: types,
    extensions: types,
    proposals: types,
    credentials: types,
  }),
  extensions,
  signature: bytes,
};

export const leafNode: fc.Arbitrary<LeafNode> = fc.oneof(
  fc.record({
    ...leafCommon,
    leafNodeSource: fc.constant("key_package" as const),
    lifetime: fc.record({ notBefore: u64, notAfter: u64 }),
  }),
  fc.record({ ...leafCommon, leafNodeSource: fc.constant("update" as const) }),
  fc.record({ ...leafCommon, leafNodeSource: fc.constant("commit" as const), parentHash: bytes }),
);

export const parentNode: fc.Arbitrary<ParentNode> = fc.record({
  encryptionKey: bytes,
  parentHash: bytes,
  unmergedLeaves: fc.array(leafIndex, few),
});

export const keyPackage: fc.Arbitrary<KeyPackage> = fc.record({
  version: u16,
  cipherSuite: u16,
  initKey: bytes,
  leafNode,
  extensions,
  signature: bytes,
});

export const preSharedKeyId: fc.Arbitrary<PreSharedKeyId> = fc.oneof(
  fc.record({ pskType: fc.constant("external" as const), pskId: bytes, pskNonce: bytes }),
  fc.record({
    pskType: fc.constant("resumption" as const),
    usage: fc.constantFrom("application" as const, "reinit" as const, "branch" as const),
    pskGroupId: bytes,
    pskEpoch: u64,
    pskNonce: bytes,
  }),
);

export const proposal: fc.Arbitrary<Proposal> = fc.oneof(
  fc.record({ kind: fc.constant("add" as const), keyPackage }),
  fc.record({ kind: fc.constant("update" as const), leafNode }),
  fc.record({ kind: fc.constant("remove" as const), removed: leafIndex }),
  fc.record({ kind: fc.constant("psk" as const), psk: preSharedKeyId }),
  fc.record({
    kind: fc.constant("reInit" as const),
    groupId: bytes,
    version: u16,
    cipherSuite: u16,
    extensions,
  }),
  fc.record({ kind: fc.constant("externalInit" as const), kemOutput: bytes }),
  fc.record({ kind: fc.constant("groupContextExtensions" as const), extensions }),
  fc.record({
    kind: fc.constant("unknown" as const),
    proposalType: fc.integer({ min: 8, max: 0xffff }),
    data: bytes,
  }),
);

const hpkeCiphertext = fc.record({ kemOutput: bytes, ciphertext: bytes });

export const updatePath: fc.Arbitrary<UpdatePath> = fc.record({
  leafNode,
  nodes: fc.array(
    fc.record({ encryptionKey: bytes, encryptedPathSecret: fc.array(hpkeCiphertext, few) }),
    few,
  ),
});

const proposalOrRef: fc.Arbitrary<ProposalOrRef> = fc.oneof(
  fc.record({ kind: fc.constant("proposal" as const), proposal }),
  fc.record({ kind: fc.constant("reference" as const), reference: bytes }),
);

export const commit: fc.Arbitrary<Commit> = fc.record({
  proposals: fc.array(proposalOrRef, few),
  path: fc.option(updatePath, { nil: undefined }),
});

export const groupContext: fc.Arbitrary<GroupContext> = fc.record({
  version: u16,
  cipherSuite: u16,
  groupId: bytes,
  epoch: u64,
  treeHash: bytes,
  confirmedTranscriptHash: bytes,
  extensions,
});

export const groupInfo: fc.Arbitrary<GroupInfo> = fc.record({
  groupContext,
  extensions,
  confirmationTag: bytes,
  signer: leafIndex,
  signature: bytes,
});

export const groupSecrets: fc.Arbitrary<GroupSecrets> = fc.record({
  joinerSecret: bytes,
  pathSecret: fc.option(bytes, { nil: undefined }),
  psks: fc.array(preSharedKeyId, few),
});

export const welcome: fc.Arbitrary<Welcome> = fc.record({
  cipherSuite: u16,
  secrets: fc.array(fc.record({ newMember: bytes, encryptedGroupSecrets: hpkeCiphertext }), few),
  encryptedGroupInfo: bytes,
});

const sender: fc.Arbitrary<Sender> = fc.oneof(
  fc.record({ senderType: fc.constant("member" as const), leafIndex }),
  fc.record({ senderType: fc.constant("external" as const), senderIndex: u32 }),
  fc.record({ senderType: fc.constantFrom("new_member_proposal" as const, "new_member_commit" as const) }),
);

const framing = { groupId: bytes, epoch: u64, sender, authenticatedData: bytes };

export const framedContent: fc.Arbitrary<FramedContent> = fc.oneof(
  fc.record({ ...framing, contentType: fc.constant("application" as const), applicationData: bytes }),
  fc.record({ ...framing, contentType: fc.constant("proposal" as const), proposal }),
  fc.record({ ...framing, contentType: fc.constant("commit" as const), commit }),
);

function authOf(content: FramedContent): fc.Arbitrary<FramedContentAuthData> {
  const confirmationTag = content.contentType === "commit" ? bytes : fc.constant(undefined);
  return fc.record({ signature: bytes, confirmationTag });
}

export const authenticatedContent: fc.Arbitrary<AuthenticatedContent> = framedContent.chain((content) =>
  fc.record({
    wireFormat: fc.constantFrom("public_message" as const, "private_message" as const),
    content: fc.constant(content),
    auth: authOf(content),
  }),
);

export const publicMessage: fc.Arbitrary<PublicMessage> = framedContent.chain((content) =>
  fc.record({
    content: fc.constant(content),
    auth: authOf(content),
    membershipTag: content.sender.senderType === "member" ? bytes : fc.constant(undefined),
  }),
);

export const privateMessage: fc.Arbitrary<PrivateMessage> = fc.record({
  groupId: bytes,
  epoch: u64,
  contentType: fc.constantFrom("application" as const, "proposal" as const, "commit" as const),
  authenticatedData: bytes,
  encryptedSenderData: bytes,
  ciphertext: bytes,
});

export const mlsMessage: fc.Arbitrary<MlsMessage> = fc.oneof(
  publicMessage.map((value) => ({ wireFormat: "public_message" as const, publicMessage: value })),
  privateMessage.map((value) => ({ wireFormat: "private_message" as const, privateMessage: value })),
  welcome.map((value) => ({ wireFormat: "welcome" as const, welcome: value })),
  groupInfo.map((value) => ({ wireFormat: "group_info" as const, groupInfo: value })),
  keyPackage.map((value) => ({ wireFormat: "key_package" as const, keyPackage: value })),
);

export const requiredCapabilities = fc.record({
  extensionTypes: types,
  proposalTypes: types,
  credentialTypes: types,
});

export const externalSender = fc.record({ signatureKey: bytes, credential });
