import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fromHex, toHex } from "../../../src/base/encoding.js";
import { decode } from "../../../src/codec/reader.js";
import { encode } from "../../../src/codec/writer.js";
import {
  chainDigestInput,
  contentDigestInput,
  encodePointer,
  joinRequestToBeSigned,
} from "../../../src/wire/entries.js";
import {
  type ClientFrame,
  decodeClientFrame,
  decodeRelayFrame,
  encodeClientFrame,
  encodeRelayFrame,
  type RelayFrame,
} from "../../../src/wire/frames.js";
import {
  assertName,
  decodeCursor,
  decodeLogId,
  decodeName,
  encodeName,
  isName,
  START,
} from "../../../src/wire/identifiers.js";
import {
  certificateToBeSigned,
  deviceListToBeSigned,
  sessionToBeSigned,
} from "../../../src/wire/identity.js";
import {
  CloseCode,
  EntryKind,
  isHandshake,
  isPermanentClose,
  LogKind,
  RejectionReason,
} from "../../../src/wire/protocol.js";
import { REFUSALS, refusalOf } from "../../../src/wire/refusals.js";

const bytes = (length: number, value: number) => new Uint8Array(length).fill(value);
const hex = (length: number, value: string) => value.repeat(length);
const text = (value: string) => toHex(new TextEncoder().encode(value));
const group = { kind: LogKind.group, id: bytes(32, 0xaa) };

