import { SubrosaError } from "../../src/base/errors.js";
import { Client } from "../../src/client/client.js";
import type { EventName, Receipt } from "../../src/client/events.js";
import type { ClientOptions } from "../../src/client/options.js";
import { cryptoInFlight } from "../../src/crypto/subtle.js";
import type { MemoryKv } from "../../src/relay/embedded/memory-kv.js";
import type { Connector } from "../../src/transport/transport.js";
import { EVENTS, Place } from "../client/crash-world.js";
import { Cable } from "./cable.js";
import { type Process, SimulatedClock } from "./clock.js";
import { type Call, Device, type Life } from "./device.js";
import type { Faults } from "./faults.js";
import { describe, hasEntries, repeatable } from "./frames.js";
import type { Random } from "./random.js";
import { contentsOf, RelayProcess } from "./relay-process.js";
import { Truth } from "./truth.js";

/** Bugs planted from outside, to see the oracle find them. */
export interface Planted {
  /** Keys of a device's store that read as if nothing were there. */
  readonly forgets?: (key: string) => boolean;
  readonly ownerUnchecked?: boolean;
  /** A write is said to be durable before it is. */
  readonly earlyWrites?: boolean;
  /** Keys of the relay's storage that read as if nothing were there. */
  readonly relayForgets?: (key: string) => boolean;
}

/** How often the scheduler moves what, in one run. */
export type Pace = Readonly<Record<"network" | "store" | "app" | "time" | "revival" | "history", number>>;

interface Parked {
  readonly of: Process;
  readonly name: string;
  readonly run: () => void;
}

const HEARD: readonly EventName[] = [...EVENTS, "groupUpdated", "messagesDeleted"];

/** What an app does with a new client, beside taking its messages. */
export type App = (client: Client, life: Life) => void;

const never = new Promise<never>(() => {});

/** Devices, a relay, the network between them and the time: everything moves one step after the other. */
export class World {
  readonly random: Random;
  /** Where ids come from, apart from the decisions. */
  readonly ids: Random;
  readonly faults: Faults;
  readonly clock: SimulatedClock;
  readonly truth = new Truth();
  readonly planted: Planted;
  readonly kv: MemoryKv;
  readonly devices = new Map<string, Device>();
  readonly calls: Call[] = [];
  /** What went wrong in a way that no run may show. */
  readonly problems: string[] = [];
  readonly trace: string[] = [];
  /** The relay's storage as it once was, oldest first. */
  readonly #backups: Map<string, Uint8Array<ArrayBuffer>>[] = [];
  relay: RelayProcess | undefined;
  app: App = () => {};
  /** What the apps ask of their clients. */
  options: Pick<ClientOptions, "ack" | "history"> = { history: true };
  #heard = 0;
  readonly #cables = new Set<Cable>();
  #parked: Parked[] = [];
  #held: { readonly of: Life; readonly run: () => void }[] = [];
  steps = 0;

  constructor(parts: {
    random: Random;
    ids: Random;
    faults: Faults;
    kv: MemoryKv;
    now: number;
    planted?: Planted;
  }) {
    this.random = parts.random;
    this.ids = parts.ids;
    this.faults = parts.faults;
    this.kv = parts.kv;
    this.planted = parts.planted ?? {};
    this.clock = new SimulatedClock(parts.now);
    this.relay = new RelayProcess(this, this.kv);
  }

  note(text: string): void {
    this.trace.push(text);
  }

  device(user: string): Device {
    let device = this.devices.get(user);
    if (device === undefined) {
      device = new Device(user, new Place());
      this.devices.set(user, device);
    }
    return device;
  }

