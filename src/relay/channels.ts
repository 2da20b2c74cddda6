import { type Bytes, copyBytes } from "../base/bytes.js";
import type { Clock } from "../base/clock.js";
import { toHex, toUtf8 } from "../base/encoding.js";
import { assertArgument, SubrosaError } from "../base/errors.js";
import type { Data } from "../wire/channels.js";
import { encodeRelayFrame } from "../wire/frames.js";
import type { BodyOf } from "../wire/requests.js";
import { maxEntryBytes, type RelayLimits } from "./limits.js";
import type { RelayStorage, Sender } from "./storage.js";
import { TokenBucket } from "./token-bucket.js";

/** What a client wrote to the relay's operator, with `client.unencrypted.write`. */
export interface WrittenData {
  /** Who wrote it, authenticated; the device id is 32 hexadecimal digits. */
  readonly userId: string;
  readonly deviceId: string;
  readonly data: string | Uint8Array;
  /** Sends something back to that session; does nothing once it has ended, or while its reader is slow. */
  reply(data: string | Uint8Array): void;
}

/** Takes what clients write to the relay. */
export type DataHook = (written: WrittenData) => void | Promise<void>;

/** Who wants to read a channel, or with `publish` to write into it. */
export interface ChannelAccess {
  readonly userId: string;
  readonly deviceId: string;
  readonly channel: string;
  readonly publish: boolean;
}

/** Decides by `false` that it may not. One that throws could not decide, which refuses too. */
export type ChannelHook = (access: ChannelAccess) => boolean | Promise<boolean>;

/** The session that reads and writes channels. */
export interface ChannelHost {
  readonly ready: boolean;
  readonly sender: Sender;
  readonly bufferedAmount: number;
  send(frame: Bytes): void;
}

export interface ChannelServices {
  readonly channels: Channels;
  readonly limits: RelayLimits;
  readonly clock: Clock;
  readonly onData: DataHook | undefined;
  readonly onSubscribe: ChannelHook | undefined;
  report(error: unknown): void;
}

const topicOf = (channel: string) => `c:${toHex(toUtf8(channel))}`;

/** Who subscribes to which channel here. Nothing of what goes through is kept. */
export class Channels {
  readonly #storage: Pick<RelayStorage, "broadcast" | "hear">;
  readonly #channels = new Map<
    string,
    { readonly readers: Set<SessionChannels>; readonly end: () => void }
  >();

  constructor(storage: Pick<RelayStorage, "broadcast" | "hear">) {
    this.#storage = storage;
  }

  add(channel: string, reader: SessionChannels): void {
    let known = this.#channels.get(channel);
    if (known === undefined) {
      const end = this.#storage.hear?.(topicOf(channel), (frame) => this.#pass(channel, frame));
      known = { readers: new Set(), end: end ?? (() => {}) };
      this.#channels.set(channel, known);
    }
    known.readers.add(reader);
  }

  remove(channel: string, reader: SessionChannels): void {
    const known = this.#channels.get(channel);
    known?.readers.delete(reader);
    if (known?.readers.size !== 0) return;
    this.#channels.delete(channel);
    known.end();
  }

  /** To all subscribers, here and at other nodes, but the one who says it. */
  publish(channel: string, frame: Bytes, from: SessionChannels): void {
    this.#pass(channel, frame, from);
    void this.#storage.broadcast?.(topicOf(channel), frame);
  }

  #pass(channel: string, frame: Bytes, from?: SessionChannels): void {
    for (const reader of this.#channels.get(channel)?.readers ?? []) if (reader !== from) reader.offer(frame);
  }
}

/** What one session does with channels, and what it writes to the operator. */
export class SessionChannels {
  readonly #services: ChannelServices;
  readonly #host: ChannelHost;
  readonly #rate: TokenBucket;
  readonly #subscribed = new Set<string>();

  constructor(services: ChannelServices, host: ChannelHost) {
    this.#services = services;
    this.#host = host;
    const { clock, limits } = services;
    this.#rate = new TokenBucket(clock, limits.dataPerSecond, limits.dataBurst);
  }

  async write({ data }: BodyOf<"write">): Promise<void> {
    const { onData, report } = this.#services;
    if (onData === undefined) throw new SubrosaError("forbidden", "the relay takes no data");
    this.#spend(data);
    const { userId, deviceId } = this.#who;
    const reply = (answer: Data) => {
      const isData = typeof answer === "string" || answer instanceof Uint8Array;
      assertArgument(isData, "data: a string or a Uint8Array");
      const { limits } = this.#services;
      assertArgument(sizeOf(answer) <= maxEntryBytes(limits), "data: larger than a frame may be");
      this.offer(encodeRelayFrame({ type: "data", data: answer }));
    };
    const own = typeof data === "string" ? data : copyBytes(data);
    // Not waited for: what else this session asks has nothing to do with it.
    void (async () => onData({ userId, deviceId, data: own, reply }))().catch(report);
  }

  async publish({ channel, data }: BodyOf<"publish">): Promise<void> {
    this.#spend(data);
    await this.#ask(channel, true);
    const from = this.#who.userId;
    this.#services.channels.publish(channel, encodeRelayFrame({ type: "data", channel, from, data }), this);
  }

  async subscribe({ channel }: BodyOf<"subscribeChannel">): Promise<void> {
    if (this.#subscribed.has(channel)) return;
    this.#spend("");
    await this.#ask(channel, false);
    if (this.#subscribed.size >= this.#services.limits.maxChannels) {
      throw new SubrosaError("quota-exceeded", "the session has subscribed to too many channels");
    }
    if (!this.#host.ready) return;
    this.#subscribed.add(channel);
    this.#services.channels.add(channel, this);
  }

  unsubscribe({ channel }: BodyOf<"unsubscribeChannel">): void {
    if (this.#subscribed.delete(channel)) this.#services.channels.remove(channel, this);
  }

  /** The session is over. */
  end(): void {
    for (const channel of [...this.#subscribed]) this.unsubscribe({ channel });
  }

  /** Sends what may be lost, unless the reader is slow. */
  offer(frame: Bytes): void {
    const { limits } = this.#services;
    if (this.#host.ready && this.#host.bufferedAmount <= limits.maxQueuedBytes / 2) this.#host.send(frame);
  }

  get #who(): { userId: string; deviceId: string } {
    const { userId, deviceId } = this.#host.sender;
    return { userId, deviceId: toHex(deviceId) };
  }

  #spend(data: Data): void {
    if (sizeOf(data) > this.#services.limits.maxDataBytes)
      throw new SubrosaError("too-large", "more data than the relay takes at once");
    if (!this.#rate.tryTake(1)) throw new SubrosaError("rate-limited", "too much in a second");
  }

  async #ask(channel: string, publish: boolean): Promise<void> {
    const { limits, onSubscribe, report } = this.#services;
    let allowed = limits.maxChannels > 0;
    try {
      allowed &&=
        onSubscribe === undefined || (await onSubscribe({ ...this.#who, channel, publish })) === true;
    } catch (error) {
      report(error);
      allowed = false;
    }
    if (!allowed) throw new SubrosaError("forbidden", "the relay does not allow this channel");
  }
}

function sizeOf(data: Data): number {
  return typeof data === "string" ? toUtf8(data).length : data.length;
}