/** The bytes of PROTOCOL.md's frames, written out by hand: a change here is a new version of the protocol. */
const clientFrames: [string, ClientFrame, string][] = [
  ["ping", { type: "ping", id: 0x01020304 }, "04 01020304"],
  [
    "ack",
    {
      type: "ack",
      log: { kind: LogKind.inbox, id: bytes(16, 0xbb) },
      cursor: { seq: 258, digest: bytes(32, 0xcc) },
    },
    `08 01${hex(16, "bb")} 0000000000000102 ${hex(32, "cc")}`,
  ],
  [
    "signal",
    { type: "signal", groupId: bytes(32, 0xaa), payload: bytes(3, 0x22) },
    `09 ${hex(32, "aa")} 03 222222`,
  ],
  [
    "write of text",
    { type: "request", id: 1, name: "write", body: { data: "hé" } },
    "0a 00000001 01 03 68c3a9",
  ],
  [
    "publish of bytes",
    { type: "request", id: 1, name: "publish", body: { channel: "news", data: bytes(2, 0x22) } },
    `0b 00000001 04${text("news")} 02 02 2222`,
  ],
  [
    "subscribeChannel",
    { type: "request", id: 1, name: "subscribeChannel", body: { channel: "news" } },
    `0c 00000001 04${text("news")}`,
  ],
  [
    "unsubscribeChannel",
    { type: "request", id: 1, name: "unsubscribeChannel", body: { channel: "news" } },
    `0d 00000001 04${text("news")}`,
  ],
  [
    "append of a message",
    {
      type: "request",
      id: 1,
      name: "append",
      body: {
        log: group,
        after: START,
        entry: { kind: EntryKind.application, entryId: bytes(16, 0x11), payload: bytes(2, 0x22) },
      },
    },
    `10 00000001 02${hex(32, "aa")} ${hex(40, "00")} 01 ${hex(16, "11")} 02 2222`,
  ],
  [
    "append of a commit",
    {
      type: "request",
      id: 1,
      name: "append",
      body: {
        log: group,
        after: START,
        entry: {
          kind: EntryKind.commit,
          entryId: bytes(16, 0x11),
          payload: bytes(1, 0x22),
          bundle: {
            access: [
              { type: "add", userId: "bob", deviceId: bytes(16, 0x33), role: 1 },
              { type: "remove", userId: "eve", deviceId: bytes(16, 0x44) },
            ],
            welcome: bytes(3, 0x55),
          },
        },
      },
    },
    `10 00000001 02${hex(32, "aa")} ${hex(40, "00")} 02 ${hex(16, "11")} 01 22
     2b 01 03${text("bob")} ${hex(16, "33")} 01 03 03${text("eve")} ${hex(16, "44")} 03 555555 00`,
  ],
  [
    "append of a leave that is put back",
    {
      type: "request",
      id: 1,
      name: "append",
      body: {
        log: group,
        after: START,
        entry: {
          kind: EntryKind.leave,
          entryId: bytes(16, 0x11),
          payload: bytes(1, 0x22),
          isOfAnother: true,
        },
      },
    },
    `10 00000001 02${hex(32, "aa")} ${hex(40, "00")} 03 ${hex(16, "11")} 01 22 01`,
  ],
  [
    "create of a direct conversation",
    {
      type: "request",
      id: 2,
      name: "create",
      body: { groupId: bytes(32, 0xaa), direct: { peer: "bob", generation: 1 } },
    },
    `11 00000002 ${hex(32, "aa")} 00 01 03${text("bob")} 0000000000000001 00`,
  ],
  [
    "subscribe",
    { type: "request", id: 3, name: "subscribe", body: { log: group, cursor: START } },
    `12 00000003 02${hex(32, "aa")} ${hex(40, "00")}`,
  ],
  [
    "unsubscribe",
    { type: "request", id: 3, name: "unsubscribe", body: { log: group } },
    `13 00000003 02${hex(32, "aa")}`,
  ],
  [
    "fetchBundle",
    { type: "request", id: 4, name: "fetchBundle", body: { groupId: bytes(32, 0xaa), seq: 7 } },
    `14 00000004 ${hex(32, "aa")} 0000000000000007`,
  ],
  [
    "publishKeyPackages",
    {
      type: "request",
      id: 5,
      name: "publishKeyPackages",
      body: {
        oneTime: [{ notAfter: 1, keyPackage: bytes(1, 0x66) }],
        lastResort: { notAfter: 2, keyPackage: bytes(0, 0) },
      },
    },
    "15 00000005 0a 0000000000000001 01 66 01 0000000000000002 00",
  ],
  [
    "fetchKeyPackages",
    { type: "request", id: 6, name: "fetchKeyPackages", body: { userId: "bob" } },
    `16 00000006 03${text("bob")}`,
  ],
  [
    "fetchAccount",
    { type: "request", id: 6, name: "fetchAccount", body: { userId: "é" } },
    "17 00000006 02c3a9",
  ],
  [
    "resolveName",
    { type: "request", id: 7, name: "resolveName", body: { nameHash: bytes(32, 0x77) } },
    `18 00000007 ${hex(32, "77")}`,
  ],
  [
    "resolveDirect",
    { type: "request", id: 8, name: "resolveDirect", body: { userId: "bob" } },
    `19 00000008 03${text("bob")}`,
  ],
  ["listGroups", { type: "request", id: 9, name: "listGroups", body: {} }, "1a 00000009 00"],
  [
    "listGroups of another device",
    { type: "request", id: 9, name: "listGroups", body: { of: bytes(16, 0x02) } },
    `1a 00000009 01 ${hex(16, "02")}`,
  ],
  [
    "rejectJoin",
    {
      type: "request",
      id: 10,
      name: "rejectJoin",
      body: { groupId: bytes(32, 0xaa), requestId: bytes(16, 0x88), reason: RejectionReason.banned },
    },
    `1b 0000000a ${hex(32, "aa")} ${hex(16, "88")} 02`,
  ],
  [
    "claimName",
    {
      type: "request",
      id: 20,
      name: "claimName",
      body: { groupId: bytes(32, 0xaa), nameHash: bytes(32, 0x99) },
    },
    `28 00000014 ${hex(32, "aa")} ${hex(32, "99")}`,
  ],
  [
    "releaseName",
    {
      type: "request",
      id: 21,
      name: "releaseName",
      body: { groupId: bytes(32, 0xaa), nameHash: bytes(32, 0x99) },
    },
    `29 00000015 ${hex(32, "aa")} ${hex(32, "99")}`,
  ],
  [
    "setBlocked",
    { type: "request", id: 11, name: "setBlocked", body: { userId: "bob", blocked: true } },
    "1c 0000000b 03626f62 01",
  ],
  ["listBlocked", { type: "request", id: 12, name: "listBlocked", body: {} }, "1d 0000000c"],
  [
    "beginUpload",
    { type: "request", id: 13, name: "beginUpload", body: { blobId: bytes(32, 0xaa) } },
    `20 0000000d ${hex(32, "aa")}`,
  ],
  [
    "putChunk",
    {
      type: "request",
      id: 13,
      name: "putChunk",
      body: { blobId: bytes(32, 0xaa), index: 258, chunk: bytes(2, 0xbb) },
    },
    `21 0000000d ${hex(32, "aa")} 00000102 02 bbbb`,
  ],
  [
    "finishUpload",
    { type: "request", id: 13, name: "finishUpload", body: { blobId: bytes(32, 0xaa), chunks: 3 } },
    `22 0000000d ${hex(32, "aa")} 00000003`,
  ],
  [
    "fetchChunk",
    { type: "request", id: 13, name: "fetchChunk", body: { blobId: bytes(32, 0xaa), index: 2 } },
    `23 0000000d ${hex(32, "aa")} 00000002`,
  ],
  [
    "deleteBlob",
    { type: "request", id: 13, name: "deleteBlob", body: { blobId: bytes(32, 0xaa) } },
    `24 0000000d ${hex(32, "aa")}`,
  ],
  ["listUsers", { type: "request", id: 13, name: "listUsers", body: {} }, "2c 0000000d 00"],
  [
    "listUsers of a further page",
    { type: "request", id: 13, name: "listUsers", body: { after: "7:b" } },
    `2c 0000000d 01 03${text("7:b")}`,
  ],
  [
    "authenticate",
    {
      type: "authenticate",
      authentication: {
        account: {
          userId: "bob",
          accountKey: bytes(65, 0x01),
          deviceList: {
            list: {
              userId: "bob",
              version: 1,
              previous: bytes(32, 0),
              devices: [{ deviceId: bytes(16, 0x02), deviceKey: bytes(65, 0x03) }],
            },
            signature: bytes(2, 0x04),
          },
        },
        deviceId: bytes(16, 0x02),
        certificate: bytes(1, 0x05),
        incarnation: 9,
        incarnationTag: bytes(16, 0x06),
        token: "t",
        signature: bytes(3, 0x07),
      },
    },
    `02 03${text("bob")} ${hex(65, "01")} 03${text("bob")} 0000000000000001 ${hex(32, "00")} 4051 ${hex(16, "02")}
     ${hex(65, "03")} 02 0404 ${hex(16, "02")} 01 05 0000000000000009 ${hex(16, "06")} 01 74 03 070707`,
  ],
];

