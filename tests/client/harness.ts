import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "vitest";
import type { Seams } from "../../src/client/options.js";
import {
  Client,
  type ClientEvents,
  type ClientOptions,
  type EventName,
  type Message,
  memoryStore,
} from "../../src/index.js";
import { openMemoryStorage, Relay, type RelayOptions } from "../../src/relay.js";

/** How long a wait may take before the test fails with what was seen instead. */
const PATIENCE = 12_000;

const cleanups: (() => Promise<unknown>)[] = [];

/** Runs at the end of the test, last added first. */
export function atEnd(cleanup: () => Promise<unknown>): void {
  cleanups.push(cleanup);
}

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** An empty folder that is deleted at the end of the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "subrosa-client-"));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A relay on real sockets that can be stopped and started again on its port, with what it kept. */
export class TestRelay {
  url = "";
  #relay: Relay | undefined;
  #options: RelayOptions;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  async start(change: RelayOptions = {}): Promise<void> {
    this.#options = { ...this.#options, ...change };
    this.#relay = new Relay(this.#options);
    this.url = (await this.#relay.listen()).url;
    this.#options = { ...this.#options, port: Number(new URL(this.url).port) };
  }

  /** The relay that runs now. */
  get running(): Relay {
    return this.#relay as Relay;
  }

  async stop(): Promise<void> {
    await this.#relay?.close();
    this.#relay = undefined;
  }

  async restart(change: RelayOptions = {}): Promise<void> {
    await this.stop();
    await this.start(change);
  }

  /** Starts again having forgotten everything. */
  async restartEmpty(): Promise<void> {
    await this.restart({ storage: openMemoryStorage() });
  }
}

/** A relay that keeps its data in memory, over restarts too. */
export async function startRelay(options: RelayOptions = {}): Promise<TestRelay> {
  const kept = options.data === undefined ? { storage: openMemoryStorage() } : {};
  const relay = new TestRelay({ port: 0, ...kept, ...options });
  await relay.start();
  atEnd(() => relay.stop());
  return relay;
}

type Recorded = { [Name in EventName]: { name: Name; event: ClientEvents[Name] } }[EventName];

const NAMES: readonly EventName[] = [
  "connect",
  "disconnect",
  "error",
  "receipt",
  "messagesDeleted",
  "userCreated",
  "userDeleted",
  "notice",
  "groupCreated",
  "groupDeleted",
  "groupJoin",
  "groupLeave",
  "groupUpdated",
  "memberJoin",
  "memberLeave",
  "joinRequest",
  "invitation",
  "typing",
  "presence",
  "unencryptedData",
  "identityChanged",
  "deviceAdded",
  "deviceRemoved",
  "storeRecovered",
  "equivocation",
  "undecryptable",
];

export interface ActorOptions extends Partial<ClientOptions> {
  readonly seams?: Seams;
  /** Whether messages are taken at once; default true. */
  readonly listen?: boolean;
}

/** A client together with everything it has told its app. */
export class Actor {
  readonly client: Client;
  readonly recorded: Recorded[] = [];
  readonly messages: Message[] = [];
  /** How long this actor waits for what has to come, in milliseconds. */
  patience = PATIENCE;
  readonly #watchers = new Set<() => void>();

  constructor(client: Client, listen: boolean) {
    this.client = client;
    for (const name of NAMES) {
      client.on(name, (event) => {
        this.recorded.push({ name, event } as Recorded);
        this.#look();
      });
    }
    if (listen) this.listen();
  }

  /** Takes messages from here on. */
  listen(): () => void {
    return this.client.on("message", (message) => {
      this.messages.push(message);
      this.#look();
    });
  }

