import { SubrosaError } from "../../src/base/errors.js";
import { Client } from "../../src/client/client.js";
import type { EventName, Message } from "../../src/client/events.js";
import type { ClientOptions } from "../../src/client/options.js";
import type { Channel, Locks, TabPlatform } from "../../src/client/tabs/platform.js";
import { whenCryptoIdle } from "../../src/crypto/subtle.js";
import { RelayCore } from "../../src/relay/core.js";
import { EmbeddedStorage } from "../../src/relay/embedded/embedded-storage.js";
import { MemoryKv } from "../../src/relay/embedded/memory-kv.js";
import { DEFAULT_LIMITS } from "../../src/relay/limits.js";
import { plainSealing } from "../../src/stores/sealing.js";
import { RecordSession } from "../../src/stores/session.js";
import type { Store } from "../../src/stores/store.js";
import { Delivery } from "../../src/transport/delivery.js";
import type { Connector } from "../../src/transport/transport.js";
import { apply, of, Place, plugIn } from "./crash-world.js";

const URL_OF_RELAY = "ws://relay.test";
/** How far time goes on while something is waited for, in milliseconds. */
const PATIENCE = 120_000;

const EVENTS = [
  "connect",
  "disconnect",
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
  "undecryptable",
  "storeRecovered",
  "typing",
  "presence",
] satisfies readonly EventName[];

/** What a user's tabs have on their disk. */
class TabsPlace extends Place {
  /** Copies what there is now; the result puts it back. */
  backup(): () => void {
    const range = { lower: "", lowerOpen: false, upper: "\u{7f}", limit: 1e9, reverse: false };
    const kept = [this.values, this.keys].map((map) => [map, map.range(range)] as const);
    return () => {
      for (const [map, records] of kept) {
        map.deleteRange("", "\u{7f}");
        for (const [key, value] of records) map.set(key, value);
      }
    };
  }
}

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** Tabs of one origin, other clients, a relay and the time, all in this process. */
export class TabsWorld {
  readonly locks = new LockBoard();
  readonly channels = new Map<string, Set<OpenChannel>>();
  readonly places = new Map<string, TabsPlace>();
  readonly relay: RelayCore;
  readonly failures: string[] = [];
  readonly people: Person[] = [];
  /** Called before each durable write of a tab, with how many there were before; it may end the tab. */
  beforeWrite: (tab: Tab, count: number) => void = () => {};
  /** Whether the relay cannot be reached. */
  isOffline = false;
  afterWrite: (tab: Tab, count: number) => void = () => {};
  #now = 1_700_000_000_000;
  #timers: Timer[] = [];
  #order = 0;

  constructor() {
    this.relay = new RelayCore({
      storage: new EmbeddedStorage(new MemoryKv()),
      limits: DEFAULT_LIMITS,
      clock: this.clock((run) => run()),
      onError: (error) => this.failures.push(`relay: ${error}`),
    });
  }

