import WebSocket from "ws";
import { asBytes, type Bytes } from "../../src/base/bytes.js";
import { SubrosaError } from "../../src/base/errors.js";
import { encode } from "../../src/codec/writer.js";
import { sha256 } from "../../src/crypto/hash.js";
import { randomBytes } from "../../src/crypto/random.js";
import { generateSignatureKeyPair, type SignatureKeyPair, sign } from "../../src/crypto/signature.js";
import {
  type AccessChange,
  chainDigestInput,
  contentDigestInput,
  encodeJoinRequest,
  joinRequestToBeSigned,
  type LogEntry,
} from "../../src/wire/entries.js";
import {
  type ClientFrame,
  decodeRelayFrame,
  decodeResult,
  encodeClientFrame,
  type Ready,
  type RelayFrame,
} from "../../src/wire/frames.js";
import { type Cursor, type LogId, logKey, START } from "../../src/wire/identifiers.js";
import {
  type Authentication,
  certificateToBeSigned,
  type DeviceList,
  deviceListToBeSigned,
  sessionToBeSigned,
} from "../../src/wire/identity.js";
import { EntryKind, LogKind, SUBPROTOCOL } from "../../src/wire/protocol.js";
import type { BodyOf, NewEntry, OperationName, ResultOf } from "../../src/wire/requests.js";

/** A user with one device and real keys. */
export interface TestUser {
  readonly userId: string;
  readonly account: SignatureKeyPair;
  readonly device: SignatureKeyPair;
  readonly deviceId: Bytes;
  readonly incarnationTag: Bytes;
}

export async function makeUser(userId: string, account?: SignatureKeyPair): Promise<TestUser> {
  return {
    userId,
    account: account ?? (await generateSignatureKeyPair()),
    device: await generateSignatureKeyPair(),
    deviceId: randomBytes(16),
    incarnationTag: randomBytes(16),
  };
}

const lists = new WeakMap<TestUser, Map<number, Promise<Authentication["account"]>>>();

/** The account as the user presents it; the same bytes each time for one version. */
export function accountOf(user: TestUser, version = 1): Promise<Authentication["account"]> {
  let versions = lists.get(user);
  if (versions === undefined) {
    versions = new Map();
    lists.set(user, versions);
  }
  let account = versions.get(version);
  if (account === undefined) {
    account = signAccount(user, version);
    versions.set(version, account);
  }
  return account;
}

/** A freshly signed account: ECDSA gives other bytes each time. */
export async function signAccount(
  user: TestUser,
  version: number,
  devices: DeviceList["devices"] = [{ deviceId: user.deviceId, deviceKey: user.device.publicKey }],
): Promise<Authentication["account"]> {
  const list: DeviceList = { userId: user.userId, version, previous: START.digest, devices };
  const signature = await sign(user.account.privateKey, deviceListToBeSigned(list));
  return { userId: user.userId, accountKey: user.account.publicKey, deviceList: { list, signature } };
}

export interface AuthenticateOptions {
  incarnation?: number;
  incarnationTag?: Bytes;
  version?: number;
  token?: string;
  /** Changes the frame's content before it is sent. */
  alter?: (authentication: Authentication) => Authentication | Promise<Authentication>;
}

/** Speaks wire frames and nothing else: what it sends and receives is what stands in PROTOCOL.md. */
export class RawClient {
  readonly user: TestUser;
  readonly socket: WebSocket;
  /** Every frame received. */
  readonly frames: RelayFrame[] = [];
  /** Every entry received, by log. */
  readonly #entries = new Map<string, LogEntry[]>();
  readonly #pending = new Map<
    number,
    { name: OperationName; resolve: (v: any) => void; reject: (e: Error) => void }
  >();
  #waiting: { test: () => boolean; resolve: () => void }[] = [];
  #nextId = 1;
  #closed: { code: number; reason: string } | undefined;

