import { describe, expect, it } from "vitest";
import { fromHex, toHex, toUtf8 } from "../../../src/base/encoding.js";
import { decode } from "../../../src/codec/reader.js";
import { encode } from "../../../src/codec/writer.js";
import { credentialTypeOf, decodeCredential } from "../../../src/mls/structs/credential.js";
import {
  decodeExtensions,
  externalPubExtension,
  externalPubIn,
  externalSendersExtension,
  externalSendersIn,
  findExtension,
  requiredCapabilitiesExtension,
  requiredCapabilitiesIn,
} from "../../../src/mls/structs/extension.js";
import { decodeFramedContentAuthData, decodeSender } from "../../../src/mls/structs/framed-content.js";
import { toLeafIndex } from "../../../src/mls/structs/indices.js";
import { encodeLeafNode, type LeafNode, leafNodeTbs } from "../../../src/mls/structs/leaf-node.js";
import { decodeMlsMessage } from "../../../src/mls/structs/message.js";
import { decodeProposal, encodeProposal, proposalTypeOf } from "../../../src/mls/structs/proposal.js";
import { decodePreSharedKeyId } from "../../../src/mls/structs/psk.js";
import { isGrease } from "../../../src/mls/structs/registry.js";

const malformed = expect.objectContaining({ code: "malformed" });

const leaf: LeafNode = {
  encryptionKey: fromHex("01"),
  signatureKey: fromHex("02"),
  credential: { kind: "basic", identity: toUtf8("a") },
  capabilities: { versions: [1], cipherSuites: [2], extensions: [], proposals: [], credentials: [1] },
  leafNodeSource: "update",
  extensions: [],
  signature: fromHex("03"),
};

describe("leaf nodes", () => {
  it("have the form of RFC 9420 §7.2", () => {
    const content = "0101" + "0102" + "00010161" + "020001" + "020002" + "00" + "00" + "020001" + "02" + "00";
    expect(toHex(encode(encodeLeafNode, leaf))).toBe(`${content}0103`);
    const position = { groupId: fromHex("aabb"), leafIndex: toLeafIndex(7) };
    expect(toHex(leafNodeTbs(leaf, position))).toBe(`${content}02aabb00000007`);
  });

  it("of key packages are signed without a position, others never", () => {
    const lifetime = { notBefore: 1n, notAfter: 2n };
    const { signature: _, ...rest } = { ...leaf, leafNodeSource: "key_package" as const, lifetime };
    const position = { groupId: fromHex("aabb"), leafIndex: toLeafIndex(7) };
    expect(leafNodeTbs(rest, position)).toEqual(leafNodeTbs(rest, undefined));
    expect(() => leafNodeTbs(leaf, undefined)).toThrow();
  });
});

describe("closed enumerations refuse other values", () => {
  it.each([
    ["protocol version", () => decode(decodeMlsMessage, fromHex("00020001"))],
    ["wire format 0", () => decode(decodeMlsMessage, fromHex("00010000"))],
    ["wire format 6", () => decode(decodeMlsMessage, fromHex("00010006"))],
    ["sender type", () => decode(decodeSender, fromHex("05"))],
    ["PSK type", () => decode(decodePreSharedKeyId, fromHex("030000"))],
    ["resumption PSK usage", () => decode(decodePreSharedKeyId, fromHex("020400000000000000000000"))],
  ])("%s", (_name, action) => {
    expect(action).toThrow(malformed);
  });
});

describe("open registries carry other values along", () => {
  it("credentials", () => {
    const credential = decode(decodeCredential, fromHex("0a0a020102"));
    expect(credential).toEqual({ kind: "unknown", credentialType: 0x0a0a, data: fromHex("0102") });
    expect(credentialTypeOf(credential)).toBe(0x0a0a);
  });

  it("proposals", () => {
    const proposal = decode(decodeProposal, fromHex("f00001ff"));
    expect(proposal).toEqual({ kind: "unknown", proposalType: 0xf000, data: fromHex("ff") });
    expect(proposalTypeOf(proposal)).toBe(0xf000);
    expect(toHex(encode(encodeProposal, proposal))).toBe("f00001ff");
  });

  it("extensions", () => {
    expect(decode(decodeExtensions, fromHex("040a0a0101"))).toEqual([
      { extensionType: 0x0a0a, data: fromHex("01") },
    ]);
  });

  it("GREASE is what RFC 9420 §13.5 lists", () => {
    const all = Array.from({ length: 0x10000 }, (_, value) => value).filter(isGrease);
    expect(all.map((value) => value.toString(16).padStart(4, "0"))).toEqual([
      ..."0123456789abcde".split("").map((digit) => `${digit}a${digit}a`),
    ]);
  });
});

describe("extensions", () => {
  it("hold what was put into them", () => {
    const required = { extensionTypes: [3], proposalTypes: [8], credentialTypes: [1, 2] };
    const sender = { signatureKey: fromHex("04"), credential: leaf.credential };
    const extensions = [
      requiredCapabilitiesExtension(required),
      externalSendersExtension([sender, sender]),
      externalPubExtension(fromHex("0506")),
    ];
    expect(requiredCapabilitiesIn(extensions)).toEqual(required);
    expect(externalSendersIn(extensions)).toEqual([sender, sender]);
    expect(externalPubIn(extensions)).toEqual(fromHex("0506"));
    expect(extensions.map(({ extensionType }) => extensionType)).toEqual([3, 5, 4]);
    expect(toHex(findExtension(extensions, 4) as Uint8Array)).toBe("020506");
  });

  it("are absent, or malformed when their data are", () => {
    expect([requiredCapabilitiesIn([]), externalSendersIn([]), externalPubIn([])]).toEqual([
      undefined,
      [],
      undefined,
    ]);
    for (const extensionType of [3, 4, 5]) {
      const extensions = [{ extensionType, data: fromHex("05") }];
      const read = { 3: requiredCapabilitiesIn, 4: externalPubIn, 5: externalSendersIn }[extensionType];
      expect(() => read?.(extensions)).toThrow(malformed);
    }
  });
});

it("a confirmation tag stands in commits only", () => {
  expect(decode((r) => decodeFramedContentAuthData(r, "commit"), fromHex("01aa01bb"))).toEqual({
    signature: fromHex("aa"),
    confirmationTag: fromHex("bb"),
  });
  for (const contentType of ["application", "proposal"] as const) {
    expect(decode((r) => decodeFramedContentAuthData(r, contentType), fromHex("01aa"))).toEqual({
      signature: fromHex("aa"),
      confirmationTag: undefined,
    });
  }
});