const relayFrames: [string, RelayFrame, string][] = [
  [
    "challenge",
    { type: "challenge", challenge: { relayName: "r:1", nonce: bytes(32, 0x0f) } },
    `01 03${text("r:1")} ${hex(32, "0f")}`,
  ],
  [
    "ready",
    { type: "ready", ready: { registered: true, keyPackages: 3, maxFrameBytes: 1048576, time: 1 } },
    "03 01 00000003 00100000 0000000000000001",
  ],
  ["pong", { type: "pong", id: 5 }, "05 00000005"],
  ["reply", { type: "reply", id: 5, result: bytes(2, 0x99) }, "06 00000005 9999"],
  ["refuse", { type: "refuse", id: 5, code: "stale", reason: "no" }, "07 00000005 01 02 6e6f"],
  [
    "entries",
    {
      type: "entries",
      log: group,
      entries: [
        {
          form: "full",
          seq: 1,
          content: { kind: EntryKind.leave, entryId: bytes(16, 0x11), payload: bytes(1, 0x22) },
        },
        {
          form: "short",
          seq: 2,
          kind: EntryKind.application,
          entryId: bytes(16, 0x12),
          contentDigest: bytes(32, 0x13),
        },
      ],
    },
    `30 02${hex(32, "aa")} 4056 01 0000000000000001 03 ${hex(16, "11")} 01 22 02 0000000000000002 01 ${hex(16, "12")} ${hex(32, "13")}`,
  ],
  ["ended", { type: "ended", log: group, reason: 2 }, `31 02${hex(32, "aa")} 02`],
  [
    "signal",
    { type: "signal", groupId: bytes(32, 0xaa), payload: bytes(3, 0x22) },
    `32 ${hex(32, "aa")} 03 222222`,
  ],
  [
    "data of a channel",
    { type: "data", channel: "news", from: "bob", data: "hi" },
    `33 01 04${text("news")} 01 03${text("bob")} 01 02 6869`,
  ],
  ["data of the operator", { type: "data", data: bytes(2, 0x22) }, "33 00 00 02 02 2222"],
  ["notice", { type: "notice", text: "é", sentAt: 258 }, "34 02c3a9 0000000000000102"],
  [
    "directory",
    { type: "directory", created: ["bob"], removed: ["a", "é"] },
    `35 04 03${text("bob")} 05 0161 02c3a9`,
  ],
];

const plain = (spaced: string) => spaced.replace(/\s+/g, "");

