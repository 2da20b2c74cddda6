import { concat } from "../../../src/base/bytes.js";
import { randomBytes } from "../../../src/crypto/random.js";
import { generateSignatureKeyPair, type SignatureKeyPair, sign } from "../../../src/crypto/signature.js";
import {
  type ClientFrame,
  decodeRelayFrame,
  decodeResult,
  encodeClientFrame,
  type RelayFrame,
} from "../../../src/wire/frames.js";
import { type Cursor, type LogId, START } from "../../../src/wire/identifiers.js";
import {
  type Authentication,
  certificateToBeSigned,
  deviceListToBeSigned,
  sessionToBeSigned,
} from "../../../src/wire/identity.js";
import { EntryKind, LogKind, SUBPROTOCOL } from "../../../src/wire/protocol.js";
import type { BodyOf, OperationName, ResultOf } from "../../../src/wire/requests.js";
import { MESSAGE_BYTES } from "./protocol.js";
import { RawSocket } from "./raw-socket.js";

let keys: Promise<SignatureKeyPair> | undefined;
let users = 0;

/** A user with one device that speaks wire frames: real signatures, no MLS. All share one key to save time. */
export class Member {
  readonly userId = `user ${process.pid} ${++users}`;
  readonly deviceId = randomBytes(16);
  readonly socket: RawSocket;
  #frames: RelayFrame[] = [];
  #wake: () => void = () => {};

  private constructor(url: string) {
    this.socket = new RawSocket(url, SUBPROTOCOL);
    this.socket.onMessage = (payload) => {
      this.#frames.push(decodeRelayFrame(new Uint8Array(payload)));
      this.#wake();
    };
    this.socket.onClose = () => {
      throw new Error(`the relay closed the connection of ${this.userId}`);
    };
  }

  /** Connects and authenticates. */
  static async connect(url: string): Promise<Member> {
    keys ??= generateSignatureKeyPair();
    const { publicKey, privateKey } = await keys;
    const member = new Member(url);
    const { userId, deviceId } = member;
    const list = {
      userId,
      version: 1,
      previous: START.digest,
      devices: [{ deviceId, deviceKey: publicKey }],
    };
    const [signature, certificate, frame] = await Promise.all([
      sign(privateKey, deviceListToBeSigned(list)),
      sign(privateKey, certificateToBeSigned({ userId, deviceId, deviceKey: publicKey })),
      member.next("challenge"),
    ]);
    const session = { incarnation: 1, incarnationTag: deviceId };
    const claim = sessionToBeSigned({ ...frame.challenge, userId, deviceId, ...session });
    const authentication: Authentication = {
      account: { userId, accountKey: publicKey, deviceList: { list, signature } },
      deviceId,
      certificate,
      ...session,
      token: "",
      signature: await sign(privateKey, claim),
    };
    member.send({ type: "authenticate", authentication });
    await member.next("ready");
    return member;
  }

  send(frame: ClientFrame): void {
    this.socket.send(encodeClientFrame(frame));
  }

  /** The next frame of a type; others are skipped. */
  async next<Type extends RelayFrame["type"]>(type: Type): Promise<Extract<RelayFrame, { type: Type }>> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame?.type === type) return frame as Extract<RelayFrame, { type: Type }>;
      if (frame?.type === "refuse") throw new Error(`${frame.code}: ${frame.reason}`);
      if (frame === undefined) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  async request<Name extends OperationName>(name: Name, body: BodyOf<Name>): Promise<ResultOf<Name>> {
    this.send({ type: "request", id: 1, name, body } as ClientFrame);
    return decodeResult(name, (await this.next("reply")).result);
  }
}

/** The append of one message, encoded once: only the ids differ from one message to the next. */
export class MessageTemplate {
  readonly #frame: Uint8Array;
  readonly #entryIdAt: number;
  readonly #view: DataView;
  #next = 1;

  constructor(log: LogId, after: Cursor) {
    const entryId = randomBytes(16);
    const entry = { kind: EntryKind.application, entryId, payload: randomBytes(MESSAGE_BYTES) };
    this.#frame = encodeClientFrame({ type: "request", id: 1, name: "append", body: { log, after, entry } });
    this.#entryIdAt = Buffer.from(this.#frame).indexOf(entryId);
    this.#view = new DataView(this.#frame.buffer, this.#frame.byteOffset);
  }

  next(): Uint8Array {
    const number = this.#next++;
    this.#view.setUint32(1, number);
    this.#view.setUint32(this.#entryIdAt, number);
    return this.#frame;
  }
}

export const groupLog = (id: Uint8Array): LogId => ({ kind: LogKind.group, id: concat(id) });

/** Bytes of an `entries` frame before its entries (but for the length), and of each entry. */
export const ENTRIES_HEAD = 1 + 1 + 32 + 1;
export const ENTRY_BYTES = 1 + 8 + 1 + 16 + 2 + MESSAGE_BYTES;
