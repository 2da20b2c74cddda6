import { asBytes } from "../../src/base/bytes.js";
import { SubrosaError } from "../../src/base/errors.js";
import { Client } from "../../src/client/client.js";
import { decodeStoredMessage } from "../../src/client/delivery/pending-message.js";
import type { ClientEvents, EventName, Message } from "../../src/client/events.js";
import type { ClientOptions } from "../../src/client/options.js";
import { decode } from "../../src/codec/reader.js";
import { randomBytes } from "../../src/crypto/random.js";
import { cryptoInFlight } from "../../src/crypto/subtle.js";
import { RelayCore } from "../../src/relay/core.js";
import { EmbeddedStorage } from "../../src/relay/embedded/embedded-storage.js";
import { MemoryKv } from "../../src/relay/embedded/memory-kv.js";
import { DEFAULT_LIMITS } from "../../src/relay/limits.js";
import { endOfPrefix, type Records, type SealedChange, Space } from "../../src/stores/records.js";
import { plainSealing } from "../../src/stores/sealing.js";
import { RecordSession } from "../../src/stores/session.js";
import { SortedMap } from "../../src/stores/sorted-map.js";
import type { Store } from "../../src/stores/store.js";
import { Delivery } from "../../src/transport/delivery.js";
import { connectionPair } from "../../src/transport/pair.js";
import type { Connection, Connector } from "../../src/transport/transport.js";

const URL_OF_RELAY = "ws://relay.test";
/** How far time runs ahead after each step of a script: more than any delay of the client but its heartbeat. */
const HORIZON = 8_000;

/** Where and how a device is to fail: at its `at`-th write or frame since the world was made. */
export type Fault =
  | {
      readonly kind: "before-write" | "after-write";
      readonly user: string;
      readonly at: number;
      /** Then the next process dies too, at its write of this number. */
      readonly again?: number;
    }
  /** The connection breaks after the frame has arrived. */
  | { readonly kind: "after-sent" | "after-received"; readonly user: string; readonly at: number };

/** What a device has on its disk. */
export class Place {
  readonly values = new SortedMap<unknown>();
  readonly keys = new SortedMap<unknown>();
  owner = 0;
  open = false;

  copy(): Place {
    const copy = new Place();
    for (const space of ["values", "keys"] as const) {
      const all = { lower: "", lowerOpen: false, upper: "\x7f", limit: 1e9, reverse: false };
      for (const [key, record] of this[space].range(all)) copy[space].set(key, record);
    }
    copy.owner = this.owner;
    return copy;
  }

  under(prefix: string): [string, Uint8Array][] {
    const range = { lower: prefix, lowerOpen: false, upper: endOfPrefix(prefix), limit: 1e9, reverse: false };
    return this.values.range(range) as [string, Uint8Array][];
  }
}

/** A connection: `sever` ends it for the relay, `cut` for both. */
interface Wire {
  readonly sever: () => void;
  readonly cut: () => void;
  /** Hands a frame to the client, as from the relay. */
  readonly inject: (frame: Uint8Array) => void;
  /** Hands a frame to the relay, as from the client. */
  readonly smuggle: (frame: Uint8Array) => void;
}

/** One run of a process: nothing of it has any effect once it is dead. */
interface Life {
  alive: boolean;
  readonly client: Client;
  readonly connections: Set<Wire>;
  /** What its app called and has not seen the end of. */
  readonly calls: Set<Call>;
}

interface Call {
  readonly run: (client: Client, again: boolean) => Promise<unknown>;
  /** Whether the app does it again after a crash. */
  readonly again: boolean;
}

/** A message that a script sent. */
export interface Sent {
  readonly from: string;
  readonly to: readonly string[];
  readonly group: string | undefined;
  readonly text: string;
  /** The promise has resolved: the message must arrive. */
  id: string | undefined;
}