  /** Starts a device's process and connects it. */
  start(user: string): void {
    const device = this.device(user);
    if (device.life !== undefined) return;
    this.note(`start ${user}`);
    const life: Life = {
      alive: true,
      frozen: false,
      number: ++device.lives,
      device,
      client: undefined as unknown as Client,
      cables: new Set(),
      calls: new Set(),
      attached: true,
      requests: [],
      entries: [],
      closing: false,
    };
    device.life = life;
    life.client = new Client(
      { url: "ws://relay.test", userId: user, ...this.options, store: device.store(this, () => life) },
      {
        clock: this.clock.of(life),
        random: () => this.random.next(),
        randomId: (length) => this.ids.bytes(length),
        connector: this.#connector(life),
      },
    );
    for (const name of HEARD) {
      life.client.on(name, (event: unknown) => {
        if (!life.alive || !life.attached) return;
        device.events.push({ name, event, life: life.number, order: this.#heard++ });
        this.note(`event ${user} ${name} ${(event as { code?: string }).code ?? ""}`);
        if (name === "receipt") this.#checkReceipt(user, event as Receipt);
      });
    }
    life.client.on("message", (message) => {
      if (!life.alive || !life.attached) return;
      device.taken.push({ ...message, life: life.number, order: this.#heard++ });
      if (this.faults.delays("app holding a message")) return this.hold(life);
    });
    this.app(life.client, life);
    this.call(life, "connect", (client) => client.connect());
  }

  /** A receiver never says that it has, or has read, what it has not. */
  #checkReceipt(user: string, { state, by, ids }: Receipt): void {
    if (state !== "delivered" && state !== "read") return;
    const { received, read } = this.truth;
    const has = (id: string) => received.has(`${by} ${id}`) && (state !== "read" || read.has(`${by} ${id}`));
    const wrong = ids.filter((id) => !has(id));
    if (wrong.length > 0)
      this.problems.push(`${user} heard of ${by} that [${wrong}] is ${state}, but it is not`);
  }

  /** A promise that the scheduler resolves some time. */
  hold(life: Life): Promise<void> {
    return new Promise((resolve) => this.#held.push({ of: life, run: resolve }));
  }

  call(life: Life, name: string, run: (client: Client) => Promise<unknown>): Call {
    const endedAt = Number.POSITIVE_INFINITY;
    // What a process does that was replaced, nobody waits for.
    const outcome = life.attached ? "open" : "never known";
    const call: Call = { user: life.device.user, name, outcome, endedAt };
    this.calls.push(call);
    life.calls.add(call);
    const end = (outcome: Call["outcome"]) => {
      life.calls.delete(call);
      this.note(`call ${call.user} ${name} ${outcome}`);
      if (life.alive && life.attached) Object.assign(call, { outcome, endedAt: this.steps });
    };
    run(life.client).then(
      () => end("done"),
      (error: unknown) => {
        if (!SubrosaError.is(error) && life.alive) this.problems.push(`${call.user}: ${name} threw ${error}`);
        end(SubrosaError.is(error) ? error.code : "internal");
      },
    );
    return call;
  }

  /** Ends a process between two instructions. */
  kill(life: Life): void {
    if (!life.alive) return;
    const { device } = life;
    this.note(`kill ${device.user}`);
    life.alive = false;
    this.#parked = this.#parked.filter((parked) => parked.of !== life);
    this.#held = this.#held.filter((held) => held.of !== life);
    for (const call of life.calls) Object.assign(call, { outcome: "never known", endedAt: this.steps });
    for (const cable of life.cables) this.faults.count("frame lost", cable.clientDied(this.random));
    device.ghosts.delete(life);
    if (device.holder === life) device.holder = undefined;
    if (life.attached) device.notePending();
    if (device.life === life) device.life = undefined;
  }

  /** Stops a process where it stands, as a browser does to a tab in the background; another takes over. */
  freeze(life: Life): void {
    const { device } = life;
    this.note(`freeze ${device.user}`);
    life.frozen = true;
    device.ghosts.add(life);
    device.life = undefined;
    this.start(device.user);
  }

  thaw(life: Life): void {
    this.note(`thaw ${life.device.user}`);
    life.frozen = false;
  }

  killRelay(): void {
    const { relay } = this;
    if (relay === undefined) return;
    this.note("kill relay");
    relay.alive = false;
    this.relay = undefined;
    this.#parked = this.#parked.filter((parked) => parked.of !== relay);
    for (const cable of this.#cables) this.faults.count("frame lost", cable.relayDied(this.random));
  }

  /** Keeps a copy of the relay's storage. */
  backUp(): void {
    this.note("back up");
    this.#backups.push(contentsOf(this.kv));
  }

  /**
   * The relay dies, and comes back with what it had when it was backed up once; false if it never was. It may be set
   * back to the same copy again, and to older ones.
   */
  restore(): boolean {
    const at = this.random.below(this.#backups.length || 1);
    const backup = this.#backups[at];
    if (backup === undefined) return false;
    this.note("restore");
    this.#backups.length = at + 1;
    this.killRelay();
    const changes = new Map<string, Uint8Array<ArrayBuffer> | undefined>(backup);
    for (const key of contentsOf(this.kv).keys()) if (!backup.has(key)) changes.set(key, undefined);
    void this.kv.write(changes);
    this.truth.rewind(backup);
    this.startRelay();
    return true;
  }

  /** A device's disk is set back to a copy of it; false if there is none. */
  setBack(device: Device): boolean {
    if (device.copy === undefined) return false;
    this.note(`set back ${device.user}`);
    for (const life of [device.life, ...device.ghosts]) if (life !== undefined) this.kill(life);
    device.place = device.copy;
    device.copy = undefined;
    device.setBackAt = this.steps;
    this.start(device.user);
    return true;
  }

  startRelay(): void {
    if (this.relay !== undefined) return;
    this.note("start relay");
    this.relay = new RelayProcess(this, this.kv);
  }

  /** One durable write of a process: it can die before or after, and it can take its time. */
  write(of: Process, name: string, work: () => void): Promise<void> {
    if (!of.alive) return never;
    const isRelay = of instanceof RelayProcess;
    return new Promise((resolve, reject) => {
      const carryOut = () => {
        if (this.faults.strikes(isRelay ? "relay killed before a write" : "client killed before a write"))
          return this.#die(of);
        this.note(`write ${name}`);
        try {
          work();
        } catch (error) {
          return reject(error);
        }
        if (this.faults.strikes(isRelay ? "relay killed after a write" : "client killed after a write"))
          return this.#die(of);
        resolve();
      };
      const early = this.planted.earlyWrites === true && !isRelay && this.faults.enabled;
      if (!early && !this.faults.delays("write held up")) return carryOut();
      this.#parked.push({ of, name, run: carryOut });
      if (early) resolve();
    });
  }

  #die(of: Process): void {
    if (of instanceof RelayProcess) this.killRelay();
    else this.kill(of as Life);
  }

  #connector(life: Life): Connector {
    return {
      connect: async () => {
        if (!life.alive) return never;
        if (this.relay === undefined) throw new SubrosaError("connection-failed", "nobody answers");
        const cable = new Cable(life.device.user, {
          sending: () => {
            if (this.faults.strikes("client killed before sending")) this.kill(life);
            return life.alive;
          },
          sent: (frame) => {
            life.requests = repeatable(life.requests, frame);
            if (this.faults.strikes("client killed after sending")) this.kill(life);
          },
        });
        if (!this.relay.accept(cable)) throw new SubrosaError("connection-failed", "refused");
        // What was lost with the connection before, a client sends again itself, in order.
        life.entries = [];
        life.requests = [];
        life.cables.add(cable);
        this.#cables.add(cable);
        return cable.client();
      },
    };
  }

  lifeOf(cable: Cable): Life | undefined {
    const device = this.device(cable.user);
    return [device.life, ...device.ghosts].find((life) => life?.cables.has(cable));
  }

  /** Cuts a cable, in whatever state it is. */
  cut(cable: Cable): void {
    this.note(`cut ${cable.user}`);
    this.faults.count("frame lost", cable.cut(this.random));
  }

  get cables(): Cable[] {
    return [...this.#cables];
  }

  /** What can move now, by kind. */
  #movable(): Record<"network" | "store" | "app", (() => void)[]> {
    const network: (() => void)[] = [];
    for (const cable of this.#cables) {
      if (cable.isOver) {
        this.#cables.delete(cable);
        this.lifeOf(cable)?.cables.delete(cable);
        continue;
      }
      if (cable.stalled) continue;
      if (cable.up.length > 0 && !cable.paused) network.push(() => this.#moveUp(cable));
      if (cable.down.length > 0 && this.lifeOf(cable)?.frozen === false)
        network.push(() => this.#moveDown(cable));
    }
    const store = this.#parked
      .filter(({ of }) => !of.frozen)
      .map((parked) => () => {
        this.#parked = this.#parked.filter((other) => other !== parked);
        parked.run();
      });
    const app = this.#held
      .filter(({ of }) => !of.frozen)
      .map((held) => () => {
        this.#held = this.#held.filter((other) => other !== held);
        this.note(`app ${held.of.device.user}`);
        held.run();
      });
    return { network, store, app };
  }

  #moveUp(cable: Cable): void {
    const item = cable.deliverUp();
    this.note(`${cable.user} up ${item instanceof Uint8Array ? `${describe(item, "up")}` : item.code}`);
    this.#disturb(cable);
  }

  #moveDown(cable: Cable): void {
    const life = this.lifeOf(cable);
    const item = cable.deliverDown();
    this.note(`${cable.user} down ${item instanceof Uint8Array ? `${describe(item, "down")}` : item.code}`);
    if (item instanceof Uint8Array && life !== undefined && hasEntries(item)) life.entries.push(item);
    this.#disturb(cable);
  }

  /** What the network may do to a connection whenever something has moved on it. */
  #disturb(cable: Cable): void {
    if (!cable.isWhole) return;
    const life = this.lifeOf(cable);
    if (this.faults.strikes("connection cut")) this.cut(cable);
    else if (this.faults.strikes("connection stalled")) {
      this.note(`stall ${cable.user}`);
      cable.stalled = true;
    } else if (life?.client.state === "connected") {
      const { requests } = life;
      if (requests.length > 0 && this.faults.delays("request repeated")) {
        const request = this.random.pick(requests);
        this.note(`repeat ${cable.user} up ${request.length}`);
        cable.sendUp(request);
      }
      if (life.entries.length > 0 && this.faults.delays("entries repeated")) {
        const entries = this.random.pick(life.entries);
        this.note(`repeat ${cable.user} down ${entries.length}`);
        cable.sendDown(entries);
      }
    }
  }

  /** Moves one thing; false if there was nothing to move but, perhaps, time. */
  async step(pace: Pace, extra: readonly (() => void)[] = []): Promise<boolean> {
    const movable = { ...this.#movable(), history: [...extra] };
    const next = this.clock.next;
    const weights = {
      network: movable.network.length > 0 ? pace.network : 0,
      store: movable.store.length > 0 ? pace.store : 0,
      app: movable.app.length > 0 ? pace.app : 0,
      history: movable.history.length > 0 ? pace.history : 0,
      time: next !== undefined ? pace.time : 0,
    };
    if (Object.values(weights).every((weight) => weight === 0)) return false;
    const kind = this.random.weighted(weights);
    this.steps++;
    if (kind === "time") {
      this.note(`time ${(next as number) - this.clock.now}`);
      this.clock.advance();
    } else this.random.pick(movable[kind])();
    await quiet();
    return true;
  }

  /** Lets everything happen that will by itself, until `isDone` or for `limit` ms at most, without any fault. */
  async settle(limit: number, atLeast: number, isDone: () => boolean): Promise<void> {
    const start = this.clock.now;
    await quiet();
    for (;;) {
      const { network, store, app } = this.#movable();
      const moves = [...store, ...app, ...network];
      if (moves.length > 0) {
        this.steps++;
        this.random.pick(moves)();
      } else {
        const elapsed = this.clock.now - start;
        const end = elapsed >= atLeast && isDone() ? 0 : limit;
        if (!this.clock.advance(start + end)) return;
      }
      await quiet();
    }
  }
}

/** Resolves when nothing is in flight and nothing that waited has anything left to do. */
export async function quiet(): Promise<void> {
  do await new Promise((resolve) => setImmediate(resolve));
  while (cryptoInFlight() > 0);
}