describe("fixed bytes", () => {
  it.each(clientFrames)("%s", (_name, frame, expected) => {
    expect(toHex(encodeClientFrame(frame))).toBe(plain(expected));
    expect(decodeClientFrame(fromHex(plain(expected)))).toEqual(frame);
  });

  it.each(relayFrames)("%s", (_name, frame, expected) => {
    expect(toHex(encodeRelayFrame(frame))).toBe(plain(expected));
    expect(decodeRelayFrame(fromHex(plain(expected)))).toEqual(frame);
  });

  it("of what is hashed and signed begin with their labels", () => {
    const content = { kind: EntryKind.application, entryId: bytes(16, 0x11), payload: bytes(1, 0x22) };
    expect(toHex(contentDigestInput(content))).toBe(`0f${text("Subrosa 1 entry")}01${hex(16, "11")}0122`);
    expect(toHex(chainDigestInput(group, 3, bytes(32, 1), bytes(32, 2)))).toBe(
      `0d${text("Subrosa 1 log")}02${hex(32, "aa")}0000000000000003${hex(32, "01")}${hex(32, "02")}`,
    );
    const device = { userId: "bob", deviceId: bytes(16, 2), deviceKey: bytes(65, 3) };
    expect(toHex(certificateToBeSigned(device))).toBe(
      `1c${text("Subrosa 1 device certificate")}03${text("bob")}${hex(16, "02")}${hex(65, "03")}`,
    );
    const list = { userId: "bob", version: 1, previous: bytes(32, 0), devices: [] };
    expect(toHex(deviceListToBeSigned(list))).toBe(
      `15${text("Subrosa 1 device list")}03${text("bob")}0000000000000001${hex(32, "00")}00`,
    );
    const claim = {
      relayName: "r",
      nonce: bytes(32, 5),
      userId: "bob",
      deviceId: bytes(16, 2),
      incarnation: 1,
      incarnationTag: bytes(16, 6),
    };
    expect(toHex(sessionToBeSigned(claim))).toBe(
      `11${text("Subrosa 1 session")}01${text("r")}${hex(32, "05")}03${text("bob")}${hex(16, "02")}0000000000000001${hex(16, "06")}`,
    );
    const request = {
      groupId: bytes(32, 0xaa),
      userId: "bob",
      deviceId: bytes(16, 2),
      accountKey: bytes(65, 3),
      keyPackage: bytes(2, 4),
    };
    expect(toHex(joinRequestToBeSigned(request, bytes(16, 0x11)))).toBe(
      `16${text("Subrosa 1 join request")}${hex(16, "11")}${hex(32, "aa")}03${text("bob")}${hex(16, "02")}${hex(65, "03")}02040400`,
    );
    expect(toHex(joinRequestToBeSigned({ ...request, replaces: [bytes(32, 8)] }, bytes(16, 0x11)))).toMatch(
      new RegExp(`02040420${hex(32, "08")}$`),
    );
    expect(
      toHex(encode(encodePointer, { groupId: bytes(32, 0xaa), at: { seq: 1, digest: bytes(32, 7) } })),
    ).toBe(`${hex(32, "aa")}0000000000000001${hex(32, "07")}`);
  });
});

describe("what is not the one encoding", () => {
  const malformed = expect.objectContaining({ code: "malformed" });
  it.each([
    ["an unknown frame type", "ff"],
    ["the relay's frame from a client", "05 00000005"],
    ["a length not in its shortest form", `16 00000006 4003${text("bob")}`],
    ["a name with a C0 control", "16 00000006 03 610a62"],
    ["a name with a C1 control", "16 00000006 03 61c285"],
    ["a name that is a delete", "16 00000006 01 7f"],
    [`a name of 129 bytes`, `16 00000006 4081 ${hex(129, "61")}`],
    ["a name that is not UTF-8", "16 00000006 02 c328"],
    ["an empty name", "16 00000006 00"],
    ["an integer of 2^53", `14 00000004 ${hex(32, "aa")} 0020000000000000`],
    ["an unknown kind of log", `13 00000003 04${hex(32, "aa")}`],
    ["an unknown kind of entry", `10 00000001 02${hex(32, "aa")} ${hex(40, "00")} 06 ${hex(16, "11")} 00`],
    [
      "an unknown role",
      `10 00000001 02${hex(32, "aa")} ${hex(40, "00")} 02 ${hex(16, "11")} 00 16 01 03626f62 ${hex(16, "33")} 03 00`,
    ],
    [
      "an unknown access change",
      `10 00000001 02${hex(32, "aa")} ${hex(40, "00")} 02 ${hex(16, "11")} 00 15 04 03626f62 ${hex(16, "33")} 00`,
    ],
    ["a presence octet of 2", `11 00000002 ${hex(32, "aa")} 02 00 00`],
    ["no bytes", ""],
  ])("%s is malformed", (_name, input) => {
    expect(() => decodeClientFrame(fromHex(plain(input)))).toThrow(malformed);
  });

  it.each([
    ["a flag of 2", "03 02 00000003 00100000 0000000000000001"],
    ["an unknown refusal", "07 00000005 ff 00"],
    ["an unknown end", `31 02${hex(32, "aa")} 03`],
    [
      "a welcome hash of one byte",
      `30 02${hex(32, "aa")} 1e 01 0000000000000001 02 ${hex(16, "11")} 00 00 01 11`,
    ],
    ["a notice with a line break", "34 03 610a62 0000000000000000"],
    ["a notice that turns the direction", "34 04 61e280ae 0000000000000000"],
    ["a notice of blanks", "34 02 2020 0000000000000000"],
    ["a notice of 4,097 bytes", `34 5001 ${hex(4097, "61")} 0000000000000000`],
    ["an unknown form", `30 02${hex(32, "aa")} 1b 03 0000000000000001 03 ${hex(16, "11")} 00`],
  ])("%s is malformed", (_name, input) => {
    expect(() => decodeRelayFrame(fromHex(plain(input)))).toThrow(malformed);
  });

  it("holds for the parts too", () => {
    expect(() => decode(decodeLogId, bytes(17, 1).fill(9))).toThrow(malformed);
    expect(() => decode(decodeCursor, bytes(39, 0))).toThrow(malformed);
  });
});