  constructor(
    url: string,
    user: TestUser,
    headers: Record<string, string> = {},
    options: WebSocket.ClientOptions = {},
  ) {
    this.user = user;
    this.socket = new WebSocket(url, SUBPROTOCOL, { perMessageDeflate: false, headers, ...options });
    this.socket.binaryType = "nodebuffer";
    this.socket.on("message", (data: Buffer) => this.#receive(asBytes(new Uint8Array(data))));
    this.socket.on("error", () => {});
    this.socket.on("close", (code, reason) => {
      this.#closed = { code, reason: reason.toString() };
      for (const { reject } of this.#pending.values()) reject(new Error(`closed with ${code}`));
      this.#wake();
    });
  }

  /** Connects and authenticates; rejects if the relay closes instead. */
  static async connect(url: string, user: TestUser, options: AuthenticateOptions = {}): Promise<RawClient> {
    const client = new RawClient(url, user);
    await client.authenticate(options);
    await client.ready();
    return client;
  }

  #receive(bytes: Bytes): void {
    const frame = decodeRelayFrame(bytes);
    this.frames.push(frame);
    if (frame.type === "entries") this.entriesOf(frame.log).push(...frame.entries);
    if (frame.type === "reply" || frame.type === "refuse") {
      const request = this.#pending.get(frame.id);
      this.#pending.delete(frame.id);
      if (frame.type === "refuse") request?.reject(new SubrosaError(frame.code, frame.reason));
      else request?.resolve(decodeResult(request.name, frame.result));
    }
    this.#wake();
  }

  #wake(): void {
    this.#waiting = this.#waiting.filter(({ test, resolve }) => {
      if (!test()) return true;
      resolve();
      return false;
    });
  }

  /** Resolves when `test` holds, which is looked at after each frame and at the end. */
  until(test: () => boolean): Promise<void> {
    if (test()) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ test, resolve }));
  }

  entriesOf(log: LogId): LogEntry[] {
    const key = logKey(log);
    const entries = this.#entries.get(key) ?? [];
    this.#entries.set(key, entries);
    return entries;
  }

  async untilEntries(log: LogId, count: number): Promise<LogEntry[]> {
    await this.until(() => this.entriesOf(log).length >= count || this.#closed !== undefined);
    if (this.#closed !== undefined && this.entriesOf(log).length < count)
      throw new Error(`closed: ${this.#closed.code}`);
    return this.entriesOf(log);
  }

  async frame<Type extends RelayFrame["type"]>(type: Type): Promise<Extract<RelayFrame, { type: Type }>> {
    const find = () => this.frames.find((frame) => frame.type === type);
    await this.until(() => find() !== undefined || this.#closed !== undefined);
    const frame = find();
    if (frame === undefined) throw new Error(`closed with ${this.#closed?.code} before ${type}`);
    return frame as Extract<RelayFrame, { type: Type }>;
  }

  async ready(): Promise<Ready> {
    return (await this.frame("ready")).ready;
  }

  async closed(): Promise<{ code: number; reason: string }> {
    await this.until(() => this.#closed !== undefined);
    return this.#closed as { code: number; reason: string };
  }

  async authentication(options: AuthenticateOptions = {}): Promise<Authentication> {
    const { challenge } = await this.frame("challenge");
    const { user } = this;
    const { userId, deviceId } = user;
    const { incarnation = 1, incarnationTag = user.incarnationTag, version = 1, token = "" } = options;
    const certified = certificateToBeSigned({ userId, deviceId, deviceKey: user.device.publicKey });
    const claim = sessionToBeSigned({ ...challenge, userId, deviceId, incarnation, incarnationTag });
    const authentication: Authentication = {
      account: await accountOf(user, version),
      deviceId,
      certificate: await sign(user.account.privateKey, certified),
      incarnation,
      incarnationTag,
      token,
      signature: await sign(user.device.privateKey, claim),
    };
    return (await options.alter?.(authentication)) ?? authentication;
  }

  async authenticate(options: AuthenticateOptions = {}): Promise<void> {
    this.send({ type: "authenticate", authentication: await this.authentication(options) });
  }

  send(frame: ClientFrame): void {
    this.socket.send(encodeClientFrame(frame));
  }

  sendBytes(bytes: Uint8Array): void {
    this.socket.send(bytes);
  }

  request<Name extends OperationName>(name: Name, body: BodyOf<Name>): Promise<ResultOf<Name>> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new Error(`closed with ${this.#closed.code}`));
      this.#pending.set(id, { name, resolve, reject });
      this.send({ type: "request", id, name, body } as ClientFrame);
    });
  }

  append(log: LogId, after: Cursor, entry: NewEntry): Promise<Cursor> {
    return this.request("append", { log, after, entry });
  }

  subscribe(log: LogId, cursor: Cursor = START): Promise<{ head: Cursor; from: Cursor }> {
    return this.request("subscribe", { log, cursor });
  }

  async close(): Promise<void> {
    this.socket.close(1000);
    await this.closed();
  }
}

