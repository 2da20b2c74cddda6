import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toHex } from "../../../src/base/encoding.js";
import { SubrosaError } from "../../../src/base/errors.js";
import { type Decoder, decode } from "../../../src/codec/reader.js";
import { type Encoder, encode } from "../../../src/codec/writer.js";
import * as commits from "../../../src/mls/structs/commit.js";
import * as credentials from "../../../src/mls/structs/credential.js";
import * as extensions from "../../../src/mls/structs/extension.js";
import * as framed from "../../../src/mls/structs/framed-content.js";
import * as contexts from "../../../src/mls/structs/group-context.js";
import * as keyPackages from "../../../src/mls/structs/key-package.js";
import * as leaves from "../../../src/mls/structs/leaf-node.js";
import * as messages from "../../../src/mls/structs/message.js";
import * as parents from "../../../src/mls/structs/parent-node.js";
import * as proposals from "../../../src/mls/structs/proposal.js";
import * as psks from "../../../src/mls/structs/psk.js";
import * as welcomes from "../../../src/mls/structs/welcome.js";
import * as arbitrary from "./arbitraries.js";

interface Family {
  name: string;
  values: fc.Arbitrary<unknown>;
  encoder: Encoder<unknown>;
  decoder: Decoder<unknown>;
}

function family<T>(name: string, values: fc.Arbitrary<T>, encoder: Encoder<T>, decoder: Decoder<T>): Family {
  return { name, values, encoder: encoder as Encoder<unknown>, decoder };
}

const FAMILIES: Family[] = [
  family("Credential", arbitrary.credential, credentials.encodeCredential, credentials.decodeCredential),
  family("Extension", arbitrary.extension, extensions.encodeExtension, extensions.decodeExtension),
  family(
    "RequiredCapabilities",
    arbitrary.requiredCapabilities,
    extensions.encodeRequiredCapabilities,
    extensions.decodeRequiredCapabilities,
  ),
  family(
    "ExternalSender",
    arbitrary.externalSender,
    extensions.encodeExternalSender,
    extensions.decodeExternalSender,
  ),
  family("LeafNode", arbitrary.leafNode, leaves.encodeLeafNode, leaves.decodeLeafNode),
  family("ParentNode", arbitrary.parentNode, parents.encodeParentNode, parents.decodeParentNode),
  family("KeyPackage", arbitrary.keyPackage, keyPackages.encodeKeyPackage, keyPackages.decodeKeyPackage),
  family("PreSharedKeyID", arbitrary.preSharedKeyId, psks.encodePreSharedKeyId, psks.decodePreSharedKeyId),
  family("Proposal", arbitrary.proposal, proposals.encodeProposal, proposals.decodeProposal),
  family("UpdatePath", arbitrary.updatePath, commits.encodeUpdatePath, commits.decodeUpdatePath),
  family("Commit", arbitrary.commit, commits.encodeCommit, commits.decodeCommit),
  family("GroupContext", arbitrary.groupContext, contexts.encodeGroupContext, contexts.decodeGroupContext),
  family("GroupInfo", arbitrary.groupInfo, welcomes.encodeGroupInfo, welcomes.decodeGroupInfo),
  family("GroupSecrets", arbitrary.groupSecrets, welcomes.encodeGroupSecrets, welcomes.decodeGroupSecrets),
  family("Welcome", arbitrary.welcome, welcomes.encodeWelcome, welcomes.decodeWelcome),
  family("FramedContent", arbitrary.framedContent, framed.encodeFramedContent, framed.decodeFramedContent),
  family(
    "AuthenticatedContent",
    arbitrary.authenticatedContent,
    framed.encodeAuthenticatedContent,
    framed.decodeAuthenticatedContent,
  ),
  family(
    "PublicMessage",
    arbitrary.publicMessage,
    messages.encodePublicMessage,
    messages.decodePublicMessage,
  ),
  family(
    "PrivateMessage",
    arbitrary.privateMessage,
    messages.encodePrivateMessage,
    messages.decodePrivateMessage,
  ),
  family("MLSMessage", arbitrary.mlsMessage, messages.encodeMlsMessage, messages.decodeMlsMessage),
];

/** Decodes; true when the bytes were a value. Anything but a value or `malformed` fails the test. */
function decodesOrIsMalformed({ encoder, decoder }: Family, bytes: Uint8Array): boolean {
  let value: unknown;
  try {
    value = decode(decoder, bytes);
  } catch (error) {
    if (SubrosaError.is(error) && error.code === "malformed") return false;
    throw error;
  }
  // What is accepted has one encoding only.
  expect(toHex(encode(encoder, value))).toBe(toHex(bytes));
  return true;
}

const SEED = 9420;

describe.each(FAMILIES)("$name", (item) => {
  const { values, encoder, decoder } = item;

  it("decodes to what was encoded", () => {
    const property = fc.property(values, (value) => {
      const bytes = encode(encoder, value);
      const decoded = decode(decoder, bytes);
      expect(decoded).toEqual(value);
      expect(toHex(encode(encoder, decoded))).toBe(toHex(bytes));
    });
    fc.assert(property, { seed: SEED, numRuns: 60 });
  });

  it("is malformed at every shorter length and with a byte more", () => {
    const property = fc.property(values, fc.nat(), (value, at) => {
      const bytes = encode(encoder, value);
      expect(() => decode(decoder, bytes.subarray(0, at % bytes.length))).toThrow(SubrosaError);
      const longer = new Uint8Array(bytes.length + 1);
      longer.set(bytes);
      expect(() => decode(decoder, longer)).toThrow(SubrosaError);
    });
    fc.assert(property, { seed: SEED, numRuns: 40 });
  });

  it("decodes mutated bytes or calls them malformed", () => {
    const mutation = fc.record({ at: fc.nat(), value: fc.integer({ min: 0, max: 255 }) });
    const property = fc.property(
      values,
      fc.array(mutation, { minLength: 1, maxLength: 4 }),
      (value, changes) => {
        const bytes = encode(encoder, value);
        for (const change of changes) bytes[change.at % bytes.length] = change.value;
        decodesOrIsMalformed(item, bytes);
      },
    );
    fc.assert(property, { seed: SEED, numRuns: 120 });
  });

  it("decodes random bytes or calls them malformed", () => {
    const property = fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      decodesOrIsMalformed(item, bytes);
    });
    fc.assert(property, { seed: SEED, numRuns: 120 });
  });
});
