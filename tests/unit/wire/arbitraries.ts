import fc from "fast-check";
import type { Bytes } from "../../../src/base/bytes.js";
import type { AccessChange, EntryContent, LogEntry } from "../../../src/wire/entries.js";
import type { ClientFrame, RelayFrame } from "../../../src/wire/frames.js";
import { type Cursor, isName, type LogId } from "../../../src/wire/identifiers.js";
import type { Account, Authentication } from "../../../src/wire/identity.js";
import { EntryKind, LogKind, type Role } from "../../../src/wire/protocol.js";
import { REFUSALS, type RefusalCode } from "../../../src/wire/refusals.js";
import type { BodyOf, NewEntry, OperationName, ResultOf } from "../../../src/wire/requests.js";

const fixed = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }) as fc.Arbitrary<Bytes>;
const opaque = (maxLength = 100) => fc.uint8Array({ maxLength }) as fc.Arbitrary<Bytes>;
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const uint53 = fc.maxSafeNat();
const name = fc.oneof(
  fc.constantFrom("alice", "Zoë", "名前", "a b", "x".repeat(128), "👩🏽"),
  fc.string({ minLength: 1, maxLength: 20, unit: "grapheme" }).filter(isName),
);
const deviceId = fixed(16);
const groupId = fixed(32);
const role = fc.constantFrom<Role>(1, 2);

/** Optional fields are absent, not undefined. */
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
function present<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as T;
}

const cursor: fc.Arbitrary<Cursor> = fc.record({ seq: uint53, digest: fixed(32) });
const logId: fc.Arbitrary<LogId> = fc.oneof(
  fc.record({ kind: fc.constant(LogKind.inbox), id: deviceId }),
  fc.record({ kind: fc.constantFrom(LogKind.group, LogKind.requestBox), id: groupId }),
);
const accessChange: fc.Arbitrary<AccessChange> = fc.oneof(
  fc.record({ type: fc.constantFrom("add" as const, "role" as const), userId: name, deviceId, role }),
  fc.record({ type: fc.constant("remove" as const), userId: name, deviceId }),
);
const access = fc.array(accessChange, { maxLength: 4 });
const plainKind = fc.constantFrom(...Object.values(EntryKind).filter((kind) => kind !== EntryKind.commit));
const kind = fc.constantFrom(...Object.values(EntryKind));
const commitKind = fc.constant(EntryKind.commit);

const content: fc.Arbitrary<EntryContent> = fc.oneof(
  fc.record({ kind: plainKind, entryId: deviceId, payload: opaque(300) }),
  fc.record({
    kind: commitKind,
    entryId: deviceId,
    payload: opaque(),
    bundle: fc.record({ access, welcomeHash: fc.oneof(fixed(0), fixed(32)) }),
  }),
);
const newEntry: fc.Arbitrary<NewEntry> = fc.oneof(
  fc.record({ kind: plainKind, entryId: deviceId, payload: opaque(300) }),
  fc.record({
    kind: fc.constant(EntryKind.leave),
    entryId: deviceId,
    payload: opaque(300),
    isOfAnother: fc.constant(true),
  }),
  fc.record({
    kind: commitKind,
    entryId: deviceId,
    payload: opaque(),
    bundle: fc.oneof(
      fc.record({ access, welcome: opaque(300) }),
      fc.record({ access, welcome: fixed(0), welcomeHash: fixed(32) }),
    ),
  }),
);
const logEntry: fc.Arbitrary<LogEntry> = fc.oneof(
  fc.record({ form: fc.constant("full" as const), seq: uint53, content }),
  fc.record({
    form: fc.constant("short" as const),
    seq: uint53,
    kind,
    entryId: deviceId,
    contentDigest: fixed(32),
  }),
);

const account: fc.Arbitrary<Account> = fc.record({
  userId: name,
  accountKey: fixed(65),
  deviceList: fc.record({
    list: fc.record({
      userId: name,
      version: uint53,
      previous: fixed(32),
      devices: fc.array(fc.record({ deviceId, deviceKey: fixed(65) }), { maxLength: 3 }),
    }),
    signature: opaque(80),
  }),
});
const authentication: fc.Arbitrary<Authentication> = fc.record({
  account,
  deviceId,
  certificate: opaque(80),
  incarnation: uint53,
  incarnationTag: fixed(16),
  token: fc.string({ maxLength: 50, unit: "grapheme" }),
  signature: opaque(80),
});
const data = fc.oneof(fc.string({ maxLength: 40, unit: "grapheme" }), opaque());
const signal = fc.record({ type: fc.constant("signal" as const), groupId, payload: opaque(300) });
const upload = fc.record({ notAfter: uint53, keyPackage: opaque() });
const user = fc.record({ userId: name });
const blob = fc.record({ blobId: groupId });
const chunk = opaque(300).filter(({ length }) => length > 0);
const place = fc.string({ maxLength: 40, unit: "grapheme" });
const names = fc.array(name, { maxLength: 3 });
const notice = fc.record({
  text: fc.constantFrom("back at noon", "Wartung um 12 Uhr", "👩🏽‍🚀", "x".repeat(4096)),
  sentAt: uint53,
});