  #look(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  get userId(): string {
    return this.client.userId;
  }

  get texts(): Message["content"][] {
    return this.messages.map(({ content }) => content);
  }

  /** Every event of one name so far. */
  all<Name extends EventName>(name: Name): ClientEvents[Name][] {
    return this.recorded.flatMap((one) => (one.name === name ? [one.event as ClientEvents[Name]] : []));
  }

  /** Codes of the errors reported so far. */
  get errors(): string[] {
    return this.all("error").map(({ code }) => code);
  }

  /** Resolves once `find` finds something, looked at after each event. */
  until<T>(find: () => T | undefined | false, what = find.toString()): Promise<T> {
    return new Promise((resolve, reject) => {
      const done = () => {
        this.#watchers.delete(look);
        clearTimeout(timer);
      };
      const look = () => {
        const found = find();
        if (found === undefined || found === false) return;
        done();
        resolve(found);
      };
      const timer = setTimeout(() => {
        done();
        const seen = this.recorded.map(({ name, event }) => `${name} ${describe(event)}`).join("\n  ");
        reject(
          new Error(`${this.userId} waited for ${what}; messages ${describe(this.texts)}; saw\n  ${seen}`),
        );
      }, this.patience);
      this.#watchers.add(look);
      look();
    });
  }

  /** The first event of this name, past or to come, that fits. */
  event<Name extends EventName>(
    name: Name,
    fits: (event: ClientEvents[Name]) => boolean = () => true,
  ): Promise<ClientEvents[Name]> {
    return this.until(() => this.all(name).find(fits), `${name} ${fits}`);
  }

  /** The message with this content. */
  message(content: string): Promise<Message> {
    return this.until(() => this.messages.find((message) => message.content === content), content);
  }

  /** Resolves when that many messages have come. */
  async count(messages: number): Promise<Message[]> {
    await this.until(() => this.messages.length >= messages, `${messages} messages`);
    return this.messages;
  }

  /** Resolves when each of these messages has a receipt of this state (by this user, for `delivered`). */
  async receipts(ids: readonly string[], state: string, by?: string): Promise<void> {
    const have = () =>
      new Set(
        this.all("receipt").flatMap((one) =>
          one.state === state && (by === undefined || one.by === by) ? one.ids : [],
        ),
      );
    await this.until(() => {
      const seen = have();
      return ids.every((id) => seen.has(id));
    }, `receipts ${state}`);
  }
}

function describe(value: unknown): string {
  if (value instanceof Error) return `${(value as { code?: string }).code}: ${value.message}`;
  return JSON.stringify(value, (_, one) => (one instanceof Uint8Array ? `${one.length} bytes` : one));
}

/** Little jitter, so that tests are quick; timers are the machine's. */
const QUICK: Seams = { random: () => 0.1 };

/** A client of the relay, not connected yet. */
export function makeActor(relay: { url: string }, userId: string, options: ActorOptions = {}): Actor {
  const { seams = QUICK, listen = true, ...rest } = options;
  const client = new Client({ url: relay.url, userId, store: memoryStore(), ...rest }, seams);
  atEnd(() => client.close());
  return new Actor(client, listen);
}

export async function connected(
  relay: { url: string },
  userId: string,
  options: ActorOptions = {},
): Promise<Actor> {
  const actor = makeActor(relay, userId, options);
  await actor.client.connect();
  return actor;
}

/** Several at once. */
export function connectAll<const Names extends readonly string[]>(
  relay: { url: string },
  userIds: Names,
  options: ActorOptions = {},
): Promise<{ -readonly [Index in keyof Names]: Actor }> {
  const actors = Promise.all(userIds.map((userId) => connected(relay, userId, options)));
  return actors as Promise<never>;
}

/** A group with these members, the first of whom made it. */
export async function makeGroup(group: string, members: readonly Actor[]): Promise<void> {
  const [founder, ...others] = members as [Actor, ...Actor[]];
  await founder.client.createGroup(group);
  for (const other of others) {
    await founder.client.invite(group, other.userId);
    await (await other.event("invitation", (invitation) => invitation.group === group)).accept();
  }
  await settledMembers(group, members);
}

/** Resolves when all of them see exactly these members in the group. */
export async function settledMembers(group: string, members: readonly Actor[]): Promise<void> {
  const wanted = JSON.stringify(members.map(({ userId }) => userId).sort());
  for (const { client, userId } of members) {
    await eventually(async () => {
      const seen = await client.members(group).catch(() => []);
      return JSON.stringify(seen.map((member) => member.userId).sort()) === wanted;
    }, `${userId} sees ${wanted} in ${group}`);
  }
}

/** For what no event tells: looks again after each turn of the event loop. */
export async function eventually(
  test: () => Promise<boolean> | boolean,
  what = test.toString(),
): Promise<void> {
  const end = Date.now() + PATIENCE;
  while (!(await test())) {
    if (Date.now() > end) throw new Error(`never came about: ${what}`);
    await new Promise<void>((resolve) => setTimeout(resolve, 2));
  }
}