export class Device {
  readonly userId: string;
  place: Place;
  life: Life | undefined;
  /** Messages as the app got them, over all lives. */
  readonly taken: (Message & { life: number })[] = [];
  readonly events: { name: EventName; event: unknown }[] = [];
  /** Ids of the messages that were pending in the store when a life ended. */
  readonly pendingAtDeath = new Set<string>();
  /** While set, writes of this device wait for it before they become durable. */
  gate: Promise<void> | undefined;
  lives = 0;
  writes = 0;
  sent = 0;
  received = 0;
  /** How often anybody else could notice what this device does: the relay by a frame, its app by an event or an answer. */
  noticed = 0;
  /** Writes since whose last one nobody could: to die before one of them is to die after the last one. */
  readonly unnoticed = new Set<number>();

  constructor(userId: string, place: Place) {
    this.userId = userId;
    this.place = place;
  }
}

/** Devices, a relay and the time, all in this process; it can be copied when everything is quiet and closed. */
export class World {
  readonly devices = new Map<string, Device>();
  readonly sends: Sent[] = [];
  /** Failures of calls that the app had not expected. */
  readonly failures: string[] = [];
  /** Every frame, as the wire carried it. */
  readonly frames: { readonly user: string; readonly direction: "out" | "in"; readonly bytes: Uint8Array }[] =
    [];
  /** Sees each frame first, and may change it or, by undefined, take it away. */
  transform: (user: string, direction: "out" | "in", bytes: Uint8Array) => Uint8Array | undefined = (
    _user,
    _direction,
    bytes,
  ) => bytes;
  /** Where a device's ids come from. */
  randomId: ((user: string, length: number) => Uint8Array<ArrayBuffer>) | undefined;
  fault: Fault | undefined;
  hit = false;
  options: Partial<ClientOptions> = {};
  /** Set by an app: what it does beside taking messages, attached to each new client. */
  app: (client: Client, device: Device) => void = () => {};
  /** Whether a copy knows what was sent and taken before it was made. */
  remembers = false;
  readonly #kv: MemoryKv;
  readonly #storage: EmbeddedStorage;
  readonly #core: RelayCore;
  #backup: Map<string, Uint8Array<ArrayBuffer>> = new Map();
  #now: number;
  #timers: { at: number; order: number; callback: () => void; alive: () => boolean }[] = [];
  #order = 0;