  clock(within: (run: () => void) => void) {
    return {
      now: () => this.#now,
      after: (ms: number, callback: () => void) => {
        const timer = { at: this.#now + ms, order: this.#order++, run: () => within(callback) };
        this.#timers.push(timer);
        return () => {
          this.#timers = this.#timers.filter((other) => other !== timer);
        };
      },
    };
  }

  /** A page of this user that shares its store with the other pages of the same user. */
  tab(userId: string, options: Partial<ClientOptions> = {}): Tab {
    const tab = new Tab(this, userId, options);
    this.people.push(tab);
    return tab;
  }

  /** A client of its own. */
  user(userId: string, options: Partial<ClientOptions> = {}): Person {
    const user = new Person(this, userId, options, undefined);
    this.people.push(user);
    return user;
  }

  /** Everything runs until nothing is left to do at this instant. */
  async #calm(): Promise<void> {
    for (let calm = 0; calm < 2; calm++) {
      await whenCryptoIdle();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Lets time go on by `ms`, timer by timer. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    await this.#calm();
    while (await this.#next(end));
    this.#now = end;
  }

  async #next(end: number): Promise<boolean> {
    const [next] = this.#timers
      .filter(({ at }) => at <= end)
      .sort((a, b) => a.at - b.at || a.order - b.order);
    if (next === undefined) return false;
    this.#timers = this.#timers.filter((timer) => timer !== next);
    this.#now = Math.max(this.#now, next.at);
    next.run();
    await this.#calm();
    return true;
  }

  /** Lets time go on until the test holds. */
  async until(test: () => unknown, what = test.toString()): Promise<void> {
    const end = this.#now + PATIENCE;
    await this.#calm();
    while (!test()) {
      if (!(await this.#next(end))) {
        const seen = this.people.map((one) => `${one.name}: ${JSON.stringify(one.summary())}`).join("\n");
        throw new Error(`never came about: ${what}\n${seen}\n${this.failures.join("\n")}`);
      }
    }
  }

  /** The promise's result, while time goes on. */
  async result<T>(promise: Promise<T>, what = "a promise to settle"): Promise<T> {
    let isSettled = false;
    const settled = () => {
      isSettled = true;
    };
    promise.then(settled, settled);
    await this.until(() => isSettled, what);
    return promise;
  }

  /** Ends everything. */
  async close(): Promise<void> {
    this.beforeWrite = () => {};
    this.afterWrite = () => {};
    for (const one of this.people)
      if (one.isAlive) await this.result(one.client.close(), `${one.name} to close`);
  }

  connector(person: Person): Connector {
    return {
      connect: async () => {
        await person.turn();
        if (this.isOffline) throw new SubrosaError("connection-failed", "no way to the relay");
        const near = plugIn(this.relay);
        person.atDeath.add(() => near.close(1006, ""));
        const delivery = new Delivery();
        near.onframe = (bytes) => person.run(() => delivery.frame(bytes));
        near.onclose = (info) => person.run(() => delivery.end(info));
        return {
          bufferedAmount: 0,
          send: (bytes) => {
            const copy = bytes.slice();
            // What a closed connection throws, a closed socket drops.
            person.run(() => {
              try {
                near.send(copy);
              } catch {}
            });
          },
          close: (code, reason) => {
            delivery.mute();
            person.run(() => near.close(code, reason));
          },
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
        };
      },
    };
  }
}

/** A client with everything it has told its app. Nothing of it happens while it is frozen, or once it is dead. */
export class Person {
  readonly name: string;
  readonly client: Client;
  readonly world: TabsWorld;
  readonly messages: Message[] = [];
  readonly events: { readonly name: EventName; readonly event: unknown }[] = [];
  readonly atDeath = new Set<() => void>();
  onFreeze: { readonly frozen: () => void; readonly resumed: () => void } | undefined;
  isAlive = true;
  /** What waits for the thaw. */
  #frozen: (() => void)[] | undefined;

  constructor(
    world: TabsWorld,
    userId: string,
    options: Partial<ClientOptions>,
    tabs: ((person: Person) => TabPlatform) | undefined,
  ) {
    this.world = world;
    const count = world.people.filter(({ client }) => client.userId === userId).length;
    this.name = `${userId}${count + 1}`;
    this.client = new Client(
      { url: URL_OF_RELAY, userId, store: this.#store(userId), ...options },
      {
        clock: world.clock((run) => this.run(run)),
        random: () => 0.1,
        connector: world.connector(this),
        ...(tabs && { tabs: tabs(this) }),
      },
    );
    for (const name of EVENTS) {
      this.client.on(name, (event: unknown) => void this.events.push({ name, event }));
    }
  }

  summary() {
    const texts = this.messages.map(({ content }) => content);
    return {
      state: this.client.state,
      events: this.events.map(({ name, event }) => [name, `${event}`]),
      texts,
    };
  }

  /** Takes messages from here on; the result ends it. */
  listen(handle: (message: Message) => unknown = () => {}): () => void {
    return this.client.on("message", (message) => {
      this.messages.push(message);
      return handle(message);
    });
  }

  get texts(): string[] {
    return this.messages.map(({ content }) => String(content));
  }

  all(name: EventName): unknown[] {
    return this.events.filter((one) => one.name === name).map(({ event }) => event);
  }

  /** Runs what belongs to this page: now, after the thaw, or never. */
  run(task: () => void): void {
    if (!this.isAlive) return;
    if (this.#frozen !== undefined) this.#frozen.push(task);
    else task();
  }

  /** Resolves when this page may go on. */
  turn(): Promise<void> {
    return new Promise((resolve) => this.run(resolve));
  }

  /** The browser says that it freezes the page, which Chromium does; then it freezes it. */
  freezeTold(): void {
    this.onFreeze?.frozen();
    this.freeze();
  }

  thawTold(): void {
    this.thaw();
    this.onFreeze?.resumed();
  }

  freeze(): void {
    this.#frozen ??= [];
  }

  thaw(): void {
    const tasks = this.#frozen ?? [];
    this.#frozen = undefined;
    // As a page does: one task after the other, and before anything that comes later.
    for (const task of tasks) this.run(task);
  }

  /** Ends the page between two instructions. */
  crash(): void {
    this.isAlive = false;
    for (const die of this.atDeath) die();
  }

  /** A store whose last owner alone may write. */
  #store(userId: string): Store {
    const { world } = this;
    const place = world.places.get(userId) ?? new TabsPlace();
    world.places.set(userId, place);
    let writes = 0;
    return {
      open: async () => {
        await this.turn();
        const owner = ++place.owner;
        const firstUse = place.values.size === 0 && place.keys.size === 0;
        await this.turn();
        return new RecordSession({
          owner,
          firstUse,
          sealing: plainSealing,
          records: {
            read: async (space, key) => {
              await this.turn();
              return of(place, space).get(key);
            },
            range: async (range) => {
              await this.turn();
              return place.values.range(range);
            },
            commit: async (changes) => {
              const count = writes++;
              world.beforeWrite(this as unknown as Tab, count);
              await this.turn();
              if (place.owner !== owner) throw new SubrosaError("store-in-use", "another tab has it");
              apply(place, changes);
              world.afterWrite(this as unknown as Tab, count);
              await this.turn();
            },
            close: async () => {},
          },
        });
      },
    };
  }
}

export class Tab extends Person {
  constructor(world: TabsWorld, userId: string, options: Partial<ClientOptions>) {
    super(world, userId, options, (person) => ({
      locks: world.locks.of(person),
      channel: (name) => new OpenChannel(world, person, name),
      onFreeze: (frozen, resumed) => {
        person.onFreeze = { frozen, resumed };
        return () => {};
      },
    }));
  }

  /** Whether this tab holds the owner's lock. */
  get isOwner(): boolean {
    return this.world.locks.holder(/^subrosa-owner:/) === this;
  }
}

export class OpenChannel implements Channel {
  readonly #peers: Set<OpenChannel>;
  readonly #page: Person;
  #listener: ((event: { data: unknown }) => void) | undefined;
  #closed = false;

  constructor(world: TabsWorld, page: Person, name: string) {
    this.#page = page;
    this.#peers = world.channels.get(name) ?? new Set();
    world.channels.set(name, this.#peers);
    this.#peers.add(this);
    page.atDeath.add(() => this.#peers.delete(this));
  }

  postMessage(message: unknown): void {
    if (this.#closed) throw new Error("InvalidStateError: the channel is closed");
    const data = structuredClone(message);
    this.#page.run(() => {
      for (const peer of this.#peers) if (peer !== this) setImmediate(() => peer.#hear(data));
    });
  }

  #hear(data: unknown): void {
    this.#page.run(() => {
      if (!this.#closed) this.#listener?.({ data });
    });
  }

  addEventListener(_type: "message", listener: (event: { data: unknown }) => void): void {
    this.#listener = listener;
  }

  close(): void {
    this.#closed = true;
    this.#peers.delete(this);
  }
}

interface Request {
  readonly page: Person;
  readonly callback: (lock: unknown) => Promise<void> | void;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Locks as the Web Locks specification has them, exclusive ones. */
export class LockBoard {
  readonly #held = new Map<string, Request>();
  readonly #queues = new Map<string, Request[]>();

  holder(name: RegExp): Person | undefined {
    return [...this.#held].find(([key]) => name.test(key))?.[1].page;
  }

  names(): string[] {
    return [...this.#held.keys(), ...[...this.#queues].flatMap(([name, queue]) => queue.map(() => name))];
  }

  of(page: Person): Locks {
    page.atDeath.add(() => this.#die(page));
    return {
      query: () => page.turn().then(() => ({ held: [...this.#held.keys()].map((name) => ({ name })) })),
      request: (name, { ifAvailable = false, steal = false, signal }, callback) => {
        return new Promise((resolve, reject) => {
          const request = { page, callback, resolve, reject };
          const queue = this.#queues.get(name) ?? [];
          this.#queues.set(name, queue);
          const holder = this.#held.get(name);
          if (steal) {
            this.#held.delete(name);
            if (holder) holder.page.run(() => holder.reject(new DOMException("stolen", "AbortError")));
            return this.#grant(name, request);
          }
          if (holder === undefined && queue.length === 0) return this.#grant(name, request);
          if (ifAvailable) return page.run(() => resolve(callback(null)));
          queue.push(request);
          signal?.addEventListener("abort", () => {
            if (!queue.includes(request)) return;
            queue.splice(queue.indexOf(request), 1);
            reject(new DOMException("aborted", "AbortError"));
          });
        });
      },
    };
  }

  #grant(name: string, request: Request): void {
    this.#held.set(name, request);
    const { page, callback, resolve, reject } = request;
    queueMicrotask(() =>
      page.run(() => {
        Promise.resolve(callback({ name }))
          .then(resolve, reject)
          .finally(() => this.#free(name, request));
      }),
    );
  }

  #free(name: string, request: Request): void {
    if (this.#held.get(name) !== request) return;
    this.#held.delete(name);
    const next = this.#queues.get(name)?.shift();
    if (next !== undefined) this.#grant(name, next);
  }

  #die(page: Person): void {
    for (const queue of this.#queues.values()) {
      queue.splice(0, queue.length, ...queue.filter((request) => request.page !== page));
    }
    for (const [name, request] of [...this.#held]) if (request.page === page) this.#free(name, request);
  }
}