export const groupLog = (id: Bytes): LogId => ({ kind: LogKind.group, id });
export const requestBox = (id: Bytes): LogId => ({ kind: LogKind.requestBox, id });
export const inboxOf = (user: TestUser): LogId => ({ kind: LogKind.inbox, id: user.deviceId });

export function message(text: string, entryId = randomBytes(16)): NewEntry {
  return { kind: EntryKind.application, entryId, payload: new TextEncoder().encode(text) };
}

export function commit(
  access: readonly AccessChange[],
  welcome: Bytes = new Uint8Array(0),
  entryId = randomBytes(16),
): NewEntry {
  return { kind: EntryKind.commit, entryId, payload: randomBytes(64), bundle: { access, welcome } };
}

export function leave(): NewEntry {
  return { kind: EntryKind.leave, entryId: randomBytes(16), payload: randomBytes(64) };
}

export function closing(): NewEntry {
  return { kind: EntryKind.close, entryId: randomBytes(16), payload: randomBytes(64) };
}

export const add = (user: TestUser, role: 1 | 2 = 1): AccessChange => ({
  type: "add",
  userId: user.userId,
  deviceId: user.deviceId,
  role,
});
export const remove = (user: TestUser): AccessChange => ({
  type: "remove",
  userId: user.userId,
  deviceId: user.deviceId,
});
export const setRole = (user: TestUser, role: 1 | 2): AccessChange => ({
  type: "role",
  userId: user.userId,
  deviceId: user.deviceId,
  role,
});

export async function joinRequest(user: TestUser, groupId: Bytes): Promise<Omit<NewEntry, "bundle">> {
  const unsigned = {
    groupId,
    userId: user.userId,
    deviceId: user.deviceId,
    accountKey: user.account.publicKey,
    keyPackage: randomBytes(100),
  };
  const entryId = randomBytes(16);
  const signature = await sign(user.account.privateKey, joinRequestToBeSigned(unsigned, entryId));
  return {
    kind: EntryKind.joinRequest,
    entryId,
    payload: encode(encodeJoinRequest, { ...unsigned, signature }),
  };
}

/** The chain of digests as a reader computes it, from `from` over the entries. */
export async function chain(log: LogId, entries: readonly LogEntry[], from: Cursor = START): Promise<Cursor> {
  let cursor = from;
  for (const entry of entries) {
    if (entry.seq !== cursor.seq + 1) throw new Error(`gap: ${entry.seq} after ${cursor.seq}`);
    const digest =
      entry.form === "full" ? await sha256(contentDigestInput(entry.content)) : entry.contentDigest;
    cursor = {
      seq: entry.seq,
      digest: await sha256(chainDigestInput(log, entry.seq, cursor.digest, digest)),
    };
  }
  return cursor;
}

export function textOf(entry: LogEntry | undefined): string | undefined {
  return entry?.form === "full" ? new TextDecoder().decode(entry.content.payload) : undefined;
}