  constructor(kv = new MemoryKv(), now = 1_700_000_000_000) {
    this.#kv = kv;
    this.#now = now;
    this.#storage = new EmbeddedStorage(kv);
    this.#core = new RelayCore({
      storage: this.#storage,
      limits: DEFAULT_LIMITS,
      clock: this.clock(() => true),
      onError: (error) => this.failures.push(`relay: ${error}`),
    });
  }

  get relayBytes(): Iterable<readonly [string, Uint8Array<ArrayBuffer>]> {
    return this.#kv.range("", "\u{ffff}");
  }

  /** The same devices and relay, everybody switched off. */
  async copy(): Promise<World> {
    const kv = new MemoryKv();
    await kv.write(new Map(this.#kv.range("", "\u{ffff}")));
    const world = new World(kv, this.#now);
    for (const { userId, place, lives, taken } of this.devices.values()) {
      const device = new Device(userId, place.copy());
      world.devices.set(userId, device);
      if (!this.remembers) continue;
      device.lives = lives;
      device.taken.push(...taken);
    }
    if (this.remembers) world.sends.push(...this.sends.map((sent) => ({ ...sent })));
    return world;
  }

  /** Keeps what the relay has stored, for {@link loseSince}. */
  backUp(): void {
    this.#backup = new Map(this.relayBytes);
  }

  /** Sets the relay's storage back to the backup: so that is in copies of this world. */
  async loseSince(): Promise<void> {
    const changes = new Map<string, Uint8Array<ArrayBuffer> | undefined>(this.#backup);
    for (const [key] of this.relayBytes) if (!this.#backup.has(key)) changes.set(key, undefined);
    await this.#kv.write(changes);
  }

  /** The relay drops all that its logs hold, as after its retention. */
  async forget(): Promise<void> {
    const { uploadTimeout } = DEFAULT_LIMITS;
    const all = { now: this.#now + 1, retention: 0, maxLogBytes: 1e9, uploadTimeout, batch: 1_000 };
    while (!(await this.#storage.prune(all)));
  }

  device(userId: string): Device {
    let device = this.devices.get(userId);
    if (device === undefined) {
      device = new Device(userId, new Place());
      this.devices.set(userId, device);
    }
    return device;
  }

  clock(alive: () => boolean) {
    return {
      now: () => this.#now,
      after: (ms: number, callback: () => void) => {
        const timer = { at: this.#now + ms, order: this.#order++, callback, alive };
        this.#timers.push(timer);
        return () => {
          this.#timers = this.#timers.filter((other) => other !== timer);
        };
      },
    };
  }

  /** Starts the device's process and connects it. */
  start(userId: string): void {
    const device = this.device(userId);
    if (device.life !== undefined) return;
    const number = ++device.lives;
    const connections = new Set<Wire>();
    let life: Life;
    const alive = () => life.alive;
    const client = new Client(
      {
        url: URL_OF_RELAY,
        userId,
        history: true,
        store: this.#store(device, alive),
        ...this.options,
      },
      {
        clock: this.clock(alive),
        random: () => 0.5,
        randomId: (length) => this.randomId?.(userId, length) ?? randomBytes(length),
        connector: this.#connector(device, alive, connections),
      },
    );
    life = { alive: true, client, connections, calls: new Set() };
    device.life = life;
    for (const name of EVENTS) {
      client.on(name, (event: unknown) => {
        if (!life.alive) return;
        device.noticed++;
        device.events.push({ name, event });
      });
    }
    client.on("message", (message) => {
      if (!life.alive) return;
      device.noticed++;
      device.taken.push({ ...message, life: number });
    });
    this.app(client, device);
    this.call(userId, (one) => one.connect(), true);
  }

  /** Lets the device's app call its client; with `again`, also after a crash that hid the result. */
  call(userId: string, run: Call["run"], again = true): void {
    const life = this.device(userId).life;
    if (life === undefined) return;
    this.#call(life, userId, { run, again }, false);
  }

  #call(life: Life, userId: string, call: Call, again: boolean): void {
    life.calls.add(call);
    const over = () => {
      life.calls.delete(call);
      this.device(userId).noticed++;
    };
    call.run(life.client, again).then(over, (error: unknown) => {
      over();
      if (life.alive) this.failures.push(`${userId}: ${SubrosaError.is(error) ? error.code : error}`);
    });
  }

  /** Sends a text; `to` are the users who must get it if the promise resolves. */
  send(from: string, to: readonly string[], text: string, group?: string): void {
    const sent: Sent = { from, to, group, text, id: undefined };
    this.sends.push(sent);
    const life = this.device(from).life;
    this.call(
      from,
      async (client) => {
        const id = await (group === undefined
          ? client.sendDirectMessage(to[0] as string, text)
          : client.sendGroupMessage(group, text));
        // What a dead process learns, its app does not.
        if (life?.alive) sent.id = id;
      },
      false,
    );
  }

  /** The connection of a device that is online. */
  wire(userId: string): Pick<Wire, "inject" | "smuggle"> {
    const [wire] = this.device(userId).life?.connections ?? [];
    if (wire === undefined) throw new Error(`${userId} is not connected`);
    return wire;
  }

  /** Cuts a device off the relay, until {@link reconnect}. */
  disconnect(userId: string): void {
    this.#offline.set(userId, []);
    for (const { cut } of [...(this.device(userId).life?.connections ?? [])]) cut();
  }

  reconnect(userId: string): void {
    const waiting = this.#offline.get(userId) ?? [];
    this.#offline.delete(userId);
    for (const resolve of waiting) resolve();
  }

  /** Who is cut off, with the attempts to connect that wait for its end. */
  readonly #offline = new Map<string, (() => void)[]>();

  /** Ends a device's process between two instructions. */
  kill(userId: string): void {
    const device = this.device(userId);
    const { life } = device;
    if (life === undefined) return;
    life.alive = false;
    device.life = undefined;
    device.place.open = false;
    for (const [, value] of device.place.under("pending/")) {
      device.pendingAtDeath.add(decode(decodeStoredMessage, value).id);
    }
    for (const { sever } of [...life.connections]) sever();
    this.#unfinished.set(
      userId,
      [...life.calls].filter((call) => call.again),
    );
  }

  readonly #unfinished = new Map<string, Call[]>();

  /** Starts again what died; its app does again what it does not know the end of. */
  revive(): boolean {
    let any = false;
    for (const [userId, calls] of [...this.#unfinished]) {
      any = true;
      this.#unfinished.delete(userId);
      this.start(userId);
      const { life } = this.device(userId);
      for (const call of calls)
        if (life && !String(call.run).includes("connect()")) this.#call(life, userId, call, true);
    }
    return any;
  }

  /** Ends all clients as an app would. */
  async close(): Promise<void> {
    for (const device of this.devices.values()) {
      const { life } = device;
      if (life === undefined) continue;
      const closing = life.client.close();
      await this.settle();
      await closing;
      device.life = undefined;
    }
  }

  /** Lets everything happen that will happen by itself, timers of the next seconds among it. */
  async settle(horizon = HORIZON): Promise<void> {
    const end = this.#now + horizon;
    await quiet();
    for (;;) {
      const next = this.#timers
        .filter(({ at, alive }) => at <= end && alive())
        .sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (next === undefined) return;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#now = Math.max(this.#now, next.at);
      next.callback();
      await quiet();
    }
  }

  #store(device: Device, alive: () => boolean): Store {
    const { place } = device;
    const never = new Promise<never>(() => {});
    let noticedBefore = -1;
    const failsAt = (kind: Fault["kind"], count: number) =>
      this.fault?.kind === kind && this.fault.user === device.userId && this.fault.at === count && !this.hit;
    /** One durable write, at which the process can die. */
    const durable = async (apply: () => void): Promise<void> => {
      if (!alive()) return never;
      const count = ++device.writes;
      if (device.noticed === noticedBefore) device.unnoticed.add(count);
      if (device.gate !== undefined) {
        await device.gate;
        if (!alive()) return never;
      }
      if (failsAt("before-write", count)) {
        this.#die(device);
        return never;
      }
      apply();
      noticedBefore = device.noticed;
      if (failsAt("after-write", count)) {
        this.#die(device);
        return never;
      }
    };
    return {
      open: async () => {
        if (place.open) throw new SubrosaError("store-in-use", "another client has this store open");
        place.open = true;
        await durable(() => place.owner++);
        const owner = place.owner;
        const records: Records = {
          read: async (space, key) => (alive() ? of(place, space).get(key) : never),
          range: async (range) => (alive() ? place.values.range(range) : never),
          commit: (changes) => durable(() => apply(place, changes)),
          close: async () => {
            if (alive()) place.open = false;
          },
        };
        const firstUse = place.values.size === 0 && place.keys.size === 0;
        return new RecordSession({ owner, firstUse, records, sealing: plainSealing });
      },
    };
  }

  #die(device: Device): void {
    const fault = this.fault as Extract<Fault, { again?: number }>;
    if (fault.again === undefined) this.hit = true;
    else this.fault = { kind: fault.kind, user: fault.user, at: device.writes + fault.again };
    this.kill(device.userId);
  }

  #connector(device: Device, alive: () => boolean, connections: Set<Wire>): Connector {
    return {
      connect: async () => {
        if (!alive()) return new Promise<never>(() => {});
        await new Promise<void>((resolve) => {
          const waiting = this.#offline.get(device.userId);
          if (waiting === undefined) resolve();
          else waiting.push(resolve);
        });
        if (!alive()) return new Promise<never>(() => {});
        const inner = plugIn(this.#core);
        let severed = false;
        const delivery = new Delivery();
        const connection: Connection = {
          get onframe() {
            return delivery.onframe;
          },
          set onframe(handler) {
            delivery.onframe = handler;
          },
          get onclose() {
            return delivery.onclose;
          },
          set onclose(handler) {
            delivery.onclose = handler;
          },
          bufferedAmount: 0,
          send: (frame) => {
            if (severed || !alive()) return;
            const bytes = this.transform(device.userId, "out", frame.slice());
            if (bytes === undefined) return;
            this.frames.push({ user: device.userId, direction: "out", bytes });
            inner.send(bytes);
            device.noticed++;
            this.#cutAt("after-sent", device, ++device.sent, cut);
          },
          close: (code, reason) => {
            delivery.mute();
            if (!severed) inner.close(code, reason);
          },
        };
        const sever = () => {
          severed = true;
          connections.delete(wire);
          inner.onframe = undefined;
          inner.onclose = undefined;
          // Queued behind the frames that have left: those still arrive.
          inner.close(1006, "");
        };
        const cut = () => {
          sever();
          queueMicrotask(() => alive() && delivery.end({ code: 1006, reason: "" }));
        };
        const inject = (frame: Uint8Array) => delivery.frame(asBytes(frame));
        const wire: Wire = { sever, cut, inject, smuggle: (frame) => inner.send(frame) };
        connections.add(wire);
        inner.onframe = (frame) => {
          if (severed || !alive()) return;
          const bytes = this.transform(device.userId, "in", frame);
          if (bytes === undefined) return;
          this.frames.push({ user: device.userId, direction: "in", bytes });
          delivery.frame(asBytes(bytes));
          this.#cutAt("after-received", device, ++device.received, cut);
        };
        inner.onclose = (info) => {
          if (!severed && alive()) delivery.end(info);
        };
        return connection;
      },
    };
  }

  #cutAt(kind: Fault["kind"], device: Device, count: number, cut: () => void): void {
    const { fault } = this;
    if (this.hit || fault?.kind !== kind || fault.user !== device.userId || fault.at !== count) return;
    this.hit = true;
    cut();
  }
}

export const EVENTS: readonly EventName[] = [
  "error",
  "receipt",
  "groupCreated",
  "groupDeleted",
  "groupJoin",
  "groupLeave",
  "memberJoin",
  "memberLeave",
  "joinRequest",
  "invitation",
  "identityChanged",
  "equivocation",
  "deviceAdded",
  "deviceRemoved",
  "storeRecovered",
  "undecryptable",
] satisfies readonly (keyof ClientEvents)[];

/** The client's end of a new connection to a relay. */
export function plugIn(core: Pick<RelayCore, "accept">): Connection {
  const [near, far] = connectionPair();
  const session = core.accept(
    {
      bufferedAmount: 0,
      send: (frame) => far.send(frame),
      drained: async () => {},
      close: (code, reason) => far.close(code, reason),
      pause: () => {},
      resume: () => {},
    },
    "relay.test",
  );
  if (session === undefined) throw new SubrosaError("connection-failed", "refused");
  far.onframe = (frame) => session.receive(frame);
  far.onclose = () => session.disconnected();
  return near;
}

export function of(place: Place, space: Space): SortedMap<unknown> {
  return space === Space.values ? place.values : place.keys;
}

export function apply(place: Place, changes: readonly SealedChange[]): void {
  for (const change of changes) {
    if (change.kind === "put") of(place, change.space).set(change.key, change.record);
    else {
      for (const map of [place.values, place.keys]) {
        if (change.kind === "delete") map.delete(change.key);
        else map.deleteRange(change.prefix, endOfPrefix(change.prefix));
      }
    }
  }
}

/** Resolves when nothing is in flight and nothing that was waiting has anything left to do. */
async function quiet(): Promise<void> {
  for (let calm = 0; calm < 2; calm++) {
    // Whatever waits for a result runs in microtasks, before this.
    await new Promise((resolve) => setImmediate(resolve));
    if (cryptoInFlight() > 0) calm = -1;
  }
}