describe("names", () => {
  it("are NFC text of 1 to 128 bytes without controls and outer spaces", () => {
    for (const name of ["a", "Zoë", "名前", "a b", "x".repeat(128), "é".repeat(64), "👩🏽"]) {
      expect(isName(name)).toBe(true);
      expect(decode(decodeName, encode(encodeName, name))).toBe(name);
    }
    const bad = [
      "",
      " a",
      "a ",
      "x".repeat(129),
      "é".repeat(65),
      "e\u0301",
      "a\u0000",
      "a\nb",
      "a\u202eb",
      "a\u200bb",
      "\ud800",
      "a\u2028b",
    ];
    for (const name of bad) {
      expect(isName(name)).toBe(false);
      expect(() => assertName(name, "userId")).toThrow(expect.objectContaining({ code: "invalid-argument" }));
    }
  });
});

describe("decoding names", () => {
  /** What decodeName must do, by code points instead of bytes. */
  const decodes = (name: string) =>
    name !== "" &&
    new TextEncoder().encode(name).length <= 128 &&
    [...name].every((character) => {
      const point = character.codePointAt(0) as number;
      return point >= 0x20 && (point < 0x7f || point > 0x9f) && (point < 0xd800 || point > 0xdfff);
    });
  const withControls = fc.string({ maxLength: 60, unit: "binary" });
  const latin = fc.string({
    maxLength: 12,
    unit: fc.integer({ min: 0x10, max: 0xbf }).map((point) => String.fromCharCode(point)),
  });

  it("depends on the bytes alone: all text without C0 and C1 controls comes back as it went in", () => {
    const outcomes = new Set<boolean>();
    fc.assert(
      fc.property(fc.oneof(withControls, latin), (name) => {
        const bytes = encode(encodeName, name);
        outcomes.add(decodes(name));
        if (decodes(name)) expect(decode(decodeName, bytes)).toBe(name);
        else expect(() => decode(decodeName, bytes)).toThrow(expect.objectContaining({ code: "malformed" }));
      }),
      { numRuns: 2000 },
    );
    expect(outcomes.size).toBe(2);
  });

  it("takes what no engine's tables can be asked about: other normal forms, marks, unassigned code points", () => {
    for (const name of ["e\u0301", "\ufeffa", "a\u202eb", "a\u2028b", " a ", "\u{2fa1e}", "a\u0378"]) {
      expect(decode(decodeName, encode(encodeName, name))).toBe(name);
    }
  });
});

describe("numbers", () => {
  it("of refusals are distinct and known", () => {
    const numbers = Object.values(REFUSALS);
    expect(new Set(numbers).size).toBe(numbers.length);
    for (const [code, number] of Object.entries(REFUSALS)) expect(refusalOf(number)).toBe(code);
    expect(refusalOf(0)).toBeUndefined();
  });

  it("of close codes say whether connecting again can help", () => {
    const permanent = Object.values(CloseCode).filter(isPermanentClose);
    expect(permanent).toEqual([4401, 4403, 4409, 4412, 4413, 4440]);
  });

  it("of entry kinds tell handshakes from the rest", () => {
    expect(Object.values(EntryKind).filter(isHandshake)).toEqual([EntryKind.commit, EntryKind.leave]);
  });
});