export const bodies: { [Name in OperationName]: fc.Arbitrary<BodyOf<Name>> } = {
  write: fc.record({ data }),
  publish: fc.record({ channel: name, data }),
  subscribeChannel: fc.record({ channel: name }),
  unsubscribeChannel: fc.record({ channel: name }),
  append: fc.record({ log: logId, after: cursor, entry: newEntry }),
  create: fc
    .record({
      groupId,
      nameHash: maybe(fixed(32)),
      direct: maybe(fc.record({ peer: name, generation: uint53 })),
      first: maybe(newEntry),
    })
    .map(present) as fc.Arbitrary<BodyOf<"create">>,
  subscribe: fc.record({ log: logId, cursor }),
  unsubscribe: fc.record({ log: logId }),
  fetchBundle: fc.record({ groupId, seq: uint53 }),
  publishKeyPackages: fc
    .record({ oneTime: fc.array(upload, { maxLength: 3 }), lastResort: maybe(upload) })
    .map(present) as fc.Arbitrary<BodyOf<"publishKeyPackages">>,
  fetchKeyPackages: user,
  fetchAccount: user,
  resolveName: fc.record({ nameHash: fixed(32) }),
  resolveDirect: user,
  listGroups: fc.record({ of: deviceId }, { requiredKeys: [] }),
  claimName: fc.record({ groupId, nameHash: groupId }),
  releaseName: fc.record({ groupId, nameHash: groupId }),
  rejectJoin: fc.record({ groupId, requestId: deviceId, reason: fc.constantFrom(1 as const, 2 as const) }),
  setBlocked: fc.record({ userId: name, blocked: fc.boolean() }),
  listBlocked: fc.constant({}),
  beginUpload: blob,
  putChunk: fc.record({ blobId: groupId, index: u32, chunk }),
  finishUpload: fc.record({ blobId: groupId, chunks: u32 }),
  fetchChunk: fc.record({ blobId: groupId, index: u32 }),
  deleteBlob: blob,
  listUsers: fc.record({ after: place }, { requiredKeys: [] }),
};

export const results: { [Name in OperationName]: fc.Arbitrary<ResultOf<Name>> } = {
  append: cursor,
  create: cursor,
  subscribe: fc.record({ head: cursor, from: cursor }),
  unsubscribe: fc.constant(undefined),
  fetchBundle: fc.record({ content, welcome: opaque(300), at: cursor }),
  publishKeyPackages: fc.record({ oneTime: u32 }),
  fetchKeyPackages: fc.record({
    account,
    devices: fc.array(fc.record({ deviceId, keyPackage: opaque() }), { maxLength: 3 }),
  }),
  fetchAccount: account,
  resolveName: fc.record({ groupId }),
  resolveDirect: fc
    .record({ binding: maybe(fc.record({ generation: uint53, groupId })) })
    .map(present) as fc.Arbitrary<ResultOf<"resolveDirect">>,
  listGroups: fc.record({
    groups: fc.array(
      fc.record({ groupId, role, since: cursor, peer: name }, { requiredKeys: ["groupId", "role", "since"] }),
      { maxLength: 3 },
    ),
  }),
  rejectJoin: fc.constant(undefined),
  write: fc.constant(undefined),
  publish: fc.constant(undefined),
  subscribeChannel: fc.constant(undefined),
  unsubscribeChannel: fc.constant(undefined),
  claimName: fc.constant(undefined),
  releaseName: fc.constant(undefined),
  setBlocked: fc.constant(undefined),
  listBlocked: fc.record({ users: fc.array(name, { maxLength: 3 }) }),
  beginUpload: fc.constant(undefined),
  putChunk: fc.constant(undefined),
  finishUpload: fc.constant(undefined),
  fetchChunk: fc.record({ chunk }),
  deleteBlob: fc.constant(undefined),
  listUsers: fc.record({ users: fc.array(name, { maxLength: 3 }), next: place }, { requiredKeys: ["users"] }),
};

export const operationNames = Object.keys(bodies) as OperationName[];

const request = fc.oneof(
  ...operationNames.map((operation) =>
    fc.record({
      type: fc.constant("request" as const),
      id: u32,
      name: fc.constant(operation),
      body: bodies[operation] as fc.Arbitrary<unknown>,
    }),
  ),
) as fc.Arbitrary<ClientFrame>;

export const clientFrame: fc.Arbitrary<ClientFrame> = fc.oneof(
  { weight: 1, arbitrary: fc.record({ type: fc.constant("authenticate" as const), authentication }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("ping" as const), id: u32 }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("ack" as const), log: logId, cursor }) },
  { weight: 1, arbitrary: signal },
  { weight: 6, arbitrary: request },
);

const ready = fc.record({ registered: fc.boolean(), keyPackages: u32, maxFrameBytes: u32, time: uint53 });
const challenge = fc.record({ relayName: name, nonce: fixed(32) });
const refusal = fc.constantFrom(...(Object.keys(REFUSALS) as RefusalCode[]));

export const relayFrame: fc.Arbitrary<RelayFrame> = fc.oneof(
  fc.record({ type: fc.constant("challenge" as const), challenge }),
  fc.record({ type: fc.constant("ready" as const), ready }),
  fc.record({ type: fc.constant("pong" as const), id: u32 }),
  fc.record({ type: fc.constant("reply" as const), id: u32, result: opaque(300) }),
  fc.record({
    type: fc.constant("refuse" as const),
    id: u32,
    code: refusal,
    reason: fc.string({ maxLength: 99 }),
  }),
  fc.record({
    type: fc.constant("entries" as const),
    log: logId,
    entries: fc.array(logEntry, { maxLength: 4 }),
  }),
  fc.record({
    type: fc.constant("ended" as const),
    log: logId,
    reason: fc.constantFrom(1 as const, 2 as const),
  }),
  signal,
  fc
    .record({ type: fc.constant("data" as const), channel: maybe(name), from: maybe(name), data })
    .map(present) as fc.Arbitrary<RelayFrame>,
  notice.map((one) => ({ type: "notice" as const, ...one })),
  fc.record({ type: fc.constant("directory" as const), created: names, removed: names }),
);
